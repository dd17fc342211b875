"""Decisions and labels as they wait, in columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stream_scorer.performance.measures.contract import Bool, Float64, Int32, Int64, UInt8, UInt64

SOURCE_BYTES_MOST = 256
"""Bytes of the name of a source; the rest of a longer one is not kept."""


class _Columns:
    """Rows of equal columns; a subclass is a dataclass of arrays."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def take(self, rows: "Int64 | Bool | slice") -> Self:
        """Return some rows.

        Args:
            rows: int64[k], their indices, in the order that is returned; bool[n]; or a slice.
        """
        return type(self)(*(getattr(self, each.name)[rows] for each in fields(self)))  # type: ignore[arg-type]

    def tuples(self) -> "zip[tuple[Any, ...]]":
        """Return the rows as SQLite takes them; hashes as int64."""
        return zip(
            *(
                (column.view(np.int64) if column.dtype == np.uint64 else column).tolist()
                for column in (getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]
            ),
            strict=True,
        )


@dataclass(frozen=True, slots=True, eq=False)
class WaitingDecisions(_Columns):
    """n decisions.

    Attributes:
        partition: int32[n], source partition of the transaction.
        offset: int64[n], its source offset.
        key: uint64[n], hash by which labels name it.
        event_time: int64[n], ms.
        card: uint64[n], hash of the customer.
        version: int32[n], number of the model version.
        arm: uint8[n], number of the arm.
        segments: uint64[n], a bit for each segment; bit 0 is always set.
        score: float64[n]; NaN where the model failed.
        amount: float64[n], in units of the currency; NaN where the decision does not name it.
        outcome: uint8[n], the policy's.
        through: bool[n], whether it was let through at random.
        propensity: float64[n], of the decision that was made, given the policy's outcome.
        drawn: bool[n], whether it was drawn for review.
        pi: float64[n], probability of the draw for review; 0 without one.
        revision: int64[n], of the plan.
    """

    partition: Int32
    offset: Int64
    key: UInt64
    event_time: Int64
    card: UInt64
    version: Int32
    arm: UInt8
    segments: UInt64
    score: Float64
    amount: Float64
    outcome: UInt8
    through: Bool
    propensity: Float64
    drawn: Bool
    pi: Float64
    revision: Int64


@dataclass(frozen=True, slots=True, eq=False)
class SourcedStatements(_Columns):
    """m statements about transactions; the ranks of their sources depend on the plan.

    Attributes:
        key: uint64[m], as :attr:`WaitingDecisions.key`.
        partition: int32[m], of the label's record.
        offset: int64[m], likewise.
        event_time: int64[m], ms; or, if labels do not name it, a time that it is not after.
        label_time: int64[m], ms.
        state: uint8[m], as of ``core.labelling.contract.Statements``; so are the next three.
        label_id: uint64[m].
        retracts: uint64[m].
        drawn: float64[m]; NaN if not drawn.
        source: m texts.
    """

    key: UInt64
    partition: Int32
    offset: Int64
    event_time: Int64
    label_time: Int64
    state: UInt8
    label_id: UInt64
    retracts: UInt64
    drawn: Float64
    source: NDArray[np.object_]


Rows = Sequence[tuple[Any, ...]]


def waiting_of(pieces: Iterable[Rows]) -> WaitingDecisions:
    """Return decisions as they were stored, piece by piece."""
    return WaitingDecisions(*_joined(WaitingDecisions, pieces))


def statements_of(pieces: Iterable[Rows]) -> SourcedStatements:
    """Return statements as they were stored, piece by piece."""
    return SourcedStatements(*_joined(SourcedStatements, pieces))


def _joined(kind: type[Any], pieces: Iterable[Rows]) -> list[Any]:
    # A row in Python takes ten times the memory of its columns.
    columns = [_stored(kind, rows) for rows in pieces] or [_stored(kind, ())]
    return [np.concatenate(column) for column in zip(*columns, strict=True)]


_TYPES: dict[str, Any] = {
    "partition": np.int32, "offset": np.int64, "key": np.uint64, "event_time": np.int64,
    "card": np.uint64, "version": np.int32, "arm": np.uint8, "segments": np.uint64,
    "score": np.float64, "amount": np.float64, "outcome": np.uint8, "through": np.bool_,
    "propensity": np.float64, "drawn": np.float64, "pi": np.float64, "revision": np.int64,
    "label_time": np.int64, "state": np.uint8, "label_id": np.uint64, "retracts": np.uint64,
    "source": np.object_,
}  # fmt: skip


def _stored(kind: type[Any], rows: Rows) -> list[Any]:
    """Return the columns of rows; SQLite stores NaN as null."""
    columns: list[Any] = list(zip(*rows, strict=True)) or [()] * len(fields(kind))
    found = []
    for each, column in zip(fields(kind), columns, strict=True):
        wanted = _TYPES[each.name]
        if each.name == "drawn" and kind is WaitingDecisions:
            wanted = np.bool_
        if wanted is np.uint64:
            found.append(np.array(column, np.int64).view(np.uint64))
        elif wanted is np.float64:
            found.append(np.array([np.nan if v is None else v for v in column], np.float64))
        else:
            found.append(np.array(column, wanted))
    return found
