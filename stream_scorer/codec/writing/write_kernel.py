"""The kernel that writes columns as Confluent-framed Avro, into one buffer for the batch."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.core.kernels.memory import (
    HIGH_BITS,
    SLACK,
    Number,
    address,
    copy,
    leading_zeros,
    load_byte,
    load_int32,
    load_int64,
    load_word,
    low_bytes,
    store,
)
from stream_scorer.ports import Int64

Bytes = NDArray[np.uint8]

# Operations: what is written next, and its operands. A column is given by its address.
PIECE: Final = 0  # encoded bytes, the same in every row: start in the pieces, size
CHOICE: Final = 1  # the row's choice of p pieces: int64[n], int64[p + 1] ends of pieces, data
LONG: Final = 2  # int64[n]
BOOLEAN: Final = 3  # uint8[n], 0 or 1
DOUBLE: Final = 4  # float64[n]
TEXT: Final = 5  # string or bytes: int32[n + 1] offsets, data, end of the data
MATRIX: Final = 6  # bytes, the same number in every row: data, bytes in a row, end of the data
OPTIONAL: Final = 7  # uint8[n] validity, position of null; a null skips the next operation
ITEMS: Final = 8  # an array: int64[n + 1] ends of the rows' items, number of operations of an item
NEXT: Final = 9  # the last of them: how many are before it. Their columns have a value per item

VARINT_BYTES: Final = 10


@numeric
def _put_long(at: Number, value: Number) -> Number:
    """Write a zigzag varint, up to eight bytes as one word; return the address after it."""
    left = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    if left < np.uint64(0x80):
        store(at, np.uint8(left))
        return at + 1
    if left >> np.uint64(56) == 0:
        # Spread the groups of seven bits; all but the last get the continuation bit.
        word = (left & np.uint64(0x000000000FFFFFFF)) | (
            (left & np.uint64(0x00FFFFFFF0000000)) << np.uint64(4)
        )
        word = (word & np.uint64(0x00003FFF00003FFF)) | (
            (word & np.uint64(0x0FFFC0000FFFC000)) << np.uint64(2)
        )
        word = (word & np.uint64(0x007F007F007F007F)) | (
            (word & np.uint64(0x3F803F803F803F80)) << np.uint64(1)
        )
        size = (70 - np.int64(leading_zeros(left))) // 7
        store(at, word | (HIGH_BITS & low_bytes(size - 1)))
        return at + size
    while left > np.uint64(0x7F):
        store(at, np.uint8(left & np.uint64(0x7F)) | np.uint8(0x80))
        at += 1
        left >>= np.uint64(7)
    store(at, np.uint8(left))
    return at + 1


@numeric
def write(  # noqa: C901, PLR0912, PLR0915 one loop with a branch per operation
    count: int, code: Int64, pieces: Bytes, out: Bytes, out_offsets: Int64
) -> None:
    """Write ``count`` rows into ``out``; row i is ``out[out_offsets[i]:out_offsets[i + 1]]``.

    Args:
        count: Number of rows.
        code: int64[k, 4]: operation, operands.
        pieces: The encoded bytes of the operations PIECE.
        out: Written; has room for the largest possible rows and the slack that copies need.
        out_offsets: int64[count + 1], written.
    """
    ready = address(pieces)
    ready_limit = ready + len(pieces)
    base = address(out)
    at = base
    out_offsets[0] = 0
    for row in range(count):
        step, line, last = 0, row, 0
        while step < len(code):
            operation = code[step, 0]
            column = code[step, 1]
            if operation == PIECE:
                size = code[step, 2]
                copy(at, ready + column, size, ready_limit)
                at += size
            elif operation == CHOICE:
                end = code[step, 2] + 8 * load_int64(column + 8 * line)
                start = load_int64(end)
                size = load_int64(end + 8) - start
                start += code[step, 3]
                copy(at, start, size, start + size + SLACK)
                at += size
            elif operation == TEXT:
                start = np.int64(load_int32(column + 4 * line))
                size = np.int64(load_int32(column + 4 * line + 4)) - start
                at = _put_long(at, size)
                copy(at, code[step, 2] + start, size, code[step, 3])
                at += size
            elif operation == LONG:
                at = _put_long(at, load_int64(column + 8 * line))
            elif operation == DOUBLE:
                store(at, load_word(column + 8 * line))
                at += 8
            elif operation == MATRIX:
                size = code[step, 2]
                copy(at, column + line * size, size, code[step, 3])
                at += size
            elif operation == BOOLEAN:
                store(at, load_byte(column + line))
                at += 1
            elif operation == OPTIONAL:
                null = code[step, 2]
                if load_byte(column + line):
                    store(at, np.uint8(2 * (1 - null)))
                else:
                    store(at, np.uint8(2 * null))
                    step += 1
                at += 1
            elif operation == ITEMS:
                line = load_int64(column + 8 * row)
                last = load_int64(column + 8 * row + 8)
                if line < last:
                    at = _put_long(at, last - line)
                else:
                    line = row
                    step += code[step, 2]
                    store(at, np.uint8(0))
                    at += 1
            else:  # NEXT
                line += 1
                if line < last:
                    step -= column + 1
                else:
                    line = row
                    store(at, np.uint8(0))
                    at += 1
            step += 1
        out_offsets[row + 1] = at - base
