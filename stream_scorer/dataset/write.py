"""Writes the rows of a dataset as Parquet parts, with their digests."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from stream_scorer.dataset.contract import OWN_COLUMNS
from stream_scorer.errors import SettingsError

GROUP_ROWS: Final = 131_072
"""Rows of a row group."""
PART_ROWS: Final = 16 * GROUP_ROWS
"""Rows of a part; the last one may have fewer."""


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """A part that was written.

    Attributes:
        name: Its file name.
        rows: Its rows.
        sha256: Of the file, in hex.
    """

    name: str
    rows: int
    sha256: str


def schema_of(names: tuple[str, ...]) -> pa.Schema:
    """Return the columns of a part.

    Args:
        names: Of the features.

    Raises:
        SettingsError: A feature has the name of another column.
    """
    for name in names:
        if name in OWN_COLUMNS:
            raise SettingsError(
                f"feature {name}: a dataset has a column of this name", "rename the feature"
            )
    kinds = {**OWN_COLUMNS, **dict.fromkeys(names, "float64")}
    return pa.schema([pa.field(name, pa.type_for_alias(kind)) for name, kind in kinds.items()])


class DatasetWriter:
    """Writes rows in groups and parts of fixed sizes, so that equal rows give equal bytes.

    Args:
        folder: An empty folder.
        schema: Of the rows.

    Attributes:
        parts: The parts that are complete.
        rows: Number of rows so far.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._part_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self.parts: list[DatasetPart] = []
        self.rows = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Add rows.

        Raises:
            OSError: They cannot be written.
        """
        self.rows += len(rows)
        self._held.append(rows)
        self._held_rows += len(rows)
        while self._held_rows >= GROUP_ROWS:
            table = pa.Table.from_batches(self._held, self._schema)
            self._write(table.slice(0, GROUP_ROWS))
            rest = table.slice(GROUP_ROWS)
            self._held, self._held_rows = rest.to_batches(), len(rest)

    def _write(self, group: pa.Table) -> None:
        if self._writer is None:
            path = self._folder / self._name()
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._writer.write_table(group.combine_chunks(), row_group_size=GROUP_ROWS)
        self._part_rows += len(group)
        if self._part_rows >= PART_ROWS:
            self._end_part()

    def _name(self) -> str:
        return f"part-{len(self.parts):05d}.parquet"

    def _end_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        path = self._folder / self._name()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.parts.append(DatasetPart(path.name, self._part_rows, digest))
        self._writer, self._part_rows = None, 0

    def close(self) -> None:
        """Write what is left, and end the last part."""
        if self._held_rows:
            self._write(pa.Table.from_batches(self._held, self._schema))
            self._held, self._held_rows = [], 0
        self._end_part()

    def abandon(self) -> None:
        """Close the file that is open; the folder is not a dataset without its document."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
