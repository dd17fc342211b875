"""The reference for every fault: one input, a scorer over it, and all its results.

The input has the same partitions and offsets in every run, so two runs are compared record by
record: output by source coordinates, committed offsets, and the customers' rings.
"""

import io
import itertools
import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.dead_letters.format import parse
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.groups import settled
from stream_scorer.kafka.topics.offsets import LATEST, admin, offsets
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.scoring.process import scorer_loop
from stream_scorer.scoring.work import ScoringWork
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Models, Registry, Scorer, Settings
from stream_scorer.simulator.simulate import simulate
from stream_scorer.telemetry import BatchCommitted, Event, ReplayProgress

PARTITIONS = 4
BATCH = 400
DEADLINE_SECONDS = 60.0
_DAY_MS = 86_400_000
_ROWS_AT_ONCE = 5_000

# When and by which process a decision was made does not belong to its content.
_ASIDE = ("decided_at", "source_topic", "source_partition", "source_offset")

Coordinates = tuple[int, int]
Span = tuple[str, int, int, int]
Hook = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Record:
    """One input record; ``bad`` is the reject reason that it must get, empty for a decision."""

    key: bytes
    value: bytes | None
    bad: str = ""

    @property
    def partition(self) -> int:
        """Its partition."""
        return partition_of(self.key, PARTITIONS)


@cache
def transaction_codec() -> RecordCodec:
    """Return a codec of our transaction schema."""
    schema = reader_schema("transaction.v1")
    identity = FileRegistry(SCHEMAS_DIRECTORY).id_for("transactions-value", schema)
    return RecordCodec(identity, schema)


@cache
def transactions(days: int = 25, customers: int = 150) -> tuple[Record, ...]:
    """Return simulated transactions with malformed, invalid, duplicate and late ones among them."""
    return tuple(transactions_of(days, customers))


def transactions_of(days: int, customers: int) -> Iterator[Record]:
    """Yield what :func:`transactions` returns, some thousand at a time."""
    encode = transaction_codec().encode
    table = simulate(days, customers, 60)
    columns = [name for name in table.column_names if "fraud" not in name]
    batches = table.select(columns).to_batches(max_chunksize=_ROWS_AT_ONCE)
    rows = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
    for number, row in enumerate(rows):
        key = row["customer_id"].encode()
        value = encode(row)
        yield Record(key, value)
        kind = number % 40
        if kind == 7:
            yield Record(key, value, "DUPLICATE")
        elif kind == 14:
            yield Record(key, value[:-3], "MALFORMED")
        elif kind == 21:
            yield Record(key, encode(row | {"amount_minor": -1}), "AMOUNT_NEGATIVE")
        elif kind == 28:
            late = row["event_time"].timestamp() * 1_000 - _DAY_MS
            late_row = {"transaction_id": f"late-{number}", "event_time": int(late)}
            yield Record(key, encode(row | late_row))
        elif kind == 35:
            nothing = None if number % 80 == 35 else b"no Avro"
            yield Record(key, nothing, "EMPTY" if nothing is None else "FRAMING")


def feed(kafka: Kafka, records: tuple[Record, ...]) -> dict[int, int]:
    """Produce records in order; return the end offset of each partition."""
    producer = Producer(
        client_options.common(kafka) | {"enable.idempotence": True, "linger.ms": 20}
    )
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for record in records:
        producer.produce(
            kafka.topics.transactions, record.value, record.key, partition=record.partition
        )
        ends[record.partition] += 1
    assert producer.flush(30) == 0
    return ends


@dataclass(slots=True)
class Outcome:
    """All that a scorer leaves, in a form that two runs can be compared in."""

    decisions: dict[Coordinates, dict[str, Any]]
    dead_letters: dict[Coordinates, tuple[Any, ...]]
    offsets: dict[int, int]
    doubled: list[Coordinates]
    rings: dict[int, list[Any]] = field(default_factory=dict)
    dumps: dict[int, list[bytes]] = field(default_factory=dict)


@cache
def _decision_schema() -> Any:
    return fastavro.parse_schema(json.loads(reader_schema("decision.v2")))


def decision(value: bytes) -> dict[str, Any]:
    """Decode a decision; its features as float64 numbers."""
    found: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), _decision_schema(), None)
    features = found["features"]
    found["features"] = struct.unpack(f"<{len(features) // 8}d", features)
    return dict(found)


def outputs(kafka: Kafka) -> tuple[str, str]:
    """Return the topics of which a record brings one or the other."""
    return kafka.topics.decisions, kafka.topics.dead_letters


def open_spans(kafka: Kafka) -> list[Span]:
    """Return (topic, partition, first, end) of outputs in an open transaction."""
    client = admin(kafka)
    wanted = [(topic, p) for topic in outputs(kafka) for p in range(PARTITIONS)]
    high = offsets(client, kafka, wanted, LATEST)
    stable = offsets(client, kafka, wanted, LATEST, stable=True)
    return [(*at, stable[at], high[at]) for at in wanted if stable[at] < high[at]]


