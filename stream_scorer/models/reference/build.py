"""Make a reference from transactions: cells of fields, streams with band, scale and season.

Features and fields of the event are counted on the training rows. Score and outcome are counted on
rows that the model was not fitted on: scores of training rows are too good, and every new version
would alarm. The season, scale and autocorrelation of features may use all rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.summaries.summary_layout import ALL, ReferenceBins, StreamKey
from stream_scorer.models.reference.bands import (
    PooledValues,
    certain,
    error_of_mean,
    pool,
    quantile_of,
    reach_of,
    spread_of,
    wander_of,
)
from stream_scorer.models.reference.contract import (
    DriftReference,
    FieldReference,
    FleetReference,
    StreamReference,
)
from stream_scorer.models.reference.fields import (
    FieldPlan,
    planned_fields,
    watched_field,
    within_cells,
)
from stream_scorer.models.reference.fleet import fleet_of
from stream_scorer.models.reference.matching import HIGHEST, LOWEST, pooled_reference
from stream_scorer.models.reference.rows import ReferenceRows
from stream_scorer.models.reference.season import (
    HOUR_MS,
    ROWS_LEAST,
    WEEK_HOURS,
    expected,
    fit_season,
    hour_of_week,
)
from stream_scorer.models.reference.stream_values import (
    AMOUNT,
    LEVEL,
    OUTCOMES,
    SCORE,
    StreamLayout,
    ranks_of,
    stream_keys,
)
from stream_scorer.models.reference.windows import WindowCounter, WindowTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

ETA: Final = 0.05
STREAMS_MOST: Final = 2_048
"""Maximum number of streams of a new reference."""
DAY_MS: Final = 86_400_000
_LEAST_OF_MEANS: Final = 1e-6


@dataclass(frozen=True, slots=True)
class ReferenceJob:
    """What a reference is made for.

    Attributes:
        model: Name of the model.
        version: Its version.
        specs: Declarations of its features.
        features: What they compile to.
        plan: The plan under which it decides.
        segments: Names of the plan's segments 1, 2, ...
    """

    model: str
    version: str
    specs: Sequence[Mapping[str, Any]]
    features: FeatureSet
    plan: Plan
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltReference:
    """A reference, and what is reported about how it was made.

    Attributes:
        reference: The reference; its digest is empty until it is written.
        left_out: Fields that are not watched: too few of the rows have a complete history.
        rows_features: Rows for features and fields of the event.
        rows_scores: Rows for score and outcome.
    """

    reference: DriftReference
    left_out: tuple[str, ...]
    rows_features: int
    rows_scores: int


def divides_days(plan: Plan) -> bool:
    """Whether the plan's windows add up to hours and days."""
    width = plan.summary_window_ms
    return DAY_MS % max(width, HOUR_MS) == 0 == HOUR_MS % min(width, HOUR_MS)


def window_of(plan: Plan) -> int:
    """Return the width of a judged window, ms: one hour, or the plan's if that is longer.

    Raises:
        ValueError: Windows of this width do not add up to hours and days; names the setting.
    """
    width = plan.summary_window_ms
    if not divides_days(plan):
        raise ValueError(
            f"plan: summary_window_ms: {width} ms must divide one hour, or be hours that "
            "divide one day; write 3600000"
        )
    return max(width, HOUR_MS)


def has_history(rows: ReferenceRows, job: ReferenceJob) -> bool:
    """Whether enough of the rows for score and fields of the event have a complete history."""
    reach = max(plan.reach_ms for plan in planned_fields(job.specs, job.features, {}, ()))
    covered = rows.held & (rows.time >= int(rows.time[0]) + reach)
    return int(covered.sum()) >= ROWS_LEAST <= int(rows.training.sum())


