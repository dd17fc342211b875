"""Local time and text of event times, without a clock."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.read_only import read_only

Int64 = NDArray[np.int64]

_SECOND_MS = 1_000
_DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The offset at the end of this year applies to later years, too: Python's dates end with 9999.
_LAST_YEAR = 9997


def shown_time(at: int, timespec: str = "milliseconds") -> str:
    """Return a time in ISO 8601, UTC; as digits if it is outside of the calendar's years.

    Args:
        at: Ms since the epoch; any number.
        timespec: As of ``datetime.isoformat``.

    >>> shown_time(1_522_540_800_000), shown_time(1 << 60)
    ('2018-04-01T00:00:00.000+00:00', '1152921504606846976')
    """
    try:
        return datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec=timespec)
    except (OverflowError, ValueError, OSError):
        return str(at)


def local_ms(event_time: Int64, zone: str) -> Int64:
    """Return the local time of each event time, as ms since the epoch as if it were UTC; read-only.

    Args:
        event_time: int64[n], ms since the epoch, UTC, of the years 1970 to 9999.
        zone: An IANA name.
    """
    if zone == "UTC" or not len(event_time):
        return read_only(event_time)
    years = np.unique(event_time.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64))
    parts = [_offsets(zone, min(int(year) + 1970, _LAST_YEAR)) for year in years]
    begins = np.concatenate([begin for begin, _ in parts])
    offsets = np.concatenate([offset for _, offset in parts])
    return read_only(event_time + offsets[np.searchsorted(begins, event_time, side="right") - 1])


@lru_cache(maxsize=1024)
def _offsets(zone: str, year: int) -> tuple[Int64, Int64]:
    """Return (start times of offsets, the offsets), both int64, ms, for a year in UTC."""
    tz = ZoneInfo(zone)

    def offset(second: int) -> int:
        shift = (_EPOCH + timedelta(seconds=second)).astimezone(tz).utcoffset()
        return int((shift or timedelta()) / timedelta(milliseconds=1))

    start, end = (
        int((datetime(begin, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
        for begin in (year, year + 1)
    )
    begins, offsets = [start], [offset(start)]
    for day in range(start, end, _DAY_S):
        low, high = day, day + _DAY_S
        if offset(high) == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        begins.append(high)
        offsets.append(offset(high))
    return np.array(begins, np.int64) * _SECOND_MS, np.array(offsets, np.int64)
