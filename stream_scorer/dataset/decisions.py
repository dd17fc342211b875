"""Decisions as the columns that a dataset needs, and the partitions of their topic in order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.strings import string_views
from stream_scorer.kafka.reading.read_limit import ReadLimit
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.consumer_errors import refuse_unreadable
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

RECORDS: Final = 20_000
"""Decisions that are read at a time."""
_POLL_SECONDS: Final = 0.1
_FLOAT_BYTES: Final = 8
_FIELDS: Final = (
    "transaction_id", "customer_id", "event_time", "score", "decision", "policy_outcome",
    "outcome_propensity", "model", "model_version", "plan_revision", "features", "amount_minor",
    "currency", "source_topic", "source_partition", "source_offset",
)  # fmt: skip
_OUTCOMES: Final = tuple(outcome.name for outcome in Outcome)


@dataclass(frozen=True, slots=True)
class DecidedRows:
    """n decisions.

    Attributes:
        records: Their fields; ``features`` as bytes.
        event_time: int64[n], ms.
        outcome: uint8[n], as published.
        blocked: bool[n], published as BLOCK.
        through: bool[n], would-be BLOCKs that were let through.
        propensity: float64[n], of the published outcome, given the policy's.
        revision: int64[n], of the plan.
    """

    records: pa.RecordBatch
    event_time: Int64
    outcome: UInt8
    blocked: Bool
    through: Bool
    propensity: Float64
    revision: Int64

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: Int64) -> "DecidedRows":
        """Return some rows, in the given order."""
        return DecidedRows(
            self.records.take(pa.array(rows)), self.event_time[rows], self.outcome[rows],
            self.blocked[rows], self.through[rows], self.propensity[rows], self.revision[rows],
        )  # fmt: skip


class DecidedDecoder:
    """Decodes decisions of every version of their schema.

    Args:
        registry: Has the writers' schemas.
        directory: The folder of this project's schemas.
    """

    def __init__(self, registry: SchemaSource, directory: Path = SCHEMAS_DIRECTORY) -> None:
        schema = narrowed(reader_schema("decision.v3", directory), _FIELDS.__contains__)
        self._decoder = ColumnDecoder(registry, schema, UNLIMITED, same_name=True)

    def decode(self, raw: RawRecords) -> tuple[DecidedRows, int]:
        """Return the decisions among n records, and the number of the others.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        decoded = self._decoder.decode(raw.values)
        records = decoded.records
        policy = records.column("policy_outcome")
        blocking = pc.equal(policy, Outcome.BLOCK.name).fill_null(False)
        outcome = _outcomes(records.column("decision"))
        blocked = outcome == Outcome.BLOCK
        return DecidedRows(
            records, _int64(records, "event_time"), outcome, blocked,
            np.asarray(blocking) & ~blocked,
            np.asarray(records.column("outcome_propensity"), np.float64),
            _int64(records, "plan_revision"),
        ), len(decoded.rejections)  # fmt: skip


def features_of(column: pa.Array, count: int) -> tuple[Float64, Bool]:
    """Return float64[n, count], features, and bool[n]: which rows have so many.

    Args:
        column: n byte strings.
        count: Number of features. Rows with another number are zeros.
    """
    offsets, data = string_views(column)
    begins, sizes = offsets[:-1].astype(np.int64), np.diff(offsets)
    width = count * _FLOAT_BYTES
    fits = sizes == width
    found = np.zeros((len(column), count))
    if fits.all():
        first = int(begins[0]) if len(begins) else 0
        whole = np.ascontiguousarray(data[first : first + len(column) * width])
        return whole.view("<f8").reshape(len(column), count).astype(np.float64), fits
    at = begins[fits][:, None] + np.arange(width)
    found[fits] = np.ascontiguousarray(data[at]).view("<f8")
    return found, fits


def _outcomes(column: pa.Array) -> UInt8:
    codes = pc.index_in(column, pa.array(_OUTCOMES))
    return np.asarray(codes.fill_null(int(Outcome.REVIEW)), np.uint8)


def _int64(records: pa.RecordBatch, name: str) -> Int64:
    return np.asarray(records.column(name).cast(pa.int64()), np.int64)


def in_order(
    kafka: Kafka,
    topic: str,
    first: Mapping[int, int],
    end: Mapping[int, int],
    read: Callable[[int, int], None] = lambda _partition, _offset: None,
) -> Iterator[RawRecords]:
    """Yield the committed records of a topic, one partition after the other.

    Args:
        kafka: The cluster.
        topic: The topic.
        first: By partition, the first offset.
        end: By partition, the offset after the last one.
        read: Called with a partition and its next offset.

    Raises:
        UnavailableError: No offset could be read for 30 s.
    """
    options = client_options.reader(kafka, f"{kafka.group}-dataset")
    for partition in sorted(first):
        if first[partition] >= end[partition]:
            continue
        consumer = PassingConsumer(options, topic)
        try:
            consumer.assign({partition: first[partition]})
            yield from _partition(consumer, topic, partition, first, end, read)
        finally:
            consumer.close()


def _partition(
    consumer: PassingConsumer,
    topic: str,
    partition: int,
    first: Mapping[int, int],
    end: Mapping[int, int],
    read: Callable[[int, int], None],
) -> Iterator[RawRecords]:
    at, last = first[partition], end[partition]
    limit = ReadLimit(topic, {partition: last})
    while at < last:
        polled = consumer.poll(RECORDS, _POLL_SECONDS, 0.0)
        for failure in polled.failures:
            if failure.error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
                # The rest up to the end may be transaction markers and aborted records.
                at = max(at, failure.offset)
            else:
                refuse_unreadable(topic, failure)
        raw = polled.records
        if raw is not None:
            at = max(at, raw.next_offsets()[partition])
            inside = raw.offset < last
            if inside.any():
                yield raw.where(inside)
        read(partition, at)
        limit.note({partition: at} if at < last else {}, _POLL_SECONDS)
