"""Read and write ``reference.json``: canonical JSON, format 1.

The file comes with a bundle, so it is hostile until it is checked: its size, its keys, the type and
the range of each number. Numbers are finite; an unknown volume is null.
"""

import hashlib
import math
import re
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import (
    ALL,
    CELLS_MOST,
    FIELDS_MOST,
    NUMBER,
    NUMBER_BINS,
    OUTCOME,
    SEGMENTS_MOST,
    TEXT,
    TEXT_MOST,
    StreamKey,
    WatchedField,
)
from stream_scorer.errors import ModelError
from stream_scorer.models.reference.contract import (
    DriftReference,
    FieldReference,
    FleetReference,
    Season,
    StreamReference,
)
from stream_scorer.models.reference.json_table import (
    JsonTable,
    listed,
    number,
    numbers,
    text,
    whole,
)
from stream_scorer.models.reference.matching import HIGHEST, LOWEST
from stream_scorer.models.reference.stream_values import SEGMENT, refuse_fields
from stream_scorer.security.canonical_json import canonical, parse

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

FORMAT: Final = 1
BYTES_MOST: Final = 4 * 1024 * 1024
STREAMS_READ_MOST: Final = 4_096
DIGEST_DIGITS: Final = 16
_NAME_LONGEST = 220
_MS_MOST = 1_000 * 86_400_000
_COUNT_MOST = 2**53
_KINDS = {"number": NUMBER, "text": TEXT, "outcome": OUTCOME}
_KIND_NAMES = {kind: name for name, kind in _KINDS.items()}
_VALUE_MOST = 1e300
_FLEET_MOST = 100.0
_SOURCE = re.compile(r"score|outcome|feature:(0|[1-9][0-9]{0,5})|column:.{1,200}")
_KEYS = frozenset(
    ("format", "model", "version", "eta", "segments", "window_ms", "fields", "streams", "volume",
     "rejects")
)  # fmt: skip
_LATER_KEYS = frozenset(("fleet",))
"""Keys that the first references did not have."""
_FIELD_KEYS = frozenset(
    ("name", "kind", "source", "edges", "low", "high", "values", "reach_ms", "depends_on", "counts")
)
_STREAM_KEYS = frozenset(
    ("stream", "mean", "low", "high", "scale", "phi", "windows", "rows", "season", "pooled_from")
)
_SEASON_KEYS = frozenset(("hour", "day", "week", "weeks", "error"))
_FLEET_KEYS = frozenset(("scale", "phi", "windows"))
_HOURS, _DAYS, _WEEK = 24, 7, 168


def digest_of(data: bytes) -> str:
    """Return the digest by which summaries name a reference: 16 hex digits.

    Args:
        data: The file.
    """
    return hashlib.sha256(data).hexdigest()[:DIGEST_DIGITS]


def write_reference(reference: DriftReference) -> bytes:
    """Return the file of a reference; equal references have equal files.

    Raises:
        ModelError: The file would be larger than 4 MiB.
    """
    data = canonical(
        {
            "format": FORMAT,
            "model": reference.model,
            "version": reference.version,
            "eta": reference.eta,
            "segments": list(reference.plan_segments),
            "window_ms": reference.window_ms,
            "fields": [_field_table(each) for each in reference.fields],
            "streams": [_stream_table(each) for each in reference.streams],
            "volume": [None if math.isnan(v) else v for v in reference.volume.tolist()],
            "rejects": dict(reference.rejects),
            "fleet": None if reference.fleet is None else _fleet_table(reference.fleet),
        }
    )
    if len(data) > BYTES_MOST:
        raise ModelError(
            f"reference of {reference.model}:{reference.version}: {len(data):,} bytes, more than "
            f"{BYTES_MOST:,}",
            "watch fewer segments",
        )
    return data


