"""A topic keyed by a primary key is copied despite kills, and then scored like a native one."""

import io
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

from stream_scorer.dead_letters.format import parse
from stream_scorer.errors import OffsetsError, SettingsError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.kafka.topics.offsets import LATEST, admin, offsets
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.rekeying.process import rekey_loop
from stream_scorer.rekeying.work import REKEYED_FROM
from stream_scorer.settings import Kafka, Registry, Rekey, Settings
from tests.support.codec.foreign_events import (
    foreign,
    other,
    plan_of_foreign,
    with_foreign_schema,
)
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Api, Behind
from tests.support.faults.reference_run import (
    PARTITIONS,
    Record,
    committed,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

KEY_ID = 502
KEY = fastavro.parse_schema(
    {"type": "record", "name": "Key", "fields": [{"name": "payment_row", "type": "long"}]}
)
KILLS = 3
COMMITS = 20
"""Transactions that a process commits before it is killed in the next one."""
UNREADABLE = {"FRAMING", "MALFORMED"}


def primary_key(row: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, KEY, {"payment_row": row})
    return b"\0" + KEY_ID.to_bytes(4, "big") + out.getvalue()


def send(
    kafka: Kafka, records: Sequence[Record], begin_ms: int, numbers: Sequence[int]
) -> dict[int, int]:
    """Send records a millisecond apart, each with a header; return the next offsets."""
    producer = Producer(
        client_options.common(kafka) | {"enable.idempotence": True, "linger.ms": 20}
    )
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for record, number in zip(records, numbers, strict=True):
        producer.produce(
            kafka.topics.transactions, record.value, record.key, partition=record.partition,
            timestamp=begin_ms + number, headers=[("trace", b"%d" % number)],
        )  # fmt: skip
        ends[record.partition] += 1
    assert producer.flush(30) == 0
    return ends


def is_open(kafka: Kafka) -> bool:
    """Return whether the topic has records in an open transaction."""
    client = admin(kafka)
    wanted = [(kafka.topics.transactions, p) for p in range(PARTITIONS)]
    high = offsets(client, kafka, wanted, LATEST)
    return high != offsets(client, kafka, wanted, LATEST, stable=True)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return plan_of_foreign(tmp_path)


@pytest.mark.thorough
def test_a_copy_under_kills_is_scored_as_a_native_topic(
    behind: Behind, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka],
    tmp_path: Path, plan: Path,
) -> None:  # fmt: skip
    native, source, target = (
        kafka_topics(kafka_settings(bootstrap=behind.bootstrap)) for _ in range(3)
    )
    ours = [record for record in transactions(days=25) if record.value is not None]
    begin_ms = time.time_ns() // 1_000_000 - 7_200_000
    sent: list[Record] = []
    customers: list[bytes] = []
    origin: list[int | None] = []
    for number, record in enumerate(ours):
        theirs = foreign(record)
        sent.append(Record(primary_key(number), theirs.value, theirs.bad))
        customers.append(record.key)
        origin.append(number)
        if number % 7 == 0:
            deleted = other(record) if number % 2 else Record(record.key, None)
            sent.append(Record(primary_key(number), deleted.value))
            customers.append(b"")
            origin.append(None)
    ends = send(source, sent, begin_ms, range(len(sent)))
    registry = Registry(directory=with_foreign_schema(tmp_path))
    group = f"{source.group}-rekey"
    variables = {
        "STREAM_SCORER_REKEY__GROUP": group,
        "STREAM_SCORER_REGISTRY__DIRECTORY": str(registry.directory),
        "STREAM_SCORER_SCORER__MAXIMUM_BATCH": "20",
    }
    arguments = (
        "--source", source.topics.transactions, "--target", target.topics.transactions,
        "--plan", str(plan), "--from", "earliest",
    )  # fmt: skip
    copied = 0

    def progress() -> int:
        # Without waiting for the offsets of an open transaction.
        return sum(each.committed or 0 for each in read_lag(source, group))

    for number in range(KILLS):
        # Noted before the process starts, which may copy everything in a moment.
        end = behind.proxy.fault(Api.END_TXN, "request", after=COMMITS)
        with ScorerProcess(
            source, tmp_path / f"{number}.log", *arguments, variables=variables, command="rekey"
        ) as process:
            behind.kill_at(end, process)
        assert is_open(target)
        before, copied = copied, progress()
        assert before < copied < len(sent)
    with ScorerProcess(
        source, tmp_path / "last.log", *arguments, variables=variables, command="rekey"
    ) as process:
        wait_until(
            lambda: committed(source, group) == ends,
            lambda: f"everything copied: {process.said}",
        )
        process.send(signal.SIGTERM)
        assert process.wait() == 0, process.said

    check_copies(source, target, sent, customers, origin, begin_ms)
    kept = [at for at, n in enumerate(origin) if n is not None and sent[at].bad not in UNREADABLE]
    natives = [ours[origin[at] or 0] for at in kept]
    expected, _ = scored(native, send(native, natives, begin_ms, kept))
    offsets_of: dict[int, list[int]] = defaultdict(list)
    for message in read_all(target, target.topics.transactions):
        offsets_of[message.partition()].append(message.offset())
    found, _ = scored(
        target, {partition: each[-1] + 1 for partition, each in offsets_of.items()},
        deployment=Deployment("fraud:1.0.0", start="earliest", plan=plan), registry=registry,
    )  # fmt: skip
    place = {
        (partition, offset): (partition, nth)
        for partition, each in offsets_of.items()
        for nth, offset in enumerate(each)
    }
    assert found.doubled == []
    assert {place[at]: each for at, each in found.decisions.items()} == expected.decisions
    assert {place[at]: letter[0] for at, letter in found.dead_letters.items()} == {
        at: letter[0] for at, letter in expected.dead_letters.items()
    }
    assert found.rings == expected.rings


