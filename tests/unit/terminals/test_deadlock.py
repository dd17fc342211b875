"""The profiler waits for scorers and scorers wait for the profiler, and both always go on.

The profiler's side is real: :class:`Pending` with its stops. A scorer is what matters of it here:
its positions, what it has fetched, and the rule by which it defers. It decides an event at t only
once the watermark is at t - delay. Hypothesis chooses who does something next, and how much.

Each partition ends with an event after all others. Without it, a partition that has ended would
stop the watermark until it counts as idle, whoever waits.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.core.terminals.pending_labels import NEVER, Pending
from tests.support.effort import examples
from tests.support.terminals.outcomes import FakeOutcomes
from tests.unit.core.terminals.test_pending_labels import One, columns

HOLD, LATENESS, DELAY = 600, 10, 700
PARTITIONS = 3
Rows = list[tuple[int, int, int]]


@dataclass
class Scorer:
    """Decides its partitions in order; see the module.

    Attributes:
        deferring: Whether it leaves out partitions that must wait. Otherwise the whole batch waits
            for its newest event, as scorers did before the profiler waited for them.
    """

    partitions: tuple[int, ...]
    deferring: bool
    batch: list[tuple[int, int]] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)


class World:
    """The input, one profiler and some scorers.

    Args:
        streams: Event times by partition, in the order of offsets.
        order: The merged order: the partition of each record.
        owners: The scorer of each partition.
        deferring: As of :class:`Scorer`.
    """

    def __init__(
        self, streams: list[list[int]], order: list[int], owners: list[int], *, deferring: bool
    ) -> None:
        last = max((max(times) for times in streams if times), default=0) + DELAY
        streams = [[*times, last] if times else [] for times in streams]
        order = [*order, *(p for p, times in enumerate(streams) if times)]
        left = [iter(enumerate(times)) for times in streams]
        self.merged = [(p, *next(left[p])) for p in order]
        self.streams = streams
        self.scorers = [
            Scorer(tuple(p for p in range(PARTITIONS) if owners[p] == each), deferring)
            for each in sorted(set(owners))
        ]
        self.decided = [0] * PARTITIONS
        self.blocks = {(p, o) for p, times in enumerate(streams) for o in range(0, len(times), 3)}
        self.outcomes = FakeOutcomes(
            np.zeros(PARTITIONS, np.int64), self.blocks, LabelPolicy(on=True)
        )
        self.pending = Pending(PARTITIONS, PARTITIONS, HOLD, LATENESS, delay_ms=DELAY)
        self.read = 0
        self.rows: Rows = []

    @property
    def watermark(self) -> int:
        return self.pending.clock.watermark

    @property
    def done(self) -> bool:
        return self.read == len(self.merged) and all(
            self.decided[p] == len(times) for p, times in enumerate(self.streams)
        )

    def profile(self, most: int, *, holds: bool = True) -> bool:
        """Take up to ``most`` records; return whether anything changed."""
        self.outcomes.known = np.array(self.decided)
        batch = self.merged[self.read : self.read + most]
        before = self.read, self.watermark
        ones = [One(p, 1_000 * p + o, time, self.read + at)
                for at, (p, o, time) in enumerate(batch)]  # fmt: skip
        least, taken = NEVER, len(batch)
        rows, labels, paid, told = columns(ones, 0)
        rows = replace(rows, offset=np.array([o for _, o, _ in batch], np.int64))
        sent = np.zeros(len(ones), np.int64)
        places = np.array(paid, np.int64)
        stop = self.pending.held(rows, sent, places, self.outcomes.known) if holds else None
        if stop is not None:
            taken, least = stop.taken, stop.watermark
            rows, places, sent = rows.take(np.arange(taken)), places[:taken], sent[:taken]
        folded = self.pending.fold(
            rows, sent, places, labels, np.array(told, np.int64), self.outcomes, least
        )
        self.pending.keep(folded)
        left = folded.settled
        self.rows += zip(
            left.rows.partition.tolist(), left.rows.offset.tolist(), left.state.tolist(),
            strict=True,
        )  # fmt: skip
        self.read += taken
        return (self.read, self.watermark) != before

    def score(self, scorer: Scorer, chunk: int) -> bool:
        """Decide what can be decided of the next batch; return whether anything was.

        Args:
            scorer: Whose turn it is.
            chunk: How many records of one partition the broker sends before another one's.
        """
        if not scorer.batch:
            readable = [p for p in scorer.partitions if self.decided[p] < len(self.streams[p])]
            others = [p for p in readable if p not in scorer.waiting]
            for partition in (others or readable)[:2]:
                first = self.decided[partition]
                end = min(first + chunk, len(self.streams[partition]))
                scorer.batch += [(partition, offset) for offset in range(first, end)]
        batch = scorer.batch
        needs = {place: self.streams[place[0]][place[1]] - DELAY for place in batch}
        if not scorer.deferring:
            if any(need > self.watermark for need in needs.values()):
                return False
            short: dict[int, int] = {}
        else:
            short = {}
            for partition, offset in batch:
                if needs[partition, offset] > self.watermark:
                    short.setdefault(partition, offset)
        scorer.batch, scorer.waiting = [], set(short)
        before = list(self.decided)
        for partition, offset in batch:
            if offset < short.get(partition, offset + 1):
                assert needs[partition, offset] <= self.watermark, "degraded"
                self.decided[partition] = offset + 1
        return before != self.decided


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[int]]:
    streams = []
    for _ in range(PARTITIONS):
        time, times = 10_000, []
        for _ in range(draw(st.integers(0, 12))):
            # Steps of far more than the delay, also backwards: outages, clock jumps, late events.
            time += draw(st.sampled_from([1, 50, 300, 900, 5_000, -30, -900]))
            times.append(time)
        streams.append(times)
    left = [p for p, times in enumerate(streams) for _ in times]
    order = draw(st.permutations(left))
    owners = draw(st.lists(st.integers(0, 1), min_size=PARTITIONS, max_size=PARTITIONS))
    return streams, list(order), owners


def run(world: World, data: st.DataObject | None, turns: int = 3_000) -> bool:
    """Let all act until everything is read and decided; return whether they got there."""
    idle = 0
    for turn in range(turns):
        if world.done:
            return True
        actors = 1 + len(world.scorers)
        who = turn % actors if data is None or idle > actors else data.draw(
            st.integers(0, actors - 1)
        )  # fmt: skip
        count = 4 if data is None else data.draw(st.integers(1, 6))
        acted = world.profile(count) if who == 0 else world.score(world.scorers[who - 1], count)
        idle = 0 if acted else idle + 1
        if idle > 20 * actors:
            return False
    return world.done


def undisturbed(world: World) -> set[tuple[int, int, int]]:
    """Return the rows that leave if all outcomes are known at once."""
    streams = [times[:-1] for times in world.streams]
    ended = sum(1 for times in streams if times)
    order = [p for p, _, _ in world.merged[: len(world.merged) - ended]]
    other = World(streams, order, [0] * PARTITIONS, deferring=True)
    other.decided = [len(times) for times in other.streams]
    while other.read < len(other.merged):
        other.profile(len(other.merged), holds=False)
    return set(other.rows)


@settings(max_examples=examples(400), deadline=None)
@given(worlds(), st.data())
def test_all_go_on_with_any_lag(
    drawn: tuple[list[list[int]], list[int], list[int]], data: st.DataObject
) -> None:
    world = World(*drawn, deferring=True)
    assert run(world, data), "they wait for each other"
    assert set(world.rows) == undisturbed(world)


DAYS = 1_000
APART = [[10_000 + 10 * n for n in range(40)], [10_000 + DAYS * n for n in range(40)], []]
"""One partition is far behind the other one in event time; their records come in chunks."""
CHUNKS = [0, *[1] * 20, *[0] * 20, *[1] * 20, *[0] * 19]


@pytest.mark.parametrize("owners", [[0, 0, 0], [0, 1, 0]], ids=["one scorer", "two scorers"])
def test_a_partition_far_behind_is_waited_for(owners: list[int]) -> None:
    world = World(APART, CHUNKS, owners, deferring=True)
    assert run(world, None)
    assert set(world.rows) == undisturbed(world)


def test_without_deferral_they_wait_for_each_other() -> None:
    # What the tests above would miss if their scorers could not stand still.
    world = World(APART, CHUNKS, [0, 0, 0], deferring=False)
    assert not run(world, None)


def test_a_scorer_that_stands_still_stops_the_watermark() -> None:
    world = World(APART, CHUNKS, [0, 1, 0], deferring=True)
    for _ in range(50):
        world.profile(4)
        world.score(world.scorers[1], 4)
    first = min(time for times, at in zip(world.streams, world.decided, strict=True)
                for time in times[at : at + 1])  # fmt: skip
    assert world.watermark < first
    assert not world.done
    assert run(world, None)


def test_a_cold_start_needs_no_decision() -> None:
    world = World([[10_000], [], []], [0], [0, 0, 0], deferring=True)
    assert not world.score(world.scorers[0], 4)
    assert world.profile(1)
    assert world.watermark >= 10_000 - DELAY
    assert world.score(world.scorers[0], 4)
