"""Nine days of an input: which silence pages, and which is usual."""

from collections.abc import Sequence

from tests.alerts.promtool import Scenario

_HOUR, _DAY, _DAYS = 60, 1_440, 9
_SILENCE = 8 * _DAY + 12 * _HOUR
"""At noon of the last day the input ends, for an hour."""


def counted(segments: Sequence[tuple[int, int]]) -> str:
    """Return a counter, one value a minute.

    Args:
        segments: Minutes, and records a minute.

    >>> counted([(2, 100), (3, 0), (2, 1)])
    '0+100x1 200+0x2 200+1x1'
    """
    total, values = 0, []
    for minutes, rate in segments:
        values.append(f"{total}+{rate}x{minutes - 1}")
        total += minutes * rate
    return " ".join(values)


def _nights(begin: int, end: int) -> list[tuple[int, int]]:
    """Return a day with records between two hours."""
    return [(begin * _HOUR, 0), ((end - begin) * _HOUR, 100), ((24 - end) * _HOUR, 0)]


_INPUTS = {
    # The input of a group that is always busy, until it ends.
    "busy": counted([(_SILENCE, 100), (_HOUR, 0), (11 * _HOUR, 100)]),
    # The nights are quiet. On the last day, summer time is over in the morning, and begins in the
    # evening: the day begins an hour later and ends an hour earlier.
    "quiet nights": counted(_nights(6, 22) * 8 + _nights(7, 21)),
    "hourly batches": counted([(10, 200), (50, 0)] * 24 * _DAYS),
    "few": counted([(_SILENCE, 10), (12 * _HOUR, 0)]),
    "closed on one day of the week": counted([(_DAY, 100), (_DAY, 0), (6 * _DAY, 100), (_DAY, 0)]),
    "over since yesterday": counted([(7 * _DAY, 100), (2 * _DAY, 0)]),
    "new": f"_x{5 * _DAY} {counted([(_SILENCE - 5 * _DAY, 100), (12 * _HOUR, 0)])}",
}
_COUNTED = f"0+60x{_DAYS * _DAY}"


def _series() -> dict[str, str]:
    found = {"stream_scorer_lag_pass_time_seconds": _COUNTED}
    for group, values in _INPUTS.items():
        labels = f'group="{group}",topic="transactions"'
        found[f'stream_scorer_slo_records_total{{{labels},result="good"}}'] = values
        found[f"stream_scorer_slo_time_seconds{{{labels}}}"] = _COUNTED
    return found


_USUAL = [
    *(8 * _DAY + minute for minute in range(10, 12 * _HOUR, 20)),
    _SILENCE + 5,
    *(_SILENCE + minute for minute in range(_HOUR + 5, 12 * _HOUR, 20)),
]
"""Minutes of the last day in which each input has records, or is usually silent."""
_FAULT = [_SILENCE + minute for minute in (15, 30, 55)]
INPUT_SILENT = Scenario(
    "InputSilent",
    _series(),
    {
        f"{minute}m": ["InputSilent"] if minute in _FAULT else []
        for minute in sorted([*_USUAL, *_FAULT])
    },
)
