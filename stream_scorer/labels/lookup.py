"""Finds the transactions of labels by their ids: one pass over the decisions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder, DecodedColumns
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

_RECORDS: Final = 50_000
_POLL_SECONDS: Final = 0.1
_FIELDS: Final = ("transaction_id", "customer_id", "terminal_id", "event_time")
_SCHEMA: Final = pa.schema(
    [("customer_id", pa.string()), ("terminal_id", pa.string()), ("event_time", pa.int64())]
)


def records_of(
    kafka: Kafka, topic: str, reader: str, decoder: ColumnDecoder
) -> Iterator[tuple[RawRecords, DecodedColumns]]:
    """Yield the records that a topic has now, with those of them that can be decoded.

    Args:
        kafka: The cluster.
        topic: The topic.
        reader: The purpose: a part of the client's name.
        decoder: Decodes the records.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: No offset could be read for 30 s, or the registry does not answer.
    """
    follower = TopicFollower(kafka, topic, reader)
    try:
        # Up to the high watermark: what was committed a moment ago may not be stable yet.
        follower.mark_end(stable=False)
        while follower.left:
            raw = follower.poll_to_end(_RECORDS, _POLL_SECONDS)
            if raw is not None:
                yield raw, read_patiently(partial(decoder.decode, raw.values))
    finally:
        follower.close()


@dataclass(frozen=True, slots=True)
class Transactions:
    """The transactions of m labels.

    Attributes:
        table: m rows: ``customer_id``, ``terminal_id`` and ``event_time`` (ms); null where the
            transaction is not known.
        found: bool[m], labels whose transaction a decision names.
        ambiguous: bool[m], those of them whose id is that of several transactions: of other
            customers, or with other event times.
    """

    table: pa.Table
    found: Bool
    ambiguous: Bool


class TransactionLookup:
    """Collects the transactions of some ids from batches of decisions.

    Args:
        ids: m transaction ids; the same one may be there more than once.
    """

    def __init__(self, ids: pa.Array) -> None:
        self._ids = ids
        hashes = hashes_of(ids)
        self._wanted, first, self._of = np.unique(hashes, return_index=True, return_inverse=True)
        self._texts = ids.take(pa.array(first))
        count = len(self._wanted)
        self._at = np.full(count, -1, np.int64)
        self._time = np.zeros(count, np.int64)
        self._customer = np.zeros(count, np.uint64)
        self._ambiguous = np.zeros(count, np.bool_)
        self._pieces: list[pa.RecordBatch] = []
        self._kept = 0

    def add(self, decisions: pa.RecordBatch) -> None:
        """Add decisions.

        Args:
            decisions: With transaction id, customer, terminal and event time.
        """
        ids = decisions.column("transaction_id")
        hashes = hashes_of(ids)
        at = np.searchsorted(self._wanted, hashes)
        rows = np.flatnonzero(np.append(self._wanted, np.uint64(0))[at] == hashes)
        rows = rows[at[rows] < len(self._wanted)]
        if not len(rows):
            return
        # Two ids may have one hash.
        same = pc.equal(ids.take(pa.array(rows)), self._texts.take(pa.array(at[rows])))
        rows = rows[np.asarray(same)]
        named = at[rows]
        taken = decisions.take(pa.array(rows))
        customer = hashes_of(taken.column("customer_id"))
        time = np.asarray(taken.column("event_time").cast(pa.int64()))
        new, first = np.unique(named, return_index=True)
        fresh = self._at[new] < 0
        new, first = new[fresh], first[fresh]
        self._at[new] = self._kept + np.arange(len(new))
        self._time[new], self._customer[new] = time[first], customer[first]
        other = (self._customer[named] != customer) | (self._time[named] != time)
        self._ambiguous[named[other]] = True
        if len(new):
            columns = [taken.column("customer_id"), taken.column("terminal_id"), pa.array(time)]
            piece = pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
            self._pieces.append(piece.take(pa.array(first)))
            self._kept += len(new)

    def found(self) -> Transactions:
        """Return what was found so far."""
        place = self._at[self._of]
        there = place >= 0
        every = pa.Table.from_batches(self._pieces, _SCHEMA).combine_chunks()
        table = every.take(pa.array(place, mask=~there))
        return Transactions(table, there, self._ambiguous[self._of])


def find_transactions(
    kafka: Kafka,
    registry: SchemaSource,
    ids: pa.Array,
    directory: Path = SCHEMAS_DIRECTORY,
    read: Callable[[int], None] = lambda _: None,
) -> Transactions:
    """Return the transactions of some ids, by the decisions that the topic has now.

    Args:
        kafka: The cluster, and the topic of decisions.
        registry: Has the writers' schemas.
        ids: m transaction ids.
        directory: The folder of this project's schemas.
        read: Called with the number of decisions that were read so far.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    schema = narrowed(reader_schema("decision.v2", directory), _FIELDS.__contains__)
    decoder = ColumnDecoder(registry, schema, UNLIMITED, same_name=True)
    lookup, count = TransactionLookup(ids), 0
    if len(ids):
        for raw, decoded in records_of(kafka, kafka.topics.decisions, "labels-import", decoder):
            lookup.add(decoded.records)
            count += len(raw)
            read(count)
    return lookup.found()
