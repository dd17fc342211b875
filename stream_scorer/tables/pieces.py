"""The result of the readers of all kinds of files: some rows at a time, as they were read."""

from dataclasses import dataclass, field

from stream_scorer.tables.columns import Column

PIECE_ROWS = 20_000
"""Rows that are read at a time."""


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
