"""Which revision of the plan decides each partition, and where the next one begins.

A batch in which a revision begins is cut there. What begins is true at once, for the batch that is
computed ahead, and taken back with the batch that it began in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import Activation, Routing, activated
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.validation import validate
from stream_scorer.ports import Paused, RawRecords
from stream_scorer.rollout.log.ready_versions import ANY_OLDER, ReadyVersions

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BatchPiece:
    """Rows of a batch that one revision decides; None: all of them."""

    routing: Routing
    rows: Int64 | None = None

    def of(self, events: EventBatch) -> EventBatch:
        """Return its rows."""
        return events if self.rows is None else events.take(self.rows)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A partition goes on without a revision from ``offset`` on, and why."""

    partition: int
    offset: int
    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A batch as the revisions cut it.

    Attributes:
        pieces: In the order in which they are decided.
        begun: Revisions that begin in it, where, and what they mean.
        refusals: Revisions that are refused from it on.
        before: What decided the partitions before, to go back to.
    """

    pieces: tuple[BatchPiece, ...]
    begun: tuple[tuple[Activation, Routing], ...] = ()
    refusals: tuple[Refusal, ...] = ()
    before: Mapping[int, int | None] = field(default_factory=dict)

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Where revisions begin in it."""
        return tuple(activation for activation, _ in self.begun)


class Activations:
    """Keeps each held partition's revision.

    Args:
        lacking: Says why a partition's history does not serve a routing; empty when it does.
        need: Told of a revision that decides a partition and is not ready.
    """

    def __init__(
        self,
        lacking: Callable[[int, Routing], str],
        need: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._lacking = lacking
        self._need = need
        self._active: dict[int, int | None] = {}
        self._refused: set[tuple[int, int]] = set()

    def begin(self, partition: int, revision: int | None) -> None:
        """A partition came; this is what decided its last record, None if nothing has."""
        self._active[partition] = revision

    def end(self, partition: int) -> None:
        """A partition left."""
        self._active.pop(partition, None)
        self._refused = {each for each in self._refused if each[0] != partition}

    def active(self, partition: int) -> int | None:
        """Return the revision that decides a partition now; None before its first record."""
        return self._active.get(partition)

    def cut(self, raw: RawRecords, events: EventBatch, fleet: ReadyVersions) -> BatchPlan:
        """Say who decides a batch, and let what begins in it begin.

        Args:
            raw: The batch.
            events: Those of its records that could be decoded.
            fleet: What is ready.

        Raises:
            Paused: The revision that decides a partition is not among it.
        """
        if fleet.pinned:
            return BatchPlan((BatchPiece(fleet.newest),))
        partitions = np.unique(raw.partition).tolist()
        newest = fleet.newest.revision
        told = all((p, r) in self._refused for p in partitions for r in fleet.refused)
        if told and all(self._active.get(p) == newest for p in partitions):
            return BatchPlan((BatchPiece(fleet.newest),))
        before = {p: self._active.get(p) for p in partitions}
        try:
            return self._cut(raw, events, fleet, before)
        except BaseException:
            self._give_up(before)
            raise

    def _cut(
        self,
        raw: RawRecords,
        events: EventBatch,
        fleet: ReadyVersions,
        before: Mapping[int, int | None],
    ) -> BatchPlan:
        valid = validate(events, fleet.shared) == 0
        times = events.int64("event_time")
        revision = np.zeros(len(events), np.int64)
        begun: list[tuple[Activation, Routing]] = []
        refusals: list[Refusal] = []
        for partition in before:
            first = int(raw.offset[raw.partition == partition].min())
            refusals += self._refusals(partition, first, fleet)
            usable = self._usable(partition, first, fleet, refusals)
            own = np.flatnonzero(events.partition == partition)
            good = own[valid[own]]
            active = before[partition]
            moves = activated(usable, events.offset[good], times[good], first)
            if active is None and not usable:
                self._need(ANY_OLDER)
                raise Paused("plan", self._why(partition, fleet))
            if active is not None:
                revision[own] = active
            elif not moves or moves[0][0] > first:
                # Nothing has decided here yet: the oldest that is ready does.
                moves = [(first, 0), *((offset, place) for offset, place in moves if place)]
            for offset, place in moves:
                number = usable[place].revision
                revision[own[events.offset[own] >= offset]] = number
                begun.append((Activation(partition, offset, number), usable[place]))
                self._active[partition] = number
        by_number = {routing.revision: routing for routing in fleet.routings}
        pieces = []
        for number in np.unique(revision).tolist():
            if number not in by_number:
                self._need(number)
                why = fleet.refused.get(number, "it is being loaded")
                raise Paused("plan", f"revision {number} is not ready here: {why}")
            pieces.append(BatchPiece(by_number[number], np.flatnonzero(revision == number)))
        self._refused |= {(each.partition, each.revision) for each in refusals}
        return BatchPlan(
            tuple(pieces) or (BatchPiece(fleet.newest),), tuple(begun), tuple(refusals), before
        )

    def _why(self, partition: int, fleet: ReadyVersions) -> str:
        """Return why nothing that is ready can decide a partition."""
        told = {r.revision: self._lacking(partition, r) for r in fleet.routings}
        return "; ".join(f"revision {number}: {why}" for number, why in told.items())

    def _give_up(self, before: Mapping[int, int | None]) -> None:
        self._active |= {p: revision for p, revision in before.items() if p in self._active}

    def _refusals(self, partition: int, offset: int, fleet: ReadyVersions) -> list[Refusal]:
        return [
            Refusal(partition, offset, revision, reason)
            for revision, reason in fleet.refused.items()
            if (partition, revision) not in self._refused
        ]

    def _usable(
        self, partition: int, offset: int, fleet: ReadyVersions, refusals: list[Refusal]
    ) -> list[Routing]:
        """Return what the partition's history serves; the others are refused, once."""
        active, found = self._active.get(partition), []
        for routing in fleet.routings:
            if active is not None and routing.revision <= active:
                continue
            reason = self._lacking(partition, routing)
            if not reason:
                found.append(routing)
            elif (partition, routing.revision) not in self._refused:
                refusals.append(Refusal(partition, offset, routing.revision, reason))
        return found

    def undo(self, cut: BatchPlan) -> None:
        """Take back what began in a batch that is given up."""
        self._give_up(cut.before)
        self._refused -= {(each.partition, each.revision) for each in cut.refusals}
