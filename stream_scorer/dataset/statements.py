"""The statements about transactions that were known at a time, as arrays that are searched."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.reading.mapped import PayloadDecoder, open_label_decoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.labelling.contract import (
    LabelPolicy,
    Resolved,
    Statements,
)
from stream_scorer.core.labelling.resolve import resolve
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.terminals.columns import label_times, match_of
from stream_scorer.core.terminals.profile_kernels import mixed
from stream_scorer.errors import SettingsError
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

STATEMENTS_MOST: Final = 50_000_000
"""Maximum number of statements of a build: 3.5 GB."""
_UNREAD: Final = ("terminal_id", "reason_code")


@dataclass(frozen=True, slots=True)
class KnownStatements:
    """Statements ordered by the transactions that they are about.

    Attributes:
        statements: All of them; their ranks are not used.
        source: int32[m], index of the source of each in ``names``.
        names: Names of the sources; the empty one is that of statements without a source.
        by_time: Whether labels name the event times.
        unreadable: Number of records that are not labels.
    """

    statements: Statements
    source: NDArray[np.int32]
    names: tuple[str, ...]
    by_time: bool
    unreadable: int = 0

    def resolve(
        self, match: UInt64, event_time: Int64, cutoff: Int64, policy: LabelPolicy
    ) -> Resolved:
        """Return what transactions turned out to be, as ``core.labelling.resolve`` does.

        Args:
            match: uint64[n], hashes of the transactions.
            event_time: int64[n], ms.
            cutoff: int64[n], ms; statements count up to this time.
            policy: Ranks the sources.
        """
        table = self.statements
        wanted = np.unique(match)
        low = np.searchsorted(table.match, wanted, side="left")
        count = np.searchsorted(table.match, wanted, side="right") - low
        first = np.cumsum(count) - count
        rows = np.arange(int(count.sum())) - np.repeat(first, count) + np.repeat(low, count)
        some = table.take(rows)
        some.rank[:] = policy.rank(self.names)[self.source[rows]]
        times = None if self.by_time else event_time
        return resolve(some, match, cutoff, event_time=times)


class StatementReader:
    """Collects the statements that were known at a time from records of the labels topic.

    Args:
        registry: Has the writers' schemas.
        plan: Its mapping of labels, and its limits.
        as_of_ms: A statement counts if its label time and its Kafka timestamp are not after it.
        directory: The folder of this project's schemas.
    """

    def __init__(
        self,
        registry: SchemaSource,
        plan: Plan,
        as_of_ms: int,
        directory: Path = SCHEMAS_DIRECTORY,
    ) -> None:
        self._plan = plan
        self._as_of = as_of_ms
        self._decoder: PayloadDecoder
        if plan.labels is None:
            schema = narrowed(
                reader_schema("label.v2", directory), lambda name: name not in _UNREAD
            )
            self._decoder = ColumnDecoder(registry, schema, plan)
        else:
            self._decoder = open_label_decoder(registry, plan, directory)
        self._pieces: list[Statements] = []
        self._sources: list[NDArray[np.int32]] = []
        self._names: dict[str, int] = {"": 0}
        self._count = self._unreadable = 0

    def add(self, raw: RawRecords) -> None:
        """Add n records.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now; nothing is added.
            SettingsError: There are more statements than memory is planned for.
        """
        decoded = self._decoder.decode(raw.values)
        self._unreadable += len(decoded.rejections)
        records, rows = decoded.records, decoded.rows
        identity = self._plan.label_identity
        time, label_time = label_times(records, identity)
        known = (label_time <= self._as_of) & (raw.timestamp[rows] <= self._as_of)
        kept = np.flatnonzero(known)
        records, rows = records.take(pa.array(kept)), rows[kept]
        time, label_time = time[kept], label_time[kept]
        source = _texts(records, "source")
        hashed = hashes_of(source)
        self._pieces.append(
            Statements(
                match_of(records, time, identity), time, label_time, states_of(records),
                np.zeros(len(rows), np.uint8), _hashed(hashed, _texts(records, "label_id")),
                _hashed(hashed, _texts(records, "retracts")), _drawn(records),
                raw.partition[rows].astype(np.int32), raw.offset[rows],
            )
        )  # fmt: skip
        self._sources.append(self._numbers(source))
        self._count += len(rows)
        if self._count > STATEMENTS_MOST:
            raise SettingsError(
                f"labels: more than {STATEMENTS_MOST:,} statements were known by then",
                "build the dataset where the topic of labels has fewer, or with an earlier time",
            )

    def known(self) -> KnownStatements:
        """Return the statements of all records so far."""
        table = Statements.joined(self._pieces or [_nothing()])
        source = np.concatenate([np.empty(0, np.int32), *self._sources])
        order = np.argsort(table.match, kind="stable")
        by_time = self._plan.label_identity.by_time
        return KnownStatements(
            table.take(order), source[order], tuple(self._names), by_time, self._unreadable
        )

    def _numbers(self, source: pa.Array) -> NDArray[np.int32]:
        coded = source.dictionary_encode()
        names = self._names
        found = [names.setdefault(each, len(names)) for each in coded.dictionary.to_pylist()]
        numbers = np.array(found, np.int32)
        return numbers[np.asarray(coded.indices, np.int64)]


def _texts(records: pa.RecordBatch, name: str) -> pa.Array:
    if name not in records.schema.names:
        return pa.repeat(pa.scalar(""), len(records))
    return pc.fill_null(records.column(name), "")


def _hashed(source: UInt64, ids: pa.Array) -> UInt64:
    """Return uint64[n], a hash of source and id; 0 without an id."""
    none = np.asarray(pc.equal(ids, ""))
    return np.where(none, np.uint64(0), mixed(source, hashes_of(ids)))


def _drawn(records: pa.RecordBatch) -> NDArray[np.float64]:
    if "drawn" not in records.schema.names:
        return np.full(len(records), np.nan)
    return np.asarray(records.column("drawn").fill_null(np.nan), np.float64)


def _nothing() -> Statements:
    words, times = np.empty(0, np.uint64), np.empty(0, np.int64)
    codes = np.empty(0, np.uint8)
    return Statements(
        words, times, times, codes, codes, words, words, np.empty(0), np.empty(0, np.int32), times
    )