def build_reference(
    rows: ReferenceRows, job: ReferenceJob, lap: Callable[[str], None] = lambda _: None
) -> BuiltReference:
    """Make a reference.

    Args:
        rows: The transactions, by event time.
        job: What it is made for.
        lap: Called with each day, as an ISO date, after its rows are counted.

    Raises:
        ValueError: Fewer than 200 rows that the model was not fitted on have a complete history;
            there are more than 2,048 streams; or the plan's windows do not add up to hours and
            days. The message names which.
    """
    width = window_of(job.plan)
    plans, masks, left_out = _covered(rows, job)
    fields = [watched_field(plan, rows, mask) for plan, mask in zip(plans, masks, strict=True)]
    fitting = within_cells(fields)
    left_out += [plan.name for plan, fits in zip(plans, fitting, strict=True) if not fits]
    kept = [place for place, fits in enumerate(fitting) if fits]
    plans, masks = [plans[place] for place in kept], [masks[place] for place in kept]
    fields = [fields[place] for place in kept]
    bins = ReferenceBins("", tuple(fields))
    _refuse_many(len(stream_keys(bins, job.segments)), job)
    counter = WindowCounter(rows, fields, len(job.segments) + 1)
    counts = counter.totals(masks)
    refs = tuple(
        FieldReference(field, plan.reach_ms, plan.depends_on, count)
        for field, plan, count in zip(fields, plans, counts, strict=True)
    )
    ranks = [ranks_of(each.field, each.counts[0]) for each in refs]
    layout = StreamLayout(bins, ranks, job.segments)
    start = int(rows.time[0])
    used = [
        mask if plan.name in (SCORE, OUTCOMES) else rows.time >= start + plan.reach_ms
        for plan, mask in zip(plans, masks, strict=True)
    ]
    table = counter.by_window(layout, used, width, lambda at: lap(_date(at)))
    based = {
        plan.name: _windows_of(rows, mask, table.start, width)
        for plan, mask in zip(plans, masks, strict=True)
    }
    made = _Streams(table, layout, based)
    streams = tuple(made.references())
    reference = DriftReference(
        digest="", model=job.model, version=job.version, eta=ETA, plan_segments=job.segments,
        window_ms=width, fields=refs, streams=streams,
        volume=_volume(rows.time, width), rejects=dict(rows.rejected), fleet=made.fleet(streams),
    )  # fmt: skip
    return BuiltReference(
        reference, tuple(left_out), int(rows.training.sum()), int(masks[0].sum())
    )  # fmt: skip


def _covered(
    rows: ReferenceRows, job: ReferenceJob
) -> tuple[list[FieldPlan], list[Bool], list[str]]:
    """Return the fields with enough rows, the rows of each, and the names of the others."""
    records = rows.events.records
    # In a column of nulls, a missing value is not a change.
    columns = [
        name
        for name, column in zip(records.schema.names, records.columns, strict=True)
        if column.null_count < len(column)
    ]
    start = int(rows.time[0]) if len(rows) else 0
    plans, masks, left_out = [], [], []
    for plan in planned_fields(job.specs, job.features, job.plan.extras, columns):
        outside = plan.name in (SCORE, OUTCOMES)
        mask = (rows.held if outside else rows.training) & (rows.time >= start + plan.reach_ms)
        if int(mask.sum()) >= ROWS_LEAST:
            plans.append(plan)
            masks.append(mask)
        elif outside or not plan.reach_ms:
            days = plan.reach_ms / DAY_MS
            raise ValueError(
                f"{int(mask.sum())} rows for {plan.name!r} have a complete history of {days:g} "
                f"days, at least {ROWS_LEAST} are needed; the data begin at {_date(start)}"
            )
        else:
            left_out.append(plan.name)
    return plans, masks, left_out


def _refuse_many(streams: int, job: ReferenceJob) -> None:
    if streams > STREAMS_MOST:
        raise ValueError(
            f"plan: segments: {len(job.segments) + 1} segments of {len(job.features.names)} "
            f"features are {streams:,} streams, at most {STREAMS_MOST:,} are watched; list fewer "
            "segments"
        )


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date().isoformat()


