"""Thresholds of the calibrated detector, from simulated null streams.

A threshold belongs to a correlation ``phi``, an effective reference length and a run length. Null
streams are simulated as the detector meets them: a fresh reference for each, an autoregression
fitted to it, and then steps without a change (a sieve; Bühlmann, "Sieve bootstrap for time series",
1997). So the uncertainty of a short reference widens the null. That of a season does, too: it is
small in each hour, but the error of a day's effect lasts for a day, and a detector adds it up. For
streams with a season, the simulated reference has one that is fitted and subtracted, and what the
thresholds then exceed those of the same noise without one is the *excess*. The highest evidence of
each block
of steps gives the rate of alarms at every threshold; beyond what was simulated, the rate decreases
exponentially, as for every generalised likelihood ratio (Siegmund and Venkatraman, "Using the
generalized likelihood ratio statistic for sequential detection of a change-point", 1995).

``thresholds.json`` is made once by ``python -m stream_scorer.drift.detection.shifts.tabulate``.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stream_scorer.drift.detection.shifts import autoregression, null_kernels, shift_kernels
from stream_scorer.drift.detection.shifts.season import (
    HOURS_PER_DAY,
    HOURS_PER_WEEK,
    fit_season,
)
from stream_scorer.ports import Float64, Int64

BLOCK: Final = 400
"""Steps of a block; run lengths are much longer."""
_TAIL_SHARE: Final = 0.01
"""Share of the highest blocks from which the tail is extrapolated."""
_WARM_UP: Final = 300
_GROUPS, _STREAMS, _STEPS, _LONGEST, _SEED = 6, 1_000, 4_000, 4_000, 20_260_102
_STRONG: Final = 100.0
"""Difference of successive effects of a simulated season: so large that none of it is shrunk."""
_TABLE: Final = Path(__file__).with_name("thresholds.json")


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """How often evidence passes high levels: a share of ``share`` of the blocks passes ``level``.

    Attributes:
        level: Evidence where the exponential part begins.
        share: Share of the blocks that pass it.
        scale: Decrease of the logarithm of the share is 1 / scale per unit of evidence.
    """

    level: float
    share: float
    scale: float

    def threshold(self, run_length: float) -> float:
        """Return the evidence that a null stream passes once in ``run_length`` steps."""
        share = -np.expm1(-BLOCK / run_length)
        return self.level + self.scale * float(np.log(self.share / share))


def tail_of(highest: Float64) -> Tail:
    """Return the tail of blocks' highest evidence.

    Args:
        highest: float64[blocks] in any order; more than 1,000.
    """
    ordered = np.sort(highest, axis=None)
    count = int(_TAIL_SHARE * len(ordered))
    level = ordered[-count - 1]
    return Tail(float(level), count / len(ordered), float((ordered[-count:] - level).mean()))


def simulate(
    phi: Float64, length: int, steps: int, generator: np.random.Generator, *, seasonal: bool = False
) -> Float64:
    """Return the highest evidence of each block of simulated null streams.

    Args:
        phi: float64[streams], correlation of successive values.
        length: Steps of each stream's reference.
        steps: Steps after it.
        generator: Source of randomness.
        seasonal: Whether the streams have a season, which is fitted to the reference; the noise is
            the same.

    Returns:
        float64[blocks, streams].
    """
    values = generator.standard_normal((_WARM_UP + length + steps, len(phi)))
    for at in range(1, len(values)):
        values[at] += phi * values[at - 1]
    values = values[_WARM_UP:]
    fitted: Float64 | float = 1.0
    added: Float64 | float = 0.0
    if seasonal:
        hour = np.arange(len(values)) % HOURS_PER_WEEK
        values += _STRONG * (hour % HOURS_PER_DAY + hour // HOURS_PER_DAY)[:, None]
        season = fit_season(values[:length], hour[:length])
        values -= season.effect[hour]
        fitted, added = season.fitted, season.added
    fit = autoregression.fit(values[:length], fitted=fitted, added=added, shrink=False)
    highest = np.full((steps // BLOCK, len(phi)), -1.0)
    null_kernels.maxima(
        values[length:], fit.phi, fit.sigma, fit.count[0], fit.total.copy(), fit.last.copy(), BLOCK,
        highest,
    )  # fmt: skip
    return highest


def first_state(fit: autoregression.Autoregression) -> Float64:
    """Return the detector's state directly after the reference: float64[streams, WIDTH]."""
    state = np.zeros((len(fit.phi), shift_kernels.WIDTH))
    state[:, shift_kernels.BEFORE_COUNT] = fit.count
    state[:, shift_kernels.BEFORE_SUM] = fit.total
    state[:, shift_kernels.PREVIOUS] = fit.last
    return state


