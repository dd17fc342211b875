"""The reference of drift detection: what a model version saw, by field, stream and segment."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import ReferenceBins, StreamKey, WatchedField

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class FieldReference:
    """The distribution of a watched field.

    Attributes:
        field: The field and its c cells.
        reach_ms: How far back a value looks: longest window and delay of a feature, in ms; the
            model's maximum for score and outcome; 0 for a field of the event.
        depends_on: Fields of the event from which it is derived, such as ``amount``; all of them
            for the score and the outcome.
        counts: int64[s, c], events by segment and cell.
    """

    field: WatchedField
    reach_ms: int
    depends_on: tuple[str, ...]
    counts: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Season:
    """The season of a stream: it is added to the stream's mean. Hours and days are in UTC.

    A season of zeros means that the data show none. That is different from no season at all: then
    the data do not have a complete week, and nothing is known.

    Attributes:
        hour: float64[24], by hour of the day; their sum is 0.
        day: float64[7], by day of the week from Monday; their sum is 0.
        week: float64[168], by hour of the week from Monday, in place of the sum of the other two;
            empty with fewer than 8 weeks, or if the sum predicts as well.
        weeks: Complete weeks of the data.
        error: Standard error of a predicted mean; the band of the stream's mean includes it.
    """

    hour: Float64
    day: Float64
    week: Float64
    weeks: float
    error: float

    @property
    def flat(self) -> bool:
        """Whether it is zero at all times."""
        return not (self.hour.any() or self.day.any() or self.week.any())


@dataclass(frozen=True, slots=True, eq=False)
class StreamReference:
    """What a stream is without a change.

    Attributes:
        key: Name of the stream.
        mean: Its mean, without the season.
        low: Lower end of the band of the mean. The bands of all streams hold together with
            probability 1 - eta. They include the error of the season, and how far the means of
            the reference's weeks move.
        high: Upper end of it.
        scale: Standard deviation of a window's value without the season, for a window with the
            usual number of rows, ``rows / windows``, or more. Successive windows are pooled until
            they have 200 rows; without a season, until they are whole days, too.
        phi: Autocorrelation of successive such values, -1 to 1.
        windows: Number of such values that the mean is computed from.
        rows: Rows that it is computed from.
        season: Its season; None for none.
        pooled_from: The segment whose cells were taken, if its own had fewer than 200 rows; empty
            for its own.
    """

    key: StreamKey
    mean: float
    low: float
    high: float
    scale: float
    phi: float
    windows: int
    rows: int
    season: Season | None
    pooled_from: str


@dataclass(frozen=True, slots=True)
class FleetReference:
    """How the median of the streams' standardised levels varies without a change.

    Attributes:
        scale: Standard deviation of a window's median, in standard deviations of a stream.
        phi: Autocorrelation of successive medians, -1 to 1.
        windows: Number of windows with a median.
    """

    scale: float
    phi: float
    windows: int


@dataclass(frozen=True, slots=True, eq=False)
class DriftReference:
    """The content of a bundle's ``reference.json``.

    Attributes:
        digest: First 16 hex digits of the sha256 of the file.
        model: Name of the model.
        version: Its version.
        eta: Maximum probability that any mean is outside of its band.
        plan_segments: Names of the segments of the plan that made it, without segment 0.
        window_ms: Width in ms of a judged window: one hour, or the plan's if that is longer.
        fields: The watched fields; score and outcome are of rows outside of the training rows.
        streams: The watched streams.
        volume: float64[168], usual number of events of a window, by the hour of the week in which
            it starts; NaN if unknown.
        rejects: Usual share of the input records, by reject reason.
        fleet: How the median of the streams varies; None if too few windows have one.
    """

    digest: str
    model: str
    version: str
    eta: float
    plan_segments: tuple[str, ...]
    window_ms: int
    fields: tuple[FieldReference, ...]
    streams: tuple[StreamReference, ...]
    volume: Float64
    rejects: Mapping[str, float]
    fleet: FleetReference | None = None

    @property
    def bins(self) -> ReferenceBins:
        """The watched fields with their cells."""
        return ReferenceBins(self.digest, tuple(each.field for each in self.fields))
