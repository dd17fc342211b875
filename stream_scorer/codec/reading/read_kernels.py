"""How a walk reads one value from the wire, checks it, and stores it into a column.

Positions are addresses; rows are numbered in the column.
"""

from typing import Final

import numpy as np

from stream_scorer.codec.reading.opcodes import (
    BIT,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    TEXT,
    TRUNCATED,
    VARINT,
)
from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.core.kernels.memory import (
    HIGH_BITS,
    Number,
    load_byte,
    load_int32,
    load_word,
    store,
    trailing_zeros,
)

_VARINT_BYTES: Final = 10
_WORD: Final = 8


@numeric
def varint(at: Number, end: Number, limit: Number):  # type: ignore[no-untyped-def] # noqa: ANN201, PLR0911 numba types it
    """Return (zigzag-decoded value, next position, status); after a failure the position is ``at``.

    If a word ends before ``limit``, up to eight bytes are read as one word. The bits after the
    first byte without continuation bit are dropped, and the groups of seven bits are joined.
    """
    if at >= end:
        return np.int64(0), at, TRUNCATED
    if at + _WORD <= limit:
        word = load_word(at)
        stops = ~word & HIGH_BITS
        if stops != 0:
            bits = trailing_zeros(stops)
            size = np.int64(bits >> np.uint64(3)) + 1
            if at + size > end:
                return np.int64(0), at, TRUNCATED
            word &= stops ^ (stops - np.uint64(1))
            if size > 1 and (word >> (bits - np.uint64(7))) == 0:
                return np.int64(0), at, VARINT
            word &= np.uint64(0x7F7F7F7F7F7F7F7F)
            word = (word & np.uint64(0x007F007F007F007F)) | (
                (word & np.uint64(0x7F007F007F007F00)) >> np.uint64(1)
            )
            word = (word & np.uint64(0x00003FFF00003FFF)) | (
                (word & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2)
            )
            word = (word & np.uint64(0x000000000FFFFFFF)) | (
                (word & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4)
            )
            return _unfolded(word), at + size, 0
    value = np.uint64(0)
    for k in range(_VARINT_BYTES):
        if at + k >= end:
            return np.int64(0), at, TRUNCATED
        byte = load_byte(at + k)
        value |= np.uint64(byte & 0x7F) << np.uint64(7 * k)
        if byte < 0x80:  # noqa: PLR2004 the last byte
            # A last byte of 0 is padding. The tenth byte has only one of the 64 bits.
            if k > 0 and (byte == 0 or (k == _VARINT_BYTES - 1 and byte > 1)):
                return np.int64(0), at, VARINT
            return _unfolded(value), at + k + 1, 0
    return np.int64(0), at, VARINT


@numeric
def _unfolded(value: np.uint64) -> np.int64:
    """Return the number that a zigzag code encodes: 0, 1, 2, 3 are 0, -1, 1, -2."""
    return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))


@numeric
def ascii_only(at: Number, end: Number) -> bool:
    """Return whether no byte has its high bit set."""
    seen = np.uint64(0)
    while at + _WORD <= end:
        seen |= load_word(at)
        at += _WORD
    while at < end:
        seen |= np.uint64(load_byte(at))
        at += 1
    return (seen & HIGH_BITS) == 0


@numeric
def utf8(at: Number, end: Number) -> bool:  # noqa: C901, PLR0912 the table's rows
    """Return whether the bytes are UTF-8 by table 3-7 of the Unicode standard."""
    while at < end:
        byte = load_byte(at)
        if byte < 0x80:  # noqa: PLR2004
            at += 1
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= byte <= 0xDF:  # noqa: PLR2004
            more = 1
        elif 0xE0 <= byte <= 0xEF:  # noqa: PLR2004
            more = 2
            if byte == 0xE0:  # noqa: PLR2004 over-long
                low = 0xA0
            elif byte == 0xED:  # noqa: PLR2004 surrogates
                high = 0x9F
        elif 0xF0 <= byte <= 0xF4:  # noqa: PLR2004
            more = 3
            if byte == 0xF0:  # noqa: PLR2004 over-long
                low = 0x90
            elif byte == 0xF4:  # noqa: PLR2004 beyond U+10FFFF
                high = 0x8F
        else:
            return False
        if at + more >= end or not low <= load_byte(at + 1) <= high:
            return False
        for k in range(2, more + 1):
            if load_byte(at + k) & 0xC0 != 0x80:  # noqa: PLR2004
                return False
        at += more + 1
    return True


@numeric
def put_bit(bits: Number, row: Number, on: bool) -> None:  # noqa: FBT001 it is the value
    """Set or clear a row's bit; the bits after it may have any value."""
    place = bits + (row >> 3)
    mask = 1 << (row & 7)
    byte = np.int64(load_byte(place))
    store(place, np.uint8((byte | mask) if on else (byte & ~mask)))


@numeric
def put_number(values: Number, row: Number, kind: Number, value: Number) -> None:
    """Store an integer into a column of ``kind``."""
    if kind == INT64:
        store(values + 8 * row, value)
    elif kind == INT32:
        store(values + 4 * row, np.int32(value))
    elif kind == FLOAT64:
        store(values + 8 * row, np.float64(value))
    elif kind == FLOAT32:
        # Through a double, as with a Python float: rounded twice, in both ways of decoding.
        store(values + 4 * row, np.float32(np.float64(value)))


@numeric
def put_null(values: Number, row: Number, kind: Number) -> None:
    """Store a value for a null, which is never read: an empty text, or zero."""
    if kind == TEXT:
        store(values + 4 * row + 4, load_int32(values + 4 * row))
    elif kind == BIT:
        put_bit(values, row, False)
    else:
        put_number(values, row, kind, np.int64(0))
