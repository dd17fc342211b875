"""The kernel that reads ISO 8601 times from a column of texts."""

from typing import Final

import numpy as np

from stream_scorer.core.kernels.compiled import numeric

READ: Final = 0
NOT_A_TIME: Final = 1
NO_OFFSET: Final = 2
"""The status of a time without a UTC offset, if none is assumed."""

_LONGEST: Final = 40
_FRACTION_MOST: Final = 9


@numeric
def _digits(data, at, end, count):
    """Return the number that ``count`` digits give, or -1 if there are fewer digits."""
    if at + count > end:
        return np.int64(-1)
    number = np.int64(0)
    for k in range(count):
        digit = np.int64(data[at + k]) - 48
        if digit < 0 or digit > 9:  # noqa: PLR2004 decimal
            return np.int64(-1)
        number = number * 10 + digit
    return number


@numeric
def _days(year, month, day):
    """Return days since 1970-01-01 of a date in the Gregorian calendar, or -1e9 for no date.

    The algorithm is Howard Hinnant's ``days_from_civil``.
    """
    none = np.int64(-1_000_000_000)
    if year < 1 or month < 1 or month > 12 or day < 1:  # noqa: PLR2004
        return none
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if month == 2:  # noqa: PLR2004
        longest = 29 if leap else 28
    elif month in (4, 6, 9, 11):
        longest = 30
    else:
        longest = 31
    if day > longest:
        return none
    shifted = year - 1 if month <= 2 else year  # noqa: PLR2004
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1  # noqa: PLR2004
    return np.int64(era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468)


@numeric
def _time(data, at, end, assume_utc):  # noqa: C901, PLR0911, PLR0912, PLR0915 one part after the other
    """Return (ms since the epoch, status) of one text."""
    zero = np.int64(0)
    if end - at > _LONGEST:
        return zero, NOT_A_TIME
    year, month, day = _digits(data, at, end, 4), zero, zero
    if year < 0 or at + 10 > end or data[at + 4] != 45 or data[at + 7] != 45:  # noqa: PLR2004 -
        return zero, NOT_A_TIME
    month, day = _digits(data, at + 5, end, 2), _digits(data, at + 8, end, 2)
    days = _days(year, month, day)
    at += 10
    if days <= -1_000_000_000 or at >= end:  # noqa: PLR2004
        return zero, NOT_A_TIME
    if data[at] != 84 and data[at] != 32:  # noqa: PLR2004 T or a space
        return zero, NOT_A_TIME
    hour = _digits(data, at + 1, end, 2)
    if hour < 0 or hour > 23 or at + 3 >= end or data[at + 3] != 58:  # noqa: PLR2004 :
        return zero, NOT_A_TIME
    minute = _digits(data, at + 4, end, 2)
    if minute < 0 or minute > 59:  # noqa: PLR2004
        return zero, NOT_A_TIME
    at += 6
    second = zero
    millisecond = zero
    if at < end and data[at] == 58:  # noqa: PLR2004 :
        second = _digits(data, at + 1, end, 2)
        if second < 0 or second > 59:  # noqa: PLR2004 a leap second is refused
            return zero, NOT_A_TIME
        at += 3
        if at < end and (data[at] == 46 or data[at] == 44):  # noqa: PLR2004 . or ,
            at += 1
            first = at
            unit = np.int64(100)
            while at < end and 48 <= data[at] <= 57:  # noqa: PLR2004
                # Digits after the third are dropped: a time is rounded down.
                millisecond += (np.int64(data[at]) - 48) * unit
                unit //= 10
                at += 1
            if at == first or at - first > _FRACTION_MOST:
                return zero, NOT_A_TIME
    offset = zero
    if at == end:
        if not assume_utc:
            return zero, NO_OFFSET
    elif data[at] == 90 or data[at] == 122:  # noqa: PLR2004 Z or z
        at += 1
    elif data[at] == 43 or data[at] == 45:  # noqa: PLR2004 + or -
        negative = data[at] == 45  # noqa: PLR2004
        hours = _digits(data, at + 1, end, 2)
        if hours < 0 or hours > 23:  # noqa: PLR2004
            return zero, NOT_A_TIME
        at += 3
        minutes = zero
        if at < end:
            if data[at] == 58:  # noqa: PLR2004 :
                at += 1
            minutes = _digits(data, at, end, 2)
            if minutes < 0 or minutes > 59:  # noqa: PLR2004
                return zero, NOT_A_TIME
            at += 2
        offset = hours * 60 + minutes
        if negative:
            offset = -offset
    if at != end:
        return zero, NOT_A_TIME
    minutes_of_day = hour * 60 + minute - offset
    return ((days * 1_440 + minutes_of_day) * 60 + second) * 1_000 + millisecond, READ


@numeric
def read_times(offsets, data, assume_utc, times, status):
    """Read a column of texts ``YYYY-MM-DDTHH:MM[:SS[.fraction]]`` with Z or an offset.

    Args:
        offsets: int32[n + 1], where each text begins.
        data: uint8, the texts.
        assume_utc: Whether a time without an offset is UTC.
        times: int64[n], written: ms since the epoch, rounded down; 0 for a text that is not a time.
        status: uint8[n], written: READ, NOT_A_TIME or NO_OFFSET.
    """
    for row in range(len(times)):
        times[row], status[row] = _time(data, offsets[row], offsets[row + 1], assume_utc)
