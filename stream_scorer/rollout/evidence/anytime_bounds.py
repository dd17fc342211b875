"""Evidence that two arms differ, valid at every look although a customer's events are correlated.

The unit is the hash bucket. The salt orders the buckets; bucket j of the canary and bucket j of the
control slice are a pair. If the arm makes no difference, the salt could equally have swapped the
two. So given the data of both buckets, *before, now and later*, a fair coin per pair determines
which of them is the canary's. At one look, the difference D_j of a pair, without the hypothesised
effect, therefore has a random sign, and

    E = mean over s of  prod over j of  exp(s D_j) / cosh(s D_j)

has expectation 1 for any scales s that are independent of the coins: (e^x + e^-x) / 2 cosh x = 1.
No distribution and no bound is assumed. (Sign symmetry: de la Peña, "A general class of exponential
inequalities", 1999, with the smaller exp(s D - s^2 D^2 / 2); mixtures over s: Robbins, 1970; tests
by betting: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform Chernoff bounds", 2020; Waudby-Smith
and Ramdas, "Estimating means of bounded random variables by betting", 2024.)

Successive looks see the same coins, because heavy customers stay heavy. So their evidence must not
be multiplied. It is added, with weights that sum to 1. The sum never decreases, and the expectation
of its limit is at most 1. So it is an e-process under any dependence (Vovk and Wang, "E-values:
calibration, combination and applications", 2021). The only requirement is that the arms do not
determine *when* the looks are taken.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

GROWTH: Final = 1.2
"""A look is due when the number of decisions has grown by this factor since the look before."""
_HEAD: Final = 10
_SCALES: Final = 2.0 ** np.arange(1, -9, -1)
_FARTHEST: Final = 2.0**40
_EXACT: Final = 1e-3
_ROUNDING: Final = 1e-9
"""Relative size below which a difference counts as rounding; any harm is far larger."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Sums and counts of m pairs of units, each since it joined, in the order in which pairs join.

    Attributes:
        canary: float64[m], sum of what is compared (alerts, amounts, costs) for the canary's unit.
        control: float64[m], the same for the control's.
        canary_count: float64[m], the denominator for the canary's unit: events, or rows.
        control_count: float64[m], the same for the control's.
        stage: int64[m], ascending: the stage of the ramp at which the pair joined.

    Raises:
        ValueError: Lengths differ, stages descend, or a number is not finite.
    """

    canary: Float64
    control: Float64
    canary_count: Float64
    control_count: Float64
    stage: Int64

    def __post_init__(self) -> None:
        columns = (self.canary, self.control, self.canary_count, self.control_count)
        if any(column.shape != self.stage.shape for column in columns):
            raise ValueError("sample: columns differ in length")
        if not all(np.isfinite(column).all() for column in columns):
            raise ValueError("sample: a sum or count is not finite")
        if (np.diff(self.stage) < 0).any():
            raise ValueError("sample: stages must ascend, pairs stand in the order they joined in")

    def __len__(self) -> int:
        return len(self.stage)

    @property
    def rates(self) -> tuple[float, float]:
        """Sum per count of canary and control; NaN where the count is 0."""
        sums = (self.canary.sum(), self.control.sum())
        counts = (self.canary_count.sum(), self.control_count.sum())
        canary, control = (
            float(s / n) if n > 0 else math.nan for s, n in zip(sums, counts, strict=True)
        )
        return canary, control

    def swapped(self) -> "Sample":
        """Return the sample with the arms' names exchanged."""
        return Sample(self.control, self.canary, self.control_count, self.canary_count, self.stage)

    def scaled(self, factor: float) -> "Sample":
        """Return the sample with the canary's sums times ``factor``."""
        return replace(self, canary=self.canary * factor)

    def shifted(self, per_count: float) -> "Sample":
        """Return the sample with ``per_count`` added to the canary's sums for each count."""
        return replace(self, canary=self.canary + per_count * self.canary_count)

    def counts(self) -> "Sample":
        """Return the sample that compares the counts themselves, per pair."""
        ones = np.ones(len(self))
        return Sample(self.canary_count, self.control_count, ones, ones, self.stage)


def look_number(decisions: int, first: int) -> int:
    """Return how many looks are due: one at ``first`` decisions, each next at GROWTH times more.

    Args:
        decisions: Of all arms since the rollout began. If one arm's decisions were counted, the
            arms would determine when the looks are taken.
        first: Number of decisions at the first look, at least 1.

    >>> look_number(999, 1_000), look_number(1_000, 1_000), look_number(1_500, 1_000)
    (0, 1, 3)
    """
    if decisions < first:
        return 0
    return 1 + int(math.log(decisions / first) / math.log(GROWTH) + 1e-9)


def weight(look: int) -> float:
    """Return the weight of a look's evidence; the weights of looks 1, 2, 3, ... sum to 1.

    >>> round(weight(1), 3), round(sum(map(weight, range(1, 100_000))), 3)
    (0.091, 1.0)
    """
    return _HEAD / ((look + _HEAD - 1) * (look + _HEAD))


