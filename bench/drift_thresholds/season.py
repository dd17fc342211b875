"""The usual course of a week: an effect of the hour of the day and one of the day of the week.

Each effect is shrunk by its own F statistic, so that a short reference gives little season instead
of a wrong one (James and Stein, "Estimation with quadratic loss", 1961): an effect whose cells
differ by chance alone vanishes. From eight weeks on, what remains by hour of the week is added,
shrunk in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_scorer.ports import Float64, Int64

HOURS_PER_DAY: Final = 24
HOURS_PER_WEEK: Final = 168
INTERACTION_WEEKS: Final = 8
"""Minimum number of weeks for an effect of the hour of the week."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedSeason:
    """What is subtracted from each value by its hour of the week.

    Attributes:
        effect: float64[168, streams]; its mean over the week is 0.
        fitted: float64[streams], free numbers that were fitted to each stream, the mean included;
            a shrunk effect counts in part.
        added: float64[streams], the same numbers as they add to the variance of later values.
    """

    effect: Float64
    fitted: Float64
    added: Float64


def fit_season(values: Float64, hour: Int64) -> FittedSeason:
    """Fit the season of each stream.

    Args:
        values: float64[steps, streams], finite.
        hour: int64[steps], hour of the week, 0 to 167.

    Raises:
        ValueError: An hour is outside the week.
    """
    if len(hour) and not 0 <= hour.min() <= hour.max() < HOURS_PER_WEEK:
        raise ValueError("an hour of the week is from 0 to 167")
    every = np.arange(HOURS_PER_WEEK)
    rest = values - values.mean(0)
    effect = np.zeros((HOURS_PER_WEEK, values.shape[1]))
    fitted, added = np.ones(values.shape[1]), np.zeros(values.shape[1])
    additive = [every % HOURS_PER_DAY, every // HOURS_PER_DAY]
    noise = _noise(rest, [group[hour] for group in additive])
    groups = [(group, noise) for group in additive]
    if len(values) >= INTERACTION_WEEKS * HOURS_PER_WEEK:
        groups.append((every, _noise(rest, [every[hour]])))
    for group, inside in groups:
        cells = int(group.max()) + 1
        means, kept = _shrunk_means(rest, group[hour], cells, inside)
        effect += means[group]
        rest = rest - means[group[hour]]
        # A linear smoother that keeps a share k of each of its cells: its residuals lose 2 k - k^2
        # degrees of freedom for each, and k^2 of a cell's variance is passed on.
        fitted += (cells - 1) * (2 * kept - kept**2)
        added += (cells - 1) * kept**2
    return FittedSeason(effect - effect.mean(0), fitted, added)


def _means(values: Float64, cell: Int64) -> Float64:
    """Return float64[cells, streams], each cell's mean; 0 for an empty one."""
    counts = np.bincount(cell)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, cell, values)
    return sums / np.maximum(counts, 1)[:, None]


def _noise(values: Float64, cells: Sequence[Int64]) -> Float64:
    """Return float64[streams], the variance that cells, one division after the other, leave.

    All divisions are taken out: else a large effect of the day would be noise to that of the hour.
    """
    freedom = len(values) - 1
    for cell in cells:
        values = values - _means(values, cell)[cell]
        freedom -= len(np.unique(cell)) - 1
    left: Float64 = (values**2).sum(0) / max(freedom, 1)
    return left


def _shrunk_means(
    values: Float64, cell: Int64, cells: int, inside: Float64
) -> tuple[Float64, Float64]:  # fmt: skip
    """Return each cell's mean, times the share 1 - 1 / F that is kept, and that share.

    F compares the cells with the variance ``inside`` of them.
    """
    counts = np.bincount(cell, minlength=cells)
    means = np.zeros((cells, values.shape[1]))
    held = _means(values, cell)
    means[: len(held)] = held
    between = (counts[:, None] * means**2).sum(0) / max(int((counts > 0).sum()) - 1, 1)
    ratio = np.divide(inside, between, out=np.ones_like(between), where=between > 0)
    kept = np.clip(1 - ratio, 0.0, 1.0)
    return means * kept, kept
