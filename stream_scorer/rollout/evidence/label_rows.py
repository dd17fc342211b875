"""Columns of the delayed label join: decisions in, matured decisions out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.labelling.contract import LabelPolicy, Statements
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.terminals.profile_kernels import mixed

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

NO_OUTCOME: Final = 255
"""In place of a shadow's outcome if there was no shadow."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingDecisions:
    """n decisions that wait for their labels.

    Attributes:
        key: uint64[n], hash of what identifies the transaction in labels.
        event_time: int64[n], ms.
        partition: int32[n], source.
        offset: int64[n], source; with the partition it identifies the decision.
        arm: uint8[n], set by the caller and returned unchanged.
        bucket: int64[n], likewise.
        amount: float64[n], in units of the currency.
        outcome: uint8[n], the published outcome, values of ``core.events.batch.Outcome``.
        shadow: uint8[n], a shadow's outcome, or :data:`NO_OUTCOME`.
        policy_outcome: uint8[n], the outcome before the draw of let-through.
        propensity: float64[n], probability of the published outcome, given that of the policy.
        inside: bool[n], set by the caller and returned unchanged.
    """

    key: UInt64
    event_time: Int64
    partition: NDArray[np.int32]
    offset: Int64
    arm: UInt8
    bucket: Int64
    amount: Float64
    outcome: UInt8
    shadow: UInt8
    policy_outcome: UInt8
    propensity: Float64
    inside: Bool

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: Int64 | slice) -> "PendingDecisions":
        """Return some rows, in the given order."""
        return PendingDecisions(*(getattr(self, each.name)[rows] for each in fields(self)))

    def tuples(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows in the order of the table's columns."""
        columns = (
            self.event_time, self.partition, self.offset, self.key.view(np.int64), self.arm,
            self.bucket, self.amount, self.outcome, self.shadow, self.policy_outcome,
            self.propensity, self.inside,
        )  # fmt: skip
        return zip(*(column.tolist() for column in columns), strict=True)

    @classmethod
    def read(cls, rows: Sequence[tuple[Any, ...]]) -> "PendingDecisions":
        """Return the rows of a result of :meth:`tuples`."""
        columns = list(zip(*rows, strict=True)) or [()] * len(_KINDS)
        found: list[NDArray[Any]] = [
            np.array(column, kind) for column, kind in zip(columns, _KINDS, strict=True)
        ]
        time, partition, offset, key = found[:4]
        return cls(key.view(np.uint64), time, partition, offset, *found[4:])


_KINDS: Final = (
    np.int64, np.int32, np.int64, np.int64, np.uint8, np.int64, np.float64, np.uint8, np.uint8,
    np.uint8, np.float64, np.bool_,
)  # fmt: skip


def statement_tuples(statements: Statements) -> Iterator[tuple[Any, ...]]:
    """Yield statements in the order of the table's columns; a draw of NaN is null."""
    columns: list[list[Any]] = [
        getattr(statements, each.name).tolist()
        if getattr(statements, each.name).dtype != np.uint64
        else getattr(statements, each.name).view(np.int64).tolist()
        for each in fields(Statements)
    ]
    at = [each.name for each in fields(Statements)].index("drawn")
    columns[at] = [None if drawn != drawn else drawn for drawn in columns[at]]  # noqa: PLR0124 NaN
    return zip(*columns, strict=True)


def statements_read(rows: Sequence[tuple[Any, ...]]) -> Statements:
    """Return the statements of a result of :func:`statement_tuples`."""
    columns = list(zip(*rows, strict=True)) or [()] * len(_OF_STATEMENTS)
    (match, time, label_time, state, rank, label_id, retracts, drawn, partition, offset) = (
        np.array(column, kind) for column, kind in zip(columns, _OF_STATEMENTS, strict=True)
    )
    return Statements(
        match.view(np.uint64), time, label_time, state, rank, label_id.view(np.uint64),
        retracts.view(np.uint64), drawn, partition, offset,
    )  # fmt: skip


_OF_STATEMENTS: Final = (
    np.int64, np.int64, np.int64, np.uint8, np.uint8, np.int64, np.int64, np.float64, np.int32,
    np.int64,
)  # fmt: skip


def statements_of(
    records: pa.RecordBatch, match: UInt64, event_time: Int64, label_time: Int64,
    partition: NDArray[np.int32], offset: Int64, policy: LabelPolicy,
) -> Statements:  # fmt: skip
    """Return decoded labels as statements.

    Args:
        records: m labels with ``is_fraud``, and those of ``source``, ``label_id``, ``state``,
            ``retracts`` and ``drawn`` that the writer has.
        match: uint64[m], hashes of their transactions.
        event_time: int64[m], ms.
        label_time: int64[m], ms.
        partition: int32[m], of the records.
        offset: int64[m], likewise.
        policy: Ranks the sources.
    """
    n = len(records)
    source = _column(records, "source")
    drawn = _column(records, "drawn")
    return Statements(
        match, event_time, label_time, states_of(records),
        np.zeros(n, np.uint8) if source is None else policy.rank(source.to_pylist()),
        _named(source, _column(records, "label_id"), n),
        _named(source, _column(records, "retracts"), n),
        np.full(n, np.nan) if drawn is None
        else np.asarray(drawn.cast(pa.float64()).fill_null(np.nan), np.float64),
        partition, offset,
    )  # fmt: skip


def _column(records: pa.RecordBatch, name: str) -> pa.Array | None:
    place = records.schema.get_field_index(name)
    return None if place < 0 else records.column(place)


def _named(source: pa.Array | None, name: pa.Array | None, count: int) -> UInt64:
    """Return uint64[m]: hashes of source and id; 0 without an id."""
    if name is None:
        return np.zeros(count, np.uint64)
    name = name.fill_null("")
    named = hashes_of(name)
    if source is not None:
        named = mixed(hashes_of(source.fill_null("")), named)
    empty = np.asarray(pc.equal(name, "").to_numpy(zero_copy_only=False), np.bool_)
    return np.where(empty, np.uint64(0), np.maximum(named, np.uint64(1)))


@dataclass(frozen=True, slots=True, eq=False)
class Ripe:
    """n matured decisions, ordered by event time and source; each is returned once.

    Attributes:
        event_time: int64[n], ms.
        arm: uint8[n], as it was given.
        bucket: int64[n].
        amount: float64[n], in units of the currency.
        outcome: uint8[n], the published outcome.
        shadow: uint8[n].
        policy_outcome: uint8[n], the outcome before the draw of let-through.
        propensity: float64[n], probability of the published outcome, given that of the policy.
        inside: bool[n], as it was given.
        state: uint8[n], what the transactions turned out to be by the labels that were known in
            time: ``GENUINE``, ``FRAUD`` or ``UNKNOWN`` of ``core.labelling.contract``.
        others: Number of further matured decisions that were only counted; see
            ``LabelJoin.pass_by``.
    """

    event_time: Int64
    arm: UInt8
    bucket: Int64
    amount: Float64
    outcome: UInt8
    shadow: UInt8
    policy_outcome: UInt8
    propensity: Float64
    inside: Bool
    state: UInt8
    others: int = 0

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: Int64 | Bool) -> "Ripe":
        """Return some rows, in the given order, without ``others``."""
        return Ripe(
            *(getattr(self, each.name)[rows] for each in fields(self) if each.name != "others")
        )

    @property
    def through(self) -> Bool:
        """bool[n], whether a would-be BLOCK was let through."""
        return np.asarray((self.policy_outcome == _BLOCK) & (self.outcome != _BLOCK), np.bool_)


_BLOCK: Final = 2