def differences(sample: Sample, around: Sample | None = None) -> Float64:
    """Return float64[m]: the excess of each pair's canary over its control, given their counts.

    D = (x_canary - r n_canary) - (x_control - r n_control) with the pooled rate r, as for ratios of
    sums (the delta method; Deng, Knoblich, Lu, "Applying the delta method in metric analytics",
    2018). r is pooled over the pairs that joined up to the pair's own stage. So it does not change
    when a pair's arms are swapped, and does not depend on pairs that joined later.

    Args:
        sample: The pairs.
        around: A sample with the same counts, from which r is taken; None: ``sample``.
    """
    pooled = sample if around is None else around
    total = np.cumsum(pooled.canary + pooled.control)
    count = np.cumsum(pooled.canary_count + pooled.control_count)
    rate = np.zeros(len(sample))
    for members in _stages(sample.stage):
        if count[members.stop - 1] > 0:
            rate[members] = total[members.stop - 1] / count[members.stop - 1]
    expected_canary, expected_control = rate * sample.canary_count, rate * sample.control_count
    found = (sample.canary - expected_canary) - (sample.control - expected_control)
    # Rounding errors of the sums count as 0, because the scales would magnify them.
    size = np.abs(sample.canary) + np.abs(sample.control)
    size += np.abs(expected_canary) + np.abs(expected_control)
    return np.where(np.abs(found) > _ROUNDING * size, found, 0.0)


def log_evidence(difference: Float64, stage: Int64) -> float:
    """Return log E of "differences are above 0" at one look.

    The unit of the scales is the root mean square of the first stage that has a difference. So the
    bets of a stage do not depend on its own or later coins.

    Args:
        difference: float64[m]; under the hypothesis, each could equally likely have the opposite
            sign.
        stage: int64[m], ascending.
    """
    return _log_mean_bet(difference, _unit(difference, stage))


def log_evidence_either(difference: Float64, stage: Int64) -> float:
    """Return log E of "differences are above 0, or below": the mean of both sides' evidence."""
    unit = _unit(difference, stage)
    return _log_mean(np.array([_log_mean_bet(difference, unit), _log_mean_bet(-difference, unit)]))


def effective_pairs(difference: Float64) -> float:
    """Return the effective number of pairs: (sum D^2)^2 / sum D^4; m for m equal differences.

    >>> effective_pairs(np.array([1.0, -1.0, 1.0])), effective_pairs(np.array([1.0, 0.0, 0.0]))
    (3.0, 1.0)
    """
    largest = float(np.abs(difference).max(initial=0.0))
    if largest == 0:
        return 0.0
    squares = (difference / largest) ** 2
    return float(squares.sum() ** 2 / (squares**2).sum())


def least_effect(sample: Sample, bound: float, around: Sample | None = None) -> float:
    """Return the lower bound of the effect: the largest one that the evidence refutes.

    The effect is control rate - canary rate: a benefit if the sums are costs. To test an effect of
    t, t per count is added to the canary's sums. Rate and scales stay those of ``sample``, so that
    the evidence decreases as t grows, and there is one root.

    Args:
        sample: Shifted by the effect for which the bound must be exact.
        bound: log E from which a hypothesis is refuted.
        around: Where ``sample`` has bounds in place of sums (the highest that is possible for the
            canary, the lowest for the control): their middle, which does not depend on which side
            is the canary's. Rate and scales are taken from it. So log E is at most that of the true
            sums, and the bound holds for them. None: ``sample``.

    Returns:
        t with log E = bound, relative to that shift, within a thousandth of its standard deviation;
        -inf if no effect is refuted.
    """
    difference = -differences(sample, around)
    unit = _unit(difference if around is None else differences(around), sample.stage)
    told = (difference != 0) | (sample.canary_count > 0)
    difference, counts = difference[told], sample.canary_count[told]
    total = float(counts.sum())
    if total == 0 or unit == 0:
        return -math.inf

    def refuted(effect: float) -> bool:
        return _log_mean_bet(difference - effect * counts, unit) >= bound

    spread = math.sqrt(float((difference**2).sum())) / total
    low = high = float(difference.sum()) / total
    step = spread
    while not refuted(low):
        high, low, step = low, low - step, 2 * step
        # At so many deviations all pairs have the same sign: there are too few of them.
        if step > _FARTHEST * spread:
            return -math.inf
    while high - low > _EXACT * spread:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _stages(stage: Int64) -> Iterator[slice]:
    """Yield the slice of each stage's pairs."""
    edges = np.flatnonzero(np.diff(stage)) + 1
    starts = [0, *edges.tolist(), len(stage)] if len(stage) else [0]
    for first, stop in pairwise(starts):
        yield slice(first, stop)


def _unit(difference: Float64, stage: Int64) -> float:
    """Return the root mean square of the first stage that has a difference, else 0."""
    for members in _stages(stage):
        largest = float(np.abs(difference[members]).max(initial=0.0))
        if largest > 0:
            return largest * math.sqrt(float(((difference[members] / largest) ** 2).mean()))
    return 0.0


def _log_mean_bet(difference: Float64, unit: float) -> float:
    """Return the log of the mean over the scales of prod exp(s D) / cosh(s D)."""
    if unit == 0:
        return 0.0
    bets = _SCALES[:, None] * (difference / unit)
    # exp(x) / cosh(x) = 2 / (1 + exp(-2x)); logaddexp does not overflow.
    return _log_mean((math.log(2) - np.logaddexp(0.0, -2 * bets)).sum(axis=1))


def _log_mean(logs: Float64) -> float:
    largest = float(logs.max())
    return largest + math.log(float(np.exp(logs - largest).mean()))
