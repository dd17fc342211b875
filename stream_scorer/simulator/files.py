"""Writes simulated transactions to a file: Parquet, CSV or JSON lines, by the name's ending.

Times are UTC; in text files they look like ``2018-04-01T00:00:31.000Z``.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from stream_scorer.errors import SettingsError

ENDINGS = (".parquet", ".csv", ".jsonl")
_ROWS_AT_A_TIME = 50_000


def refuse_other_endings(path: Path) -> None:
    """Refuse a file name without a known ending.

    Raises:
        SettingsError: Names the known endings.
    """
    if path.suffix not in ENDINGS:
        raise SettingsError(f"file {path}: unknown ending", f"use one of {', '.join(ENDINGS)}")


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table in the format of the file's ending.

    Args:
        table: Transactions; ``event_time`` is a timestamp.
        path: The file; an existing one is replaced.

    Raises:
        SettingsError: Unknown ending, or the file cannot be written.
    """
    refuse_other_endings(path)
    try:
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        elif path.suffix == ".csv":
            pa_csv.write_csv(_spelled(table), path)
        else:
            with path.open("w", encoding="utf-8") as lines:
                for batch in _spelled(table).to_batches(_ROWS_AT_A_TIME):
                    lines.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())
    except OSError as error:
        raise SettingsError(
            f"file {path}: {error.strerror or error}", "name a place that can be written"
        ) from error


def _spelled(table: pa.Table) -> pa.Table:
    """Return the table with its times as text."""
    at = table.schema.get_field_index("event_time")
    # Arrow's %S includes the fraction of the column's unit: milliseconds.
    return table.set_column(
        at, "event_time", pc.strftime(table.column(at), format="%Y-%m-%dT%H:%M:%SZ")
    )
