"""Thresholds of the calibrated detector, from a table of simulated null streams.

A threshold belongs to a correlation ``phi``, a reference length and a run length. The table has
what ``bench/drift_thresholds/simulation.py`` simulates: null streams with a fresh reference each,
so the uncertainty of a short reference widens the null. That of a season does, too: it is small in
each hour, but the error of a day's effect lasts for a day, and a detector adds it up. For streams
with a season, the table has by which share thresholds exceed those of the same noise without one:
the *excess*.

``thresholds.json`` is made once by ``python -m bench.drift_thresholds.tabulate``.
"""

import functools
import json
from pathlib import Path
from typing import Final

import numpy as np

from stream_scorer.drift.detection.shifts import shift_kernels
from stream_scorer.drift.detection.shifts.autoregression import Autoregression
from stream_scorer.ports import Float64, Int64

BLOCK: Final = 400
"""Steps of a block; run lengths are much longer."""
_TABLE: Final = Path(__file__).with_name("thresholds.json")


def first_state(fit: Autoregression) -> Float64:
    """Return the detector's state directly after the reference: float64[streams, WIDTH]."""
    state = np.zeros((len(fit.phi), shift_kernels.WIDTH))
    state[:, shift_kernels.BEFORE_COUNT] = fit.count
    state[:, shift_kernels.BEFORE_SUM] = fit.total
    state[:, shift_kernels.PREVIOUS] = fit.last
    return state


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
