"""The columns of one batch as operations for the writing kernel."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.writing import write_kernel
from stream_scorer.core.kernels.memory import SLACK, pinned
from stream_scorer.ports import BytesColumn, Int64

_LENGTH_BYTES: Final = 5  # maximum for the length of an Arrow text
_ROOM_MOST: Final = 65_536  # bytes of a choice up to which its longest piece is assumed
_LITTLE: Final = "<f8"


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """p encoded byte strings, one after the other.

    Attributes:
        data: uint8, all of them, then the bytes that a copied word may extend into.
        ends: int64[p + 1]; piece i has the bytes ``ends[i]`` to ``ends[i + 1]`` - 1.
        longest: Bytes of the longest.
    """

    data: NDArray[np.uint8]
    ends: Int64
    longest: int

    def __len__(self) -> int:
        return len(self.ends) - 1

    @classmethod
    def of(cls, encoded: Iterable[bytes]) -> Self:
        """Join byte strings."""
        pieces = list(encoded)
        sizes = [len(piece) for piece in pieces]
        data = np.frombuffer(b"".join([*pieces, bytes(SLACK)]), np.uint8)
        return cls(data, np.cumsum([0, *sizes], dtype=np.int64), max(sizes, default=0))


@dataclass(slots=True)
class PackedBatch:
    """The columns of one batch, as operations with the columns' addresses.

    ``count`` is the number of rows, or of items inside of :meth:`items`; ``room`` is the number of
    bytes that the output may need.
    """

    count: int
    room: int = SLACK
    _code: list[tuple[int, int, int, int]] = field(default_factory=list)
    _pieces: bytearray = field(default_factory=bytearray)
    _held: list[Any] = field(default_factory=list)  # what the addresses point into

    def constant(self, encoded: bytes) -> None:
        """Add the same bytes to every row; a constant directly before it is joined with it."""
        start, size = len(self._pieces), len(encoded)
        if self._code and self._code[-1][0] == write_kernel.PIECE:
            _, start, before, _ = self._code.pop()
            size += before
        self._code.append((write_kernel.PIECE, start, size, 0))
        self._pieces += encoded
        self.room += self.count * len(encoded)

    def choice(self, index: NDArray[Any], pieces: Pieces) -> None:
        """Add each row's choice.

        Raises:
            ValueError: There is not one choice for each row, or a choice does not exist.
        """
        index = np.ascontiguousarray(index, np.int64)
        if index.shape != (self.count,):
            raise ValueError(f"{len(index)} choices for {self.count} rows")
        # As unsigned, a negative number is larger than any other.
        if index.view(np.uint64).max() >= len(pieces):
            raise ValueError("a choice names no value")
        room = self.count * pieces.longest
        if room > _ROOM_MOST:
            room = int(np.diff(pieces.ends).take(index).sum())
        self.room += room
        ends, data = self._address(pieces.ends), self._address(pieces.data)
        self._code.append((write_kernel.CHOICE, self._address(index), ends, data))

    def longs(self, column: NDArray[Any]) -> None:
        """Add integers."""
        self._column(write_kernel.LONG, column, np.int64, write_kernel.VARINT_BYTES)

    def booleans(self, column: NDArray[Any]) -> None:
        """Add booleans."""
        self._column(write_kernel.BOOLEAN, column, np.uint8, 1)

    def doubles(self, column: NDArray[Any]) -> None:
        """Add doubles."""
        self._column(write_kernel.DOUBLE, column, _LITTLE, 8)

    def text(self, column: pa.Array) -> None:
        """Add an Arrow string or binary column; the bytes of a null are not written."""
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int32)[column.offset :]
        size, used = data.size if data else 0, int(ends[self.count])
        start = pinned(data.address if data else 0, used, size - used)
        self._held.append(column)
        lengths = pinned(offsets.address + 4 * column.offset, 4 * (self.count + 1))
        self._code.append((write_kernel.TEXT, lengths, start, start + size))
        self.room += int(ends[self.count]) - int(ends[0]) + self.count * _LENGTH_BYTES

    def rows(self, matrix: NDArray[Any]) -> None:
        """Add the rows of a matrix as bytes, in little-endian order."""
        ordered = np.ascontiguousarray(matrix, matrix.dtype.newbyteorder("<"))
        width = ordered.shape[1] * ordered.itemsize
        self.constant(_length(width))
        start = self._address(ordered)
        self._code.append((write_kernel.MATRIX, start, width, start + ordered.nbytes))
        self.room += self.count * width

    def optional(self, valid: NDArray[Any], null: int) -> None:
        """Add the union branch of the next column: ``valid`` per row, and null's position."""
        self._column(write_kernel.OPTIONAL, valid, np.uint8, 1, null)

    @contextmanager
    def items(self, ends: Int64) -> Iterator[None]:
        """Add each row's items of an array; their columns are added in the ``with`` block.

        Args:
            ends: int64[n + 1]; row i has the items ``ends[i]`` to ``ends[i + 1]`` - 1.
        """
        place, rows = len(self._code), self.count
        address = self._address(ends)
        # A row's items follow their count and are followed by an end.
        self.room += rows * (write_kernel.VARINT_BYTES + 1)
        self._code.append((write_kernel.ITEMS, address, 0, 0))
        self.count = int(ends[-1])
        try:
            yield
        finally:
            self.count = rows
        steps = len(self._code) - place - 1
        self._code[place] = write_kernel.ITEMS, address, steps + 1, 0
        self._code.append((write_kernel.NEXT, steps, 0, 0))

    def write(self) -> BytesColumn:
        """Run the kernel and return the encoded rows."""
        out = np.empty(self.room, np.uint8)
        offsets = np.empty(self.count + 1, np.int64)
        write_kernel.write(
            self.count,
            np.array(self._code, np.int64),
            np.frombuffer(self._pieces, np.uint8),
            out,
            offsets,
        )
        return BytesColumn(out[: offsets[-1]], offsets)

    def _column(
        self, operation: int, column: NDArray[Any], kind: Any, most: int, null: int = 0
    ) -> None:
        """Add a column of type ``kind`` that takes at most ``most`` bytes for each row."""
        own = np.ascontiguousarray(column, kind)
        self._code.append((operation, self._address(own), null, 0))
        self.room += self.count * most

    def _address(self, column: NDArray[Any]) -> int:
        """Return the address of a contiguous column, which is kept alive."""
        self._held.append(column)
        return pinned(int(column.__array_interface__["data"][0]), column.nbytes)


def _length(size: int) -> bytes:
    """Return a length as a zigzag varint."""
    left = size << 1
    encoded = bytearray()
    while left > 0x7F:  # noqa: PLR2004 seven bits a byte
        encoded.append(left & 0x7F | 0x80)
        left >>= 7
    encoded.append(left)
    return bytes(encoded)
