"""The picture of the bench: average precision by day, and what happened when."""

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP = 860, 320, 60, 30


def svg(by_day: Sequence[float], drift: int, found: Mapping[str, Any]) -> str:
    """Return the picture as SVG.

    Args:
        by_day: Average precision of the published scores of each day.
        drift: Day of the drift.
        found: Days of the events, by name; None for one that did not happen.
    """
    wide, high = _WIDTH - _LEFT - 20, _HEIGHT - _TOP - 40
    most = max([*by_day, 0.1])

    def place(day: float, value: float) -> tuple[float, float]:
        return _LEFT + wide * day / max(len(by_day) - 1, 1), _TOP + high * (1 - value / most)

    points = " ".join("{:.1f},{:.1f}".format(*place(d, v)) for d, v in enumerate(by_day))
    early, matured = found["alarm_days_early_labels"], found["alarm_days"]
    marks = [
        ("drift", drift), ("alarm, sample", None if early is None else drift + early),
        ("alarm, matured", None if matured is None else drift + matured),
        ("proposed", found["proposed_day"]), ("promoted", found["promoted_day"]),
    ]  # fmt: skip
    lines = []
    for row, (name, day) in enumerate((name, day) for name, day in marks if day is not None):
        x, y = place(day, most)
        lines.append(
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{_TOP + high}" stroke="#888" '
            f'stroke-dasharray="3 3"/>'
            f'<text x="{x + 3:.1f}" y="{_TOP + 12 + 14 * row}">{name}</text>'
        )
    axis = "".join(
        f'<text x="{place(day, 0)[0]:.1f}" y="{_TOP + high + 18}" text-anchor="middle">{day}</text>'
        for day in range(0, len(by_day), 10)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{_LEFT}" y="18">Average precision of the published scores by day</text>'
        f'<text x="10" y="{_TOP + 10}">{most:.2f}</text><text x="10" y="{_TOP + high}">0</text>'
        f"{''.join(lines)}{axis}"
        f'<polyline points="{points}" fill="none" stroke="#1f5fa8" stroke-width="2"/></svg>\n'
    )
