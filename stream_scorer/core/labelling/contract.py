"""Statements about transactions, what they resolve to, and the policy for the unlabelled."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events import label_table

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

GENUINE, FRAUD, UNKNOWN, DISPUTED = 0, 1, 2, 3
"""States of a statement, uint8. A settled row has one of the first three."""
STATE_NAMES: Final = ("GENUINE", "FRAUD", "UNKNOWN", "DISPUTED")
"""Their names in the schema of labels, by number."""
NO_LABEL: Final = 255
"""In place of a state: no statement is in force."""
MOST_STATEMENTS: Final = 32
"""Maximum number of statements about one transaction that are considered."""


@dataclass(frozen=True, slots=True, eq=False)
class Statements:
    """m statements about transactions, in any order.

    A *retraction* is a statement with ``retracts``. It states nothing else, so its state and its
    draw are not used.

    Attributes:
        match: uint64[m], hash of the transaction; see ``core.terminals.columns.match_of``.
        event_time: int64[m], event time of the transaction, ms; or, if labels do not name it, the
            latest event time of a transaction that the statement may be about.
        label_time: int64[m], when it became known, ms.
        state: uint8[m], :data:`GENUINE`, :data:`FRAUD`, :data:`UNKNOWN` or :data:`DISPUTED`.
        rank: uint8[m], of the source; 0 is the lowest. See :meth:`LabelPolicy.rank`.
        label_id: uint64[m], hash of (source, label id); 0 without an id.
        retracts: uint64[m], hash of (source, id of the retracted statement); 0 if it retracts
            nothing. So only statements of the same source can be equal to it.
        drawn: float64[m], probability of the random draw for review; NaN if not drawn.
        partition: int32[m], source partition of the label's record.
        offset: int64[m], source offset; with the partition it identifies the statement.
    """

    match: UInt64
    event_time: Int64
    label_time: Int64
    state: UInt8
    rank: UInt8
    label_id: UInt64
    retracts: UInt64
    drawn: Float64
    partition: NDArray[np.int32]
    offset: Int64

    def __len__(self) -> int:
        return len(self.match)

    def take(self, rows: Int64 | Bool) -> "Statements":
        """Return some statements.

        Args:
            rows: int64[k], their indices, in the order that is returned; or bool[m].
        """
        return Statements(*(getattr(self, each.name)[rows] for each in fields(self)))

    @staticmethod
    def joined(pieces: Sequence["Statements"]) -> "Statements":
        """Return the statements of one or more pieces, in their order."""
        if len(pieces) == 1:
            return pieces[0]
        return replace(
            pieces[0],
            **{
                each.name: np.concatenate([getattr(piece, each.name) for piece in pieces])
                for each in fields(Statements)
            },
        )


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """What n transactions turned out to be, each at its cut-off.

    Attributes:
        state: uint8[n], of the statement that counts: :data:`GENUINE`, :data:`FRAUD`,
            :data:`UNKNOWN` or :data:`DISPUTED`; :data:`NO_LABEL` without one.
            :meth:`LabelPolicy.settle` makes the first three of it.
        label_time: int64[n], when the statement that counts became known, ms; 0 without one.
        drawn: float64[n], probability of the random draw that the best statement with a draw names;
            NaN without one. That a transaction was drawn does not depend on what was found.
        statements: int64[n], statements that were considered: known at the cut-off, each once,
            with retractions and retracted ones.
        contradictions: Number of given statements that were not used because an earlier one of the
            same id and transaction says something else. It does not depend on the cut-offs.
        ignored: Number of given statements beyond :data:`MOST_STATEMENTS` of a transaction.
            Likewise.
    """

    state: UInt8
    label_time: Int64
    drawn: Float64
    statements: Int64
    contradictions: int = 0
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.state)


@dataclass(frozen=True, slots=True)
class LabelPolicy:
    """The policy for the unlabelled of one plan revision, from its table ``label_policy``.

    Attributes:
        unlabelled: ``genuine``, ``ignore`` or ``mature``: for the guard, performance and training.
        after_ms: For ``mature``: the age, ms, from which on a transaction counts as genuine.
        unlabelled_in_risk: ``genuine`` or ``ignore``: for the rows of terminals.
        sources: Sources of labels, highest rank first.
        on: Whether the plan has the table. Without it, everything without a fraud label counts as
            genuine, also what was blocked, and all sources have one rank.
    """

    unlabelled: str = label_table.GENUINE
    after_ms: int = 0
    unlabelled_in_risk: str = label_table.GENUINE
    sources: tuple[str, ...] = ()
    on: bool = False

    @classmethod
    def absent(cls) -> Self:
        """Return the policy of a plan without the table."""
        return cls()

    @classmethod
    def of(cls, table: label_table.LabelTable | None) -> Self:
        """Return the policy of a plan's table; None: the plan has none."""
        if table is None:
            return cls.absent()
        return cls(
            table.unlabelled, table.after_ms, table.unlabelled_in_risk, table.sources, on=True
        )

    def rank(self, source: Sequence[str | None]) -> UInt8:
        """Return uint8[m]: the ranks of statements by their sources.

        A source that the policy does not list has rank 0, and so does None.
        """
        number = {name: len(self.sources) - at for at, name in enumerate(self.sources)}
        return np.fromiter((number.get(name or "", 0) for name in source), np.uint8, len(source))

    def settle(self, state: UInt8, blocked: Bool, age_ms: Int64, *, risk: bool) -> UInt8:
        """Return uint8[n]: :data:`GENUINE`, :data:`FRAUD` or :data:`UNKNOWN`.

        A dispute is not yet a finding, so it is unknown. A blocked transaction without a label is
        unknown under every policy.

        Args:
            state: uint8[n], of :class:`Resolved`.
            blocked: bool[n], whether the transaction was blocked.
            age_ms: int64[n], from its event time to its cut-off, ms.
            risk: Whether it is for rows of terminals.
        """
        if not self.on:
            return (state == FRAUD).astype(np.uint8)
        settled = np.where(state == DISPUTED, np.uint8(UNKNOWN), state)
        counts = self.unlabelled_in_risk if risk else self.unlabelled
        known = np.full(len(state), counts == label_table.GENUINE)
        if counts == label_table.MATURE:
            known = age_ms >= self.after_ms
        without = np.where(known & ~blocked, np.uint8(GENUINE), np.uint8(UNKNOWN))
        return np.where(state == NO_LABEL, without, settled)
