"""The loss of good days: its mean and how high that may truly be, its memory, its noise.

Frauds come in bursts of weeks, so the days are not independent: four weeks of days say less about
the mean than 28 independent ones. So the upper bound of the mean is the largest of two. The first
is Student's bound of the means of weeks. The second inflates the days' variance by their
autocorrelation. It must be at least that of a burst which lasts as long as the reference is.
"""

import math
from typing import Final

from scipy.stats import chi2, t

from stream_scorer.performance.measures.contract import Float64
from stream_scorer.performance.warning.contract import LossReference

LEARNING_DAYS: Final = 28
"""Days of a version's own losses from which its reference is learned."""
_WEEK: Final = 7
_CONFIDENCE: Final = 0.99
_MOST_PHI: Final = 0.9
_LEAST_SCALE: Final = 1e-9


def learn(losses: Float64, most: float, single: float) -> LossReference:
    """Return the reference of some days.

    Days without any loss do not show that there will be none. So the bound of the mean has room for
    as many decisions of the largest cost as may have been missing by chance. If losses come one by
    one, the variance of a day is at most mean x ``single``; the scale is at least half of the root
    of that.

    Args:
        losses: float64[d], losses of consecutive days, 14 or more.
        most: The largest cost, in units of the currency.
        single: The loss of a day on which one decision has the largest cost, and others have none.
    """
    days = len(losses)
    mean = float(losses.mean())
    away = losses - mean
    variance = float((away**2).mean())
    phi = float((away[1:] * away[:-1]).sum() / max((away**2).sum(), _LEAST_SCALE**2))
    # The usual estimate is too low by about (1 + 3 phi) / days.
    phi = min(max(phi + (1 + 3 * max(phi, 0.0)) / days, 0.0), _MOST_PHI)
    noise = away[1:] - phi * away[:-1]
    # An upper bound of the standard deviation: the sample's may be too low by chance.
    degrees = days - 2
    scale = math.sqrt(float((noise**2).sum()) / float(chi2.ppf(1 - _CONFIDENCE, degrees)))
    weeks = losses[days % _WEEK :].reshape(-1, _WEEK).mean(axis=1)
    by_weeks = float(t.ppf(_CONFIDENCE, len(weeks) - 1)) * weeks.std(ddof=1) / len(weeks) ** 0.5
    inflated = variance * (1 + phi) / (1 - phi) / days
    by_days = float(t.ppf(_CONFIDENCE, max(days * (1 - phi) / (1 + phi) - 1, 2))) * inflated**0.5
    high = mean + max(by_weeks, by_days, -math.log(1 - _CONFIDENCE) * single / days)
    least = math.sqrt(high * single) / 2
    return LossReference(mean, high, phi, max(scale, least, _LEAST_SCALE), days, most)
