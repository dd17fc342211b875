"""Simulated null streams: how often the calibrated detector's evidence passes which level.

Streams are simulated as the detector meets them: a fresh reference for each, an autoregression
fitted to it, and then steps without a change (a sieve; Bühlmann, "Sieve bootstrap for time series",
1997). For streams with a season, the reference has one that is fitted and subtracted. The highest
evidence of each block of steps gives the rate of alarms at every threshold; beyond what was
simulated, the rate decreases exponentially, as for every generalised likelihood ratio (Siegmund and
Venkatraman, "Using the generalized likelihood ratio statistic for sequential detection of a
change-point", 1995).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.drift_thresholds import null_kernels
from bench.drift_thresholds.season import HOURS_PER_DAY, HOURS_PER_WEEK, fit_season
from stream_scorer.drift.detection.shifts import autoregression
from stream_scorer.drift.detection.shifts.thresholds import BLOCK
from stream_scorer.ports import Float64

_TAIL_SHARE: Final = 0.01
"""Share of the highest blocks from which the tail is extrapolated."""
_WARM_UP: Final = 300
_GROUPS, _STREAMS, _STEPS, _LONGEST, _SEED = 6, 1_000, 4_000, 4_000, 20_260_102
_STRONG: Final = 100.0
"""Difference of successive effects of a simulated season: so large that none of it is shrunk."""


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
