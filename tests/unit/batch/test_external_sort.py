"""The external sort equals a stable sort in memory, however small its runs are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.batch import external_sort
from stream_scorer.batch.external_sort import merge, write_runs


@pytest.mark.parametrize(("rows", "times"), [(0, 1), (1, 1), (5_000, 3), (5_000, 900), (5_000, 1)])
@pytest.mark.parametrize("run_rows", [100, 700, 10**6])
def test_rows_of_one_time_keep_their_order(
    rows: int, times: int, run_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_sort, "_BATCH_ROWS", 32)
    monkeypatch.setattr(external_sort, "_MERGED_ROWS", 333)
    monkeypatch.setattr(external_sort, "_FILES_AT_ONCE", 7)
    numbers = np.random.default_rng(rows + times)
    time = numbers.integers(-5, times, rows) * 1_000
    table = pa.table(
        {"event_time": pa.array(time).cast(pa.timestamp("ms")), "row": pa.array(np.arange(rows))}
    )
    runs = write_runs(iter(table.to_batches(max_chunksize=37)), tmp_path, run_rows)
    assert len(runs) <= 7
    assert sorted(tmp_path.iterdir()) == sorted(runs)
    found = [row for batch in merge(runs) for row in batch.column("row").to_pylist()]
    assert found == np.argsort(time, kind="stable").tolist()