def outcome(kafka: Kafka, work: ScoringWork | None = None) -> Outcome:
    """Read the records that a read-committed reader sees, and the group's offsets."""
    decisions: dict[Coordinates, dict[str, Any]] = {}
    dead_letters: dict[Coordinates, tuple[Any, ...]] = {}
    doubled: list[Coordinates] = []
    for message in read_all(kafka, kafka.topics.decisions):
        found = decision(message.value())
        at = (found["source_partition"], found["source_offset"])
        doubled += [at] if at in decisions else []
        # A matter of the clock.
        found["flags"] = [flag for flag in found["flags"] if flag != "late_decision"]
        decisions[at] = {k: v for k, v in found.items() if k not in _ASIDE} | {"key": message.key()}
    for message in read_all(kafka, kafka.topics.dead_letters):
        letter = parse(message)
        at = (letter.source_partition, letter.source_offset)
        doubled += [at] if at in dead_letters or at in decisions else []
        dead_letters[at] = (letter.reason, letter.detail, letter.value, letter.key, letter.headers)
    rings, dumps = {}, {}
    if work is not None:
        for partition in work.rings.partitions():
            rings[partition] = [
                (key, times.tolist(), amounts.tolist(), hashes.tolist())
                for key, times, amounts, hashes in work.rings.of(partition).events()
            ]
            dumps[partition] = [work.rings.of(partition).dump(n) for n in range(BUCKETS)]
    return Outcome(decisions, dead_letters, committed(kafka), doubled, rings, dumps)


def committed(kafka: Kafka, group: str | None = None) -> dict[int, int]:
    """Return a group's committed offsets of the input; waits while a transaction holds them.

    Of a cluster that has just started the coordinator is waited for.
    """
    consumer = Consumer(client_options.reader(kafka, group or kafka.group))
    places = [TopicPartition(kafka.topics.transactions, p) for p in range(PARTITIONS)]
    try:
        found = settled(lambda: consumer.committed(places, timeout=30), DEADLINE_SECONDS)
        return {place.partition: place.offset for place in found}
    finally:
        consumer.close()


def everything_once(found: Outcome, records: tuple[Record, ...]) -> None:
    """Assert that each record has one decision or one dead letter, of the right kind."""
    next_offset = dict.fromkeys(range(PARTITIONS), 0)
    assert found.doubled == []
    for record in records:
        at = (record.partition, next_offset[record.partition])
        next_offset[record.partition] += 1
        if record.bad:
            assert found.dead_letters[at][0] == record.bad
            assert found.dead_letters[at][2] == record.value
        else:
            assert at in found.decisions
    assert len(found.decisions) + len(found.dead_letters) == len(records)
    assert found.offsets == next_offset


def same(found: Outcome, expected: Outcome) -> None:
    """Assert that two runs left the same, saying first what differs."""
    assert found.doubled == []
    assert found.offsets == expected.offsets
    assert found.decisions.keys() == expected.decisions.keys()
    differing = {
        at: (each, expected.decisions[at])
        for at, each in found.decisions.items()
        if each != expected.decisions[at]
    }
    assert differing == {}
    assert found.dead_letters == expected.dead_letters
    assert found.rings.keys() == expected.rings.keys()
    for partition, rings in found.rings.items():
        assert rings == expected.rings[partition]


class Heard:
    """A listener that keeps its events and reports when the input's end is committed.

    Args:
        ends: The input's end offset by partition.
        told: Called with each event after that.
    """

    def __init__(
        self, ends: dict[int, int], told: Callable[[Event], None] = lambda _: None
    ) -> None:
        self.events: list[Event] = []
        self.positions: dict[int, int] = {}
        self._ends = {partition: end for partition, end in ends.items() if end}
        self._told = told
        self._replayed: dict[int, int] = {}
        self._gained = time.monotonic()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, BatchCommitted):
            self.positions |= event.next_offsets
            self._gained = time.monotonic()
        elif isinstance(event, ReplayProgress):
            if event.next_offset != self._replayed.get(event.partition):
                self._gained = time.monotonic()
            self._replayed[event.partition] = event.next_offset
        self._told(event)

    @property
    def stalled(self) -> bool:
        """Whether nothing was committed or replayed for ``DEADLINE_SECONDS``."""
        return time.monotonic() - self._gained > DEADLINE_SECONDS

    @property
    def done(self) -> bool:
        """Whether everything is committed."""
        return all(self.positions.get(p, 0) >= end for p, end in self._ends.items())

    def of(self, kind: type[Event]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def scored(
    kafka: Kafka,
    ends: dict[int, int],
    *,
    hook: Hook | None = None,
    told: Callable[[Event], None] = lambda _: None,
    batch: int = BATCH,
    deployment: Deployment | None = None,
    registry: Registry | None = None,
    model_timeout_ms: int = 1_000,
    models: Models | None = None,
) -> tuple[Outcome, Heard]:
    """Run a scorer in this thread until the input's end is committed; return its results.

    Args:
        kafka: Topics with the input in them.
        ends: The input's end offset by partition.
        hook: Called when a stage of the loop is over.
        told: Called with each event.
        batch: Maximum number of records per transaction.
        deployment: What to run; default: the shipped model without terminal features, from the
            earliest record.
        registry: Source of the schemas; default: the shipped files.
        model_timeout_ms: From this time on a batch counts as slow.
        models: Folder of the bundles; default: the shipped ones.
    """
    settings = Settings(
        kafka=kafka,
        registry=registry or Registry(),
        models=models or Models(),
        scorer=Scorer(maximum_batch=batch, model_timeout_ms=model_timeout_ms),
    )
    heard = Heard(ends, told)
    followed = ExitStack()
    loop, work = scorer_loop(
        settings, deployment or Deployment("fraud:1.0.0", start="earliest"), heard, hook,
        followed=followed,
    )  # fmt: skip

    def beat() -> None:
        assert not heard.stalled, f"not done: {heard.positions} of {ends}"
        if heard.done:
            loop.stop()

    with followed:
        loop.run(beat)
    return outcome(kafka, work), heard