def read_reference(data: bytes, label: str) -> DriftReference:
    """Check a reference's file.

    Args:
        data: The file.
        label: ``NAME:VERSION`` of its bundle; the reference must be of this version.

    Raises:
        ModelError: It is too large, not JSON, or not a reference of this format; the message names
            the key.
    """
    try:
        found = _read(data)
    except (ValueError, OverflowError) as error:
        raise ModelError(
            f"bundle {label}: reference.json: {error}", "make it again with `models reference`"
        ) from None
    if f"{found.model}:{found.version}" != label:
        raise ModelError(
            f"bundle {label}: reference.json is of {found.model}:{found.version}",
            "make it again with `models reference`",
        )
    return found


def _field_table(each: FieldReference) -> dict[str, Any]:
    field = each.field
    return {
        "name": field.name,
        "kind": _KIND_NAMES[field.kind],
        "source": field.source,
        "edges": field.edges[np.isfinite(field.edges)].tolist(),
        "low": field.low,
        "high": field.high,
        "values": list(field.values),
        "reach_ms": each.reach_ms,
        "depends_on": list(each.depends_on),
        "counts": each.counts.tolist(),
    }


def _stream_table(each: StreamReference) -> dict[str, Any]:
    return {
        "stream": [each.key.field, each.key.measure, each.key.segment],
        "mean": each.mean,
        "low": each.low,
        "high": each.high,
        "scale": each.scale,
        "phi": each.phi,
        "windows": each.windows,
        "rows": each.rows,
        "season": None if each.season is None else _season_table(each.season),
        "pooled_from": each.pooled_from,
    }


def _fleet_table(fleet: FleetReference) -> dict[str, Any]:
    return {"scale": fleet.scale, "phi": fleet.phi, "windows": fleet.windows}


def _season_table(season: Season) -> dict[str, Any]:
    """Return a season; effects that are all zero are left out."""
    return {
        "hour": season.hour.tolist() if season.hour.any() else [],
        "day": season.day.tolist() if season.day.any() else [],
        "week": season.week.tolist(),
        "weeks": season.weeks,
        "error": season.error,
    }


def _read(data: bytes) -> DriftReference:
    if len(data) > BYTES_MOST:
        raise ValueError(f"is larger than {BYTES_MOST // 2**20} MiB")
    table, digest = parse(data), digest_of(data)
    at = JsonTable(table, "", _KEYS, _LATER_KEYS)
    at.whole("format", FORMAT, FORMAT)
    segments = at.texts("segments", SEGMENTS_MOST - 1)
    fields = tuple(
        _field(JsonTable(each, f"fields.{place}", _FIELD_KEYS), len(segments) + 1)
        for place, each in enumerate(at.listed("fields", FIELDS_MOST))
    )  # fmt: skip
    for what in ("name", "source"):
        named = [getattr(each.field, what) for each in fields]
        if len(set(named)) < len(named):
            raise ValueError(f"fields: a {what} is there twice")
    refuse_fields([each.field for each in fields])
    if sum(each.field.cells for each in fields) > CELLS_MOST:
        raise ValueError(f"fields: more than {CELLS_MOST} cells")
    streams = tuple(
        _stream(JsonTable(each, f"streams.{place}", _STREAM_KEYS))
        for place, each in enumerate(at.listed("streams", STREAMS_READ_MOST))
    )  # fmt: skip
    if len({each.key for each in streams}) < len(streams):
        raise ValueError("streams: a stream is there twice")
    known = {SEGMENT, *(each.field.name for each in fields)}
    for each in streams:
        if each.key.field not in known or each.key.segment not in (ALL, *segments):
            raise ValueError(f"streams: {each.key.text} is of an unknown field or segment")
    volume = at.listed("volume", _WEEK)
    rejects = at.table("rejects")
    if len(rejects) > _DAYS * _HOURS:
        raise ValueError("rejects: too many")
    return DriftReference(
        digest=digest, model=at.text("model"), version=at.text("version"),
        eta=at.number("eta", 0, 1), plan_segments=segments,
        window_ms=at.whole("window_ms", 1_000, _MS_MOST), fields=fields, streams=streams,
        volume=numbers(volume, "volume", 0, _VALUE_MOST, _WEEK, missing=True),
        rejects={
            text(name, "rejects", 1): number(share, f"rejects.{name}", 0, 1)
            for name, share in rejects.items()
        },
        fleet=_fleet(at),
    )  # fmt: skip


