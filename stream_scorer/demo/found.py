"""Whether the drift events of the demo are those of its change: not before it, and soon after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from stream_scorer.ports import Int64

WINDOWS_MOST: Final = 3
"""Judged windows after the change within which it must be found."""
_LEAST_ROWS: Final = 200
"""Transactions of a judged window; an hour with fewer is added to the next."""
_HOUR_MS: Final = 3_600_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DemoFound:
    """What the monitor found.

    Attributes:
        early: Number of drifts whose window begins before the change.
        windows: Number of judged windows from the change to the first drift; None: it was not
            found.
        faults: Names of the faults of the data; the demo has none.
    """

    early: int
    windows: int | None
    faults: tuple[str, ...]


def milliseconds(moment: datetime) -> int:
    """Return a time as ms since the epoch."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def found(events: Sequence[Mapping[str, Any]], change_ms: int, times: Int64) -> DemoFound:
    """Return what the drift events report.

    Args:
        events: The drift events, oldest first.
        change_ms: Event time of the change.
        times: int64[n], event times of all transactions, by time.
    """
    opened = [each for each in events if each["change"] == "opened"]
    drifts = [each for each in opened if each["kind"] != "fault"]
    early = sum(milliseconds(each["window_start"]) < change_ms for each in drifts)
    ends = [
        milliseconds(each["window_end"])
        for each in drifts
        if milliseconds(each["window_start"]) >= change_ms
    ]
    faults = tuple(sorted(each["signal"] for each in opened if each["kind"] == "fault"))
    return DemoFound(early, judged_windows(times, change_ms, min(ends)) if ends else None, faults)


def judged_windows(times: Int64, begin_ms: int, end_ms: int) -> int:
    """Return how many windows are judged in a time: hours, together until they have 200 rows.

    >>> hours = np.repeat([0, 1, 2, 3], [250, 150, 60, 400]) * 3_600_000
    >>> [judged_windows(hours, 0, end * 3_600_000) for end in (1, 2, 3, 4)]
    [1, 1, 2, 3]

    Args:
        times: int64[n], event times in ms, ascending.
        begin_ms: Start of the first hour.
        end_ms: End of the last.
    """
    bounds = np.arange(begin_ms, end_ms + 1, _HOUR_MS)
    judged = rows = 0
    for count in np.diff(np.searchsorted(times, bounds)).tolist():
        rows += count
        if rows >= _LEAST_ROWS:
            judged, rows = judged + 1, 0
    return judged
