"""The evidence on a rollout: a pure fold over decisions, timed calls and matured rows.

A rollout is judged in two ways, each with separate counts and evidence: as a *canary*, by pairs of
buckets, and in *shadow*, where both models score the same transactions. Looks are due by the number
of transactions of all arms. The caller asks :meth:`Gathering.until_look`, and takes a look directly
after the row at which it is due. So the same rows give the same evidence, in whatever pieces they
arrive.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.routing import BUCKETS, Routing, salted_buckets
from stream_scorer.core.labelling.contract import FRAUD
from stream_scorer.rollout.evidence.anytime_bounds import GROWTH, Sample, look_number
from stream_scorer.rollout.evidence.bucket_counts import (
    CANARY_SIDE,
    CONTROL_SIDE,
    NO_SIDE,
    Decisions,
    Placed,
    Shadowed,
    paired,
    place,
    read_back,
    stages_of,
    written,
)
from stream_scorer.rollout.evidence.guardrail import (
    Judgement,
    Matured,
    Verdict,
    judge_fast,
    judge_slow,
)
from stream_scorer.rollout.evidence.label_rows import Ripe
from stream_scorer.rollout.evidence.let_through import ESTIMATOR, numbers_of
from stream_scorer.rollout.evidence.verdicts import (
    CANARY_WAY,
    FAST,
    SHADOW_WAY,
    SLOW,
    Judged,
    Since,
    Trial,
    Way,
)

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

IN_SHADOW: Final = 3
"""In addition to the sides of a canary and none: the side of a row that both models have scored."""
_FORMAT: Final = 2
"""Of the bytes. Format 1 has no number; its costs are all known, and it is read, too."""


class Gathering:
    """The evidence on one rollout.

    Args:
        trial: The rules by which it is judged.

    Attributes:
        since: By revision that has decided, when it began and its counts.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._pairs: dict[int, int] = {}
        self._shadow: frozenset[int] = frozenset()
        self._ways = {name: Way.new(name) for name in (CANARY_WAY, SHADOW_WAY)}
        self.since: dict[int, Since] = {}

    def follow(self, routings: Mapping[int, Routing]) -> None:
        """Set the rollout's revisions; those of other rollouts are ignored.

        Args:
            routings: By revision; a revision must be included before one of its rows is counted.
        """
        own = {r: routing for r, routing in routings.items() if r >= self._trial.began}
        self._pairs = {revision: paired(routing) for revision, routing in own.items()}
        shadows = (r for r, routing in own.items() if self._trial.candidate in routing.shadows)
        self._shadow = frozenset(shadows)

    def last(self, way: str, guard: str) -> Judged | None:
        """Return the last judgement; None before the first."""
        return self._ways[way].last.get(guard)

    def way_of(self, revision: int) -> str | None:
        """Return the way in which a revision's decisions are judged; None if none is compared."""
        if revision in self._shadow:
            return SHADOW_WAY
        begun = any(pairs and r <= revision for r, pairs in self._pairs.items())
        return CANARY_WAY if begun else None

    # -- rows --------------------------------------------------------------------------------

    def decide(self, rows: Decisions, clock_ms: Int64) -> Placed:
        """Count decisions.

        Args:
            rows: n decisions, in the order of the stream.
            clock_ms: int64[n], watermark of event time after each.

        Returns:
            The pair and side of each in the canary; rows of ``NO_SIDE`` count towards the looks
            only.
        """
        placed = place(rows, self._trial.salt, self._pairs)
        self._begin(rows.revision, clock_ms)
        way = self._ways[CANARY_WAY]
        way.tallies.add(placed.side, placed.pair, rows.outcome, rows.amount_minor, rows.error)
        way.seen += int(np.count_nonzero(self.counted(rows.revision)))
        for revision in np.unique(rows.revision).tolist():
            if since := self.since.get(revision):
                side = placed.side[rows.revision == revision]
                since.canary += int(np.count_nonzero(side == CANARY_SIDE))
                since.control += int(np.count_nonzero(side == CONTROL_SIDE))
        return placed

    def counted(self, revision: Int64) -> Bool:
        """Return bool[n]: which decisions count towards the looks at the canary."""
        begun = [r for r, pairs in self._pairs.items() if pairs]
        return np.asarray(revision >= min(begun, default=2**62), np.bool_)

    def shadow(self, rows: Shadowed, clock_ms: Int64) -> Placed:
        """Count transactions that champion and shadow both scored.

        Args:
            rows: n transactions, in the order of the stream.
            clock_ms: int64[n], watermark of event time after each.

        Returns:
            Side ``IN_SHADOW`` and the bucket of each row that counts; ``NO_SIDE`` for the others.
        """
        mine = self.counted_in_shadow(rows)
        bucket = salted_buckets(rows.customer, self._trial.salt)
        self._begin(rows.revision[mine], clock_ms[mine])
        way = self._ways[SHADOW_WAY]
        for side, outcome, error in (
            (CANARY_SIDE, rows.outcome, rows.error),
            (CONTROL_SIDE, rows.decided, rows.decided_error),
        ):
            sides = np.where(mine, side, NO_SIDE).astype(np.uint8)
            way.tallies.add(sides, bucket, outcome, rows.amount_minor, error)
        way.seen += int(np.count_nonzero(mine))
        for revision in np.unique(rows.revision[mine]).tolist():
            if since := self.since.get(revision):
                count = int(np.count_nonzero(mine & (rows.revision == revision)))
                since.canary += count
                since.control += count
        return Placed(np.where(mine, IN_SHADOW, NO_SIDE).astype(np.uint8), bucket)

    def counted_in_shadow(self, rows: Shadowed) -> Bool:
        """Return bool[n]: which rows count in shadow, and towards its looks."""
        known = np.isin(rows.revision, list(self._shadow))
        return np.asarray(known & rows.arm.are(self._trial.candidate), np.bool_)

    def call(self, side: int, revision: int, timestamp: int, seconds: float, rows: int) -> None:
        """Count one timed model call of an arm, if its revision compares arms.

        Args:
            side: ``CANARY_SIDE`` or ``CONTROL_SIDE``.
            revision: Revision of the plan.
            timestamp: Kafka's, ms.
            seconds: How long it took.
            rows: Number of transactions.
        """
        if self._pairs.get(revision, 0) and rows:
            slow = seconds * 1e6 > self._trial.slow_call_us * rows
            self._ways[CANARY_WAY].slots.add(timestamp, side, slow=slow)

    def ripen(self, rows: Ripe) -> None:
        """Count decisions that have matured.

        Args:
            rows: n decisions; ``arm`` is a side, or ``IN_SHADOW``, and ``bucket`` the pair.
        """
        canary, both = self._ways[CANARY_WAY], self._ways[SHADOW_WAY]
        for side in (CANARY_SIDE, CONTROL_SIDE):
            self._spend(canary, side, mine := rows.take(rows.arm == side), mine.policy_outcome)
        mine = rows.take(rows.arm == IN_SHADOW)
        self._spend(both, CANARY_SIDE, mine, mine.shadow)
        self._spend(both, CONTROL_SIDE, mine, mine.policy_outcome)
        canary.matured += len(rows) - len(mine) + rows.others
        both.matured += len(mine)

    def _spend(self, way: Way, side: int, rows: Ripe, decided: UInt8) -> None:
        """Count what an arm's policy says about matured decisions, and what it costs."""
        found = way.through[side].add(rows, decided, self._trial.costs)
        size = way.cost.shape[1]
        way.cost[side] += np.bincount(rows.bucket, found.cost, size)
        way.high[side] += np.bincount(rows.bucket, found.high, size)
        way.matured_count[side] += np.bincount(rows.bucket, found.count, size)
        way.frauds[side] += int(np.count_nonzero(rows.state == FRAUD))

    def _begin(self, revision: Int64, clock_ms: Int64) -> None:
        known, first = np.unique(revision, return_index=True)
        for number, row in zip(known.tolist(), first.tolist(), strict=True):
            if number in self._pairs and number not in self.since:
                self.since[number] = Since(int(clock_ms[row]))

    # -- looks -------------------------------------------------------------------------------

    def until_look(self, way: str) -> int:
        """Return after how many further transactions the next fast look is due, at least 1."""
        found = self._ways[way]
        return due_at(found.fast.look + 1, self._trial.first_look) - found.seen

    def look(self, way: str, clock_ms: int) -> Judged | None:
        """Take a fast look and return it; None if none is due."""
        found = self._ways[way]
        look = look_number(found.seen, self._trial.first_look)
        if look <= found.fast.look:
            return None
        stage = self._stage(way)
        samples = found.tallies.samples(stage, self._trial.minor_per_unit)
        events = samples["alerts"]
        if (calls := found.slots.sample()) is not None:
            samples["slow_calls"] = calls
        guards = self._trial.guards if way == CANARY_WAY else self._trial.shadow_guards
        judgement, found.fast = judge_fast(
            samples, events, found.fast, look, self._trial.way_limits, guards
        )
        return self._judged(found, FAST, look, clock_ms, judgement)

    def look_slow(self, way: str, clock_ms: int) -> Judged | None:
        """Take a slow look if one is due, or if the deadline has passed since the last; else None.

        The first look after the deadline can still promote. Later ones can confirm that promotion
        or find harm, but cannot promote.
        """
        found = self._ways[way]
        look = look_number(found.matured, self._trial.first_look)
        began = min((since.clock_ms for since in self.since.values()), default=2**62)
        passed = clock_ms - began >= self._trial.deadline_ms
        told = found.last.get(SLOW)
        ended = passed and (told is None or told.clock_ms - began < self._trial.deadline_ms)
        if look <= found.slow.look and not (ended and way == self._way_now()):
            return None
        judgement, found.slow = judge_slow(
            self._matured(found), found.slow, look, self._trial.way_limits, deadline_passed=passed
        )
        promoted = told is not None and told.judgement.verdict is Verdict.PROMOTE
        if passed and not ended and not promoted and judgement.verdict is Verdict.PROMOTE:
            reasons = ("the deadline has passed: a promotion is a person's", *judgement.reasons)
            judgement = replace(judgement, verdict=Verdict.INCONCLUSIVE, reasons=reasons)
        return self._judged(found, SLOW, look, clock_ms, judgement)

    def _matured(self, way: Way) -> Matured:
        stage = self._stage(way.name)
        size = len(stage)
        count = way.matured_count
        low, high = (
            Sample(sums[0][:size], sums[1][:size], count[0][:size], count[1][:size], stage)
            for sums in (way.cost, way.high)
        )
        frauds = (way.frauds[0], way.frauds[1])
        if self._trial.explore is None:
            return Matured(low, frauds, high)
        sides = way.through
        numbers = numbers_of(
            sides, (low.canary.sum(), low.control.sum()),
            (low.canary_count.sum(), low.control_count.sum()),
        )  # fmt: skip
        # In shadow, both sides have the same transactions.
        counted = sides[:1] if way.name == SHADOW_WAY else sides
        raw, genuine = (
            sum(each) for each in zip(*((s.raw, s.genuine) for s in counted), strict=True)
        )
        return Matured(low, frauds, high, numbers, (raw, genuine), ESTIMATOR)

    def _judged(
        self, way: Way, guard: str, look: int, clock_ms: int, judgement: Judgement
    ) -> Judged:
        newest = max(self.since, default=self._trial.began)
        way.last[guard] = Judged(way.name, guard, look, newest, clock_ms, judgement)
        return way.last[guard]

    def _way_now(self) -> str | None:
        return self.way_of(max(self.since, default=-1))

    def _stage(self, way: str) -> Int64:
        """Return int64[m], the stage of each pair of the revisions that have decided."""
        if way == SHADOW_WAY:
            return np.zeros(BUCKETS, np.int64)
        return stages_of({r: self._pairs.get(r, 0) for r in self.since})

    # -- bytes -------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Return the state as bytes."""
        used = {name: way for name, way in self._ways.items() if way.seen or way.matured}
        header = {
            "format": _FORMAT,
            "ways": {name: way.plain() for name, way in used.items()},
            "since": {str(r): [s.clock_ms, s.canary, s.control] for r, s in self.since.items()},
        }
        arrays = {name: array for way in used.values() for name, array in way.arrays().items()}
        return zlib.compress(written(header, arrays), 1)

    def restore(self, data: bytes) -> None:
        """Load the state that :meth:`dump` returned for the same trial."""
        header, arrays = read_back(zlib.decompress(data))
        for name, told in header["ways"].items():
            self._ways[name] = Way.read(name, told, arrays)
        self.since = {int(r): Since(*counts) for r, counts in header["since"].items()}


def due_at(look: int, first: int) -> int:
    """Return the smallest number of transactions with a ``look_number`` of at least ``look``.

    >>> due_at(1, 1_000), due_at(2, 1_000), look_number(due_at(9, 7), 7)
    (1000, 1200, 9)
    """
    count = math.ceil(first * GROWTH ** (look - 1))
    return _settle(lambda n: look_number(n, first) >= look, count)


def _settle(enough: Callable[[int], bool], guess: int) -> int:
    """Return the smallest number that is enough, near a guess."""
    while not enough(guess):
        guess += 1
    while enough(guess - 1):
        guess -= 1
    return guess
