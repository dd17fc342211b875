"""A hand-made reference, and summaries of windows whose distributions a test chooses.

There are a score, an outcome, an amount and eight features; each number has ten equally likely
bins. Segments are of one dimension with two values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from stream_scorer.core.summaries.summary_layout import NUMBER, OUTCOME, WatchedField
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.models.reference.contract import (
    DriftReference,
    FieldReference,
    Season,
    StreamReference,
)
from stream_scorer.models.reference.fleet import fleet_of
from stream_scorer.models.reference.stream_values import layout_of

HOUR = 3_600_000
START = 1_704_067_200_000
"""2024-01-01 00:00 UTC, a Monday."""
SEGMENTS = ("channel=web", "channel=other")
DIGEST = "00112233445566ff"
FEATURES = tuple(f"f{n}" for n in range(8))
ROWS = 400
SCORE_MEAN, AMOUNT_LOG = 0.05, 8.0
PARTITION = 0
_ONE = 2**32
_SCORE_DEVIATION, _LOG_DEVIATION = 0.1, 1.0
_OUTCOMES = (0.95, 0.04, 0.01)


@dataclass(frozen=True, slots=True)
class Shift:
    """What differs from the reference.

    Attributes:
        score: Factor of the mean score.
        features: By feature: what its rank is multiplied by; 1 is the reference, above is higher.
        missing: By field: share of missing values.
        log_amount: Added to the logarithm of the amount.
    """

    score: float = 1.0
    features: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    log_amount: float = 0.0


NONE = Shift()


@cache
def reference(version: str = "1") -> DriftReference:
    """Return the reference of a version, with streams as 400 windows show them."""
    edges = np.linspace(0.1, 0.9, 9)
    fields = [WatchedField("score", NUMBER, "score", edges, 0.0, 1.0, ())]
    fields += [WatchedField("outcome", OUTCOME, "outcome", np.empty(0), 0.0, 0.0, ())]
    fields += [WatchedField("amount", NUMBER, "column:amount", edges * 100, 0.0, 100.0, ())]
    fields += [
        WatchedField(name, NUMBER, f"feature:{n}", edges, 0.0, 1.0, ())
        for n, name in enumerate(FEATURES)
    ]
    even = np.array([100_000] * 10 + [0, 0])
    outcomes = np.array([round(1_000_000 * share) for share in _OUTCOMES])
    counts = [outcomes if each.kind == OUTCOME else even for each in fields]
    made = DriftReference(
        digest=DIGEST, model="fraud", version=version, eta=0.05, plan_segments=SEGMENTS,
        window_ms=HOUR,
        fields=tuple(
            FieldReference(each, 0, (), np.stack([count, count // 2, count - count // 2]))
            for each, count in zip(fields, counts, strict=True)
        ),
        streams=(), volume=np.full(168, float(ROWS)), rejects={},
    )  # fmt: skip
    random = np.random.default_rng(7)
    layout = layout_of(made, SEGMENTS)
    windows = [_counts(made, random, NONE) for _ in range(400)]
    values = np.stack([layout.values(*each)[0] for each in windows])
    # A share that is always 0 varies by less than a row.
    mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), 0.5 / ROWS)
    reach = 4 * scale / 20
    # A season of zeros says that there is none. Without one, streams are pooled by the day.
    flat = Season(np.zeros(24), np.zeros(7), np.empty(0), 8.0, 0.0)
    streams = tuple(
        StreamReference(
            key, mean[n], mean[n] - reach[n], mean[n] + reach[n], scale[n], 0.0, 400,
            400 * ROWS // (1 if key.segment == "all" else len(SEGMENTS)), flat, "",
        )
        for n, key in enumerate(layout.keys)
    )  # fmt: skip
    level = np.array([key.measure == "level" for key in layout.keys])
    return replace(made, streams=streams, fleet=fleet_of((values - mean) / scale, level))


def watch(days: float = 30.0, **changed: Any) -> DriftWatch:
    """Return an empty watch of one partition that knows the reference of each version."""
    budget = AlarmBudget(days, 0.5, START, 2_048)
    return DriftWatch(budget, (PARTITION,), 0, changed.get("reference_of", lookup))


def lookup(model: str, version: str, digest: str) -> DriftReference | None:
    """Return the reference of a version of the model ``fraud``."""
    return reference(version) if (model, digest) == ("fraud", DIGEST) else None


def summaries(
    windows: int, seed: int = 0, *, shifts: Mapping[int, Shift] | None = None, first: int = 0,
    version: str = "1", parts: int = 1, segments: Sequence[str] = SEGMENTS,
    named: DriftReference | None = None, rows: int = ROWS,
) -> Iterator[tuple[dict[str, Any], int]]:  # fmt: skip
    """Yield summaries in the order of their topic, each with its Kafka timestamp.

    Args:
        windows: Number of hours.
        seed: Of the counts; an hour's counts depend on the seed and the hour only.
        shifts: From which hour on what differs.
        first: Number of the first hour.
        version: The model's version.
        parts: Number of summaries of an hour.
        segments: Names of the segments.
        named: The reference that the summaries name, instead of that of the version.
        rows: Events of an hour.
    """
    changes = dict(shifts or {})
    made = named or reference(version)
    for hour in range(first, first + windows):
        began = [at for at in changes if at <= hour]
        shift = changes[max(began)] if began else NONE
        for part in range(parts):
            random = np.random.default_rng((seed, hour, part))
            counted = _counts(made, random, shift, rows // parts)
            yield _summary(hour, part, parts, made, counted, segments), START + (hour + 1) * HOUR


def _counts(
    made: DriftReference, random: np.random.Generator, shift: Shift, rows: int = ROWS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts int64[3, c], score sums and logarithm sums int64[3] of one window."""
    web = rows // 2
    counts = np.zeros((3, int(made.bins.first_cell[-1])), np.int64)
    score, logs = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for segment, count in ((1, web), (2, rows - web)):
        parts = []
        for each in made.bins.fields:
            if each.kind == OUTCOME:
                parts.append(random.multinomial(count, _OUTCOMES))
                continue
            power = shift.features.get(each.name, 1.0)
            bins = np.diff(np.linspace(0, 1, 11) ** power)
            gone = shift.missing.get(each.name, 0.0)
            parts.append(random.multinomial(count, [*(bins * (1 - gone)), gone, 0.0]))
        counts[segment] = np.concatenate(parts)
        mean = SCORE_MEAN * shift.score
        noise = random.normal(0, _SCORE_DEVIATION / count**0.5)
        score[segment] = int(max(mean + noise, 0.0) * count * _ONE)
        noise = random.normal(0, _LOG_DEVIATION / count**0.5)
        logs[segment] = int((AMOUNT_LOG + shift.log_amount + noise) * count * _ONE)
    for table in (counts, score, logs):
        table[0] = table[1:].sum(axis=0)
    return counts, score, logs


