"""What k streams are without a change, as arrays, and which promise holds for each of them.

The last stream is the fleet: the median of the other streams' standardised levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import ALL, StreamKey
from stream_scorer.models.reference.contract import StreamReference

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

FLEET: Final = StreamKey("fleet", "median", ALL)
"""Name of the stream of the median."""
SCORES: Final = ("score", "outcome")
"""Fields whose changes are what the alarms are for."""
RELATIVE: Final = 0.1
"""Change of a score or an outcome rate that does not matter, as a share of its mean."""
RATE_LEAST: Final = 0.005
"""Change of a rate or a share that never matters."""
FLEET_TOLERANCE: Final = 0.25
"""Change of the median that does not matter, in standard deviations of a stream."""
_WEIGHTS: Final = {"score": 8.0, "outcome": 8.0, "amount": 4.0, "segment": 1.0, "fleet": 8.0}
_RATE_WEIGHT: Final = 2.0
_LEVEL_WEIGHT: Final = 1.0
_PHI_MOST: Final = 0.95
"""Largest autocorrelation that the thresholds are made for."""
_WHITE: Final = 2.0
"""An autocorrelation up to so many standard errors counts as none."""
_WINDOWS_LEAST: Final = 50
"""Minimum number of windows of a reference for the calibrated promise."""
_BAND_LEAST_WINDOWS: Final = 168
"""Minimum number of windows of a reference for the guaranteed promise. With fewer, the error of a
mean is itself not known, so that its band holds less often than it says: all of 100 bands of 13
windows hold in 65 % of references, and not in 95 %."""
_NOISE_MOST: Final = 0.5
"""Largest variance of a season's error that is believed, as a share of that of an observation."""
_BAND_LEAST: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Nulls:
    """The nulls of k streams, the fleet included.

    Attributes:
        keys: Names of the streams; the last is :data:`FLEET`.
        mean: float64[k], without the season.
        low: float64[k], lowest mean of the reference's band.
        high: float64[k], highest mean of it.
        delta: float64[k], change that does not matter, in the unit of the value.
        scale: float64[k], standard deviation of an observation; 1 for a stream that never varied.
        phi: float64[k], correlation of successive observations.
        noise: float64[k], standard deviation of a new observation, as a factor of ``scale``: the
            season's error is added to it, and was taken from the reference's own observations.
        weeks: float64[k], weeks that the season was fitted to; infinite without one.
        windows: int64[k], observations of the reference.
        typical: float64[k], mean number of rows of an observation there; 0 for the fleet.
        share: float64[k], share of the budget; their sum is 1.
        classes: Why the guaranteed promise does not hold for a stream; empty if it holds. It says
            so if the calibrated one does not hold, either.
        calibrated: bool[k], whether the calibrated promise holds.
        level: bool[k], whether the stream is a part of the fleet's median.
    """

    keys: tuple[StreamKey, ...]
    mean: Float64
    low: Float64
    high: Float64
    delta: Float64
    scale: Float64
    phi: Float64
    noise: Float64
    weeks: Float64
    windows: Int64
    typical: Float64
    share: Float64
    classes: tuple[str, ...]
    calibrated: Bool
    level: Bool

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def watched(self) -> Bool:
        """bool[k], whether a promise holds: only then can a stream alarm."""
        return self.guaranteed | self.calibrated

    @property
    def guaranteed(self) -> Bool:
        """bool[k], whether the guaranteed promise holds."""
        return np.array([not each for each in self.classes], np.bool_)