def check_copies(
    source: Kafka, target: Kafka, sent: Sequence[Record], customers: Sequence[bytes],
    origin: Sequence[int | None], begin_ms: int,
) -> None:  # fmt: skip
    """Assert that each record is copied once, is a dead letter once, or is skipped."""
    at: dict[bytes, int] = {}
    next_offset = dict.fromkeys(range(PARTITIONS), 0)
    for number, record in enumerate(sent):
        partition = record.partition
        name = f"{source.topics.transactions}:{partition}:{next_offset[partition]}"
        at[name.encode()] = number
        next_offset[partition] += 1
    copied: list[int] = []
    orders: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for message in read_all(target, target.topics.transactions):
        headers: list[tuple[str, Any]] = message.headers()
        number = at[headers[-1][1]]
        copied.append(number)
        assert headers == [("trace", b"%d" % number), (REKEYED_FROM, headers[-1][1])]
        assert message.value() == sent[number].value
        assert message.key() == customers[number]
        assert message.timestamp()[1] == begin_ms + number
        assert message.partition() == Record(customers[number], None).partition
        orders[message.partition(), message.key()].append(number)
    assert all(order == sorted(order) for order in orders.values())
    letters = [parse(message) for message in read_all(source, source.topics.dead_letters)]
    rejected = [at[letter.source.encode()] for letter in letters]
    for number, letter in zip(rejected, letters, strict=True):
        assert letter.reason == sent[number].bad
        assert (letter.key, letter.value) == (sent[number].key, sent[number].value)
    wanted = [number for number, own in enumerate(origin) if own is not None]
    assert sorted(rejected) == [n for n in wanted if sent[n].bad in UNREADABLE]
    assert sorted(copied) == [n for n in wanted if sent[n].bad not in UNREADABLE]


def test_a_copy_that_would_not_be_exact_is_refused(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    source, target = (kafka_topics(kafka_settings()) for _ in range(2))
    records = [record for record in transactions(days=6) if record.value is not None][:5]
    send(target, records, 1_700_000_000_000, range(5))
    settings = Settings(kafka=source, rekey=Rekey(group=f"{source.group}-r")).of_process("rekey")
    deployment = Deployment("fraud:1.0.0", start="earliest")

    def refusal(kind: type[Exception], to: str) -> str:
        with pytest.raises(kind) as refused:
            rekey_loop(settings, deployment, source.topics.transactions, to, lambda _: None)
        return str(refused.value)

    assert "holds records" in refusal(OffsetsError, target.topics.transactions)
    assert "same topic" in refusal(SettingsError, source.topics.transactions)
    assert "no-such-topic" in refusal(SettingsError, "no-such-topic")
