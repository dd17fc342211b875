"""The monitor's own detectors for simulated streams, in place of a version's windows.

What the monitor does with the values of a model version is done here with simulated ones: their
references, nulls, family, fleet, and what follows an alarm. Only the values are the bench's, and
how many of them are a reference, at first and after an alarm.
"""

from typing import Final

import numpy as np

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.nulls import nulls_of
from stream_scorer.drift.alarms.stream_changes import StreamChanges
from stream_scorer.drift.detection.shifts.detector import Alarms, Detector
from stream_scorer.models.reference.bands import (
    error_of_mean,
    quantile_of,
    reach_of,
    spread_of,
    wander_of,
)
from stream_scorer.models.reference.build import ETA
from stream_scorer.models.reference.contract import FleetReference, Season, StreamReference
from stream_scorer.models.reference.fleet import fleet_of
from stream_scorer.models.reference.season import expected, fit_season
from stream_scorer.ports import Float64

HOUR_MS: Final = 3_600_000
_ROWS: Final = 1_000
"""Rows of each window: enough that none is pooled."""
_MONDAY: Final = 96
"""Hours from the epoch to the first Monday, at which the values begin."""
_UNIT: Final = 20.0
"""A watched value is from 0 to 1; so many standard deviations are 1."""
_FLAT: Final = Season(np.zeros(24), np.zeros(7), np.empty(0), 8.0, 0.0)


def references_of(
    values: Float64, *, seasonal: bool
) -> tuple[list[StreamReference], float, FleetReference | None]:
    """Return the references of k streams, their tolerance, and the reference of their median.

    Args:
        values: float64[n, k], hour by hour from a Monday.
        seasonal: Whether a season is fitted.
    """
    hours, streams = np.arange(len(values)), values.shape[1]
    days, quantile = hours // 24, quantile_of(ETA, streams)
    rows = np.full(len(values), _ROWS)
    found = []
    standard = np.empty_like(values)
    for number in range(streams):
        season = fit_season(values[:, number], _MONDAY + hours, rows) if seasonal else _FLAT
        rest = values[:, number] - expected(season)[hours % 168]
        scale, phi = spread_of(rest)
        error, wander = (each(rest, days, scale, phi) for each in (error_of_mean, wander_of))
        reach = reach_of(quantile, error, wander, season)
        mean = float(rest.mean())
        standard[:, number] = (rest - mean) / scale
        found.append(
            StreamReference(
                StreamKey(f"f{number}", "level", "all"), mean, mean - reach, mean + reach, scale,
                phi, len(values), _ROWS * len(values), season, "",
            )
        )  # fmt: skip
    return found, 0.0, fleet_of(standard, np.ones(streams, np.bool_))


class Monitored(Detector):
    """The streams of a version, with simulated values. The last stream is the fleet.

    Args:
        reference: float64[n, k], the values before the first step.
        run_length: F, the budget in steps.
        seasonal: Whether a season is fitted to the reference.
        relearn: Observations after an alarm that a stream's next null is learned from.
    """

    def __init__(
        self, reference: Float64, run_length: float, *, seasonal: bool = False,
        relearn: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(np.zeros((reference.shape[1] + 1, 1)))
        streams, tolerance, fleet = references_of(watched(reference), seasonal=seasonal)
        nulls = nulls_of(streams, tolerance, fleet)
        more = {} if relearn is None else {"relearn": relearn}
        self.changes = StreamChanges(nulls, run_length, **more)
        self._season = np.vstack([*(expected(each.season) for each in streams), np.zeros(168)])
        self._step = len(reference)

    def update(self, values: Float64) -> Alarms:
        """Add one step.

        Args:
            values: float64[k].
        """
        season = self._season[:, self._step % 168]
        start = self._step * HOUR_MS
        self._step += 1
        found = self.changes.observe(
            np.append(watched(values), np.nan) - season, start, start + HOUR_MS, season=season
        )
        self.changes.restart(self.changes.back())
        changes = sorted((each.found for each in found), key=lambda each: each.stream)
        return Alarms(
            np.array([each.stream for each in changes], np.int64),
            np.array([each.age for each in changes], np.int64),
            np.array([each.before for each in changes]),
            np.array([each.after for each in changes]),
            np.array([each.log_evidence for each in changes]),
        )


def watched(values: Float64) -> Float64:
    """Return values as the monitor has them, from 0 to 1."""
    found: Float64 = np.clip(0.5 + values / _UNIT, 0.0, 1.0)
    return found
