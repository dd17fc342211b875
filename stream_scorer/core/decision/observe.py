"""Observe a batch: validate it, fold it into the rings, and read rings and terminals.

This comes before any model scores. The only state is the rings. Each change to them is recorded in
``ObservedBatch.journals``: ``release`` keeps it, ``undo`` reverts it. There is no clock: ``lap`` is
called with the name of each finished stage, so that a caller can time the stages.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import ObservedRows
from stream_scorer.core.events.batch import EventBatch, Flag, Rejections
from stream_scorer.core.events.partitions import rows_by
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import DUPLICATE_CODE, reason_of, validate
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.kernels.folding import CAPPED, DUPLICATE, LATE
from stream_scorer.core.rings.rings import CustomerRings, Journal, RingColumns
from stream_scorer.core.terminals.history import TerminalTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]


class PartitionRings:
    """The rings of all partitions that are assigned to a process.

    Args:
        features: The features of one manifest. All sets with the same engine can read the rings.
    """

    def __init__(self, features: FeatureSet) -> None:
        self._engine = self._computed = features.engine
        self._partitions: dict[int, CustomerRings] = {}

    def of(self, partition: int) -> CustomerRings:
        """Return the rings of a partition; a new partition has empty ones."""
        rings = self._partitions.get(partition)
        if rings is None:
            engine = self._engine
            rings = CustomerRings(engine.retention, self._computed.program, engine.fields)
            self._partitions[partition] = rings
        return rings

    def adopt(self, features: FeatureSet) -> None:
        """Compute other features from now on; the rings stay as they are.

        Args:
            features: Of an engine that these rings can serve.

        Raises:
            ValueError: The rings cannot serve it; the message states what is missing.
        """
        engine = features.engine
        if engine is self._computed:
            return
        lacking = self._engine.lacks(engine)
        if lacking:
            raise ValueError(lacking)
        self._computed = engine
        for rings in self._partitions.values():
            rings.run(engine.program)

    def drop(self, partition: int) -> None:
        """Delete the rings of a partition that is no longer assigned."""
        self._partitions.pop(partition, None)

    def partitions(self) -> tuple[int, ...]:
        """Return the partitions that have rings, ascending."""
        return tuple(sorted(self._partitions))

    def undo(self, journals: dict[int, Journal]) -> None:
        """Undo a batch in every partition that has kept its rings since the batch."""
        for partition, journal in journals.items():
            if self._partitions.get(partition) is journal.rings:
                journal.rings.undo(journal)

    def release(self, journals: dict[int, Journal]) -> None:
        """Keep a batch's changes, in the same partitions as ``undo``."""
        for partition, journal in journals.items():
            if self._partitions.get(partition) is journal.rings:
                journal.rings.release(journal)


@dataclass(frozen=True, slots=True)
class ValidatedBatch:
    """A batch before it is folded into the rings: each row judged without history.

    Attributes:
        columns: What the rings read of the n rows.
        codes: uint8[n], 0 or the code of the first rule that a row breaks; see ``validation``.
        refused: bool[n], whether a row breaks a rule.
    """

    columns: RingColumns
    codes: UInt8
    refused: NDArray[np.bool_]

    def take(self, rows: Int64) -> "ValidatedBatch":
        """Return the given rows, in the given order."""
        return ValidatedBatch(self.columns.take(rows), self.codes[rows], self.refused[rows])

    def fold(
        self, rings: CustomerRings, rows: Int64, verdict: UInt8, observed: Float64 | None,
        places: Int64 | None = None,
    ) -> Journal:  # fmt: skip
        """Fold rows into the rings of their partition; see ``CustomerRings.fold``."""
        return rings.fold(rows, self.columns, self.refused, verdict, observed, places)


def validated(events: EventBatch, plan: Plan, features: FeatureSet) -> ValidatedBatch:
    """Validate a batch and collect what the rings read of it.

    Args:
        events: n rows.
        plan: Currencies and limits.
        features: Determine which fields the rings keep.
    """
    codes = validate(events, plan)
    return ValidatedBatch(RingColumns.of(events, features.engine.kept(events)), codes, codes != 0)