def _summary(
    hour: int, part: int, parts: int, made: DriftReference,
    counted: tuple[np.ndarray, np.ndarray, np.ndarray], segments: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    counts, score, logs = counted
    rows = int(counts[0, :12].sum())
    number = hour * parts + part
    start = START + hour * HOUR
    return {
        "model": "fraud", "model_version": made.version, "arm": "champion", "plan_revision": 0,
        "records": rows, "rejected": {}, "skipped": 0, "flagged": {}, "reference": made.digest,
        "segments": list(segments),
        "sources": [
            {
                "partition": PARTITION, "first_offset": number * 1_000,
                "next_offset": (number + 1) * 1_000,
                # The last part of an hour has events of its very end.
                "watermark": start + HOUR * (part + 1) // parts,
            }
        ],
        "windows": [
            {
                "partition": PARTITION, "start": start, "width_ms": HOUR, "count": rows,
                "review": 0, "block": 0, "score_sum": int(score[0]) / _ONE,
                "amount_minor_sum": rows, "amount_minor_min": 1, "amount_minor_max": 1,
                "score_bins": [], "amount_bins": [], "late": 0, "cells": packed_cells(counts),
                "sums": packed_sums(score, logs),
            }
        ],
        "arrivals": [
            {
                "partition": PARTITION, "start": start, "width_ms": HOUR, "records": rows,
                "late": 0, "rejected": {},
            }
        ],
    }  # fmt: skip


def packed_cells(counts: np.ndarray) -> bytes:
    """Return the packed form of counts, written independently of the kernel."""
    out, before = b"", -1
    for cell in np.flatnonzero(counts.ravel()).tolist():
        out += varint(cell - before - 1) + varint(int(counts.ravel()[cell]))
        before = cell
    return out


def packed_sums(score: np.ndarray, logs: np.ndarray) -> bytes:
    """Return the packed form of the sums of all segments, likewise."""
    return b"".join(
        varint(0) + varint(int(a)) + varint(int(b)) for a, b in zip(score, logs, strict=True)
    )


def varint(number: int) -> bytes:
    """Return a number as Avro writes a long that is not negative, without the zigzag."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
