"""The service level objective, counted from offsets: how many records were decided in time.

A latency histogram of the deciding process has no samples in an outage. Here a record counts when
its age reaches the limit, whether anything decides it or not.
"""

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Self


@dataclass(frozen=True, slots=True)
class SloCount:
    """Records that were judged.

    Attributes:
        good: Committed before their age reached the limit.
        bad: Not committed then.
        unmeasured: Appended or due while nothing was observed: neither good nor bad.
    """

    good: int = 0
    bad: int = 0
    unmeasured: int = 0

    def __add__(self, other: Self) -> Self:
        """Return both counts together."""
        return type(self)(
            self.good + other.good, self.bad + other.bad, self.unmeasured + other.unmeasured
        )


class SloCounter:
    """Counts the records of one partition as good or bad when their age reaches the limit.

    E(t) is the log's end at time t, C(t) the committed offset, both linear between observations.
    The record with offset o is judged at the time t with E(t - limit) = o, and is good if C(t) is
    past it. C(t) - E(t - limit) is linear between the breakpoints, so each step is divided exactly
    where it changes its sign.

    Args:
        limit: Seconds within which a record is to be decided.
        gap: After a longer time without an observation, what became due is unmeasured; seconds.

    Example:
        >>> counter = SloCounter(limit=1.0)
        >>> for second in range(4):  # 100 records/s, decided after half a second
        ...     count = counter.add(second, 100 * second, max(100 * second - 50, 0))
        >>> count
        SloCount(good=100, bad=0, unmeasured=0)
        >>> counter.add(4.0, 400, 250)  # and not any more
        SloCount(good=50, bad=50, unmeasured=0)
    """

    def __init__(self, limit: float = 1.0, gap: float = 5.0) -> None:
        self._limit = limit
        self._gap = gap
        self._ends: deque[tuple[float, int]] = deque()
        self._before: tuple[float, int] | None = None
        self._due = 0.0
        self._good, self._bad = 0.0, 0.0

    def add(self, time: float, end: int, committed: int) -> SloCount:
        """Note an observation, and return what became due since the last one.

        Args:
            time: Seconds, after the last observation's.
            end: The log's end.
            committed: The offset of the next record to be decided, or the end of what can be read
                if there is none: a committed offset may be that of a transaction marker.
        """
        before = self._before
        if before is None or end < self._ends[-1][1]:
            self._begin(time, end, committed)
            return SloCount()
        if time - before[0] > self._gap:
            missed = end - math.floor(self._due)
            self._begin(time, end, committed)
            return SloCount(unmeasured=missed)
        self._ends.append((time, end))
        self._judge(before, (time, committed))
        self._before = (time, committed)
        while len(self._ends) > 1 and self._ends[1][0] <= time - self._limit:
            self._ends.popleft()
        good, bad = math.floor(self._good + 1e-6), math.floor(self._bad + 1e-6)
        self._good -= good
        self._bad -= bad
        return SloCount(good, bad)

    def _begin(self, time: float, end: int, committed: int) -> None:
        self._ends = deque([(time, end)])
        self._before = (time, committed)
        self._due = float(end)
        self._good = self._bad = 0.0

    def _judge(self, before: tuple[float, int], now: tuple[float, int]) -> None:
        """Count what becomes due between two observations of the committed offset."""
        breaks = [at + self._limit for at, _ in self._ends]
        first = max(before[0], breaks[0])
        times = [first, *(t for t in breaks if first < t < now[0]), now[0]]
        for begin, end in pairwise(times):
            if begin >= end:
                continue
            low, high = self._end_at(begin - self._limit), self._end_at(end - self._limit)
            margin_low = _between(before, now, begin) - low
            margin_high = _between(before, now, end) - high
            share = _share_positive(margin_low, margin_high)
            self._good += share * (high - low)
            self._bad += (1.0 - share) * (high - low)
            self._due = high

    def _end_at(self, time: float) -> float:
        for before, after in pairwise(self._ends):
            if before[0] <= time <= after[0]:
                return _between(before, after, time)
        return float(self._ends[0][1])


def _between(before: tuple[float, int], after: tuple[float, int], time: float) -> float:
    """Return the value at a time on the line between two points."""
    if after[0] == before[0]:
        return float(after[1])
    return before[1] + (after[1] - before[1]) * (time - before[0]) / (after[0] - before[0])


def _share_positive(begin: float, end: float) -> float:
    """Return the share of a straight line from one value to another that is not negative."""
    tolerance = 1e-9
    if begin >= -tolerance and end >= -tolerance:
        return 1.0
    if begin < 0 and end < 0:
        return 0.0
    return max(begin, end) / abs(end - begin)
