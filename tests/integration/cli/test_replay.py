"""``dlq replay`` on a real broker: it copies each record once, to the right place and complete."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.errors import OffsetsError, SettingsError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import LATEST, admin, offsets, partitions
from stream_scorer.ports import BytesColumn, Headers, RawRecords
from stream_scorer.settings import Kafka
from tests.support.dead_letters.produced import letters_of
from tests.support.faults.process import environment, wait_until
from tests.support.faults.reference_run import feed, scored, transactions
from tests.support.kafka.mock_broker import RawHeaders, produce

pytestmark = pytest.mark.kafka

PARTITIONS = 4
Letter = tuple[str, int, bytes | None, bytes | None, Headers]
"""Reason, source partition, value, key and the original's own headers."""


@pytest.fixture
def ours(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


class Desk:
    """The ``dlq`` commands for one input with dead letters."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.group = f"replay-{kafka.group}"
        self.originals: set[tuple[int, int]] = set()

    def invoke(self, *arguments: object, **more: str) -> Any:
        variables = {
            **environment(self.kafka),
            "STREAM_SCORER_REPLAY__GROUP": self.group,
            "COLUMNS": "200",
        }
        words = ["dlq", "replay", *map(str, arguments)]
        return CliRunner().invoke(app, words, env=variables | more)

    def text(self, *arguments: object, **more: str) -> str:
        result = self.invoke(*arguments, **more)
        if result.exception is not None:
            raise result.exception
        return str(result.stdout)

    def told(self, *arguments: object, **more: str) -> Any:
        return json.loads(self.text(*arguments, "--json", **more))

    def copied(self, *arguments: object, **more: str) -> dict[str, int]:
        """Return the number of copies that a call made, by reason."""
        reasons = self.told(*arguments, **more)["reasons"]
        return {name: each["copied"] for name, each in reasons.items() if each["copied"]}

    def input(self) -> list[Any]:
        """Return the input's records except the originals."""
        every = read_all(self.kafka, self.kafka.topics.transactions)
        return [each for each in every if (each.partition(), each.offset()) not in self.originals]

    def feed(self, *letters: Letter) -> list[int]:
        """Produce the originals of dead letters; return their offsets."""
        found: dict[int, int] = {}
        # A test may reduce the input's largest batch.
        producer = Producer(
            client_options.common(self.kafka)
            | {"batch.size": 10_000, "message.max.bytes": 10_000_000, "compression.type": "zstd"}
        )
        topic = self.kafka.topics.transactions
        for number, (_, partition, value, key, headers) in enumerate(letters):

            def landed(_: object, message: Any, number: int = number) -> None:
                found[number] = message.offset()
                self.originals.add((message.partition(), message.offset()))

            producer.produce(topic, value, key, partition, landed, headers=headers or [])
        assert producer.flush(30) == 0
        return [found[number] for number in range(len(letters))]

    def came_from(self) -> Counter[bytes]:
        """Return how often each dead letter is in the input."""
        return Counter(dict(message.headers())["replayed-from"] for message in self.input())

    def ends(self) -> dict[tuple[str, int], int]:
        topic = self.kafka.topics.transactions
        places = [(topic, partition) for partition in range(PARTITIONS)]
        return offsets(admin(self.kafka), self.kafka, places, LATEST)

    def reject(
        self, *letters: Letter, topic: str = "", onto: int | None = None,
        at: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Write dead letters as a scorer does, to the partitions of their topic in turn.

        Their originals are written to the input first, unless ``at`` names source offsets.
        """
        n = len(letters)
        offsets = at if at is not None else range(n) if topic else self.feed(*letters)
        raw = RawRecords(
            BytesColumn.of(letter[2] for letter in letters),
            BytesColumn.of(letter[3] for letter in letters), [letter[4] for letter in letters],
            np.array([letter[1] for letter in letters], np.int32),
            np.array(offsets, np.int64),
            np.full(n, 1_700_000_000_000),
        )  # fmt: skip
        records = letters_of(
            raw, range(n), [letter[0] for letter in letters], ["because"] * n,
            topic=self.kafka.topics.dead_letters, instance="pod-1",
            source_topic=topic or self.kafka.topics.transactions,
        )  # fmt: skip
        producer = Producer(client_options.common(self.kafka))
        for number, record in enumerate(records):
            place = number % PARTITIONS if onto is None else onto
            producer.produce(record.topic, record.value, record.key, place, headers=record.headers)
        assert producer.flush(30) == 0

    def commit(self, offset: int, note: str = "") -> None:
        """Commit the group's offset of the first partition as another program does."""
        consumer = Consumer(client_options.reader(self.kafka, self.group))
        place = TopicPartition(self.kafka.topics.dead_letters, 0, offset, note)
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()

    def simple(self, *reasons: str, onto: int | None = None) -> None:
        self.reject(
            *((reason, n % PARTITIONS, b"%d" % n, b"k", None) for n, reason in enumerate(reasons)),
            onto=onto,
        )


@pytest.fixture
def desk(ours: Kafka) -> Desk:
    return Desk(ours)


def test_a_copy_keeps_the_originals_partition_bytes_key_headers(desk: Desk) -> None:
    own: Headers = [("trace", b"1"), ("empty", None), ("trace", b"2"), ("dlq.reason", b"theirs")]
    letters: Sequence[Letter] = [
        ("MALFORMED", 3, b"\x00\xff bytes", b"customer", own),
        ("EMPTY", 2, None, None, None),
        ("CURRENCY", 0, b"", b"", [("a", b"")]),
        ("A_LATER_REASON", 1, b"later", b"k", None),
    ]
    desk.reject(*letters)
    assert desk.told() == {
        "topic": desk.kafka.topics.dead_letters, "input": desk.kafka.topics.transactions,
        "group": desk.group, "dry_run": False, "copied": 4, "passed_over": 0,
        "reasons": {
            reason: {"copied": 1, "passed_over": 0} for reason in sorted(one[0] for one in letters)
        },
        "replayed_before": 0, "other_input": 0, "foreign": 0, "mismatched": 0, "refused": 0,
        "limited": False,
        "stopped": False,
    }  # fmt: skip
    found = {
        message.partition(): (message.value(), message.key(), message.headers())
        for message in desk.input()
    }
    assert found == {
        partition: (
            value, key,
            [("replayed-from", f"{desk.kafka.topics.dead_letters}:{number}:0".encode()),
             *(headers or ())],
        )
        for number, (_, partition, value, key, headers) in enumerate(letters)
    }  # fmt: skip


def test_what_its_source_offset_does_not_hold_is_never_copied(desk: Desk) -> None:
    own: list[tuple[str, bytes | None]] = [("trace", b"1")]
    true: Letter = ("MALFORMED", 1, b"true", b"k", own)
    (at,) = desk.feed(true)
    forged: list[Letter] = [
        ("MALFORMED", 1, b"false", b"k", own), ("MALFORMED", 1, b"true", b"other", own),
        ("MALFORMED", 1, b"true", b"k", [("trace", b"2")]),
        ("MALFORMED", 1, b"true", b"k", [*own, ("more", b"")]),
        ("MALFORMED", 0, b"true", b"k", own),
    ]  # fmt: skip
    desk.reject(*forged, true, at=[at] * 6, onto=2)
    desk.reject(true, at=[at + 1], onto=2)
    told = desk.told("--dry-run")
    assert (told["copied"], told["mismatched"]) == (1, 6)
    assert "6 not what their source offset holds, first 2:0" in desk.text()
    assert [(m.value(), m.key()) for m in desk.input()] == [(b"true", b"k")]
    # The next call does not look at them again.
    told = desk.told()
    assert (told["copied"], told["mismatched"]) == (0, 0)


def test_a_record_with_header_names_of_any_bytes_is_copied(desk: Desk) -> None:
    names: RawHeaders = [(b"\xff", b"1"), (b"a\0b", None)]
    produce(desk.kafka.bootstrap, desk.kafka.topics.transactions, [names])
    as_read: Headers = [("\ufffd", b"1"), ("a", None)]
    desk.reject(("MALFORMED", 0, b"v", None, as_read), at=[0], onto=0)
    # Another client's record with these names in the dead-letter topic blocks nothing after it.
    produce(desk.kafka.bootstrap, desk.kafka.topics.dead_letters, [names])
    desk.originals.add((0, 0))
    desk.reject(("MALFORMED", 1, b"after", b"k", None), onto=0)
    told = desk.told()
    assert (told["copied"], told["mismatched"], told["foreign"]) == (2, 0, 1)
    found = {message.value(): message.headers()[1:] for message in desk.input()}
    assert found == {b"v": as_read, b"after": []}


def test_what_retention_took_asks_for_the_headers_to_be_trusted(desk: Desk) -> None:
    desk.simple("MALFORMED", "MALFORMED", onto=0)
    place = TopicPartition(desk.kafka.topics.transactions, 1, 1)
    # The client must exist until the answer arrives: closing it cancels its requests.
    client = admin(desk.kafka)
    client.delete_records([place])[place].result()
    for _ in range(2):
        with pytest.raises(OffsetsError, match="retention took that record, the oldest is 1") as it:
            desk.text()
        assert it.value.exit_code == 7
        assert "--trust-headers" in (it.value.fix or "")
        # The dead letter before it is copied, once.
        assert [message.value() for message in desk.input()] == [b"0"]
    assert desk.copied("--trust-headers") == {"MALFORMED": 1}
    assert sorted(message.value() for message in desk.input()) == [b"0", b"1"]


def test_a_second_call_copies_nothing(desk: Desk) -> None:
    desk.simple(*["MALFORMED"] * 10)
    assert desk.copied() == {"MALFORMED": 10}
    ends = desk.ends()
    assert desk.told()["copied"] == 0
    assert desk.copied("--reason", "MALFORMED") == {}
    # There is not even a transaction: its marker would take an offset.
    assert desk.ends() == ends
    desk.simple("FRAMING", "MALFORMED")
    assert desk.copied() == {"FRAMING": 1, "MALFORMED": 1}
    assert set(desk.came_from().values()) == {1}
    assert len(desk.came_from()) == 12


def test_letters_skipped_by_reason_are_left_for_a_later_call(desk: Desk) -> None:
    reasons = ["MALFORMED", "DUPLICATE", "CURRENCY", "EMPTY", "DUPLICATE", "CURRENCY"] * 7
    desk.simple(*reasons)
    small = {"STREAM_SCORER_SCORER__MAXIMUM_BATCH": "3"}
    told = desk.told("--reason", "CURRENCY", "--reason", "EMPTY", **small)
    assert told["reasons"] == {
        "CURRENCY": {"copied": 14, "passed_over": 0},
        "DUPLICATE": {"copied": 0, "passed_over": 14},
        "EMPTY": {"copied": 7, "passed_over": 0},
        "MALFORMED": {"copied": 0, "passed_over": 7},
    }
    told = desk.told(**small)
    assert told["reasons"] == {
        "DUPLICATE": {"copied": 0, "passed_over": 14},
        "MALFORMED": {"copied": 7, "passed_over": 0},
    }
    assert desk.told(**small)["copied"] == 0
    assert desk.copied("--reason", "DUPLICATE", **small) == {"DUPLICATE": 14}
    assert desk.told("--reason", "DUPLICATE", **small)["copied"] == 0
    assert desk.told(**small) | {"reasons": {}, "group": ""} == {
        "topic": desk.kafka.topics.dead_letters, "input": desk.kafka.topics.transactions,
        "group": "", "dry_run": False, "copied": 0, "passed_over": 0, "reasons": {},
        "replayed_before": 0, "other_input": 0, "foreign": 0, "mismatched": 0, "refused": 0,
        "limited": False,
        "stopped": False,
    }  # fmt: skip
    assert len(desk.came_from()) == len(reasons)
    assert set(desk.came_from().values()) == {1}


def test_a_call_ends_at_its_limit_and_the_next_continues(desk: Desk) -> None:
    desk.simple(*["MALFORMED", "DUPLICATE"] * 10)
    first = desk.told("--limit", 4)
    assert (first["copied"], first["limited"]) == (4, True)
    assert "stopped at the limit" in desk.text("--limit", 5)
    last = desk.told("--limit", 100)
    assert (last["copied"], last["limited"]) == (1, False)
    assert desk.copied("--reason", "DUPLICATE", "--limit", 10) == {"DUPLICATE": 10}
    assert set(desk.came_from().values()) == {1}
    assert len(desk.came_from()) == 20


def test_a_dry_run_counts_and_copies_nothing(desk: Desk) -> None:
    desk.simple("MALFORMED", "DUPLICATE", "MALFORMED")
    for _ in range(2):
        told = desk.told("--dry-run")
        assert (told["copied"], told["passed_over"], told["dry_run"]) == (2, 1, True)
    assert "would be copied" in desk.text("--dry-run")
    assert desk.input() == []
    assert desk.copied() == {"MALFORMED": 2}


def test_what_was_copied_and_rejected_again_is_not_copied_again(desk: Desk) -> None:
    desk.simple("MALFORMED", "DUPLICATE")
    assert desk.copied() == {"MALFORMED": 1}
    (copied,) = desk.input()
    desk.reject(("MALFORMED", 0, copied.value(), copied.key(), copied.headers()))
    told = desk.told()
    assert (told["copied"], told["replayed_before"]) == (0, 1)
    told = desk.told("--reason", "MALFORMED")
    assert (told["copied"], told["replayed_before"]) == (0, 0)
    desk.reject(("CURRENCY", 0, copied.value(), copied.key(), copied.headers()))
    assert "1 copied once already and rejected again: not copied again" in desk.text()
    assert len(desk.input()) == 1


def test_an_empty_topic_and_foreign_records(desk: Desk) -> None:
    assert desk.told()["copied"] == 0
    producer = Producer(client_options.common(desk.kafka))
    forged = [("dlq.reason", b"MALFORMED"), ("dlq.source.partition", b"0")]
    for headers in (None, forged):
        producer.produce(desk.kafka.topics.dead_letters, b"x", b"k", 0, headers=headers)
    assert producer.flush(30) == 0
    desk.simple("MALFORMED")
    desk.reject(("MALFORMED", 0, b"x", b"k", None), topic=desk.kafka.topics.decisions)
    told = desk.told()
    assert (told["copied"], told["foreign"], told["other_input"]) == (1, 2, 1)
    told = desk.told()
    assert (told["copied"], told["foreign"], told["other_input"]) == (0, 0, 0)
    assert list(read_all(desk.kafka, desk.kafka.topics.decisions)) == []


@pytest.mark.parametrize("name", ["transactions", "dead_letters"])
def test_a_topic_that_does_not_exist(desk: Desk, name: str) -> None:
    gone = getattr(desk.kafka.topics, name)
    desk.simple("MALFORMED")
    client = admin(desk.kafka)
    client.delete_topics([gone])[gone].result()
    wait_until(lambda: gone not in partitions(client, desk.kafka, None), "deleted")
    with pytest.raises(SettingsError, match=f"topic {gone}: does not exist"):
        desk.text()


def test_an_input_with_fewer_partitions(desk: Desk) -> None:
    """The input is recreated with two partitions; a dead letter's source was in the third."""
    desk.simple("MALFORMED", "MALFORMED", onto=1)
    desk.reject(("CURRENCY", 2, b"2", b"k", None), ("EMPTY", 0, None, b"k", None), onto=1)
    topic, client = desk.kafka.topics.transactions, admin(desk.kafka)
    client.delete_topics([topic])[topic].result()
    wait_until(lambda: topic not in partitions(client, desk.kafka, None), "deleted")
    client.create_topics([NewTopic(topic, 2, 1)])[topic].result()
    wait_until(lambda: topic in partitions(client, desk.kafka, None), "made")
    # The sources were in the deleted topic, so they cannot be compared.
    desk.originals = set()
    for _ in range(2):
        with pytest.raises(OffsetsError) as raised:
            desk.text("--trust-headers")
        assert raised.value.exit_code == 7
        assert raised.value.what == (
            f"dead letter {desk.kafka.topics.dead_letters}:1:2 came from {topic} partition 2, and "
            "that topic has 2 partitions now"
        )
        assert "\n" not in str(raised.value)
        # The dead letters before it are copied, once.
        assert sorted(message.value() for message in desk.input()) == [b"0", b"1"]
    assert desk.copied("--reason", "EMPTY", "--trust-headers") == {"EMPTY": 1}


def test_a_recreated_dead_letter_topic(desk: Desk) -> None:
    desk.simple("MALFORMED")
    desk.told()
    desk.commit(50)
    with pytest.raises(OffsetsError, match=r"is at offset 50 of .* which ends at 1"):
        desk.text()
    # Without its own metadata, the committed offset counts for all reasons.
    desk.commit(0)
    assert desk.copied() == {"MALFORMED": 1}


def test_another_programs_group(desk: Desk) -> None:
    desk.simple("MALFORMED")
    desk.commit(0, "mine")
    with pytest.raises(OffsetsError, match="another program commits for this group"):
        desk.text()


def limited_to(desk: Desk, size: int) -> None:
    """Set the input's largest record, and return when every partition refuses a larger one."""
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        desk.kafka.topics.transactions,
        incremental_configs=[
            ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        ],
    )
    # The client must exist until the answer arrives: closing it cancels its requests.
    client = admin(desk.kafka)
    client.incremental_alter_configs([resource])[resource].result()
    # The controller answers. The broker takes the setting from the metadata log, a moment later.
    deadline = time.monotonic() + 60
    for partition in range(PARTITIONS):
        while accepted(desk, partition, noise(2 * size)):
            assert time.monotonic() < deadline, f"partition {partition} keeps its old limit"


def accepted(desk: Desk, partition: int, value: bytes) -> bool:
    """Return whether the input takes a record; it then counts as one of the originals."""
    taken: list[bool] = []

    def landed(error: Any, message: Any) -> None:
        assert error is None or error.code() == KafkaError.MSG_SIZE_TOO_LARGE, error
        taken.append(error is None)
        if error is None:
            desk.originals.add((message.partition(), message.offset()))

    producer = Producer(client_options.common(desk.kafka))
    producer.produce(desk.kafka.topics.transactions, value, None, partition, landed)
    assert producer.flush(30) == 0
    return taken == [True]


def noise(count: int) -> bytes:
    return random.Random(count).randbytes(count)  # noqa: S311 random test data


def test_records_that_fit_the_input_go_however_many_there_are(desk: Desk) -> None:
    limited_to(desk, 20_000)
    desk.reject(*(("MALFORMED", 0, noise(1_000 + n), b"k", None) for n in range(100)))
    assert desk.copied() == {"MALFORMED": 100}


def test_a_record_that_the_input_takes_no_more_is_refused_alone(desk: Desk) -> None:
    large = {1, 4}
    desk.reject(
        *(("MALFORMED", 0, noise(500 + 40_000 * (n in large)), b"k", None) for n in range(8))
    )
    limited_to(desk, 20_000)
    result = desk.invoke()
    assert result.exit_code == 0
    # Two lines, each with both places, size and limit.
    first, second = sorted(line for line in result.stderr.splitlines() if "not copied" in line)
    assert first.startswith(f"not copied: dead letter {desk.kafka.topics.dead_letters}:0:1 of ")
    assert f"{desk.kafka.topics.transactions}:0:4: its copy has 40" in first
    assert first.endswith("bytes, and the topic accepts 20000")
    assert f"{desk.kafka.topics.dead_letters}:1:0 of " in second
    assert "2 skipped for good: too large to be copied" in result.stdout
    assert sorted(len(message.value()) for message in desk.input()) == [500] * 6
    # The next call does not look at them again.
    told = desk.told()
    assert (told["copied"], told["refused"]) == (0, 0)


def test_a_letter_without_its_value_gets_it_from_the_input(desk: Desk) -> None:
    """The value is zeros, which compress: uncompressed it is far larger than the topic's limit."""
    fits, bomb = bytes(1_050_000), bytes(1_200_000)
    own: Headers = [("trace", b"1")]
    desk.reject(
        ("TOO_LARGE", 0, fits, b"k", own), ("TOO_LARGE", 0, bomb, b"k", own),
        ("EMPTY", 1, None, b"k", None), ("TOO_LARGE", 2, fits, b"gone", own),
    )  # fmt: skip
    place = TopicPartition(desk.kafka.topics.transactions, 2, 1)
    # The client must exist until the answer arrives: closing it cancels its requests.
    client = admin(desk.kafka)
    client.delete_records([place])[place].result()
    for options in (["--dry-run"], ["--trust-headers"]):
        result = desk.invoke(*options)
        assert result.exit_code == 0
        lines = sorted(line for line in result.stderr.splitlines() if "not copied" in line)
        assert len(lines) == 2
        assert "its copy has 1200" in lines[0]
        assert lines[0].endswith("bytes, and a copy has at most 1114112")
        assert "retention took the original" in lines[1]
    found = {each.partition(): each for each in desk.input()}
    assert set(found) == {0, 1}
    assert (found[0].value(), found[0].key(), found[0].headers()[1:]) == (fits, b"k", own)
    assert found[0].headers()[0][0] == "replayed-from"
    assert desk.told()["copied"] == 0


def test_what_is_replayed_is_decided_or_rejected_once_more(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    desk = Desk(ours)
    records = transactions(days=4)
    first, _ = scored(ours, feed(ours, records))
    letters = list(read_all(ours, ours.topics.dead_letters))
    count = Counter(record.bad for record in records if record.bad)
    assert len(letters) == count.total() > count["DUPLICATE"] > 0
    assert Counter(desk.copied()) == count - Counter({"DUPLICATE": count["DUPLICATE"]})

    ends = dict.fromkeys(range(PARTITIONS), 0)
    for message in desk.input():
        if any(name == "replayed-from" for name, _ in message.headers() or ()):
            ends[message.partition()] = message.offset() + 1
    second, _ = scored(ours, ends)
    assert second.doubled == []
    assert second.decisions == first.decisions
    again = {at: each for at, each in second.dead_letters.items() if at not in first.dead_letters}
    assert Counter(each[0] for each in again.values()) == count - Counter(
        {"DUPLICATE": count["DUPLICATE"]}
    )
    known = {f"{ours.topics.dead_letters}:{m.partition()}:{m.offset()}".encode() for m in letters}
    assert {dict(each[4])["replayed-from"] for each in again.values()} < known

    told = desk.told()
    assert (told["copied"], told["replayed_before"]) == (0, len(again))
    assert desk.copied("--reason", "DUPLICATE") == {"DUPLICATE": count["DUPLICATE"]}
    assert desk.told("--reason", "DUPLICATE")["copied"] == 0
