"""The kernels that read Confluent-framed Avro in place: no allocation per record, no GIL."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_scorer.ports import Int64

Bytes = NDArray[np.uint8]

# Operations of a program: what stands next on the wire.
END: Final = 0
BOOLEAN: Final = 1
INT: Final = 2
LONG: Final = 3
SKIP: Final = 4  # so many bytes
BYTES: Final = 5
STRING: Final = 6
ENUM: Final = 7  # so many symbols
OPTIONAL: Final = 8  # position of null; step behind the other branch
UNION: Final = 9  # so many branches, one jump for each follows
JUMP: Final = 10  # to a step
ITEMS: Final = 11  # an array or map; step behind it
NEXT: Final = 12  # end of an item; step of its ITEMS
CALL: Final = 13  # a recursive type; its first step
RETURN: Final = 14

# What a record fails with; 0 is good.
TRUNCATED: Final = 1
VARINT: Final = 2
LENGTH: Final = 3
BRANCH: Final = 4
SYMBOL: Final = 5
UTF8: Final = 6
BOOL: Final = 7
BLOCK: Final = 8
LEFT: Final = 9
STRING_LIMIT: Final = 10
COUNT_LIMIT: Final = 11
DEPTH: Final = 12

# What a payload fails with before its schema is known.
EMPTY: Final = 1
OVERSIZE: Final = 2
FRAMING: Final = 3

_DEPTH_MAX: Final = 64
_HEADER: Final = 5
_VARINT_BYTES: Final = 10


@njit(nogil=True, cache=True)
def frames(
    data: Bytes, offsets: Int64, record_max: int, status: Bytes, ids: Int64
) -> tuple[int, bool]:
    """Read the header of n payloads into ``status`` and ``ids`` (-1 where there is none).

    Returns:
        (number of bad payloads, whether all good ones carry one id).
    """
    bad = 0
    uniform = True
    first = np.int64(-1)
    for row in range(len(status)):
        start = offsets[row]
        size = offsets[row + 1] - start
        ids[row] = -1
        status[row] = 0
        if size == 0:
            status[row] = EMPTY
        elif size > record_max:
            status[row] = OVERSIZE
        elif size < _HEADER or data[start] != 0:
            status[row] = FRAMING
        if status[row] != 0:
            bad += 1
            continue
        number = np.int64(0)
        for k in range(1, _HEADER):
            number = (number << 8) | np.int64(data[start + k])
        ids[row] = number
        if first < 0:
            first = number
        elif number != first:
            uniform = False
    return bad, uniform


@njit(nogil=True, cache=True, inline="always")
def _varint(data: Bytes, at: int, end: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Return (zigzag-decoded value, next position, status)."""
    if at >= end:
        return np.int64(0), at, TRUNCATED
    byte = data[at]
    if byte < 0x80:  # noqa: PLR2004 one byte: the common case
        small = np.int64(byte)
        return (small >> 1) ^ -(small & 1), at + 1, 0
    value = np.uint64(byte & 0x7F)
    shift = np.uint64(7)
    for k in range(1, _VARINT_BYTES):
        if at + k >= end:
            return np.int64(0), at, TRUNCATED
        byte = data[at + k]
        value |= np.uint64(byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 the last byte
            # A last byte of 0 pads; the tenth has room for one bit of the 64.
            if byte == 0 or (k == _VARINT_BYTES - 1 and byte > 1):
                return np.int64(0), at, VARINT
            magnitude = np.int64(value >> np.uint64(1))
            return magnitude ^ -np.int64(value & np.uint64(1)), at + k + 1, 0
        shift += np.uint64(7)
    return np.int64(0), at, VARINT


@njit(nogil=True, cache=True)
def _utf8(data: Bytes, at: int, end: int) -> bool:  # noqa: C901, PLR0912 the table's rows
    """Tell whether the bytes are UTF-8 as the Unicode standard's table 3-7 has it."""
    while at < end:
        byte = data[at]
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
        if at + more >= end or not low <= data[at + 1] <= high:
            return False
        for k in range(2, more + 1):
            if data[at + k] & 0xC0 != 0x80:  # noqa: PLR2004
                return False
        at += more + 1
    return True


@njit(nogil=True, cache=True)
def walk(  # noqa: C901, PLR0912, PLR0915 one loop with a branch per operation
    data: Bytes,
    offsets: Int64,
    rows: Int64,
    code: Int64,
    string_max: int,
    items_max: int,
    status: Bytes,
    position: Int64,
    where: Int64,
) -> int:
    """Walk the given rows; fill status, failing byte of the payload and failing step.

    Returns:
        Number of refused rows.
    """
    left = np.empty(_DEPTH_MAX, np.int64)  # items left in the block; a call's return step
    total = np.empty(_DEPTH_MAX, np.int64)  # items of all blocks so far
    block_end = np.empty(_DEPTH_MAX, np.int64)  # where a sized block must end, or -1
    refused = 0
    for number in range(len(rows)):
        row = rows[number]
        at = offsets[row] + _HEADER
        end = offsets[row + 1]
        step = np.int64(0)
        depth = 0
        failed = 0
        while failed == 0:
            operation = code[step, 0]
            if operation in (STRING, BYTES):
                size, at, failed = _varint(data, at, end)
                if failed != 0:
                    break
                if size < 0:
                    failed = LENGTH
                elif size > end - at:
                    failed = TRUNCATED
                elif size > string_max:
                    failed = STRING_LIMIT
                else:
                    if operation == STRING:
                        seen = np.uint8(0)
                        for k in range(at, at + size):
                            seen |= data[k]
                        if seen >= 0x80 and not _utf8(data, at, at + size):  # noqa: PLR2004
                            failed = UTF8
                            break
                    at += size
                    step += 1
            elif operation == OPTIONAL:
                branch, at, failed = _varint(data, at, end)
                if failed != 0:
                    break
                if branch < 0 or branch > 1:
                    failed = BRANCH
                elif branch == code[step, 1]:
                    step = code[step, 2]
                else:
                    step += 1
            elif operation == LONG:
                _, at, failed = _varint(data, at, end)
                step += failed == 0
            elif operation == INT:
                value, after, failed = _varint(data, at, end)
                if failed == 0:
                    if value < -2147483648 or value > 2147483647:  # noqa: PLR2004 int32
                        failed = VARINT
                    else:
                        at = after
                        step += 1
            elif operation == BOOLEAN:
                if at >= end:
                    failed = TRUNCATED
                elif data[at] > 1:
                    failed = BOOL
                else:
                    at += 1
                    step += 1
            elif operation == ENUM:
                value, at, failed = _varint(data, at, end)
                if failed == 0:
                    if value < 0 or value >= code[step, 1]:
                        failed = SYMBOL
                    else:
                        step += 1
            elif operation == SKIP:
                if code[step, 1] > end - at:
                    failed = TRUNCATED
                else:
                    at += code[step, 1]
                    step += 1
            elif operation == END:
                if at != end:
                    failed = LEFT
                break
            elif operation == UNION:
                branch, at, failed = _varint(data, at, end)
                if failed == 0:
                    if branch < 0 or branch >= code[step, 1]:
                        failed = BRANCH
                    else:
                        step += 1 + branch
            elif operation == JUMP:
                step = code[step, 1]
            elif operation in (ITEMS, NEXT):
                if operation == ITEMS:
                    if depth == _DEPTH_MAX:
                        failed = DEPTH
                        break
                    total[depth] = 0
                    depth += 1
                else:
                    left[depth - 1] -= 1
                    step = code[step, 1]
                    if left[depth - 1] > 0:
                        step += 1
                        continue
                    if block_end[depth - 1] >= 0 and block_end[depth - 1] != at:
                        failed = BLOCK
                        break
                # Here step is that of ITEMS, and a block's header is next.
                count, at, failed = _varint(data, at, end)
                if failed != 0:
                    break
                block_end[depth - 1] = -1
                if count < 0:
                    size, at, failed = _varint(data, at, end)
                    if failed != 0:
                        break
                    if size < 0 or size > end - at:
                        failed = BLOCK
                        break
                    block_end[depth - 1] = at + size
                if count == 0:
                    depth -= 1
                    step = code[step, 1]
                # The smallest int64 has no positive counterpart.
                elif count < -items_max or count > items_max - total[depth - 1]:
                    failed = COUNT_LIMIT
                else:
                    count = abs(count)
                    total[depth - 1] += count
                    left[depth - 1] = count
                    if total[depth - 1] > items_max:
                        failed = COUNT_LIMIT
                    step += failed == 0
            elif operation == CALL:
                if depth == _DEPTH_MAX:
                    failed = DEPTH
                else:
                    left[depth] = step + 1
                    depth += 1
                    step = code[step, 1]
            else:  # RETURN
                depth -= 1
                step = left[depth]
        status[number] = failed
        position[number] = at - offsets[row]
        where[number] = step
        refused += failed != 0
    return refused