@dataclass(frozen=True, slots=True)
class ObservedBatch:
    """A batch that is folded into the rings, before a model scores it.

    Attributes:
        events: n rows.
        accepted: int64[a], the accepted rows of the batch, ascending.
        rejections: The other rows.
        journals: The changes to the rings, by partition.
        flags: uint8[n], bits of :class:`Flag`.
        observed: float64[n, w], what accepted rows see of their rings and terminals.
    """

    events: EventBatch
    accepted: Int64
    rejections: Rejections
    journals: dict[int, Journal]
    flags: UInt8
    observed: Float64

    def rows(self) -> ObservedRows:
        """Return the accepted rows."""
        every = ObservedRows(self.events, self.flags, self.observed)
        return every if len(self.accepted) == len(self.events) else every.take(self.accepted)


def _no_lap(_: str) -> None:
    pass


def refold(
    events: EventBatch, rings: PartitionRings, plan: Plan, features: FeatureSet
) -> dict[int, Journal]:
    """Fold a batch into the rings as ``observe`` does, without computing any features.

    Args:
        events: n rows in arrival order.
        rings: Changed.
        plan: Currencies, limits, lateness.
        features: Determine which fields the rings keep.

    Returns:
        The changes to the rings, by partition.
    """
    batch, verdict = validated(events, plan, features), np.empty(len(events), np.uint8)
    journals: dict[int, Journal] = {}
    try:
        for partition, rows in rows_by(events.partition):
            journals[partition] = batch.fold(rings.of(partition), rows, verdict, None)
    except BaseException:
        rings.undo(journals)
        raise
    return journals


def observe(
    events: EventBatch, rings: PartitionRings, plan: Plan, features: FeatureSet,
    lap: Callable[[str], None] = _no_lap, terminals: TerminalTable | None = None,
) -> ObservedBatch:  # fmt: skip
    """Validate a batch, fold it into the rings, and compute what its events see there.

    A row is flagged ``degraded`` if the history of its terminal is incomplete and the features use
    it.

    Args:
        events: n rows in arrival order.
        rings: Changed as the journals describe.
        plan: Currencies, limits, lateness.
        features: What to compute; they share an engine with the rings.
        lap: Called with the name of each finished stage.
        terminals: The known rows of terminals; without it the columns of terminals are NaN.
    """
    n = len(events)
    batch = validated(events, plan, features)
    codes = batch.codes
    lap("validate")
    verdict = np.zeros(n, np.uint8)
    observed = np.empty((n, features.engine.width), np.float64)
    journals: dict[int, Journal] = {}
    try:
        for partition, rows in rows_by(events.partition):
            journals[partition] = batch.fold(rings.of(partition), rows, verdict, observed)
        incomplete = _see_terminals(events, features, terminals, observed)
    except BaseException:
        rings.undo(journals)
        raise
    codes[(verdict == DUPLICATE) & ~batch.refused] = DUPLICATE_CODE
    flags = np.where(verdict == LATE, np.uint8(Flag.LATE), np.uint8(0))
    flags |= np.where(verdict == CAPPED, np.uint8(Flag.CAPPED), np.uint8(0))
    if incomplete is not None:
        flags |= np.where(incomplete, np.uint8(Flag.DEGRADED), np.uint8(0))
    rejected = np.flatnonzero(codes)
    told = {code: reason_of(code, plan.events) for code in np.unique(codes[rejected]).tolist()}
    reasons = [told[code] for code in codes[rejected].tolist()]
    return ObservedBatch(
        events=events,
        accepted=np.flatnonzero(codes == 0),
        rejections=Rejections(
            rejected, tuple(reason for reason, _ in reasons), tuple(text for _, text in reasons)
        ),
        journals=journals,
        flags=flags,
        observed=observed,
    )


def _see_terminals(
    events: EventBatch, features: FeatureSet, terminals: TerminalTable | None, observed: Float64
) -> NDArray[np.bool_] | None:
    """Write the columns of terminals; return the rows whose terminal's history is incomplete.

    None: no feature uses terminals, or there is no table.
    """
    delayed = features.engine.delayed
    if terminals is None:
        observed[:, features.engine.width - len(delayed) :] = np.nan
        return None
    if not len(delayed):
        return None
    incomplete = terminals.observe_hashed(
        delayed, events.hashes("terminal_id"), events.int64("event_time"),
        np.arange(len(events)), observed,
    )  # fmt: skip
    return incomplete if features.by_terminal else None
