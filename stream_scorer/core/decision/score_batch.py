"""The core: a batch of events, the rings and a plan in; decisions and journals out.

A pure function but for the rings, whose every change is journalled: ``Scored.journals`` is the
state delta, kept by ``release`` and taken back by ``undo``. It knows no clock; ``lap`` is called
with each finished stage's name so that a caller can time them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model, Rows, decide_rows, refuse_failure
from stream_scorer.core.events.batch import DecisionBatch, EventBatch, Flag, Rejections
from stream_scorer.core.events.fields import string_views
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import DUPLICATE_CODE, reason_of, validate
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.kernels.columns import by_partition
from stream_scorer.core.kernels.folding import CAPPED, DUPLICATE, LATE
from stream_scorer.core.kernels.hashing import hash_strings
from stream_scorer.core.rings.rings import CustomerRings, Journal
from stream_scorer.core.terminals.history import TerminalTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class Rings:
    """The rings of all partitions that a process holds.

    Args:
        features: Features of one manifest; all sets that share their engine can read the rings.
    """

    def __init__(self, features: FeatureSet) -> None:
        self._engine = self._computed = features.engine
        self._partitions: dict[int, CustomerRings] = {}

    def of(self, partition: int) -> CustomerRings:
        """Return a partition's rings; empty ones when it is new."""
        rings = self._partitions.get(partition)
        if rings is None:
            engine = self._engine
            rings = CustomerRings(engine.retention, self._computed.program, engine.fields)
            self._partitions[partition] = rings
        return rings

    def adopt(self, features: FeatureSet) -> None:
        """Compute what other features ask, from the rings as they are.

        Args:
            features: Of an engine that these rings can serve.

        Raises:
            ValueError: They cannot; says what they lack.
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
        """Forget a partition that left this process."""
        self._partitions.pop(partition, None)

    def partitions(self) -> tuple[int, ...]:
        """Return the partitions held, ascending."""
        return tuple(sorted(self._partitions))

    def undo(self, journals: dict[int, Journal]) -> None:
        """Take a batch back, in every partition that has been held ever since."""
        for partition, journal in journals.items():
            if self._partitions.get(partition) is journal.rings:
                journal.rings.undo(journal)

    def release(self, journals: dict[int, Journal]) -> None:
        """Keep a batch, likewise."""
        for partition, journal in journals.items():
            if self._partitions.get(partition) is journal.rings:
                journal.rings.release(journal)


@dataclass(frozen=True, slots=True)
class Scored:
    """What the core makes of one batch.

    Attributes:
        decisions: One per accepted row.
        accepted: int64[a], the accepted rows of the batch, ascending.
        rejections: The other rows.
        journals: State delta by partition.
        failed_rows: Rows for which the model failed.
        failure: The first failure's text.
    """

    decisions: DecisionBatch
    accepted: Int64
    rejections: Rejections
    journals: dict[int, Journal]
    failed_rows: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch before it meets the rings: what each row is by itself.

    Attributes:
        codes: uint8[n], 0 or the code of the rule that a row breaks; see ``validation``.
        refused: bool[n], whether it breaks one.
        transaction: uint64[n], hash of the transaction id.
        customer: uint64[n], hash of the customer id.
        kept: int64[f, n], what rings keep of the further fields.
    """

    codes: NDArray[np.uint8]
    refused: NDArray[np.bool_]
    transaction: NDArray[np.uint64]
    customer: NDArray[np.uint64]
    kept: Int64

    def take(self, rows: Int64) -> "Judged":
        """Return the given rows, in the given order."""
        return Judged(
            self.codes[rows], self.refused[rows], self.transaction[rows], self.customer[rows],
            self.kept[:, rows],
        )  # fmt: skip


def judge(events: EventBatch, plan: Plan, features: FeatureSet) -> Judged:
    """Validate a batch and hash what the rings know things by.

    Args:
        events: n rows.
        plan: Currencies, limits.
        features: What the rings keep.
    """
    codes = validate(events, plan)
    return Judged(
        codes,
        codes != 0,
        hash_strings(*string_views(events.records.column("transaction_id"))),
        hash_strings(*string_views(events.records.column("customer_id"))),
        features.engine.kept(events),
    )


