"""What the readers of all kinds of files give: some rows at a time, as they were read."""

from dataclasses import dataclass, field

from stream_scorer.tables.columns import Column

PIECE_ROWS = 20_000
"""Rows that are read at a time."""


class DamagedError(Exception):
    """A file is not what its name says."""


@dataclass(slots=True)
class Piece:
    """Some consecutive rows of a file as they were read.

    Attributes:
        first: Number of the first row in its file, from 0.
        columns: Raw columns by name.
        rows: How many rows.
        faults: Rows that could not be read, by place in the piece: what is wrong, and what is
            there: the text, or texts by name.
        read: Bytes of the file that are behind it, about.
    """

    first: int
    columns: dict[str, Column]
    rows: int
    faults: dict[int, tuple[str, object]] = field(default_factory=dict)
    read: int = 0

    def behind(self, skip: int) -> "Piece":
        """Return what stands behind the first ``skip`` rows."""
        return Piece(
            self.first + skip,
            {name: column[skip:] for name, column in self.columns.items()},
            self.rows - skip,
            {row - skip: fault for row, fault in self.faults.items() if row >= skip},
            self.read,
        )
