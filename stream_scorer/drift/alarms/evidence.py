"""What the evidence for a change means: how near an alarm is, and how likely a false one is."""

import math

import numpy as np

from stream_scorer.drift.alarms.family import GUARANTEED_SHARE, ChangeFound, Family
from stream_scorer.drift.alarms.nulls import Float64
from stream_scorer.drift.alarms.stream_thresholds import thresholds_of


def nearness(family: Family) -> tuple[Float64, Float64]:
    """Return two float64[k], from 0 to 1: how much of the evidence for an alarm is there.

    The first is of the guaranteed detectors, as a share of the logarithm that an alarm needs, and
    NaN for streams without one. The second is of the calibrated detectors.
    """
    nulls = family.nulls
    mine = nulls.guaranteed
    found = np.full(len(nulls), np.nan)
    share = nulls.share[mine] / nulls.share[mine].sum()
    needed = np.log(family.run_length / GUARANTEED_SHARE / share)
    found[mine] = np.clip(family.log_evidence[mine] / needed, 0.0, 1.0)
    return found, family.calibrated


def guaranteed_error(family: Family, found: ChangeFound) -> float | None:
    """Return a bound of the expected number of false alarms with as much evidence in F windows.

    It is a bound of the probability of one, too.

    The family's sum of w(j) M(j) exceeds its number of windows by 0 on average, so it reaches c
    within F windows with a probability of at most F / c. An alarm needs a sum of F / g, where g is
    the share of the budget.

    Args:
        family: The detectors.
        found: What fired, in the guaranteed class.

    Returns:
        At most the share of the budget; None if only the calibrated detector fired.
    """
    if found.detector != "e_detector":
        return None
    nulls = family.nulls
    share = float(nulls.share[found.stream] / nulls.share[nulls.guaranteed].sum())
    least = math.log(family.run_length / GUARANTEED_SHARE)
    reached = max(math.log(share) + found.log_evidence, least)
    return math.exp(math.log(family.run_length) - reached)


def calibrated_error(family: Family, found: ChangeFound) -> float | None:
    """Return the expected number of false alarms with as much evidence in F windows, as calibrated.

    It is of all streams, and not a probability.

    A threshold grows by about the logarithm of the run length. So the run length of the evidence
    that was found follows from the thresholds of a stream's run length and of twice as much.

    Args:
        family: The detectors.
        found: What fired.

    Returns:
        At most the share of the budget; None if only the guaranteed detector fired.
    """
    if found.calibrated is None:
        return None
    nulls = family.nulls
    once, twice = (
        float(thresholds_of(nulls, factor * family.calibrated_length)[found.stream])
        for factor in (1.0, 2.0)
    )
    # The table ends at some run length: then nothing is claimed for more evidence.
    doublings = max(found.calibrated - once, 0.0) / (twice - once) if twice > once else 0.0
    return (1 - family.guaranteed_share) * 2.0 ** -min(doublings, 1_000.0)