def calibrate(phi: Float64, length: Float64, run_length: float | Float64) -> Float64:
    """Return thresholds without the table, simulated for these streams; it takes a few seconds.

    Streams of similar correlation share a simulation, which takes the highest correlation and the
    shortest reference among them: both are on the safe side.

    Args:
        phi: float64[streams], correlation of successive values.
        length: float64[streams], effective length of the references in steps.
        run_length: Steps between two false alarms, for each stream.
    """
    apart = np.broadcast_to(np.asarray(run_length, float), phi.shape)
    found = np.empty(len(phi))
    order = np.argsort(phi)
    for number, group in enumerate(np.array_split(order, min(_GROUPS, len(phi)))):
        reference = int(min(length[group].min(), _LONGEST))
        generator = np.random.default_rng([_SEED, number])
        correlation = np.full(_STREAMS, max(phi[group].max(), 0.0))
        tail = tail_of(simulate(correlation, reference, _STEPS, generator))
        found[group] = [tail.threshold(steps) for steps in apart[group]]
    return found


@functools.cache
def _table() -> tuple[Float64, Float64, Float64]:
    """Return correlations, lengths, and [phi, length, 3]: level, log share, scale of the tails."""
    document = json.loads(_TABLE.read_text())
    tails = np.array(document["tails"])
    tails[..., 1] = np.log(tails[..., 1])
    return np.array(document["phi"]), np.array(document["length"]), tails


@functools.cache
def _seasons() -> tuple[Float64, Float64, Float64]:
    """Return correlations, weeks, and float64[phi, weeks], the excess as a share of a threshold."""
    document = json.loads(_TABLE.read_text())
    return np.array(document["phi"]), np.array(document["weeks"]), np.array(document["excess"])


def seasonal_excess(phi: Float64, weeks: Float64) -> Float64:
    """Return float64[streams], the excess of thresholds for a season, as a share of them.

    It is inversely proportional to the weeks beyond the table's.

    Args:
        phi: float64[streams], correlation of successive values.
        weeks: float64[streams], weeks that each season was fitted to; infinite for none.
    """
    correlations, known, excess = _seasons()
    row, across = _between(correlations, phi)
    inside = np.clip(weeks, known[0], known[-1])
    column, down = _between(-1.0 / known, -1.0 / inside)
    low = excess[row, column] * (1 - down) + excess[row, column + 1] * down
    high = excess[row + 1, column] * (1 - down) + excess[row + 1, column + 1] * down
    return (low * (1 - across) + high * across) * inside / weeks


def look_up(phi: Float64, length: Float64, run_length: float | Float64) -> Float64:
    """Return thresholds, interpolated between the table's correlations and lengths.

    A correlation below the table's lowest takes that one's, and a length above the longest takes
    the longest's: both are on the safe side.

    Args:
        phi: float64[streams], correlation of successive values.
        length: float64[streams], effective length of the references in steps.
        run_length: Steps between two false alarms, for each stream.

    Raises:
        ValueError: A reference is shorter than the table's shortest, or a correlation is above its
            highest.
    """
    correlations, lengths, tails = _table()
    if (length < lengths[0]).any():
        raise ValueError(f"a reference needs an effective length of {lengths[0]:.0f} steps")
    if (phi > correlations[-1]).any():
        raise ValueError(f"a correlation above {correlations[-1]} is not tabulated")
    share = -np.expm1(-BLOCK / np.asarray(run_length, float))
    grid = tails[..., 0] + tails[..., 2] * (tails[..., 1] - np.log(share)[..., None, None])
    grid = np.broadcast_to(grid, (len(phi), *tails.shape[:2]))
    row, across = _between(correlations, phi)
    # The excess over the longest reference's threshold is inversely proportional to the length.
    column, down = _between(-1.0 / lengths, -1.0 / length)
    each = np.arange(len(phi))
    low = grid[each, row, column] * (1 - down) + grid[each, row, column + 1] * down
    high = grid[each, row + 1, column] * (1 - down) + grid[each, row + 1, column + 1] * down
    return low * (1 - across) + high * across


def _between(points: Float64, values: Float64) -> tuple[Int64, Float64]:
    """Return the number of the point at or below each value, and the share of the way to the next.

    Args:
        points: float64[n], ascending.
        values: float64[m]; outside the points, the nearest point is taken.
    """
    at = np.clip(np.searchsorted(points, values, "right") - 1, 0, len(points) - 2)
    share = (values - points[at]) / (points[at + 1] - points[at])
    return at, np.clip(share, 0.0, 1.0)
