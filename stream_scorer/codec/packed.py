"""The columns of one batch as the writing kernel takes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec import writing
from stream_scorer.ports import BytesColumn, Int64

_ZERO: Final = np.zeros(1, np.int64)
_NO_OFFSETS: Final = (np.frombuffer(bytes(4), np.int32),)
_NO_DATA: Final = (np.frombuffer(b"", np.uint8),)


def _fixed(column: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written: of the two kinds the kernel is compiled for one."""
    view = column.view()
    view.flags.writeable = False
    return view


def _stack(columns: list[Int64], count: int) -> Int64:
    return np.array(columns, np.int64).reshape(len(columns), count)


@dataclass(slots=True)
class PackedBatch:
    """The columns of one batch by kind, as the kernel takes them."""

    count: int
    code: list[tuple[int, int, int]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    choices: list[Int64] = field(default_factory=list)
    longs: list[Int64] = field(default_factory=list)
    doubles: list[NDArray[np.float64]] = field(default_factory=list)
    text_offsets: list[NDArray[np.int32]] = field(default_factory=list)
    text_data: list[NDArray[np.uint8]] = field(default_factory=list)
    matrix: NDArray[np.uint8] | None = None
    valid: list[NDArray[np.uint8]] = field(default_factory=list)
    room: int = 0

    def constant(self, encoded: bytes) -> None:
        """Add the same bytes to every row, joined to a constant right before."""
        if self.code and self.code[-1][0] == writing.PIECE:
            self.pieces[self.code[-1][1]] += encoded
        else:
            self.code.append((writing.PIECE, len(self.pieces), 0))
            self.pieces.append(encoded)
        self.room += self.count * len(encoded)

    def choice(self, index: Int64, encoded: Sequence[bytes]) -> None:
        """Add each row's choice."""
        if self.count and not 0 <= index.min() <= index.max() < len(encoded):
            raise ValueError("a choice names no value")
        self.code.append((writing.CHOICE, len(self.choices), 0))
        self.choices.append(index + len(self.pieces))
        self.pieces += encoded
        self.room += self.count * max(map(len, encoded), default=0)

    def numbers(self, operation: int, column: NDArray[Any]) -> None:
        """Add whole numbers or booleans."""
        self.code.append((operation, len(self.longs), 0))
        self.longs.append(column.astype(np.int64, copy=False))
        self.room += self.count * writing.VARINT_BYTES

    def floats(self, column: NDArray[Any]) -> None:
        """Add doubles."""
        self.code.append((writing.DOUBLE, len(self.doubles), 0))
        self.doubles.append(column.astype(np.float64, copy=False))
        self.room += self.count * 8

    def text(self, column: pa.Array) -> None:
        """Add an Arrow string or binary column; what a null holds is not written."""
        _, offsets, data = column.buffers()
        first = column.offset
        self.code.append((writing.TEXT, len(self.text_offsets), 0))
        bounds = np.frombuffer(offsets, np.int32)[first : first + self.count + 1]
        self.text_offsets.append(_fixed(bounds))
        self.text_data.append(_fixed(np.frombuffer(data or b"", np.uint8)))
        self.room += int(bounds[-1] - bounds[0]) + self.count * writing.VARINT_BYTES

    def rows(self, matrix: NDArray[Any]) -> None:
        """Add the rows of a matrix as bytes, little-endian."""
        if self.matrix is not None:
            raise ValueError("one column of matrix rows goes into a record")
        ordered = np.ascontiguousarray(matrix, matrix.dtype.newbyteorder("<"))
        self.matrix = _fixed(ordered.view(np.uint8).reshape(self.count, -1))
        self.code.append((writing.MATRIX, 0, 0))
        self.room += self.count * (self.matrix.shape[1] + writing.VARINT_BYTES)

    def optional(self, valid: NDArray[Any], null: int) -> None:
        """Add the union branch in front of the next column."""
        self.code.append((writing.OPTIONAL, len(self.valid), null))
        self.valid.append(valid.astype(np.uint8))
        self.room += self.count

    def write(self) -> BytesColumn:
        """Run the kernel."""
        out = np.empty(self.room, np.uint8)
        offsets = np.empty(self.count + 1, np.int64)
        lengths = np.fromiter(map(len, self.pieces), np.int64, len(self.pieces))
        writing.write(
            self.count,
            np.array(self.code, np.int64).reshape(-1, 3),
            np.frombuffer(b"".join(self.pieces), np.uint8),
            np.concatenate((_ZERO, np.cumsum(lengths))),
            _stack(self.choices, self.count),
            _stack(self.longs, self.count),
            writing.little_endian(np.array(self.doubles).reshape(len(self.doubles), self.count)),
            tuple(self.text_offsets) or _NO_OFFSETS,
            tuple(self.text_data) or _NO_DATA,
            self.matrix if self.matrix is not None else _fixed(np.empty((self.count, 0), np.uint8)),
            np.array(self.valid, np.uint8).reshape(len(self.valid), self.count),
            out,
            offsets,
        )
        return BytesColumn(out[: offsets[-1]], offsets)
