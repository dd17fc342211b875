"""Which labels the topic has already: one pass over it, ids and contents as hashes."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.terminals.profile_kernels import mixed
from stream_scorer.labels.lookup import records_of
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka

UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

_NO_TIME: Final = -1
_LEFT_OUT: Final = ("terminal_id", "event_time", "drawn")


class KnownLabels:
    """Ids and contents of labels.

    A record without an id, which another program may have sent, is known by its contents.
    """

    def __init__(self) -> None:
        self._ids: list[UInt64] = []
        self._contents: list[UInt64] = []
        self.count = 0

    def add(self, records: pa.RecordBatch) -> None:
        """Add decoded labels of the newest schema."""
        ids = records.column("label_id")
        named = np.asarray(pc.not_equal(ids, ""))
        source = pc.fill_null(records.column("source"), "")
        state = states_of(records)
        self._ids.append(_id_hashes(source, ids)[named])
        self._contents.append(
            _content_hashes(
                source, records.column("transaction_id"), records.column("customer_id"), state,
                records.column("label_time").cast(pa.int64()), records.column("reason_code"),
                records.column("retracts"),
            )[~named]
        )  # fmt: skip
        self.count += len(records)

    def has(self, labels: pa.Table, customer: pa.ChunkedArray) -> Bool:
        """Return bool[m]: which labels are among the known ones.

        Args:
            labels: m labels with the columns of ``labels.read.SCHEMA``, each with an id.
            customer: m texts, their customers.
        """
        one = {name: _one(labels[name]) for name in labels.column_names}
        ids = _id_hashes(one["source"], one["label_id"])
        contents = _content_hashes(
            one["source"], one["transaction_id"], _one(customer), np.asarray(one["state"]),
            one["label_time"], one["reason_code"], one["retracts"],
        )  # fmt: skip
        return _within(self._ids, ids) | _within(self._contents, contents)


def read_known(
    kafka: Kafka, registry: SchemaSource, directory: Path = SCHEMAS_DIRECTORY
) -> KnownLabels:
    """Return the labels that the topic has now.

    Args:
        kafka: The cluster, and the topic of labels.
        registry: Has the writers' schemas.
        directory: The folder of this project's schemas.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    schema = narrowed(reader_schema("label.v2", directory), lambda name: name not in _LEFT_OUT)
    decoder = ColumnDecoder(registry, schema, UNLIMITED, same_name=True)
    known = KnownLabels()
    for _, decoded in records_of(kafka, kafka.topics.labels, "labels-import", decoder):
        known.add(decoded.records)
    return known


def _id_hashes(source: pa.Array, ids: pa.Array) -> UInt64:
    hashes: UInt64 = mixed(hashes_of(source), hashes_of(ids))
    return hashes


def _content_hashes(
    source: pa.Array,
    transaction: pa.Array,
    customer: pa.Array,
    state: NDArray[np.uint8],
    label_time: pa.Array,
    reason: pa.Array,
    retracts: pa.Array,
) -> UInt64:
    hashes = mixed(hashes_of(transaction), hashes_of(customer))
    for texts in (source, reason, retracts):
        hashes = mixed(hashes, hashes_of(texts))
    hashes = mixed(hashes, state.astype(np.int64))
    found: UInt64 = mixed(hashes, np.asarray(label_time.fill_null(_NO_TIME)))
    return found


def _within(pieces: list[UInt64], wanted: UInt64) -> Bool:
    if not pieces:
        return np.zeros(len(wanted), np.bool_)
    known = np.sort(np.concatenate(pieces))
    at = np.searchsorted(known, wanted)
    found: Bool = (at < len(known)) & (np.append(known, np.uint64(0))[at] == wanted)
    return found


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    if isinstance(found, pa.ChunkedArray):
        return found.chunk(0) if found.num_chunks else pa.nulls(0, found.type)
    return found