def _windows_of(rows: ReferenceRows, mask: Bool, start: Int64, width: int) -> Bool:
    """Return bool[w], which windows have rows of a mask."""
    found: Bool = np.isin(start, np.unique(rows.time[mask] // width * width))
    return found


def _volume(time: Int64, width: int) -> Float64:
    """Return float64[168], the mean number of events of a window by hour of the week."""
    window = time // width
    first, last = int(window.min()), int(window.max())
    counted = np.bincount(window - first, minlength=last - first + 1).astype(np.float64)
    # The first and the last window may be cut off.
    counted, starts = counted[1:-1], np.arange(first + 1, last) * width
    hour = hour_of_week(starts)
    held = np.bincount(hour, minlength=WEEK_HOURS)
    with np.errstate(invalid="ignore"):
        usual: Float64 = np.bincount(hour, counted, WEEK_HOURS) / held
    return usual


class _Streams:
    """Computes the references of all streams from their values by window."""

    def __init__(self, table: WindowTable, layout: StreamLayout, based: Mapping[str, Bool]) -> None:
        self._table = table
        self._keys = layout.keys
        hours = table.start // HOUR_MS
        self._seasons = [
            fit_season(table.values[:, at], hours, table.rows[:, at])
            for at in range(len(self._keys))
        ]
        season = np.stack([expected(each) for each in self._seasons], axis=1)
        self._days = table.start // DAY_MS
        unseasoned = np.array([each is None for each in self._seasons])
        values = table.values - season[hour_of_week(table.start)]
        self._pooled = pool(values, table.rows, ROWS_LEAST, self._days, unseasoned)
        self._based = [based.get(key.field, based[AMOUNT]) for key in self._keys]
        self._quantile = quantile_of(ETA, len(self._keys))

    def references(self) -> Iterator[StreamReference]:
        """Yield the reference of each stream; small segments have that of all events."""
        own = [self._reference(at) for at in range(len(self._keys))]
        whole = {
            (each.key.field, each.key.measure): each for each in own if each.key.segment == ALL
        }
        for each in own:
            key = each.key
            if each.rows >= ROWS_LEAST or (key.field, key.measure) not in whole:
                yield each
            else:
                yield pooled_reference(whole[key.field, key.measure], key.segment)

    def fleet(self, streams: Sequence[StreamReference]) -> FleetReference | None:
        """Return how the median of these streams, which are all, varies."""
        mean, scale, rows, windows = np.array(
            [(each.mean, each.scale, each.rows, max(each.windows, 1)) for each in streams]
        ).T
        standard = certain(self._pooled.rows, rows / windows) * (self._pooled.values - mean) / scale
        return fleet_of(standard, np.array([each.key.measure == LEVEL for each in streams]))

    def _reference(self, at: int) -> StreamReference:
        season = self._seasons[at]
        values, days, rows, windows = _base(self._pooled, at, self._based[at], self._days)
        every = ~np.isnan(self._pooled.values[:, at])
        whole = self._pooled.values[every, at]
        scale, phi = spread_of(whole)
        wander = wander_of(whole, self._days[every], scale, phi)
        mean = float(np.average(values, weights=rows)) if len(values) else 0.0
        least = _least_scale(self._keys[at], rows)
        error = 1.0
        if len(values):
            error = error_of_mean(values, days, max(scale, least), phi if scale > least else 0.0)
        typical = np.array(rows.sum() / max(windows, 1))
        kept = certain(self._pooled.rows[every, at], typical)
        scale, phi = spread_of(mean + kept * (whole - mean))
        # What is smaller than one row is rounding, and has no dependence.
        scale, phi = (scale, phi) if scale > least else (least, 0.0)
        reach = reach_of(self._quantile, error, wander, season)
        return StreamReference(
            key=self._keys[at], mean=mean, low=max(mean - reach, LOWEST),
            high=min(mean + reach, HIGHEST), scale=scale, phi=phi, windows=windows,
            rows=int(rows.sum()), season=season, pooled_from="",
        )  # fmt: skip


def _base(
    pooled: PooledValues, at: int, based: Bool, days: Int64
) -> tuple[Float64, Int64, Int64, int]:
    """Return the pooled values of a stream's own rows, with their days and rows, and how many."""
    held = based & (pooled.rows[:, at] > 0)
    return pooled.values[held, at], days[held], pooled.rows[held, at], int(held.sum())


def _least_scale(key: StreamKey, rows: Int64) -> float:
    """Return the smallest scale of a value: one row of a pool; of a mean, almost nothing."""
    if (key.field, key.measure) in {(SCORE, LEVEL), (AMOUNT, LEVEL)}:
        return _LEAST_OF_MEANS
    return 1.0 / float(np.median(rows)) if len(rows) else 1.0 / ROWS_LEAST
