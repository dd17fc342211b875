"""Transactions and labels for the profiler, the rows that it must publish, and runs of it."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from confluent_kafka import Producer

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.core.events.plan import Plan
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Profiler, Scorer, Settings
from stream_scorer.telemetry import BatchCommitted, Event
from stream_scorer.terminals.profiler_process import profiler_loop

PARTITIONS = 4
DAY = 86_400_000
HOUR = 3_600_000
START = 1_522_540_800_000
SENT = int(time.time() * 1_000) - HOUR
"""Kafka timestamp of the first record: the broker deletes what is older than its retention."""
DEADLINE_SECONDS = 60.0
PLAN = Plan()
HOLD = PLAN.terminal_delay_ms - PLAN.terminal_slack_ms


@dataclass(frozen=True, slots=True)
class Sent:
    """One record: a transaction, or a label if ``fraud`` is set."""

    number: int
    event_time: int
    fraud: bool | None = None
    label_time: int | None = None
    customer: int = 0

    @property
    def key(self) -> bytes:
        """The customer."""
        return f"c{self.customer}".encode()

    @property
    def terminal(self) -> str:
        """Where it was paid."""
        return f"t{self.number % 7}"

    @property
    def value(self) -> bytes:
        """The payload."""
        shared: dict[str, Any] = {
            "transaction_id": str(self.number),
            "customer_id": self.key.decode(),
            "terminal_id": self.terminal,
            "event_time": self.event_time,
        }
        if self.fraud is None:
            return codec("transaction").encode(shared | {"amount_minor": 100, "currency": "EUR"})
        told = {"is_fraud": self.fraud, "label_time": self.label_time, "source": None}
        return codec("label").encode(shared | told)


@cache
def codec(name: str) -> RecordCodec:
    """Return the codec of one of our schemas."""
    schema = reader_schema(f"{name}.v1")
    identity = FileRegistry(SCHEMAS_DIRECTORY).id_for(f"{name}s-value", schema)
    return RecordCodec(identity, schema)


def foreign_label(record: Sent, state: str = "final") -> bytes:
    """Return a label as a user's JSON record."""
    booked = None
    if record.label_time is not None:
        booked = datetime.fromtimestamp(record.label_time / 1_000, UTC).isoformat()
    value = {
        "state": state, "payment": str(record.number), "card": record.key.decode(),
        "paid": record.event_time / 1_000, "bad": int(bool(record.fraud)), "booked": booked,
    }  # fmt: skip
    return json.dumps(value).encode()


def send(kafka: Kafka, records: Sequence[Sent], first_ms: int = SENT) -> None:
    """Produce records in order, a millisecond of Kafka's time apart."""
    producer = Producer(client_options.common(kafka) | {"enable.idempotence": True, "linger.ms": 5})
    for at, record in enumerate(records):
        topic = kafka.topics.transactions if record.fraud is None else kafka.topics.labels
        producer.produce(
            topic, record.value, record.key, partition_of(record.key, PARTITIONS),
            timestamp=first_ms + at,
        )  # fmt: skip
    assert producer.flush(30) == 0


Row = tuple[str, int, bool]


def rows_of(kafka: Kafka) -> tuple[list[Row], int]:
    """Return the published rows and the watermark, after checks of the topic's guarantees."""
    reader = RecordReader(Settings(kafka=kafka).registry)
    found: list[Row] = []
    coordinates: list[tuple[int, int]] = []
    marks = dict.fromkeys(range(PARTITIONS), -(2**62))
    for message in read_all(kafka, kafka.topics.terminal_profiles):
        row: dict[str, Any] = reader.decode(message.value())
        at = round(row["event_time"].timestamp() * 1_000)
        partition = message.partition()
        if row["terminal_id"] is None:
            assert message.key() is None
            assert row["partitions"] == PARTITIONS
            assert at > marks[partition]
            marks[partition] = at
            continue
        assert at > marks[partition], "a row behind its watermark"
        assert partition == partition_of(message.key(), PARTITIONS)
        assert message.key() == row["terminal_id"].encode()
        coordinates.append((row["source_partition"], row["source_offset"]))
        found.append((row["terminal_id"], at, row["fraud"]))
    assert len(set(coordinates)) == len(coordinates), "a transaction has two rows"
    watermark = min(marks.values())
    # The watermark of every partition is published in the same transaction.
    assert set(marks.values()) == {watermark}
    assert all(at <= watermark for _, at, _ in found)
    return sorted(found), watermark


def settings_of(kafka: Kafka, batch: int = 200) -> Settings:
    """Return a profiler's settings on the given topics."""
    return Settings(
        kafka=kafka,
        profiler=Profiler(group=f"{kafka.group}-profiler"),
        scorer=Scorer(maximum_batch=batch),
    ).of_process("profiler")


def profiled(
    kafka: Kafka,
    records: int,
    *,
    batch: int = 200,
    hook: Callable[[str], None] | None = None,
    deployment: Deployment | None = None,
) -> list[Event]:
    """Run a profiler in this thread until it has committed so many records.

    Returns:
        Its events.
    """
    told: list[Event] = []
    loop = profiler_loop(
        settings_of(kafka, batch), deployment or Deployment(start="earliest"), told.append, hook
    )
    deadline = time.monotonic() + DEADLINE_SECONDS

    def beat() -> None:
        committed = sum(h.records for h in told if isinstance(h, BatchCommitted))
        assert time.monotonic() < deadline, f"{committed} of {records} records"
        if committed >= records:
            loop.stop()

    loop.run(beat)
    return told


def month(days: int = 30, per_hour: int = 2) -> list[Sent]:
    """Return a month of transactions with labels in time, after the cut-off, revised, and unknown.

    Labels stand where the event clock reaches their label time.
    """
    paid: list[tuple[int, int, Sent]] = []
    for number in range(days * 24 * per_hour):
        at = START + number * HOUR // per_hour
        customer = number * 7 % 23
        paid.append((at, 1, Sent(number, at, customer=customer)))
        kind = number % 9
        if kind < 4:
            delay = (DAY, HOLD, HOLD + 1, 3 * DAY)[kind]
            label = Sent(number, at, kind != 1 or number % 2 == 0, at + delay, customer)
            paid.append((at + delay, 0, label))
        if kind == 3:
            # Revised in time, and once more when it is too late.
            revised = Sent(number, at, False, at + 4 * DAY, customer)
            paid.append((at + 4 * DAY, 0, revised))
            paid.append((at + 8 * DAY, 0, Sent(number, at, True, at + 8 * DAY, customer)))
        if kind == 5:
            paid.append((at, 2, Sent(number, at, customer=customer)))
        if kind == 6:
            paid.append((at + DAY, 0, Sent(number, at, True, None, customer)))
    paid.sort(key=lambda each: (each[0], each[1]))
    return [sent for _, _, sent in paid]


def expected(records: Sequence[Sent], watermark: int) -> list[Row]:
    """Return the rows that must be out at a watermark, of labels that all came in time."""
    rows: dict[int, Sent] = {}
    verdicts: dict[int, tuple[int, bool]] = {}
    for record in records:
        if record.fraud is None:
            rows.setdefault(record.number, record)
            continue
        known = record.event_time if record.label_time is None else record.label_time
        if known <= record.event_time + HOLD and known >= verdicts.get(record.number, (0, 0))[0]:
            verdicts[record.number] = (known, record.fraud)
    return sorted(
        (row.terminal, row.event_time, verdicts.get(row.number, (0, False))[1])
        for row in rows.values()
        if row.event_time <= watermark
    )
