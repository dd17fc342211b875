"""Some rows of a file as raw leaves, and the rows that cannot be read."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.mapping.mapping_table import Path, dotted
from stream_scorer.core.normalising.leaves import LeafPart, Leaves
from stream_scorer.tables.columns import plain


@dataclass(frozen=True, slots=True)
class RowFault:
    """Why a row cannot be read.

    Attributes:
        reason: The reason, as for a record of the stream.
        detail: What is wrong.
        shown: The row, as values of strict JSON.
    """

    reason: RejectReason
    detail: str
    shown: object

    @classmethod
    def not_utf8(cls, path: Path, text: str) -> "RowFault":
        """Return the fault of a row that has invalid UTF-8 at a path."""
        return cls(
            RejectReason.MALFORMED, f"{dotted(path)}: text is not UTF-8", {dotted(path): text}
        )


@dataclass(slots=True)
class LeafPiece:
    """Some consecutive rows of a file.

    Attributes:
        first: Number of the first row in its file, from 0.
        rows: How many rows.
        leaves: For each path of the mapping its values.
        faults: Rows that cannot be read, by index in the piece; their leaves do not count.
        read: Bytes of the file up to the piece's end, approximately.
    """

    first: int
    rows: int
    leaves: Leaves
    faults: dict[int, RowFault] = field(default_factory=dict)
    read: int = 0

    def after(self, skip: int) -> "LeafPiece":
        """Return the rows after the first ``skip``."""
        place = np.arange(-skip, self.rows - skip)
        return LeafPiece(
            self.first + skip, self.rows - skip, self.taken(np.where(place < 0, -1, place)),
            {row - skip: fault for row, fault in self.faults.items() if row >= skip}, self.read,
        )  # fmt: skip

    def taken(self, place: NDArray[np.int64]) -> dict[Path, list[LeafPart]]:
        """Return the leaves of some rows.

        Args:
            place: int64[n], each row's new number; -1 if it is left out.
        """
        return {path: [part.taken(place) for part in parts] for path, parts in self.leaves.items()}

    def shown(self, row: int) -> dict[str, Any]:
        """Return a row's values by dotted path, as values of strict JSON."""
        return {
            dotted(path): next(filter(None, (_shown(part, row) for part in parts)), [None])[0]
            for path, parts in self.leaves.items()
        }


def _shown(part: LeafPart, row: int) -> list[Any]:
    """Return a row's value in a list; an empty list if the part does not have the row."""
    if part.rows is not None:
        at = int(np.searchsorted(part.rows, row))
        if at == len(part.rows) or part.rows[at] != row:
            return []
        row = at
    value = part.values[row].as_py()
    if value is not None and part.wire.kind == "decimal":
        value = Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-part.wire.scale)
    return [plain(value)]
