"""What k streams are without a change, as arrays, and which promise holds for each of them.

The last stream is the fleet: the median of the other streams' standardised levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import ALL, StreamKey
from stream_scorer.drift.detection.shifts.autoregression import shrunk
from stream_scorer.models.reference.contract import FleetReference, StreamReference

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
"""Change of the median that never matters, in standard deviations of a stream. If a larger one does
not matter for each of the streams, it does not for their median."""
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
_KIND_LEAST: Final = 8
"""Minimum number of streams whose spreads are compared."""
_WORTH_MOST: Final = 50.0
"""Largest factor by which similar streams lengthen a reference."""


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
            That of the fleet is in standard deviations of a stream, like its values.
        phi: float64[k], correlation of successive observations.
        noise: float64[k], standard deviation of a new observation, as a factor of ``scale``: the
            season's error is added to it, and was taken from the reference's own observations. It
            is nearer to that of similar streams, as far as they differ by chance.
        weeks: float64[k], weeks that the season was fitted to; infinite without one.
        windows: int64[k], observations of the reference.
        length: float64[k], observations that ``phi`` and ``noise`` are worth: more than its own,
            where similar streams say the same.
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
    length: Float64
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


def nulls_of(
    streams: Sequence[StreamReference], tolerance: float, fleet: FleetReference | None = None
) -> Nulls:
    """Return the nulls of some streams and of their median.

    Args:
        streams: Their references.
        tolerance: Change of a feature that does not matter, in standard deviations.
        fleet: How their median varies. None is as much as one of them, which is the most.
    """
    mean, low, high, spread, phi = (
        np.array([getattr(each, name) for each in streams] + [median])
        for name, median in (
            ("mean", 0.0), ("low", 0.0), ("high", 0.0),
            ("scale", fleet.scale if fleet else 1.0), ("phi", fleet.phi if fleet else 0.0),
        )
    )  # fmt: skip
    varies = spread > 0
    scale = np.where(varies, spread, 1.0)
    windows = np.array([each.windows for each in streams] + [0])
    noise = np.array([_noise(each) for each in streams] + [1.0])
    weeks = np.array([_weeks(each) for each in streams] + [np.inf])
    similar = _similar(streams, windows[:-1], fleet)
    phi[:-1], length = similar.phi, np.append(similar.length, windows[-1])
    noise[:-1] *= similar.noise
    phi = np.clip(phi, 0.0, _PHI_MOST)
    level = np.array([each.key.measure == "level" for each in streams] + [False]) & varies
    if fleet is not None:
        windows[-1] = fleet.windows
    elif level.any():
        # The median of correlated streams varies no more than one of them.
        phi[-1], windows[-1] = np.median(phi[level]), int(np.median(windows[level]))
    length[-1] = windows[-1]
    typical = np.array([each.rows / max(each.windows, 1) for each in streams] + [0.0])
    keys = (*(each.key for each in streams), FLEET)
    delta = np.array(
        [_delta(each, tolerance) for each in streams] + [max(FLEET_TOLERANCE, tolerance)],
        dtype=np.float64,
    )
    weights = np.array([_weight(key) for key in keys])
    classes = (*map(guaranteed_class, streams), "not in the class: a median")
    calibrated = varies & (windows >= _WINDOWS_LEAST)
    return Nulls(
        keys, mean, low, high, delta, scale, phi, noise, weeks, windows, length, typical,
        weights / weights.sum(),
        tuple(map(_class_of, classes, calibrated.tolist(), varies.tolist())), calibrated, level,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Similar:
    phi: Float64
    noise: Float64
    length: Float64


def _similar(
    streams: Sequence[StreamReference], windows: Int64, fleet: FleetReference | None
) -> _Similar:
    """Return what streams are, each nearer to those of its kind as far as they differ by chance.

    Without that, the error of a short reference's autocorrelation and spread needs much room in the
    thresholds. Streams that differ keep what is theirs. Of streams that move together, the errors
    are nearly the same, so they say little more than one of them.

    Args:
        streams: Their references.
        windows: int64[k], observations of each.
        fleet: How their median varies; None: as one of them, so that all are one.

    Returns:
        phi, without its bias (Kendall, 1954); the factor of each spread; and the windows that both
        are worth.
    """
    phi, scale = (
        np.array([getattr(each, name) for each in streams], np.float64) for name in ("phi", "scale")
    )
    count = np.maximum(windows, 1).astype(np.float64)
    phi = np.clip(phi + (1 + 3 * phi) / count, -_PHI_MOST, _PHI_MOST)
    found = _Similar(phi, np.ones(len(streams)), windows.astype(np.float64))
    kinds = np.array([_kind(each.key) for each in streams])
    usable = (windows >= _WINDOWS_LEAST) & (scale > 0)
    for kind in sorted(set(kinds[usable].tolist())):
        mine = np.flatnonzero(usable & (kinds == kind))
        if len(mine) < _KIND_LEAST:
            continue
        turned, kept = shrunk(np.arcsin(phi[mine]), 1.0 / count[mine])
        own = np.log(scale[mine] * np.sqrt(1 - phi[mine] ** 2))
        nearer, kept_spread = shrunk(own, 0.5 / count[mine])
        found.phi[mine] = np.clip(np.sin(turned), -_PHI_MOST, _PHI_MOST)
        own = np.log(scale[mine] * np.sqrt(1 - found.phi[mine] ** 2))
        found.noise[mine] = np.exp(nearer - own)
        # The median's variance is nearly the correlation of streams; that of the errors of second
        # moments is its square. Twice of it, since an error of all streams gives bursts of alarms.
        same = 1.0 if fleet is None else min(2 * fleet.scale**4, 1.0)
        most = min(1 / (same + (1 - same) / len(mine)), _WORTH_MOST)
        worth = np.minimum(1 / np.maximum(kept, kept_spread), most)
        found.length[mine] = count[mine] * worth
    return found


def _kind(key: StreamKey) -> str:
    """Return what a stream is measured by: streams of one kind may have equal spreads."""
    return f"{key.field if key.field in _WEIGHTS else ''}/{key.measure}"


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
