"""The memory into which a walk stores its columns, and the Arrow arrays over it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading import opcodes
from stream_scorer.core.kernels.memory import SLACK

_ALIGNMENT: Final = 64  # as Arrow recommends
_WIDTH: Final = {
    opcodes.INT64: 8,
    opcodes.INT32: 4,
    opcodes.FLOAT64: 8,
    opcodes.FLOAT32: 4,
    opcodes.TEXT: 4,
}
_TEXT_MOST: Final = np.iinfo(np.int32).max


def longest(texts: Iterable[str | None]) -> int:
    """Return the number of bytes of the longest text; None counts as empty; 0 without texts."""
    return max((len((text or "").encode()) for text in texts), default=0)


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column that the walk stores.

    Attributes:
        number: Its number among the stored columns, which are in the reader's order.
        name: The reader's field.
        kind: How it is stored: one of the kinds in ``opcodes``.
        type: Its Arrow type.
        nullable: Whether the writer may send null and the reader accepts it.
        texts: For an enum of the writer, what is stored for each symbol; None if the reader does
            not know it.
    """

    number: int
    name: str
    kind: int
    type: pa.DataType
    nullable: bool = False
    texts: tuple[str | None, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Its number and kind."""
        return self.number, self.kind

    def sizes(self, rows: int, size: int) -> tuple[int, int, int]:
        """Return the maximum bytes of validity, values and data; -1 for a missing part.

        Args:
            rows: Number of rows.
            size: Bytes of all payloads.

        Raises:
            OverflowError: The data may exceed the range of Arrow's offsets.
        """
        bits = rows // 8 + 1
        validity = bits if self.nullable else -1
        if self.kind == opcodes.BIT:
            return validity, bits, -1
        values = (rows + 1) * _WIDTH[self.kind]
        if self.kind != opcodes.TEXT:
            return validity, values, -1
        if self.texts:
            # A symbol may be longer than its encoded number.
            size = rows * longest(self.texts)
        if size > _TEXT_MOST:
            raise OverflowError(f"{self.name}: {size} bytes in one batch; poll fewer records")
        return validity, values, size + SLACK


class Layout:
    """The memory for the columns of one batch.

    Args:
        kept: The columns.
        rows: Maximum number of rows.
        size: Bytes of all payloads.

    Attributes:
        arena: uint8, all parts of all columns, not initialised.
        regions: int64[c, 6], where in it a column's validity, values and data begin (-1 for a
            missing part), and how many bytes each has.

    Raises:
        OverflowError: The payloads are too large for Arrow's columns.
    """

    def __init__(self, kept: Sequence[StoredColumn], rows: int, size: int) -> None:
        self._kept = kept
        self._regions: list[tuple[int, int, int]] = []
        end = 0
        whole: list[tuple[int, ...]] = []
        for column in kept:
            starts = []
            sizes = column.sizes(rows, size)
            for part in sizes:
                starts.append(end if part >= 0 else -1)
                end += -(-max(part, 0) // _ALIGNMENT) * _ALIGNMENT
            self._regions.append((starts[0], starts[1], starts[2]))
            whole.append((*starts, *sizes))
        self.arena = np.empty(end, np.uint8)
        self.regions = np.array(whole, np.int64).reshape(-1, 6)

    def columns(self, rows: int) -> list[pa.Array]:
        """Return the columns after ``rows`` rows were stored; they keep the memory alive."""
        whole: Any = pa.py_buffer(self.arena)
        return [
            pa.Array.from_buffers(
                column.type,
                rows,
                [whole.slice(start) if start >= 0 else None for start in starts]
                if column.kind == opcodes.TEXT
                else [whole.slice(start) if start >= 0 else None for start in starts[:2]],
            )
            for column, starts in zip(self._kept, self._regions, strict=True)
        ]
