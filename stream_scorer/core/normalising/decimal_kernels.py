"""Kernels that scale numbers to integers: value x 10^exponent, exact or rounded as stated.

A double represents the shortest decimal that reads back as it (what ``repr`` prints), a float the
shortest that reads back as a float. If m has at most 15 digits and m / 10^e, correctly rounded, is
the double itself, that decimal is m / 10^e, because no two decimals of 15 digits are the same
double. Rounding keeps the order, so comparing the doubles compares the decimals. Larger values are
left to the caller, which has integers of any size.
"""

from typing import Final

import numpy as np

from stream_scorer.core.kernels.compiled import numeric

EXACT: Final = 0
HALF_EVEN: Final = 1
FLOOR: Final = 2
"""Modes for digits after the last one that is kept: refused, rounded, dropped."""

SCALED: Final = 0
NOT_A_NUMBER: Final = 1
NOT_FINITE: Final = 2
NEGATIVE_ZERO: Final = 3
DIGITS: Final = 4
OVERFLOW: Final = 5
LARGE: Final = 6
"""Status of a value that is beyond these kernels' arithmetic; the caller computes it."""
NO_EXPONENT: Final = 7

UNKNOWN: Final = -32_768
"""In place of an unknown exponent."""

TEXT_MOST: Final = 64
_SURE_DOUBLE: Final = 1e15
_SURE_FLOAT: Final = 1e6
_INT64: Final = np.iinfo(np.int64).max
_POWERS: Final = 10 ** np.arange(19, dtype=np.int64)
_DIGITS_MOST: Final = 19


@numeric
def _scaled(value, exponent, mode):  # noqa: PLR0911 a line for each case
    """Return (value x 10^exponent, status) of an integer."""
    if exponent >= 0:
        if value == 0:
            return value, SCALED
        if exponent >= len(_POWERS):
            return np.int64(0), OVERFLOW
        most = _INT64 // _POWERS[exponent]
        if value > most or value < -most:
            return np.int64(0), OVERFLOW
        return value * _POWERS[exponent], SCALED
    if -exponent >= len(_POWERS):
        return np.int64(0), LARGE
    divisor = _POWERS[-exponent]
    complete = value // divisor
    rest = value - complete * divisor
    if rest == 0 or mode == FLOOR:
        return complete, SCALED
    if mode == EXACT:
        return np.int64(0), DIGITS
    above = divisor - rest
    if rest > above or (rest == above and complete & 1 == 1):
        complete += 1
    return complete, SCALED


@numeric
def scale_longs(values, exponents, mode, out, status):
    """Scale int64[n] by 10^exponent of each row; write ``out`` int64[n] and ``status`` uint8[n]."""
    for row in range(len(values)):
        if exponents[row] == UNKNOWN:
            out[row], status[row] = 0, NO_EXPONENT
        else:
            out[row], status[row] = _scaled(values[row], exponents[row], mode)


@numeric
def scale_decimals(offsets, data, exponents, mode, out, status):
    """Scale big-endian two's complement numbers (Avro decimals) as ``scale_longs`` does.

    The caller has subtracted the decimal's scale from each exponent.
    """
    for row in range(len(out)):
        at, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        out[row] = 0
        if exponents[row] == UNKNOWN:
            status[row] = NO_EXPONENT
            continue
        if at == end:
            status[row] = NOT_A_NUMBER
            continue
        negative = data[at] >= 128  # noqa: PLR2004 the sign's bit
        fill = 255 if negative else 0
        # Leading bytes that only repeat the sign have no effect.
        while end - at > 1 and data[at] == fill and (data[at + 1] >= 128) == negative:  # noqa: PLR2004
            at += 1
        if end - at > 8:  # noqa: PLR2004 64 bits
            status[row] = LARGE
            continue
        value = np.int64(-1) if negative else np.int64(0)
        for k in range(at, end):
            value = (value << 8) | np.int64(data[k])
        out[row], status[row] = _scaled(value, exponents[row], mode)


