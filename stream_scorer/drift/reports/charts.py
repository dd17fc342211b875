"""Charts as inline SVG: no script, no external resource, all texts escaped.

Colours and fonts come from the classes of the page's style sheet.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from stream_scorer.drift.reports.template import safe

_WIDTH, _HEIGHT = 660, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 16, 26
_TICKS: Final = 4
_LABEL_MOST: Final = 12
"""Characters of a label below a bar."""
_FLAT_LABELS: Final = 8
"""Bars from which on labels are turned."""
_NEARLY: Final = 0.75
"""Part of the threshold from which a meter is coloured."""
_THOUSAND: Final = 1_000
_DAY_HOURS: Final = 48
"""Hours from which on ticks are days."""


def line_chart(
    points: Sequence[Mapping[str, Any]],
    tolerance: float | None,
    onsets: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the course of a stream: values, what was expected, the tolerance, and onsets.

    Args:
        points: ``start`` in ISO 8601, ``value``, ``expected`` or None; by time.
        tolerance: Half of the width of the band around the expected value; None for no band.
        onsets: ``at``, ``low``, ``high`` in ISO 8601 or None, and ``severity``.
    """
    if not points:
        return '<p class="quiet">No window yet.</p>'
    times = [_seconds(each["start"]) for each in points]
    begin, end = times[0], max(times[-1], times[0] + 3_600)
    band = tolerance or 0.0
    shown = [float(each["value"]) for each in points]
    for each in points:
        if each["expected"] is not None:
            shown += [each["expected"] - band, each["expected"] + band]
    low, high = _padded(min(shown), max(shown))

    def x(second: float) -> float:
        share = min(max((second - begin) / (end - begin), 0.0), 1.0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    known = [(t, each["expected"]) for t, each in zip(times, points, strict=True)]
    inside = [(x(t), value) for t, value in known if value is not None]
    parts = [_grid(low, high, y), _time_axis(begin, end, x)]
    if inside and tolerance:
        upper = [f"{at:.1f},{y(value + band):.1f}" for at, value in inside]
        lower = [f"{at:.1f},{y(value - band):.1f}" for at, value in reversed(inside)]
        parts.append(f'<polygon class="band" points="{" ".join(upper + lower)}"/>')
    if inside:
        parts.append(_path("expected", [(at, y(value)) for at, value in inside]))
    parts.append(
        _path("value", [(x(t), y(float(e["value"]))) for t, e in zip(times, points, strict=True)])
    )
    parts += [_onset(each, x, begin, end) for each in onsets]
    return _svg("".join(parts), "Course of the stream", _HEIGHT)


def histogram(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a histogram: the shares of each cell before and after a change.

    Args:
        rows: ``label``, ``before`` and ``after`` as numbers of events.
    """
    totals = [max(sum(float(row[name]) for row in rows), 1.0) for name in ("before", "after")]
    if not rows:
        return '<p class="quiet">This stream has no distribution.</p>'
    shares = [(row["before"] / totals[0], row["after"] / totals[1]) for row in rows]
    high = max(max(each) for each in shares) * 1.1 or 1.0
    turned = len(rows) > _FLAT_LABELS
    height = _HEIGHT + 34 * turned
    bottom = _HEIGHT - _BOTTOM

    def y(value: float) -> float:
        return _TOP + (high - value) / high * (bottom - _TOP)

    step = (_WIDTH - _LEFT - _RIGHT) / len(rows)
    bar = step * 0.38
    parts = [_grid(0.0, high, y, percent=True)]
    for at, ((before, after), row) in enumerate(zip(shares, rows, strict=True)):
        left = _LEFT + step * (at + 0.1)
        for name, share, offset in (("before", before, 0.0), ("after", after, bar)):
            parts.append(
                f'<rect class="{name}" x="{left + offset:.1f}" y="{y(share):.1f}" '
                f'width="{bar:.1f}" height="{bottom - y(share):.1f}"><title>'
                f"{safe(str(row['label']))}: {100 * share:.1f} % {name}</title></rect>"
            )
        parts.append(_bar_label(str(row["label"]), left + bar, bottom + 14, turned=turned))
    return _svg("".join(parts), "Distribution before and after the change", height)


def meter(share: float | None) -> str:
    """Return a bar that shows which part of the threshold is reached, from 0 to 1."""
    if share is None:
        return '<span class="quiet">-</span>'
    width = 80 * min(max(share, 0.0), 1.0)
    level = "full" if share >= 1 else "high" if share >= _NEARLY else "low"
    return (
        '<svg class="meter" viewBox="0 0 80 10" width="80" height="10" role="img" '
        f'aria-label="{100 * share:.0f} % of the threshold"><rect class="track" width="80" '
        f'height="10" rx="2"/><rect class="{level}" width="{width:.1f}" height="10" rx="2"/></svg>'
    )


def figure(value: float | None) -> str:
    """Return a number with three significant digits, thousands separated; a dash for none.

    >>> figure(0.0123456), figure(1_234_567.0), figure(None), figure(0.0)
    ('0.0123', '1,234,567', '-', '0')
    """
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= _THOUSAND else f"{value:.3g}"


def _svg(body: str, label: str, height: int) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{safe(label)}">{body}</svg>'
    )


def _grid(low: float, high: float, y: Callable[[float], float], *, percent: bool = False) -> str:
    lines = []
    for value in _ticks(low, high):
        text = f"{100 * value:.3g} %" if percent else figure(value)
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text class="tick" text-anchor="end" x="{_LEFT - 6}" '
            f'y="{y(value) + 4:.1f}">{text}</text>'
        )
    return "".join(lines)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers within a range."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough)
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - first * step) / step + 1e-9) + 1
    return [round((first + n) * step, 12) for n in range(max(count, 0))]


def _time_axis(begin: float, end: float, x: Callable[[float], float]) -> str:
    hours = (end - begin) / 3_600
    step = 24 * max(round(hours / 24 / 7), 1) if hours > _DAY_HOURS else max(round(hours / 6), 1)
    second = math.ceil(begin / (step * 3_600)) * step * 3_600
    parts = []
    while second <= end:
        moment = _EPOCH + timedelta(seconds=second)
        text = f"{moment:%b %d}" if hours > _DAY_HOURS else f"{moment:%d %H:%M}"
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x(second):.1f}" '
            f'y="{_HEIGHT - 8}">{text}</text>'
        )
        second += step * 3_600
    return "".join(parts)


def _onset(mark: Mapping[str, Any], x: Callable[[float], float], begin: float, end: float) -> str:
    if mark["at"] is None or not begin <= _seconds(mark["at"]) <= end:
        return ""
    at = x(_seconds(mark["at"]))
    low = x(_seconds(mark["low"] or mark["at"]))
    high = x(_seconds(mark["high"] or mark["at"]))
    anchor = "end" if at > _WIDTH * 0.8 else "start"
    return (
        f'<rect class="around" x="{low:.1f}" y="{_TOP}" width="{max(high - low, 1):.1f}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"/><line class="onset" x1="{at:.1f}" x2="{at:.1f}" '
        f'y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/><text class="mark" text-anchor="{anchor}" '
        f'x="{at + (-5 if anchor == "end" else 5):.1f}" y="{_TOP + 10}">onset '
        f"{(_EPOCH + timedelta(seconds=_seconds(mark['at']))):%b %d %H:%M}</text>"
    )


def _bar_label(label: str, x: float, y: float, *, turned: bool) -> str:
    text = label if len(label) <= _LABEL_MOST else f"{label[: _LABEL_MOST - 1]}…"
    turn = f' transform="rotate(-35 {x:.1f} {y:.1f})"' if turned else ""
    anchor = "end" if turned else "middle"
    return (
        f'<text class="tick" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}"{turn}>'
        f"<title>{safe(label)}</title>{safe(text)}</text>"
    )


def _path(name: str, points: Sequence[tuple[float, float]]) -> str:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{name}" points="{line}"/>'


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.08 or max(abs(high) * 0.1, 1e-9)
    return low - room, high + room


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _seconds(moment: str) -> float:
    return (datetime.fromisoformat(moment) - _EPOCH).total_seconds()
