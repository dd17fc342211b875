"""The season of a stream: effects of the hour of the day and the day of the week, shrunk.

The effects are fitted by least squares, with the rows of each window as weights. Each effect is
shrunk toward 0 by what its standard error explains (empirical Bayes): with more weeks the error
falls, and the effect is kept. Effects of hours, or of days, that are no larger than chance explains
are 0. From 8 weeks on, each hour of the week has an effect of its own, if that predicts better.
Cells with fewer than 200 rows are pooled upwards: an hour of the week has the additive effect, an
hour of the day has none.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.reference.contract import Season

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

HOUR_MS: Final = 3_600_000
DAY_HOURS, WEEK_HOURS, WEEK_DAYS = 24, 168, 7
WEEKS_FOR_HOURS: Final = 8
"""Complete weeks from which on each hour of the week may have an effect of its own."""
ROWS_LEAST: Final = 200
"""Windows and cells with fewer rows are pooled."""
_EPOCH_HOUR: Final = 72
"""Hour of the week of 1970-01-01T00:00Z, a Thursday."""
_CERTAIN: Final = 3.09
"""One-sided normal quantile of .999: effects must be larger than chance explains."""
_DIGITS: Final = 6
"""Decimal digits that are kept, so that a reference fits into its file."""


def hour_of_week(start_ms: Int64) -> Int64:
    """Return int64[...], the hour of the week, 0 to 167 from Monday, of some times in UTC.

    Args:
        start_ms: int64[...], ms since the epoch.
    """
    found: Int64 = (start_ms // HOUR_MS + _EPOCH_HOUR) % WEEK_HOURS
    return found


def expected(season: Season | None) -> Float64:
    """Return float64[168], what a season adds to the mean, by hour of the week.

    It is subtracted from a window's value before windows are pooled.

    Args:
        season: A stream's season; None is zero at all times.
    """
    if season is None:
        return np.zeros(WEEK_HOURS)
    if len(season.week):
        return season.week
    return np.tile(season.hour, WEEK_DAYS) + np.repeat(season.day, DAY_HOURS)


def fit_season(values: Float64, start_hour: Int64, rows: Int64) -> Season | None:
    """Return the season of window values; None with less than a complete week.

    Args:
        values: float64[w]; NaN for a window without a value.
        start_hour: int64[w], the hour in which each window starts, counted from the epoch.
        rows: int64[w], rows of each value.
    """
    held = (rows > 0) & np.isfinite(values)
    value, hour, weight = values[held], start_hour[held], rows[held].astype(np.float64)
    if not len(value):
        return None
    step = int(np.diff(np.unique(start_hour)).min(initial=DAY_HOURS))
    dates = np.unique((hour + _EPOCH_HOUR) // DAY_HOURS)
    # Days between two ranges of days do not count.
    weeks = min((int(hour.max() - hour.min()) + step) // WEEK_HOURS, len(dates) // WEEK_DAYS)
    if not weeks:
        return None
    cell = (hour + _EPOCH_HOUR) % WEEK_HOURS
    by_hour, by_day = _additive(value, weight, cell)
    residual = value - by_hour[cell % DAY_HOURS] - by_day[cell // DAY_HOURS]
    residual -= np.average(residual, weights=weight)

    of_hour = _sums(cell % DAY_HOURS, weight, DAY_HOURS)
    of_day = _sums(cell // DAY_HOURS, weight, WEEK_DAYS)
    noise = _dispersion(residual, weight, int((of_hour > 0).sum() + (of_day > 0).sum()) - 1)
    by_hour, hour_error = _shrunk(by_hour, of_hour, noise)
    # Windows of a day move together, so the error of a day's effect is that of the days' means.
    date = (hour + _EPOCH_HOUR) // DAY_HOURS
    date -= date.min()
    days = _sums(date, weight)
    means = _sums(date, weight * residual)[days > 0] / days[days > 0]
    by_day, day_error = _shrunk(
        by_day, of_day, _dispersion(means, days[days > 0], int((of_day > 0).sum()))
    )
    by_hour = np.repeat(by_hour[::step], step) if step < DAY_HOURS else np.zeros(DAY_HOURS)
    season = Season(
        np.round(by_hour - by_hour.mean(), _DIGITS), np.round(by_day - by_day.mean(), _DIGITS),
        np.empty(0), float(weeks), math.hypot(hour_error, day_error),
    )  # fmt: skip
    if weeks < WEEKS_FOR_HOURS:
        return season
    return _with_week(season, value, weight, cell, step)


def _additive(value: Float64, weight: Float64, cell: Int64) -> tuple[Float64, Float64]:
    """Return float64[24] and float64[7], least-squares effects; 0 where there are no rows."""
    total = _sums(cell, weight, WEEK_HOURS)
    sums = _sums(cell, weight * value, WEEK_HOURS)
    at = np.arange(WEEK_HOURS)
    design = np.zeros((WEEK_HOURS, DAY_HOURS + WEEK_DAYS))
    design[at, at % DAY_HOURS] = 1.0
    design[at, DAY_HOURS + at // DAY_HOURS] = 1.0
    squares = design.T @ (design * total[:, None])
    effects = np.linalg.lstsq(squares, design.T @ sums, rcond=None)[0].astype(np.float64)
    hour, day = effects[:DAY_HOURS].copy(), effects[DAY_HOURS:].copy()
    for effect, held in (
        (hour, _sums(at % DAY_HOURS, total) > 0),
        (day, _sums(at // DAY_HOURS, total) > 0),
    ):
        effect[held] -= effect[held].mean()
        effect[~held] = 0.0
    return hour, day


def _sums(cell: Int64, values: Float64, cells: int = 0) -> Float64:
    """Return float64[cells], the sum of the values in each cell."""
    return np.bincount(cell, values, cells).astype(np.float64)


def _dispersion(residual: Float64, weight: Float64, fitted: int) -> tuple[float, int]:
    """Return the variance of a value with one row, and the degrees of freedom of its estimate."""
    freedom = max(len(residual) - fitted, 1)
    return float((weight * residual**2).sum() / freedom), freedom


def _shrunk(effect: Float64, rows: Float64, noise: tuple[float, int]) -> tuple[Float64, float]:
    """Return effects after shrinkage, and the standard error that is left.

    Args:
        effect: float64[c], least-squares effects of c cells.
        rows: float64[c].
        noise: Variance of a value with one row, and its degrees of freedom.
    """
    held = rows >= ROWS_LEAST
    none = np.zeros(len(effect)), 0.0
    if held.sum() <= 1:
        return none
    dispersion, freedom = noise
    error = dispersion / rows[held]
    centre = np.average(effect[held], weights=rows[held])
    spread = float((rows[held] * (effect[held] - centre) ** 2).sum()) / (held.sum() - 1)
    if not spread or not _significant(spread, dispersion, int(held.sum()) - 1, freedom):
        return none
    real = max(float((effect[held] ** 2).mean() - error.mean()), 0.0)
    factor = real / (real + error) if real else np.zeros(len(error))
    found = np.zeros(len(effect))
    found[held] = factor * effect[held]
    found[held] -= found[held].mean()
    return found, math.sqrt(float(np.average(factor * error, weights=rows[held])))


def _significant(spread: float, dispersion: float, first: int, second: int) -> bool:
    """Whether a ratio of variances is larger than its F distribution explains.

    By Paulson's approximation: a ratio of cube roots is almost normal.

    Source: E. Paulson, "An approximate normalization of the analysis of variance distribution",
    Annals of Mathematical Statistics 13 (1942).
    """
    if dispersion <= 0:
        return True
    root = (spread / dispersion) ** (1 / 3)
    a, b = 2 / (9 * first), 2 / (9 * second)
    return ((1 - b) * root - (1 - a)) / math.sqrt(b * root**2 + a) > _CERTAIN


def _with_week(
    season: Season, value: Float64, weight: Float64, cell: Int64, step: int
) -> Season:  # fmt: skip
    """Return the season with an effect for each hour of the week, if that predicts better."""
    base = expected(season)
    residual = value - base[cell]
    residual -= np.average(residual, weights=weight)
    rows = _sums(cell, weight, WEEK_HOURS)
    with np.errstate(invalid="ignore"):
        own = np.nan_to_num(_sums(cell, weight * residual, WEEK_HOURS) / rows)
    noise = _dispersion(residual - own[cell], weight, int((rows > 0).sum()))
    extra, error = _shrunk(own, rows, noise)
    if not extra.any():
        return season
    extra = np.repeat(extra[::step], step)
    week = base + extra
    return Season(
        season.hour, season.day, np.round(week - week.mean(), _DIGITS), season.weeks,
        math.hypot(season.error, error),
    )  # fmt: skip