@numeric
def scale_doubles(values, single, exponents, mode, out, status):  # noqa: C901, PLR0912 cases in order
    """Scale float64[n] as ``scale_longs`` does; ``single``: they were floats.

    A row with another exponent than 0 to 15 is LARGE.
    """
    sure = _SURE_FLOAT if single else _SURE_DOUBLE
    for row in range(len(values)):
        value = values[row]
        exponent = exponents[row]
        out[row] = 0
        if exponent == UNKNOWN:
            status[row] = NO_EXPONENT
        elif not np.isfinite(value):
            status[row] = NOT_FINITE
        elif value == 0.0:
            status[row] = NEGATIVE_ZERO if np.signbit(value) else SCALED
        elif exponent < 0 or exponent > 15:  # noqa: PLR2004 a power that a double holds exactly
            status[row] = LARGE
        else:
            scale = np.float64(_POWERS[exponent])
            product = value * scale
            # One digit of margin: the comparison below uses one more.
            if not abs(product) < sure / 10:
                status[row] = LARGE
                continue
            whole = np.int64(np.rint(product))
            near = np.float64(whole) / scale
            if single:
                near = np.float64(np.float32(near))
            status[row] = SCALED
            if near == value:
                out[row] = whole
                continue
            if mode == EXACT:
                status[row] = DIGITS
                continue
            if value < near:
                whole -= 1
            if mode == HALF_EVEN:
                half = np.float64(10 * whole + 5) / (scale * 10.0)
                if single:
                    half = np.float64(np.float32(half))
                if value > half or (value == half and whole & 1 == 1):
                    whole += 1
            out[row] = whole


@numeric
def _text(data, at, end, exponent, mode):  # noqa: C901, PLR0911, PLR0912, PLR0915 one part after the other
    """Return (number, status) of a decimal text."""
    zero = np.int64(0)
    if at >= end or end - at > TEXT_MOST:
        return zero, NOT_A_NUMBER
    negative = data[at] == 45  # noqa: PLR2004 -
    if negative:
        at += 1
    digits = np.empty(TEXT_MOST, np.uint8)
    count = 0
    power = np.int64(0)
    seen = False
    while at < end and 48 <= data[at] <= 57:  # noqa: PLR2004
        seen = True
        if count > 0 or data[at] != 48:  # noqa: PLR2004
            digits[count] = data[at] - 48
            count += 1
        at += 1
    if not seen:
        return zero, NOT_A_NUMBER
    if at < end and data[at] == 46:  # noqa: PLR2004 .
        at += 1
        first = at
        while at < end and 48 <= data[at] <= 57:  # noqa: PLR2004
            if count > 0 or data[at] != 48:  # noqa: PLR2004
                digits[count] = data[at] - 48
                count += 1
            power -= 1
            at += 1
        if at == first:
            return zero, NOT_A_NUMBER
    if at < end and (data[at] == 101 or data[at] == 69):  # noqa: PLR2004 e or E
        at += 1
        down = at < end and data[at] == 45  # noqa: PLR2004
        if at < end and (data[at] == 45 or data[at] == 43):  # noqa: PLR2004
            at += 1
        first = at
        shift = np.int64(0)
        while at < end and 48 <= data[at] <= 57 and at - first < 4:  # noqa: PLR2004
            shift = shift * 10 + np.int64(data[at]) - 48
            at += 1
        if at == first:
            return zero, NOT_A_NUMBER
        power += -shift if down else shift
    if at != end:
        return zero, NOT_A_NUMBER
    while count > 0 and digits[count - 1] == 0:
        count -= 1
        power += 1
    if count == 0:
        return zero, NEGATIVE_ZERO if negative else SCALED
    power += exponent
    complete = count + power  # digits before the point
    if complete > _DIGITS_MOST:
        return zero, OVERFLOW
    number = np.uint64(0)
    for k in range(complete):
        digit = np.uint64(digits[k]) if k < count else np.uint64(0)
        number = number * np.uint64(10) + digit
    if number > np.uint64(_INT64):
        return zero, OVERFLOW
    value = np.int64(number)
    if power < 0 and mode == EXACT:
        return zero, DIGITS
    up = power < 0 and mode == FLOOR and negative
    if power < 0 and mode == HALF_EVEN and complete >= 0:
        following = digits[complete]
        more = complete + 1 < count
        up = following > 5 or (following == 5 and (more or value & 1 == 1))  # noqa: PLR2004
    if up:
        # Checked first: compiled code assumes that a sum does not overflow.
        if value == _INT64:
            return zero, OVERFLOW
        value += 1
    return -value if negative else value, SCALED


@numeric
def scale_texts(offsets, data, exponents, mode, out, status):
    """Scale decimal texts such as ``-12.5`` and ``1e3``, of at most ``TEXT_MOST`` bytes."""
    for row in range(len(out)):
        if exponents[row] == UNKNOWN:
            out[row], status[row] = 0, NO_EXPONENT
        else:
            out[row], status[row] = _text(
                data, offsets[row], offsets[row + 1], np.int64(exponents[row]), mode
            )