def fold(
    rings: CustomerRings, rows: Int64, events: EventBatch, judged: Judged,
    verdict: NDArray[np.uint8], observed: Float64 | None, places: Int64 | None = None,
) -> Journal:  # fmt: skip
    """Fold rows of a batch into the rings of their partition; see ``CustomerRings.fold``."""
    return rings.fold(
        rows, judged.refused, events.records.column("customer_id"), judged.transaction,
        events.int64("event_time"), events.int64("amount_minor"), judged.kept, verdict, observed,
        judged.customer, places,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remembered:
    """A batch folded into the rings: what stands before the model is asked.

    Attributes:
        accepted: int64[a], the accepted rows of the batch, ascending.
        rejections: The other rows.
        journals: State delta by partition.
        flags: uint8[n], bits of :class:`Flag`.
        observed: float64[n, k], what accepted rows see of their rings and terminals.
        customer: uint64[n], hashes of the customers' ids.
    """

    accepted: Int64
    rejections: Rejections
    journals: dict[int, Journal]
    flags: NDArray[np.uint8]
    observed: Float64
    customer: NDArray[np.uint64]

    def decided(self, events: EventBatch) -> Rows:
        """Return the accepted rows of the batch."""
        if len(self.accepted) == len(events):
            return Rows(events, self.flags, self.observed)
        return Rows(events, self.flags, self.observed).take(self.accepted)


def _no_lap(_: str) -> None:
    pass


def replay(
    events: EventBatch, rings: Rings, plan: Plan, features: FeatureSet
) -> dict[int, Journal]:
    """Fold a batch as ``remember`` does, and compute nothing of what its events see.

    Args:
        events: n rows in arrival order.
        rings: Changed.
        plan: Currencies, limits, lateness.
        features: What the rings keep.

    Returns:
        The state delta by partition.
    """
    judged, verdict = judge(events, plan, features), np.empty(len(events), np.uint8)
    journals: dict[int, Journal] = {}
    try:
        for partition, rows in rows_by(events.partition):
            journals[partition] = fold(rings.of(partition), rows, events, judged, verdict, None)
    except BaseException:
        rings.undo(journals)
        raise
    return journals


def remember(
    events: EventBatch, rings: Rings, plan: Plan, features: FeatureSet,
    lap: Callable[[str], None] = _no_lap, terminals: TerminalTable | None = None,
) -> Remembered:  # fmt: skip
    """Validate a batch, fold it into the rings, and compute what its events see there.

    Rows whose terminals' history is not whole are flagged ``degraded``.

    Args:
        events: n rows in arrival order.
        rings: Changed; the journals say how.
        plan: Currencies, limits, lateness.
        features: What to compute; it shares its engine with the rings.
        lap: Told when a stage is over.
        terminals: What is known of terminals; without it their columns hold NaN.
    """
    n = len(events)
    judged = judge(events, plan, features)
    codes = judged.codes
    lap("validate")
    verdict = np.zeros(n, np.uint8)
    observed = np.empty((n, features.engine.width), np.float64)
    journals: dict[int, Journal] = {}
    try:
        for partition, rows in rows_by(events.partition):
            journals[partition] = fold(rings.of(partition), rows, events, judged, verdict, observed)
        lacking = _see_terminals(events, features, terminals, observed)
    except BaseException:
        rings.undo(journals)
        raise
    codes[(verdict == DUPLICATE) & ~judged.refused] = DUPLICATE_CODE
    flags = np.where(verdict == LATE, np.uint8(Flag.LATE), np.uint8(0))
    flags |= np.where(verdict == CAPPED, np.uint8(Flag.CAPPED), np.uint8(0))
    if lacking is not None:
        flags |= np.where(lacking, np.uint8(Flag.DEGRADED), np.uint8(0))
    rejected = np.flatnonzero(codes)
    told = [reason_of(code) for code in codes[rejected].tolist()]
    return Remembered(
        accepted=np.flatnonzero(codes == 0),
        rejections=Rejections(
            rejected, tuple(reason for reason, _ in told), tuple(detail for _, detail in told)
        ),
        journals=journals,
        flags=flags,
        observed=observed,
        customer=judged.customer,
    )


def _see_terminals(
    events: EventBatch, features: FeatureSet, terminals: TerminalTable | None, observed: Float64
) -> NDArray[np.bool_] | None:
    """Write what events see of their terminals; return which see less than the features ask."""
    delayed = features.engine.delayed
    if terminals is None:
        observed[:, features.engine.width - len(delayed) :] = np.nan
        return None
    if not len(delayed):
        return None
    lacking = terminals.observe(
        delayed, events.records.column("terminal_id"), events.int64("event_time"), observed
    )
    return lacking if features.by_terminal else None


def score(
    events: EventBatch, rings: Rings, plan: Plan, model: Model,
    lap: Callable[[str], None] = _no_lap, terminals: TerminalTable | None = None,
) -> Scored:  # fmt: skip
    """Decide a batch.

    Args:
        events: n rows in arrival order.
        rings: Changed; ``Scored.journals`` says how.
        plan: What all models share.
        model: Decides.
        lap: Told when a stage is over.
        terminals: What is known of terminals; without it a model that asks decides as for
            terminals that nobody has seen, and the decisions are flagged ``degraded``.

    Raises:
        ModelFailure: The model failed for too many rows; the rings are as before.
    """
    terminals = TerminalTable() if terminals is None else terminals
    seen = remember(events, rings, plan, model.features, lap, terminals)
    try:
        rows = seen.decided(events)
        decisions, failed, failure = decide_rows(rows, model, plan, terminals, lap)
        refuse_failure(failed, failure, plan)
    except BaseException:
        rings.undo(seen.journals)
        raise
    return Scored(
        decisions, seen.accepted, seen.rejections, seen.journals, int(failed.sum()), failure
    )


def rows_by(partition: NDArray[np.int32]) -> list[tuple[int, Int64]]:
    """Return each partition's rows in arrival order, partitions ascending."""
    if not len(partition):
        return []
    rows, begins = by_partition(partition)
    return [
        (number, rows[begin:end])
        for number, (begin, end) in enumerate(pairwise(begins.tolist()))
        if end > begin
    ]
