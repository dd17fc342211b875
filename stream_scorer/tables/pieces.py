"""The result of the readers of all kinds of files: some rows at a time, as they were read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from stream_scorer.tables.columns import Column

PIECE_ROWS = 20_000
"""Rows that are read at a time."""
LINES_BYTES_MOST: Final = 16 << 20
"""Maximum size of a line, and of the lines that are read at a time, except for the last one."""


class DamagedError(Exception):
    """A file is damaged, or is not what its name promises."""


@dataclass(slots=True)
class Piece:
    """Some consecutive rows of a file as they were read.

    Attributes:
        first: Number of the first row in its file, from 0.
        columns: Raw columns by name.
        rows: How many rows.
        faults: Rows that could not be read, by index in the piece: what is wrong, and the row's
            text, or its texts by name.
        read: Bytes of the file that were read up to its end, approximately.
    """

    first: int
    columns: dict[str, Column]
    rows: int
    faults: dict[int, tuple[str, object]] = field(default_factory=dict)
    read: int = 0

    def behind(self, skip: int) -> "Piece":
        """Return the rows after the first ``skip``."""
        return Piece(
            self.first + skip,
            {name: column[skip:] for name, column in self.columns.items()},
            self.rows - skip,
            {row - skip: fault for row, fault in self.faults.items() if row >= skip},
            self.read,
        )


def line_pieces(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines of a file, some at a time.

    Raises:
        DamagedError: A line is longer than ``LINES_BYTES_MOST``.
    """
    number = 0
    lines: list[bytes] = []
    size = 0
    while line := stream.readline(LINES_BYTES_MOST + 1):
        number += 1
        if len(line) > LINES_BYTES_MOST:
            raise DamagedError(f"line {number} has more than {LINES_BYTES_MOST:,} bytes")
        lines.append(line)
        size += len(line)
        if len(lines) == PIECE_ROWS or size >= LINES_BYTES_MOST:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines
