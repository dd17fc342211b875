"""Tracks which revision of the plan decides each partition, and where the next one begins.

A batch is split at the offset where a revision begins. The revision is then active immediately, for
the batch that is computed ahead. If the batch in which it begins is undone, so is the activation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import Activation, Routing, activated, due_at
from stream_scorer.core.events.batch import EventBatch, Rejections
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import validate
from stream_scorer.ports import Paused, RawRecords
from stream_scorer.rollout.log.ready_versions import ANY_OLDER, ReadyVersions

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DecodedRecords:
    """The decoded records of a batch.

    Attributes:
        events: n transactions.
        rows: int64[n], the transactions' rows in the batch.
        undecodable: Rows that could not be decoded. Rows in neither are not transactions.
    """

    events: EventBatch
    rows: Int64
    undecodable: Rejections

    def only(self, mine: NDArray[np.bool_]) -> "DecodedRecords":
        """Return only the given records; ``mine`` is bool by row of the batch."""
        kept = np.flatnonzero(mine[self.rows])
        other = self.undecodable
        left = np.flatnonzero(mine[other.rows])
        return DecodedRecords(
            self.events.take(kept),
            self.rows[kept],
            Rejections(
                other.rows[left], tuple(other.reasons[at] for at in left.tolist()),
                tuple(other.details[at] for at in left.tolist()),
            ),
        )  # fmt: skip


Reading = Callable[[Plan], DecodedRecords]
"""Decodes a batch by the mapping of a plan; the result is cached."""


@dataclass(frozen=True, slots=True)
class BatchPiece:
    """Events of a batch that one revision decides.

    Attributes:
        routing: The revision.
        events: The events, decoded by its mapping.
        rows: int64[n], their rows in the decoded batch; None: they are all rows, in order.
    """

    routing: Routing
    events: EventBatch
    rows: Int64 | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A revision that is not used in a partition, from ``offset`` on, and the reason."""

    partition: int
    offset: int
    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """A batch, split by the revisions that decide it.

    Attributes:
        pieces: In the order in which they are decided.
        rows: int64[n], the record of each row of the decoded batch; the pieces' ``rows`` index it.
        undecodable: Records that could not be decoded.
        begun: The activations in this batch, each with its routing.
        refusals: Revisions that are refused from this batch on.
        before: The previous revision of each partition, for ``undo``.
    """

    pieces: tuple[BatchPiece, ...]
    rows: Int64
    undecodable: Rejections
    begun: tuple[tuple[Activation, Routing], ...] = ()
    refusals: tuple[Refusal, ...] = ()
    before: Mapping[int, int | None] = field(default_factory=dict)

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activations in this batch."""
        return tuple(activation for activation, _ in self.begun)


class Activations:
    """Tracks the revision of each assigned partition.

    Args:
        lacking: Returns why history is missing for a routing in a partition; empty if none is.
        need: Called with a revision that is needed and not ready.
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
        """Add a partition with the revision that decided its last record; None if none has."""
        self._active[partition] = revision

    def end(self, partition: int) -> None:
        """Remove a partition."""
        self._active.pop(partition, None)
        self._refused = {each for each in self._refused if each[0] != partition}

    def active(self, partition: int) -> int | None:
        """Return the revision that decides a partition now; None before its first record."""
        return self._active.get(partition)

    def cut(self, raw: RawRecords, decode: Reading, fleet: ReadyVersions) -> BatchPlan:
        """Split a batch by the revisions that decide it, and activate those that begin in it.

        Args:
            raw: The batch.
            decode: Decodes it.
            fleet: The ready versions and revisions.

        Raises:
            Paused: The revision that decides a partition is not ready.
        """
        if fleet.pinned:
            return _by_one(fleet.newest, decode)
        partitions = np.unique(raw.partition).tolist()
        newest = fleet.newest.revision
        told = all((p, r) in self._refused for p in partitions for r in fleet.refused)
        if told and all(self._active.get(p) == newest for p in partitions):
            return _by_one(fleet.newest, decode)
        before = {p: self._active.get(p) for p in partitions}
        try:
            return self._cut(raw, decode, fleet, before)
        except BaseException:
            self._give_up(before)
            raise

    def _cut(
        self,
        raw: RawRecords,
        decode: Reading,
        fleet: ReadyVersions,
        before: Mapping[int, int | None],
    ) -> BatchPlan:
        # If a revision has another mapping, that mapping's event times determine where it begins.
        revision = np.zeros(len(raw), np.int64)
        begun: list[tuple[Activation, Routing]] = []
        refusals: list[Refusal] = []
        for partition in before:
            own = raw.partition == partition
            first = int(raw.offset[own].min())
            refusals += self._refusals(partition, first, fleet)
            usable = self._usable(partition, first, fleet, refusals)
            active = before[partition]
            moves = activated([_due(routing, partition, first, decode) for routing in usable])
            if active is None and not usable:
                self._need(ANY_OLDER)
                raise Paused("plan", self._why(partition, fleet))
            if active is not None:
                revision[own] = active
            elif not moves or moves[0][0] > first:
                # No revision has decided here yet: the oldest ready one does.
                moves = [(first, 0), *((offset, place) for offset, place in moves if place)]
            for offset, place in moves:
                number = usable[place].revision
                revision[own & (raw.offset >= offset)] = number
                begun.append((Activation(partition, offset, number), usable[place]))
                self._active[partition] = number
        by_number = {routing.revision: routing for routing in fleet.routings}
        for number in np.unique(revision).tolist():
            if number not in by_number:
                self._need(number)
                why = fleet.refused.get(number, "it is being loaded")
                raise Paused("plan", f"revision {number} is not ready here: {why}")
        self._refused |= {(each.partition, each.revision) for each in refusals}
        whole = _by_several(by_number, revision, decode)
        return replace(whole, begun=tuple(begun), refusals=tuple(refusals), before=before)

    def _why(self, partition: int, fleet: ReadyVersions) -> str:
        """Return why no ready revision can decide a partition."""
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
        """Return the later revisions for which no history is missing; refuse the others, once."""
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
        """Undo the activations and refusals of an aborted batch."""
        self._give_up(cut.before)
        self._refused -= {(each.partition, each.revision) for each in cut.refusals}


