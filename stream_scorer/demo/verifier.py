"""Checks exactly-once from outside: compares the published outputs with the input.

A separate read-committed reader shares only the topics with the scorer. Each input record that a
read-committed consumer sees must have exactly one decision or one dead letter.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, KafkaError, TopicPartition
from numpy.typing import NDArray

from stream_scorer import settings
from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.dead_letters.format import parse
from stream_scorer.demo.verdict import (
    Arrivals,
    OutputVerdict,
    Scores,
    inside,
    place,
    places,
    split,
)
from stream_scorer.kafka.reading.read_limit import ReadLimit
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import bounds, unreachable
from stream_scorer.ports import Float64, Int64
from stream_scorer.registry.sources import narrowed, open_registry, reader_schema

_FIELDS: Final = frozenset(
    {
        "transaction_id", "score", "decision", "source_topic", "source_partition",
        "source_offset",
    }
)  # fmt: skip
_DEGRADED: Final = Flag.DEGRADED.name.lower()
# Decoding is deferred: during a burst, the cores belong to the scorer.
_DECODE_AT = 500_000
_RECORDS_AT_ONCE = 10_000
_POLL_SECONDS = 0.1
_EXAMPLES = 5


@dataclass(slots=True)
class _Outcomes:
    """The outputs that were read so far; row i of each list belongs together."""

    place: list[Int64] = field(default_factory=list)
    published_ms: list[Int64] = field(default_factory=list)
    arrived_ms: list[Float64] = field(default_factory=list)
    outcome: list[Int64] = field(default_factory=list)
    degraded: list[NDArray[np.bool_]] = field(default_factory=list)
    transaction_id: list[pa.Array] = field(default_factory=list)
    score: list[Float64] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    unreadable: int = 0


class Verifier:
    """Reads the outputs as they grow; ``finish`` compares them with the input.

    Args:
        kafka: The cluster and the topics' names.
        registry: Contains the decisions' schema.
        since: First input offset by partition that counts; default: all that is retained.

    Attributes:
        seen: Decisions and dead letters read so far.
        first_seen: Arrival of the first of them, seconds since the epoch; None before.
        last_seen: Arrival of the newest of them.
        first_count: How many arrived with the first.

    Raises:
        SettingsError: A topic does not exist.
        UnavailableError: The broker does not answer.
    """

    def __init__(
        self,
        kafka: settings.Kafka,
        registry: settings.Registry,
        since: Mapping[int, int] | None = None,
    ) -> None:
        self._kafka = kafka
        self._since = dict(since or {})
        self._topics = (kafka.topics.decisions, kafka.topics.dead_letters)
        schema = narrowed(reader_schema("decision.v1", registry.directory), _FIELDS.__contains__)
        self._decoder = ColumnDecoder(open_registry(registry), schema, UNLIMITED)
        self._records = RecordReader(registry)
        self._found = _Outcomes()
        self._undecoded: list[tuple[bytes | None, int, float]] = []
        self._positions: dict[tuple[str, int], int] = {}
        self.seen = 0
        self.first_seen: float | None = None
        self.last_seen: float | None = None
        self.first_count = 0
        starts = {topic: bounds(kafka, topic)[0] for topic in self._topics}
        self._positions = {(t, p): at for t, start in starts.items() for p, at in start.items()}
        self._consumer = Consumer(client_options.reader(kafka, f"{kafka.group}-verifier"))
        self._consumer.assign([TopicPartition(t, p, at) for (t, p), at in self._positions.items()])

    def read_more(self, seconds: float = _POLL_SECONDS) -> int:
        """Read what has arrived; wait up to ``seconds`` if there is nothing.

        Returns:
            Number of decisions and dead letters that arrived.

        Raises:
            UnavailableError: A topic is gone or may not be read.
        """
        first = self._consumer.poll(seconds)
        if first is None:
            return 0
        messages = [first, *self._consumer.consume(_RECORDS_AT_ONCE, 0)]
        now = time.time()
        decisions = self._topics[0]
        before = self.seen
        for message in messages:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if error := message.error():
                self._judge(error)
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
                    self._positions[topic, partition] = offset
                continue
            self._positions[topic, partition] = offset + 1
            self.seen += 1
            if topic == decisions:
                self._undecoded.append((message.value(), message.timestamp()[1], now * 1_000))
            else:
                self._take_letter(message)
        if self.seen > before:
            if self.first_seen is None:
                self.first_seen, self.first_count = now, self.seen
            self.last_seen = now
        if len(self._undecoded) >= _DECODE_AT:
            self._decode()
        return self.seen - before

    def finish(self) -> OutputVerdict:
        """Read the outputs to their current ends, and compare.

        Call it when nothing is in flight: what is not decided yet counts as missing. It waits for
        open transactions of the outputs: the scorer's offsets are visible a moment before its
        outputs.

        Raises:
            UnavailableError: No offset could be read for 30 s.
        """
        topic = self._kafka.topics.transactions
        low, high = bounds(self._kafka, topic)
        low = {p: min(max(self._since.get(p, 0), at), high[p]) for p, at in low.items()}
        for output in self._topics:
            self._read_to(output, bounds(self._kafka, output, stable=False)[1])
        self._decode()
        return self._compare(*self._input(low, high), low, high)

    def _read_to(self, topic: str, ends: Mapping[int, int]) -> None:
        """Read the outputs until this topic is at its ends."""
        limit = ReadLimit(topic, ends)
        while any(self._positions[topic, p] < end for p, end in ends.items()):
            self.read_more()
            limit.note({p: self._positions[topic, p] for p in ends}, _POLL_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _judge(self, error: KafkaError) -> None:
        """Raise for errors that waiting does not fix; clients reconnect by themselves."""
        if error.fatal() or error.code() in {
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 the binding's own name
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        }:
            raise unreachable(self._kafka, error.str())

    def _take_letter(self, message: Any) -> None:
        try:
            letter = parse(message)
        except ValueError:
            self._found.unreadable += 1
            return
        if letter.source_topic != self._kafka.topics.transactions:
            self._found.unreadable += 1
            return
        self._found.letters.append(place(letter.source_partition, letter.source_offset))
        self._found.reasons.append(letter.reason)

    def _decode(self) -> None:
        """Decode the deferred decisions into columns."""
        if not self._undecoded:
            return
        values, published, arrived = zip(*self._undecoded, strict=True)
        self._undecoded.clear()
        decoded = self._decoder.decode(values)
        columns, rows = decoded.records, decoded.rows
        ours = pc.equal(columns.column("source_topic"), self._kafka.topics.transactions)
        columns, rows = columns.filter(ours), rows[np.asarray(ours, bool)]
        self._found.unreadable += len(values) - len(rows)
        self._found.place.append(
            places(columns.column("source_partition"), columns.column("source_offset"))
        )
        self._found.published_ms.append(np.array(published, np.int64)[rows])
        self._found.arrived_ms.append(np.array(arrived)[rows])
        codes = pc.index_in(columns.column("decision"), pa.array([o.name for o in Outcome]))
        self._found.outcome.append(codes.to_numpy(zero_copy_only=False).astype(np.int64))
        degraded = [self._degraded(values[row]) for row in rows.tolist()]
        self._found.degraded.append(np.array(degraded, np.bool_))
        self._found.transaction_id.append(columns.column("transaction_id"))
        self._found.score.append(columns.column("score").to_numpy())

    def _degraded(self, value: bytes) -> bool:
        """Return whether a decision is flagged degraded, by decoding it: columns hold no lists."""
        return _DEGRADED.encode() in value and _DEGRADED in self._records.decode(value)["flags"]

    def _input(self, low: Mapping[int, int], high: Mapping[int, int]) -> tuple[Int64, Int64]:
        """Return the places (ascending) and Kafka timestamps of the input's committed records."""
        places: list[int] = []
        timestamps: list[int] = []
        pending = {p for p in low if low[p] < high[p]}
        consumer = Consumer(client_options.reader(self._kafka, f"{self._kafka.group}-verifier"))
        topic = self._kafka.topics.transactions
        try:
            consumer.assign([TopicPartition(topic, p, low[p]) for p in pending])
            limit = ReadLimit(topic, high)
            positions = dict(low)
            while any(positions[p] < high[p] for p in pending):
                first = consumer.poll(_POLL_SECONDS)
                found = [] if first is None else [first, *consumer.consume(_RECORDS_AT_ONCE, 0)]
                for message in found:
                    partition, offset = message.partition(), message.offset()
                    error = message.error()
                    if error is None:
                        if offset < high[partition]:
                            places.append(place(partition, offset))
                            timestamps.append(message.timestamp()[1])
                        offset += 1
                    elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 as above
                        self._judge(error)
                        continue
                    positions[partition] = offset
                limit.note(positions, _POLL_SECONDS)
        finally:
            consumer.close()
        order = np.argsort(np.array(places, np.int64))
        return np.array(places, np.int64)[order], np.array(timestamps, np.int64)[order]

    def _compare(
        self, given: Int64, timestamp: Int64, low: Mapping[int, int], high: Mapping[int, int]
    ) -> OutputVerdict:
        found = self._found
        decided = _joined(found.place, np.int64)
        letters = np.array(found.letters, np.int64)
        # Records outside the bounds were deleted by retention, or sent after the bounds were read.
        decided_inside, letters_inside = inside(decided, low, high), inside(letters, low, high)
        published = np.concatenate([decided[decided_inside], letters[letters_inside]])
        unique, counts = np.unique(published, return_counts=True)
        faults = {
            "duplicates": unique[counts > 1],
            "missing": np.setdiff1d(given, unique, assume_unique=True),
            "unexpected": np.setdiff1d(unique, given, assume_unique=True),
        }
        outcomes = _joined(found.outcome, np.int64)[decided_inside]
        ids = pa.chunked_array(found.transaction_id, pa.string()).combine_chunks()
        reasons = Counter(np.array(found.reasons, object)[letters_inside].tolist())
        order = np.argsort(decided, kind="stable")
        arrived = decided[order]
        at = np.minimum(np.searchsorted(given, arrived), max(len(given) - 1, 0))
        source = np.full(len(arrived), -1, np.int64)
        if len(given):
            source = np.where(given[at] == arrived, timestamp[at], source)
        return OutputVerdict(
            transactions=len(given),
            decisions=int(decided_inside.sum()),
            dead_letters=int(letters_inside.sum()),
            duplicates=int((counts - 1).sum()),
            missing=len(faults["missing"]),
            unexpected=len(faults["unexpected"]),
            unreadable=found.unreadable,
            degraded=int(_joined(found.degraded, np.bool_)[decided_inside].sum()),
            outcomes={outcome.name: int((outcomes == outcome).sum()) for outcome in Outcome},
            reasons=dict(reasons.most_common()),
            examples={
                name: tuple(split(int(number)) for number in wrong[:_EXAMPLES])
                for name, wrong in faults.items()
                if len(wrong)
            },
            arrivals=Arrivals(
                arrived,
                source,
                _joined(found.published_ms, np.int64)[order],
                _joined(found.arrived_ms, np.float64)[order],
            ),
            scores=Scores(
                ids.filter(pa.array(decided_inside)),
                _joined(found.score, np.float64)[decided_inside],
            ),
        )


def verify(
    kafka: settings.Kafka,
    registry: settings.Registry,
    since: Mapping[int, int] | None = None,
) -> OutputVerdict:
    """Compare all outputs with the complete input, once.

    Args:
        kafka: The cluster and the topics' names.
        registry: Contains the decisions' schema.
        since: First input offset by partition that counts; default: all that is retained.

    Raises:
        SettingsError: A topic does not exist.
        UnavailableError: The broker does not answer.
    """
    verifier = Verifier(kafka, registry, since)
    try:
        return verifier.finish()
    finally:
        verifier.close()


def _joined(parts: list[Any], kind: Any) -> Any:
    return np.concatenate(parts) if parts else np.empty(0, kind)
