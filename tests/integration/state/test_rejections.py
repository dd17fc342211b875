"""Rejected records are decided once after the fix, despite crashes, takeovers and replays."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scorer.errors import StateError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.reproduce.run import Question, reproduce
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.commands.inspect import open_checkpoint
from stream_scorer.state.commands.rebuild import rebuild
from stream_scorer.state.commands.repartition import repartition
from stream_scorer.state.commands.verify import refuse_differences, verify
from stream_scorer.state.partitions.rejected_offsets import Rejected
from stream_scorer.state.stores.topic_store import TopicStore
from tests.support.dead_letters.produced import letters_of
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    PARTITIONS,
    Record,
    committed,
    feed,
    outcome,
    transactions,
)
from tests.support.state.rejecting import (
    FIXABLE,
    Configuration,
    Timed,
    beside,
    broken_and_fixed,
    dumps,
    ends_of,
    feed_timed,
    rejected_and_good,
    replay_letters,
)
from tests.support.state.stage import Crash, live, restored_only, settings_of

pytestmark = pytest.mark.kafka


def deployed(of: Configuration) -> Deployment:
    return Deployment("fraud:1.0.0", plan=of.plan)


def remembered(kafka: Kafka, partition: int) -> Rejected:
    """Return what the state topic has of a partition's rejections."""
    owner = Owner(kafka.group, kafka.topics.transactions)
    found = Rejected(owner, partition)
    for records in TopicStore(kafka, owner).read(partition):
        found.add(records)
    found.settle()
    return found


class Crashes:
    """A hook that crashes once, when a stage has been reached a number of times."""

    def __init__(self, stage: str, laps: int) -> None:
        self._stage = stage
        self._left = laps

    def __call__(self, stage: str) -> None:
        self._left -= stage == self._stage
        if self._left == 0:
            self._left = -1
            raise Crash


def rejected_of(kafka: Kafka, records: list[Timed]) -> Counter[str]:
    """Return the number of dead letters by reason; assert that they are the expected ones."""
    found = Counter(letter[0] for letter in outcome(kafka).dead_letters.values())
    assert found == Counter(each.record.bad for each in records if each.record.bad)
    return found


def each_once(kafka: Kafka, records: list[Timed], copies: int) -> None:
    """Assert that every record, rejected first or not, is decided once and never DUPLICATE."""
    found = outcome(kafka)
    assert found.doubled == []
    assert len(found.dead_letters) == copies
    ids = Counter(each["transaction_id"] for each in found.decisions.values())
    assert (len(ids), set(ids.values())) == (len(records), {1})


