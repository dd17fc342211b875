"""External sort: rows by (event time, arrival), on disk, with bounded memory.

Some rows at a time are sorted and written as a run. The runs are then merged, some rows of each at
a time. Sorting is stable: rows of the same time keep their order of arrival.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
RUN_ROWS = 1_000_000
_BATCH_ROWS = 8_192
_MERGED_ROWS = 65_536
_FILES_AT_ONCE = 64


def write_runs(
    rows: Iterator[pa.RecordBatch], directory: Path, run_rows: int = RUN_ROWS
) -> list[Path]:
    """Write sorted runs into a directory and return them in the order of arrival.

    Args:
        rows: Batches of one schema with ``event_time``.
        directory: Exists and is empty.
        run_rows: Approximate rows of a run; at most these and one batch are in memory.
    """
    runs: list[Path] = []
    held: list[pa.RecordBatch] = []
    count = 0

    def spill() -> None:
        path = directory / f"run-{len(runs):06d}.arrow"
        table = pa.Table.from_batches(held).combine_chunks()
        order = np.argsort(_times(table), kind="stable")
        _write(path, (table.take(pa.array(order[at : at + _BATCH_ROWS])).combine_chunks()
                      for at in range(0, len(order), _BATCH_ROWS)), table.schema)  # fmt: skip
        runs.append(path)
        held.clear()

    for batch in rows:
        held.append(batch)
        count += batch.num_rows
        if count >= run_rows:
            spill()
            count = 0
    if held:
        spill()
    return _few(runs, directory)


def _few(runs: list[Path], directory: Path) -> list[Path]:
    """Merge neighbouring runs until few enough are left to be open at the same time."""
    turn = 0
    while len(runs) > _FILES_AT_ONCE:
        merged = []
        for at in range(0, len(runs), _FILES_AT_ONCE):
            some = runs[at : at + _FILES_AT_ONCE]
            path = directory / f"merged-{turn:03d}-{at:06d}.arrow"
            with pa.OSFile(str(some[0])) as file:
                schema = pa.ipc.open_stream(file).schema
            _write(path, (pa.Table.from_batches([batch]) for batch in merge(some)), schema)
            merged.append(path)
            for one in some:
                one.unlink()
        runs = merged
        turn += 1
    return runs


def _write(path: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> None:
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_stream(
            file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
        ) as writer,
    ):
        for table in tables:
            writer.write_table(table, _BATCH_ROWS)


def merge(runs: list[Path]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all runs in order.

    Args:
        runs: The result of ``write_runs``.
    """
    with ExitStack() as open_files:
        readers = [
            iter(pa.ipc.open_stream(open_files.enter_context(pa.OSFile(str(run))))) for run in runs
        ]
        heads = [next(reader, None) for reader in readers]
        ready: list[pa.RecordBatch] = []
        count = 0
        while any(head is not None for head in heads):
            ends = [
                (int(_times(head)[-1]), at) for at, head in enumerate(heads) if head is not None
            ]
            # The run whose batch ends first; of equal ones, the one that arrived first. All rows up
            # to that end are in the current batches.
            edge, first = min(ends)
            taken = []
            for at, head in enumerate(heads):
                if head is None:
                    continue
                side: Literal["left", "right"] = "right" if at <= first else "left"
                cut = int(np.searchsorted(_times(head), edge, side))
                taken.append(head.slice(0, cut))
                heads[at] = head.slice(cut) if cut < head.num_rows else next(readers[at], None)
            step = pa.concat_batches(taken)
            order = np.argsort(_times(step), kind="stable")
            ready.append(step.take(pa.array(order)))
            count += step.num_rows
            if count >= _MERGED_ROWS:
                yield pa.concat_batches(ready)
                ready, count = [], 0
        if ready:
            yield pa.concat_batches(ready)


def _times(rows: pa.RecordBatch | pa.Table) -> Int64:
    column = rows.column("event_time").cast(pa.int64())
    return np.asarray(column.to_numpy())