def _by_one(routing: Routing, decode: Reading) -> BatchPlan:
    """Return the plan of a batch that one revision decides."""
    found = decode(routing.shared)
    return BatchPlan((BatchPiece(routing, found.events),), found.rows, found.undecodable)


def _by_several(by_number: Mapping[int, Routing], revision: Int64, decode: Reading) -> BatchPlan:
    """Return the plan of a batch; ``revision`` is int64[n], the revision of each record."""
    numbers = np.unique(revision).tolist()
    if len(numbers) == 1:
        return _by_one(by_number[numbers[0]], decode)
    parts: list[DecodedRecords] = []
    pieces: list[BatchPiece] = []
    at = 0
    for number in numbers:
        routing = by_number[number]
        part = decode(routing.shared).only(revision == number)
        parts.append(part)
        if len(part.rows) or (number == numbers[-1] and not pieces):
            pieces.append(BatchPiece(routing, part.events, at + np.arange(len(part.rows))))
            at += len(part.rows)
    return BatchPlan(
        tuple(pieces),
        np.concatenate([part.rows for part in parts]),
        _joined([part.undecodable for part in parts]),
    )


def _due(routing: Routing, partition: int, first: int, decode: Reading) -> int | None:
    """Return a partition's offset from which a revision may decide; None: not in this batch."""
    if routing.effective_at is None:
        return first
    events = decode(routing.shared).events
    good = np.flatnonzero((events.partition == partition) & (validate(events, routing.shared) == 0))
    return due_at(routing, events.offset[good], events.int64("event_time")[good], first)


def _joined(parts: list[Rejections]) -> Rejections:
    """Return rejections of different rows as one, in the order of the rows."""
    told = [
        each
        for part in parts
        for each in zip(part.rows.tolist(), part.reasons, part.details, strict=True)
    ]
    told.sort(key=lambda each: each[0])
    rows, reasons, details = zip(*told, strict=True) if told else ((), (), ())
    return Rejections(np.array(rows, np.int64), reasons, details)
