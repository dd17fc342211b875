"""A stream of card transactions as columns, its reference, and its closed windows.

It has three currencies, two channels, four countries, an extra field, amounts whose mean depends on
the hour, and three features. It is counted by numpy alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import (
    NUMBER,
    OUTCOME,
    TEXT,
    Float64,
    Int64,
    StreamKey,
    WatchedField,
)
from stream_scorer.drift.windows.contract import ClosedArrivals, ClosedWindow
from stream_scorer.models.reference.contract import (
    DriftReference,
    FieldReference,
    StreamReference,
)
from stream_scorer.models.reference.season import expected, fit_season, hour_of_week
from stream_scorer.models.reference.stream_values import layout_of
from tests.support.drift.synthetic import packed_cells, varint

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
MONDAY: Final = 4 * DAY
"""The first Monday after the beginning of the epoch."""
DIGEST: Final = "0123456789abcdef"
SEGMENTS: Final = (
    "channel=pos", "channel=web", "channel=other",
    "country=DE", "country=ES", "country=FR", "country=IT", "country=other",
    "amount<20", "amount<100", "amount>=100",
)  # fmt: skip
_CURRENCIES = ("EUR", "USD", "GBP")
_COUNTRIES = ("DE", "ES", "FR", "IT")
_SEASON = 0.2
_NUMBERS = {
    "score": ("score", 30 * DAY, ("amount", "currency", "channel", "country", "device")),
    "amount": ("column:amount", 0, ("amount",)),
    "amount_to_mean": ("feature:0", 7 * DAY, ("amount",)),
    "hour": ("feature:1", 0, ()),
    "device_risk": ("feature:2", 0, ("device",)),
    "device": ("column:device", 0, ("device",)),
}
_TEXTS = {"currency": _CURRENCIES, "channel": ("pos", "web"), "country": _COUNTRIES}

Columns = dict[str, NDArray[Any]]
Change = Callable[[Columns], None]
"""Changes the raw columns of a window in place."""


@dataclass
class WatchedStream:
    """Transactions by seed.

    Args:
        seed: Of all of its random numbers.
        rate: Events an hour.
        web: Share of the channel ``web``; the rest is ``pos``.
    """

    seed: int
    rate: int = 400
    web: float = 0.5
    _random: np.random.Generator = field(init=False)
    _fields: list[WatchedField] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def reference(self, days: int = 28) -> DriftReference:
        """Return the reference of so many days."""
        hours = MONDAY + np.arange(24 * days) * HOUR
        starts = np.repeat(hours, self._random.poisson(self.rate, len(hours)))
        columns = self._columns(starts)
        self._fields = _fields(columns)
        members = _members(columns)
        by_hour = _by_hour(self._fields, columns, members, np.searchsorted(hours, starts))
        totals = np.split(by_hour[0].sum(0), np.cumsum([f.cells for f in self._fields])[:-1], 1)
        made = DriftReference(
            DIGEST, "fraud", "1.0.0", 0.05, SEGMENTS, HOUR, self._references(totals), (),
            np.full(168, float(self.rate)), {},
        )  # fmt: skip
        layout = layout_of(made, SEGMENTS)
        each = [layout.values(*(part[n] for part in by_hour)) for n in range(len(hours))]
        values, rows = (np.stack(part) for part in zip(*each, strict=True))
        streams = [
            _stream(key, hours, values[:, at], rows[:, at]) for at, key in enumerate(layout.keys)
        ]
        return replace(made, streams=tuple(each for each in streams if each is not None))

    def columns(self, start: int, change: Change | None = None) -> Columns:
        """Return the columns of the window that begins then."""
        return self._columns(np.full(self._random.poisson(self.rate), start), change)

    def _columns(self, starts: Int64, change: Change | None = None) -> Columns:
        random, rows = self._random, len(starts)
        wave = _SEASON * np.sin(2 * np.pi * (starts // HOUR % 24) / 24)
        columns: Columns = {
            "amount": np.rint(np.exp(random.normal(8.2 + wave, 0.9, rows))),
            "currency": random.choice(_CURRENCIES, rows, p=(0.8, 0.15, 0.05)).astype("S8"),
            "channel": random.choice(("pos", "web"), rows, p=(1 - self.web, self.web)).astype("S8"),
            "country": random.choice(_COUNTRIES, rows).astype("S8"),
            "device": random.exponential(1.0, rows),
            "hour": (starts // HOUR % 24).astype(float),
        }
        if change is not None:
            change(columns)
        columns["amount_to_mean"] = columns["amount"] / 3_640.0
        columns["device_risk"] = columns["device"] / (1 + columns["device"])
        columns["score"] = 1 / (1 + np.exp(3.0 - 0.2 * np.log1p(columns["amount"])))
        return columns

    def window(self, start: int, change: Change | None = None) -> ClosedWindow:
        """Return the closed window that begins then; the reference must have been made."""
        columns = self.columns(start, change)
        hour = np.zeros(len(columns["amount"]), np.int64)
        counts, scores, logs = _by_hour(self._fields, columns, _members(columns), hour)
        return ClosedWindow(
            "fraud", "1.0.0", DIGEST, SEGMENTS, start, start + HOUR, len(hour), 0,
            counts[0], scores[0], logs[0], tiled=True,
        )  # fmt: skip

    def _references(self, counts: Sequence[Int64]) -> tuple[FieldReference, ...]:
        made = []
        for watched, counted in zip(self._fields, counts, strict=True):
            _, reach, depends = _NUMBERS.get(watched.name, ("", 0, (watched.name,)))
            if watched.name == "outcome":
                _, reach, depends = _NUMBERS["score"]
            made.append(FieldReference(watched, reach, depends, counted))
        return tuple(made)


def summary_of(window: ClosedWindow, arrivals: ClosedArrivals) -> dict[str, Any]:
    """Return the summary of one batch with all events of a window, in partition 0.

    Args:
        window: The window's events.
        arrivals: Its records, by Kafka timestamp.
    """
    rejected = sum(arrivals.rejected.values())
    at = window.start // HOUR
    return {
        "model": window.model, "model_version": window.version, "arm": "champion",
        "plan_revision": 0, "records": window.count + rejected, "rejected": arrivals.rejected,
        "skipped": 0, "flagged": {}, "reference": window.reference,
        "segments": list(window.segments),
        "sources": [
            {"partition": 0, "first_offset": at * 100_000, "next_offset": (at + 1) * 100_000,
             "watermark": window.end}
        ],
        "windows": [
            {
                "partition": 0, "start": window.start, "width_ms": HOUR, "count": window.count,
                "review": 0, "block": 0, "score_sum": int(window.score_sum[0]) / 2.0**32,
                "amount_minor_sum": window.count, "amount_minor_min": 1, "amount_minor_max": 1,
                "score_bins": [], "amount_bins": [], "late": window.late,
                "cells": packed_cells(window.counts), "sums": _packed_sums(window),
            }
        ],
        "arrivals": [
            {
                "partition": 0, "start": arrivals.start, "width_ms": HOUR,
                "records": arrivals.records, "late": arrivals.late,
                "rejected": arrivals.rejected,
            }
        ],
    }  # fmt: skip


def _packed_sums(window: ClosedWindow) -> bytes:
    """Return the sums of the segments with events: gap to the one before, score, logarithm."""
    first = window.counts[:, :12].sum(1)
    segments = np.flatnonzero(first)
    gaps = np.diff(segments, prepend=-1) - 1
    return b"".join(
        varint(gap) + varint(int(window.score_sum[at])) + varint(int(window.log_sum[at]))
        for gap, at in zip(gaps.tolist(), segments.tolist(), strict=True)
    )


def _stream(key: StreamKey, hours: Int64, values: Float64, rows: Int64) -> StreamReference | None:
    """Return what a stream is without a change; None for one without events."""
    held = rows > 0
    if not held.any():
        return None
    season = fit_season(values, hours // HOUR, rows)
    plain = (values - expected(season)[hour_of_week(hours)])[held]
    mean, scale = float(np.average(plain, weights=rows[held])), float(plain.std())
    if key.field not in {"score", "amount"}:
        scale = max(scale, 1 / float(np.median(rows[held])))
    centred = plain - plain.mean()
    phi = float((centred[1:] * centred[:-1]).sum() / max((centred**2).sum(), 1e-12))
    band = 3 * scale / np.sqrt(len(plain)) + (0.0 if season is None else season.error)
    return StreamReference(
        key, mean, mean - band, mean + band, scale, phi, len(plain), int(rows.sum()), season, ""
    )


def _by_hour(
    fields: Sequence[WatchedField],
    columns: Columns,
    members: Sequence[NDArray[np.bool_]],
    hour: Int64,
) -> tuple[Int64, Int64, Int64]:
    """Return counts int64[h, s, c], and sums of scores and logarithms int64[h, s]."""
    hours, cells = int(hour.max(initial=0)) + 1, sum(each.cells for each in fields)
    unit = 2.0**32
    logs = np.floor(np.log1p(columns["amount"]) * unit).astype(np.int64)
    scores = np.floor(columns["score"] * unit).astype(np.int64)
    counts = np.zeros((hours, len(members), cells), np.int64)
    sums = np.zeros((2, hours, len(members)), np.int64)
    first = np.cumsum([0, *(each.cells for each in fields)])
    placed = [hour * cells + first[n] + _cells(each, columns) for n, each in enumerate(fields)]
    for at, mine in enumerate(members):
        found = np.bincount(
            np.concatenate([each[mine] for each in placed]), minlength=hours * cells
        )
        counts[:, at] = found.reshape(hours, cells)
        for number, values in enumerate((scores, logs)):
            np.add.at(sums[number, :, at], hour[mine], values[mine])
    return counts, sums[0], sums[1]


def _fields(columns: Columns) -> list[WatchedField]:
    fields = []
    for name, (source, _, _) in _NUMBERS.items():
        values = columns[name]
        edges = np.unique(np.quantile(values, np.arange(1, 10) / 10))
        padded = np.concatenate([edges, np.full(9 - len(edges), np.inf)])
        low, high = float(values.min()), float(values.max())
        fields.append(WatchedField(name, NUMBER, source, padded, low, high, ()))
        if name == "score":
            fields.append(WatchedField("outcome", OUTCOME, "outcome", np.zeros(0), 0.0, 0.0, ()))
    for name, known in _TEXTS.items():
        fields.append(WatchedField(name, TEXT, f"column:{name}", np.zeros(0), 0.0, 0.0, known))
    return fields


def _cells(watched: WatchedField, columns: Columns) -> Int64:
    if watched.kind == OUTCOME:
        return np.searchsorted([0.3, 0.6], columns["score"]).astype(np.int64)
    values = columns[watched.name]
    if watched.kind == NUMBER:
        cells = np.searchsorted(watched.edges, values, side="left")
        outside = (values < watched.low) | (values > watched.high)
        return np.where(np.isnan(values), 10, np.where(outside, 11, cells))
    known = len(watched.values)
    cells = np.full(len(values), known + 1)
    for at, value in enumerate(watched.values):
        cells[values == value.encode()] = at
    return np.where(values == b"", known, cells)


def _members(columns: Columns) -> list[NDArray[np.bool_]]:
    channel, country, amount = columns["channel"], columns["country"], columns["amount"]
    found = [np.ones(len(amount), np.bool_)]
    found += [channel == each for each in (b"pos", b"web")] + [~np.isin(channel, (b"pos", b"web"))]
    countries = [each.encode() for each in _COUNTRIES]
    found += [country == each for each in countries] + [~np.isin(country, countries)]
    found += [amount < 2_000, (amount >= 2_000) & (amount < 10_000), amount >= 10_000]
    return found