def nulls_of(streams: Sequence[StreamReference], tolerance: float) -> Nulls:
    """Return the nulls of some streams and of their median.

    Args:
        streams: Their references.
        tolerance: Change of a feature that does not matter, in standard deviations.
    """
    mean, low, high, spread, phi = (
        np.array([getattr(each, name) for each in streams] + [fleet])
        for name, fleet in (
            ("mean", 0.0), ("low", 0.0), ("high", 0.0), ("scale", 1.0), ("phi", 0.0),
        )
    )  # fmt: skip
    varies = spread > 0
    scale = np.where(varies, spread, 1.0)
    windows = np.array([each.windows for each in streams] + [0])
    noise = np.array([_noise(each) for each in streams] + [1.0])
    weeks = np.array([_weeks(each) for each in streams] + [np.inf])
    phi = np.clip(phi, 0.0, _PHI_MOST)
    level = np.array([each.key.measure == "level" for each in streams] + [False]) & varies
    if level.any():
        # The median of correlated streams varies no more than one of them.
        phi[-1], windows[-1] = np.median(phi[level]), int(np.median(windows[level]))
    typical = np.array([each.rows / max(each.windows, 1) for each in streams] + [0.0])
    keys = (*(each.key for each in streams), FLEET)
    delta = np.array(
        [_delta(each, tolerance) for each in streams] + [FLEET_TOLERANCE], dtype=np.float64
    )
    weights = np.array([_weight(key) for key in keys])
    classes = (*map(guaranteed_class, streams), "not in the class: a median")
    calibrated = varies & (windows >= _WINDOWS_LEAST)
    return Nulls(
        keys, mean, low, high, delta, scale, phi, noise, weeks, windows, typical,
        weights / weights.sum(),
        tuple(map(_class_of, classes, calibrated.tolist(), varies.tolist())), calibrated, level,
    )  # fmt: skip


def guaranteed_class(stream: StreamReference) -> str:
    """Return why the guaranteed promise does not hold for a stream; empty if it does.

    The class: each value is from 0 to 1, and its conditional mean, given all earlier ones, stays
    within the tolerance of the reference's band. Rows within a window may depend on each other in
    any way, and so may streams.
    """
    if stream.season is not None and not stream.season.flat:
        return "not in the class: season"
    if abs(stream.phi) * np.sqrt(max(stream.windows, 1)) > _WHITE:
        return f"not in the class: AR(1), correlation {stream.phi:.2f}"
    if stream.windows < _BAND_LEAST_WINDOWS:
        return f"not in the class: fewer than {_BAND_LEAST_WINDOWS} windows"
    if not 0 <= stream.mean <= 1:
        return "not in the class: a mean outside of 0 to 1"
    return ""


def _class_of(reason: str, calibrated: bool, varies: bool) -> str:  # noqa: FBT001 columns
    if not reason or calibrated:
        return reason
    why = f"fewer than {_WINDOWS_LEAST} windows" if varies else "it never varied"
    return f"cannot alarm: {why}; {reason}"


def band_with_tolerance(low: Float64, high: Float64, delta: Float64) -> Float64:
    """Return float64[2, k], the band within which a mean does not matter, inside (0, 1)."""
    return np.clip([low - delta, high + delta], _BAND_LEAST, 1 - _BAND_LEAST)


def _weeks(stream: StreamReference) -> float:
    return np.inf if stream.season is None or stream.season.flat else stream.season.weeks


def _noise(stream: StreamReference) -> float:
    """Return the standard deviation of a new observation, as a factor of the reference's.

    With an error of the season of variance e, the reference's observations have the variance v - e
    and new ones v + e.
    """
    if stream.season is None or not stream.scale:
        return 1.0
    error = (stream.season.error / stream.scale) ** 2
    return float(np.sqrt(1 + 2 * min(error, _NOISE_MOST)))


def _delta(stream: StreamReference, tolerance: float) -> float:
    if stream.key.field in SCORES and stream.key.measure not in ("missing", "tail", "out_of_range"):
        return RELATIVE * abs(stream.mean)
    least = 0.0 if stream.key.measure == "level" else RATE_LEAST
    return max(tolerance * stream.scale, least)


def _weight(key: StreamKey) -> float:
    """Return a stream's weight: heavy for what alarms are for, light for what only explains."""
    if key.field in _WEIGHTS and key.segment == ALL:
        return _WEIGHTS[key.field]
    return _LEVEL_WEIGHT if key.measure == "level" or key.segment != ALL else _RATE_WEIGHT