def _field(at: JsonTable, segments: int) -> FieldReference:
    kind = _KINDS.get(at.text("kind"))
    if kind is None:
        raise at.refuse("kind", f"is not one of {', '.join(_KINDS)}")
    source = at.text("source")
    if _SOURCE.fullmatch(source) is None or (kind == OUTCOME) != (source == "outcome"):
        raise at.refuse("source", "is not a source of this kind")
    edges = np.full(NUMBER_BINS - 1 if kind == NUMBER else 0, np.inf)
    inner = numbers(at.listed("edges", len(edges)), at.path("edges"), -_VALUE_MOST, _VALUE_MOST)
    if any(second <= first for first, second in pairwise(inner.tolist())):
        raise at.refuse("edges", "do not ascend")
    edges[: len(inner)] = inner
    low, high = (at.number(end, -_VALUE_MOST, _VALUE_MOST) for end in ("low", "high"))
    if low > high:
        raise at.refuse("low", "is more than high")
    field = WatchedField(
        at.text("name"), kind, source, edges, low, high,
        at.texts("values", TEXT_MOST if kind == TEXT else 0),
    )  # fmt: skip
    counts = [
        [
            whole(count, at.path("counts"), 0, _COUNT_MOST)
            for count in listed(row, at.path("counts"))
        ]
        for row in at.listed("counts", SEGMENTS_MOST)
    ]
    if len(counts) != segments or any(len(row) != field.cells for row in counts):
        raise at.refuse("counts", f"is not {segments} lists of {field.cells} counts")
    return FieldReference(
        field, at.whole("reach_ms", 0, _MS_MOST), at.texts("depends_on", FIELDS_MOST),
        np.array(counts, np.int64),
    )  # fmt: skip


def _stream(at: JsonTable) -> StreamReference:
    key = at.texts("stream", len(("field", "measure", "segment")), unique=False)
    if len(key) != len(("field", "measure", "segment")):
        raise at.refuse("stream", "is not field, measure and segment")
    low, mean, high = (at.number(name, LOWEST, HIGHEST) for name in ("low", "mean", "high"))
    if not low <= mean <= high:
        raise at.refuse("mean", "is outside of its band")
    scale = at.number("scale", 0, 1)
    if not scale:
        raise at.refuse("scale", "is 0")
    return StreamReference(
        key=StreamKey(*key), mean=mean, low=low, high=high, scale=scale,
        phi=at.number("phi", -0.99, 0.99), windows=at.whole("windows", 0, _COUNT_MOST),
        rows=at.whole("rows", 0, _COUNT_MOST), season=_season(at),
        pooled_from=at.text("pooled_from", least=0),
    )  # fmt: skip


def _fleet(document: JsonTable) -> FleetReference | None:
    table = document.value("fleet")
    if table is None:
        return None
    at = JsonTable(table, "fleet", _FLEET_KEYS)
    scale = at.number("scale", 0, _FLEET_MOST)
    if not scale:
        raise at.refuse("scale", "is 0")
    return FleetReference(scale, at.number("phi", -0.99, 0.99), at.whole("windows", 0, _COUNT_MOST))


def _season(stream: JsonTable) -> Season | None:
    table = stream.value("season")
    if table is None:
        return None
    at = JsonTable(table, stream.path("season"), _SEASON_KEYS)

    def effects(key: str, count: int, *, zero: bool) -> Float64:
        found = at.listed(key, count)
        if not found:
            return np.zeros(count if zero else 0)
        return numbers(found, at.path(key), -1, 1, count)

    return Season(
        effects("hour", _HOURS, zero=True), effects("day", _DAYS, zero=True),
        effects("week", _WEEK, zero=False), at.number("weeks", 0, _COUNT_MOST),
        at.number("error", 0, 1),
    )  # fmt: skip
