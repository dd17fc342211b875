"""Whether a group that reads also keeps up."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from stream_scorer.lag.verdicts.sample import LagRules, LagSample

_CONSTANT = 0.9
"""Lag that is at least this part of what it was at the window's begin does not shrink."""
_TRUSTED = 0.25
"""Part of an interval that reading a sample may take: a longer one overstates the lag."""
_TREND = 3
"""Samples that show a trend: two intervals in the same direction."""


class Slowness:
    """Follows whether lag grows, or stays, although the group reads.

    The *work* is the lag divided by the group's rate, seconds. A group becomes slow when

    - lag grew in two intervals and the work exceeds one interval, and the input is not a burst; or
    - over a complete window the work exceeded one interval and the lag did not shrink by a tenth,
      and does not shrink now: the window may begin when only a part of a burst was appended.

    It is slow until lag falls in two intervals, or the work is an interval or less. Lag counts at
    samples in which the group has moved or had nothing to read: between two commits of a group that
    rarely commits, lag always grows.

    Args:
        rules: The numbers of the rules.

    Attributes:
        slow: Whether the group does not keep up.
    """

    def __init__(self, rules: LagRules) -> None:
        self._rules = rules
        self.slow = False

    def add(self, samples: Sequence[LagSample]) -> None:
        """Judge again after a sample.

        Args:
            samples: The last ones, oldest first, the new one included.
        """
        last = samples[-1]
        most = _TRUSTED * self._rules.interval
        if last.spread > most:
            return
        samples = [each for each in samples if each.spread <= most]
        settled = _settled(samples)
        recent = settled[-_TREND:]
        rate = committed_rate(recent)
        work = samples[-1].to_stable / rate if rate else math.inf
        falls = _ordered(recent[::-1])
        if samples[-1].to_stable == 0:
            self.slow = False
        elif self.slow:
            self.slow = work > self._rules.interval and not falls
        elif rate:
            grows = work > self._rules.interval and _ordered(recent) and not self._burst(samples)
            self.slow = grows or (not falls and self._stays(samples))

    def _burst(self, samples: Sequence[LagSample]) -> bool:
        """Return whether the last interval's input is a spike compared with those before."""
        inputs = [
            ((after.high or 0) - (before.high or 0)) / max(after.time - before.time, 1e-9)
            for before, after in pairwise(samples)
        ]
        earlier = inputs[: 1 - _TREND]
        return bool(earlier) and inputs[-1] > self._rules.spike * statistics.median(earlier)

    def _stays(self, samples: Sequence[LagSample]) -> bool:
        """Return whether a lag of more than an interval's work does not shrink over the window."""
        rate = committed_rate(samples)
        if len(samples) <= self._rules.window or not rate:
            return False
        much = all(each.to_stable / rate > self._rules.interval for each in samples)
        return much and samples[-1].to_stable >= _CONSTANT * samples[0].to_stable


def committed_rate(samples: Sequence[LagSample]) -> float | None:
    """Return the records per second by which the group moved; None with fewer than two samples."""
    if not samples or samples[-1].time <= samples[0].time:
        return None
    moved = samples[-1].next_offset - samples[0].next_offset
    return max(moved, 0) / (samples[-1].time - samples[0].time)


def _settled(samples: Sequence[LagSample]) -> list[LagSample]:
    """Return the first sample, and those in which the group moved or had nothing to read."""
    return [samples[0]] + [
        after
        for before, after in pairwise(samples)
        if after.committed != before.committed or after.to_stable == 0
    ]


def _ordered(samples: Sequence[LagSample]) -> bool:
    """Return whether the lag of enough samples ascends."""
    lags = [each.to_stable for each in samples]
    return len(lags) >= _TREND and all(low < high for low, high in pairwise(lags))
