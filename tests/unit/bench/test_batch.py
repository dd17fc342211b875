"""Each gate of the batch bench can fail, and its long input is scored completely."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import batch
from stream_scorer.simulator import simulate

_SOUND: dict[str, Any] = {
    "rows_per_second": 200_000,
    "memory_ratio": 1.2,
    "rejected": 1,
    "degraded": 0,
    "resumed_at": 1,
    "memory_rows": [10, 100],
    "resumed_equal": True,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows_per_second": 199_999}, "199999 rows/s"),
        ({"memory_ratio": 1.21}, "1.21 times the memory"),
        ({"rejected": 0}, "rejected no row"),
        ({"degraded": 3}, "3 decisions"),
        ({"resumed_at": 0}, "row 0"),
        ({"resumed_at": 10}, "row 10"),
        ({"resumed_equal": False}, "undisturbed"),
    ],
)
def test_each_gate_fails_alone(change: dict[str, Any], told: str) -> None:
    assert batch.failures(_SOUND) == []
    (line,) = batch.failures({**_SOUND, **change})
    assert told in line


def test_a_table_repeated_is_later_each_time_and_has_no_id_twice(tmp_path: Path) -> None:
    table = simulate(days=5, customers=5)
    rows = batch.repeated(table, 3, tmp_path / "long.parquet")
    found = pq.read_table(tmp_path / "long.parquet")
    assert rows == found.num_rows == 3 * table.num_rows
    time = found["event_time"].cast(pa.int64()).to_numpy()
    assert (np.diff(time) >= 0).all()
    assert (found["amount_minor"].to_numpy() < 0).sum() == 3
    assert len(set(found["transaction_id"].to_pylist())) == rows
    assert set(found["customer_id"].to_pylist()) == set(table["customer_id"].to_pylist())
