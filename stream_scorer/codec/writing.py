"""The kernel that turns columns into Confluent-framed Avro, one buffer for the whole batch."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream_scorer.ports import Float64, Int64

Bytes = NDArray[np.uint8]

# Operations: what is written next; the second number is the column of that kind.
PIECE: Final = 0  # a ready-made piece, the same in every row
CHOICE: Final = 1  # the row's choice of the ready-made pieces
LONG: Final = 2
BOOLEAN: Final = 3
DOUBLE: Final = 4
TEXT: Final = 5  # string or bytes
MATRIX: Final = 6  # bytes, the same number in every row
OPTIONAL: Final = 7  # column of validity; position of null. Skips the next operation at null

VARINT_BYTES: Final = 10


@njit(nogil=True, cache=True, inline="always")
def _put_long(out: Bytes, at: int, value: np.int64) -> int:
    left = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    while left > np.uint64(0x7F):
        out[at] = np.uint8(left & np.uint64(0x7F)) | np.uint8(0x80)
        at += 1
        left >>= np.uint64(7)
    out[at] = np.uint8(left)
    return at + 1


@njit(nogil=True, cache=True)
def write(  # noqa: C901, PLR0912 one loop with a branch per operation
    count: int,
    code: Int64,
    pieces: Bytes,
    piece_offsets: Int64,
    choices: Int64,
    longs: Int64,
    doubles: Bytes,
    text_offsets: tuple[NDArray[np.int32], ...],
    text_data: tuple[Bytes, ...],
    matrix: Bytes,
    valid: Bytes,
    out: Bytes,
    out_offsets: Int64,
) -> None:
    """Write ``count`` rows into ``out``; row i is ``out[out_offsets[i]:out_offsets[i + 1]]``.

    ``out`` must have room: the caller adds up the most that each column can take.
    """
    at = 0
    out_offsets[0] = 0
    for row in range(count):
        step = 0
        while step < len(code):
            operation = code[step, 0]
            column = code[step, 1]
            if operation in (PIECE, CHOICE):
                piece = column if operation == PIECE else choices[column, row]
                for k in range(piece_offsets[piece], piece_offsets[piece + 1]):
                    out[at] = pieces[k]
                    at += 1
            elif operation == TEXT:
                offsets = text_offsets[column]
                data = text_data[column]
                at = _put_long(out, at, np.int64(offsets[row + 1] - offsets[row]))
                for k in range(offsets[row], offsets[row + 1]):
                    out[at] = data[k]
                    at += 1
            elif operation == LONG:
                at = _put_long(out, at, longs[column, row])
            elif operation == DOUBLE:
                for k in range(8):
                    out[at + k] = doubles[column, 8 * row + k]
                at += 8
            elif operation == BOOLEAN:
                out[at] = longs[column, row]
                at += 1
            elif operation == MATRIX:
                width = matrix.shape[1]
                at = _put_long(out, at, np.int64(width))
                for k in range(width):
                    out[at + k] = matrix[row, k]
                at += width
            else:  # OPTIONAL
                null = code[step, 2]
                if valid[column, row]:
                    out[at] = 2 * (1 - null)
                else:
                    out[at] = 2 * null
                    step += 1
                at += 1
            step += 1
        out_offsets[row + 1] = at


def little_endian(doubles: Float64) -> Bytes:
    """Return float64[k, n] as the wire has it: uint8[k, 8 n], little-endian."""
    return np.ascontiguousarray(doubles, "<f8").view(np.uint8)