@pytest.mark.thorough
@pytest.mark.parametrize(("where", "stage"), [("topic", "commit"), ("files", "send")])
def test_a_rejected_record_is_decided_once_despite_a_crash(
    where: str,
    stage: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    broken, fixed = broken_and_fixed(tmp_path)
    records = rejected_and_good(days=12)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    url: dict[str, Any] = {"url": f"file://{tmp_path}/state"} if where == "files" else {}
    # No bucket is written, so a restore knows rejections only from the segments.
    crashing = settings_of(ours, 40, bytes_per_event=0, buckets_per_second=0, **url)
    first = feed_timed(ours, records)
    assert live(broken.of(crashing), first, Crashes(stage, 3), plan=broken.plan).crashed
    life = live(broken.of(crashing), first, plan=broken.plan)
    rejected = rejected_of(ours, records)
    assert set(rejected) == set(FIXABLE)

    calm_kafka = beside(ours, kafka_topics, kafka_settings(session_timeout_ms=6_000))
    calm = settings_of(calm_kafka, 40)
    live(broken.of(calm), first, plan=broken.plan)

    # Restored under the fixed configuration, from the input alone.
    taken = restored_only(fixed.of(crashing), deployment=deployed(fixed))
    assert dumps(taken) == dumps(life)
    assert replay_letters(ours).copied == rejected
    ends = ends_of(ours)
    assert live(fixed.of(crashing), ends, Crashes(stage, 1), plan=fixed.plan).crashed
    live(fixed.of(crashing), ends, plan=fixed.plan)
    each_once(ours, records, rejected.total())

    expected = live(fixed.of(calm), ends, plan=fixed.plan)
    again = restored_only(fixed.of(crashing), deployment=deployed(fixed))
    assert dumps(again) == dumps(expected)
    assert outcome(calm_kafka).decisions == outcome(ours).decisions


@pytest.mark.thorough
def test_rejections_survive_a_kill_a_fixed_plan_and_a_replay(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    broken, fixed = broken_and_fixed(tmp_path)
    records = rejected_and_good(days=8)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    # Each partition's last batch also has a rejected record, and nothing comes after it.
    bad = [each for each in records if each.record.bad]
    last = {each.record.partition: each for each in bad}
    records += [Timed(_again(each.record), each.timestamp) for each in last.values()]
    first = feed_timed(ours, records)

    def process(name: str, of: Configuration, *more: str) -> ScorerProcess:
        variables = {
            "STREAM_SCORER_REGISTRY__DIRECTORY": str(of.schemas),
            "STREAM_SCORER_SCORER__MAXIMUM_BATCH": "60",
        }
        log = tmp_path / f"{name}.log"
        return ScorerProcess(ours, log, "--plan", str(of.plan), *more, variables=variables)

    with process("broken", broken, "--from", "earliest") as scorer:
        wait_until(lambda: committed(ours) == first, lambda: f"all decided: {scorer.said}")
        scorer.kill()
    rejected = rejected_of(ours, records)
    calm_kafka = beside(ours, kafka_topics, kafka_settings(session_timeout_ms=6_000))
    calm = settings_of(calm_kafka, 60)
    live(broken.of(calm), first, plan=broken.plan)

    with process("killed", fixed) as scorer:
        scorer.wait_ready()
        assert replay_letters(ours).copied == rejected
        ends = ends_of(ours)
        wait_until(lambda: committed(ours) == ends, lambda: f"all decided: {scorer.said}")
        scorer.kill()
    with process("last", fixed) as scorer:
        scorer.wait_ready()
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said
    each_once(ours, records, rejected.total())

    expected = live(fixed.of(calm), ends, plan=fixed.plan)
    found = restored_only(fixed.of(settings_of(ours)), deployment=deployed(fixed))
    assert dumps(found) == dumps(expected)
    assert outcome(calm_kafka).decisions == outcome(ours).decisions


def test_all_rejected_for_another_currency_in_the_plan(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    _, fixed = broken_and_fixed(tmp_path)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(fixed.plan.read_text().replace("EUR = 2", "USD = 2"))
    records = tuple(record for record in transactions(days=2, customers=20) if not record.bad)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    settings = settings_of(ours, 20)
    ends = feed(ours, records)
    assert live(settings, ends, Crashes("commit", 2), plan=wrong).crashed
    live(settings, ends, plan=wrong)
    assert Counter(each[0] for each in outcome(ours).dead_letters.values()) == {
        "CURRENCY": len(records)
    }
    taken = restored_only(settings, deployment=deployed(fixed))
    assert sum(map(len, taken.rings().values())) == 0
    assert replay_letters(ours).copied == {"CURRENCY": len(records)}
    live(settings, ends_of(ours), plan=fixed.plan)
    found = outcome(ours)
    ids = Counter(each["transaction_id"] for each in found.decisions.values())
    assert (len(ids), set(ids.values())) == (len(records), {1})
    assert len(found.dead_letters) == len(records)


def _again(record: Record) -> Record:
    """Return a record with another transaction id that is rejected for the same reason."""
    other = record.value.replace(b"fixable-", b"fixablf-") if record.value else None
    assert other != record.value
    return Record(record.key, other, record.bad)


@pytest.mark.parametrize("where", ["topic", pytest.param("files", marks=pytest.mark.thorough)])
def test_commands_skip_rejected_records(
    where: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    broken, fixed = broken_and_fixed(tmp_path)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    url: dict[str, Any] = {"url": f"file://{tmp_path}/state"} if where == "files" else {}
    settings = settings_of(ours, 60, **url)
    first = feed_timed(ours, rejected_and_good(days=4))
    life = live(broken.of(settings), first, plan=broken.plan)
    held = {partition: remembered(ours, partition).segments for partition in first}

    told = rebuild(open_checkpoint(fixed.of(settings)), deployed(fixed))
    assert [each.unreadable_rejections for each in told] == [0] * PARTITIONS
    again = restored_only(fixed.of(settings), deployment=deployed(fixed))
    assert dumps(again) == dumps(life)
    refuse_differences(verify(open_checkpoint(fixed.of(settings)), deployed(fixed)))
    # The group's offsets did not change, so rejected records stay rejected.
    assert {partition: remembered(ours, partition).segments for partition in first} == held

    # No decision is missing, and rejected records are not reported as missing.
    question = Question("input", first_ms=0, plan=fixed.plan)
    past = reproduce(fixed.of(settings), question, lambda *_: None)
    assert past.equal == past.chosen == len(outcome(ours).decisions)
    assert (past.missing, past.unexpected, past.removed) == (0, 0, [])

    # With offsets set back, later records are judged again, by the plan that is active then.
    half = {partition: end // 2 for partition, end in first.items()}
    set_back(ours, half)
    with pytest.raises(StateError, match="is before it") as raised:
        restored_only(fixed.of(settings), deployment=deployed(fixed))
    assert "stream-scorer state rebuild" in raised.value.fix
    rebuild(open_checkpoint(fixed.of(settings)), deployed(fixed))
    assert all(remembered(ours, partition).end <= end for partition, end in half.items())
    live(fixed.of(settings), first, plan=fixed.plan)
    assert all(remembered(ours, partition).end <= end for partition, end in half.items())


@pytest.mark.thorough
@pytest.mark.parametrize("where", ["topic", "files"])
def test_a_repartition_skips_rejected_records(
    where: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    broken, fixed = broken_and_fixed(tmp_path)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    url: dict[str, Any] = {"url": f"file://{tmp_path}/state"} if where == "files" else {}
    settings = settings_of(ours, 40, bytes_per_event=2_000, buckets_per_second=0, **url)
    first = feed_timed(ours, rejected_and_good(days=8))

    def at_the_end(stage: str) -> None:
        if stage == "commit" and committed(ours) == first:
            raise Crash

    # All is committed, but most buckets are older than the last records, or do not exist.
    life = live(broken.of(settings), first, at_the_end, plan=broken.plan)
    assert life.crashed
    grow(ours, ours.topics.transactions, PARTITIONS + 3)
    checkpoint = open_checkpoint(fixed.of(settings))
    assert any(len(checkpoint.buckets(partition)) for partition in first)
    repartition(checkpoint, deployed(fixed))
    after = restored_only(fixed.of(settings), PARTITIONS + 3, deployed(fixed))

    def by_customer(rings: dict[int, Any]) -> dict[Any, Any]:
        return {key: columns for own in rings.values() for key, *columns in own}

    assert by_customer(after.rings()) == by_customer(life.rings())


@pytest.mark.thorough
def test_a_rebuild_finds_rejections_of_versions_without_segments(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    broken, fixed = broken_and_fixed(tmp_path)
    records = rejected_and_good(days=8)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    settings = settings_of(ours, 60)
    first = feed_timed(ours, records)
    life = live(broken.of(settings), first, plan=broken.plan)
    count = rejected_of(ours, records).total()
    for partition in first:
        forget(ours, partition)
        assert remembered(ours, partition).segments == ()
    # A decided record's dead letter is not evidence of a rejection, whatever it states.
    forge(ours, next(iter(outcome(ours).decisions)))

    told = rebuild(open_checkpoint(fixed.of(settings)), deployed(fixed))
    assert sum(each.adopted_rejections for each in told) == count
    again = restored_only(fixed.of(settings), deployment=deployed(fixed))
    assert dumps(again) == dumps(life)
    told = rebuild(open_checkpoint(fixed.of(settings)), deployed(fixed))
    assert sum(each.adopted_rejections for each in told) == 0

    copied = replay_letters(ours)
    assert (copied.copied.total(), copied.mismatched) == (count + 1, 0)
    live(fixed.of(settings), ends_of(ours), plan=fixed.plan)
    found = outcome(ours)
    ids = Counter(each["transaction_id"] for each in found.decisions.values())
    assert (len(ids), set(ids.values())) == (len(records), {1})
    again_rejected = [each for each in found.dead_letters.values() if each[4]]
    assert [each[0] for each in again_rejected] == ["DUPLICATE"]


def forget(kafka: Kafka, partition: int) -> None:
    """Remove all rejections from the state topic, as if the version had not written them."""
    owner = Owner(kafka.group, kafka.topics.transactions)
    store = TopicStore(kafka, owner)
    segments = remembered(kafka, partition).segments
    store.write(partition, [(owner.rejected_key(partition, kept.first), None) for kept in segments])


def forge(kafka: Kafka, place: tuple[int, int]) -> None:
    """Write a dead letter of a decided record."""
    (message,) = [
        each
        for each in read_all(kafka, kafka.topics.transactions)
        if (each.partition(), each.offset()) == place
    ]
    raw = RawRecords(
        BytesColumn.of([message.value()]), BytesColumn.of([message.key()]), None,
        np.array([place[0]], np.int32), np.array([place[1]], np.int64), np.zeros(1, np.int64),
    )  # fmt: skip
    (letter,) = letters_of(
        raw, [0], ["MALFORMED"], ["forged"], topic=kafka.topics.dead_letters, instance="x",
        source_topic=kafka.topics.transactions,
    )  # fmt: skip
    producer = Producer(client_options.common(kafka))
    producer.produce(letter.topic, letter.value, letter.key, headers=letter.headers)
    assert producer.flush(30) == 0


def set_back(kafka: Kafka, offsets: dict[int, int]) -> None:
    """Commit the group's offsets of the input as Kafka's own tool does."""
    consumer = Consumer(client_options.reader(kafka, kafka.group))
    topic = kafka.topics.transactions
    consumer.commit(
        offsets=[TopicPartition(topic, partition, at) for partition, at in offsets.items()],
        asynchronous=False,
    )
    consumer.close()


def test_a_forged_header_bypasses_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    records = tuple(record for record in transactions(days=2, customers=20) if not record.bad)
    ends = feed(ours, records)
    live(settings_of(ours), ends)
    letter = f"{ours.topics.dead_letters}:0:0".encode()
    producer = Producer(client_options.common(ours))
    for record in records:
        # Each has the header of a dead letter's copy.
        producer.produce(
            ours.topics.transactions, record.value, record.key, record.partition,
            headers=[("replayed-from", letter)],
        )  # fmt: skip
    assert producer.flush(30) == 0
    live(settings_of(ours), {partition: 2 * end for partition, end in ends.items()})
    found = outcome(ours)
    assert len(found.decisions) == len(records)
    assert Counter(each[0] for each in found.dead_letters.values()) == {"DUPLICATE": len(records)}


def test_an_input_without_rejections_writes_none(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    records = tuple(record for record in transactions(days=2, customers=20) if not record.bad)
    live(settings_of(ours), feed(ours, records))
    keys = [message.key() for message in read_all(ours, ours.topics.state)]
    assert keys
    assert not [key for key in keys if b"/rejected/" in key]
