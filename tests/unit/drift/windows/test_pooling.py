"""Windows with few rows become one observation."""

import numpy as np
import pytest

from stream_scorer.drift.windows.pooling import DAY_MS, Pools

HOUR = 3_600_000


def add(pools: Pools, value: float, rows: int, end: int = HOUR) -> float:
    return float(pools.add(np.array([value]), np.array([rows]), end)[0])


def test_few_rows_wait_for_more() -> None:
    pools = Pools.empty(np.array([False]))
    assert np.isnan(add(pools, 0.1, 150))
    assert add(pools, 0.5, 50) == (0.1 * 150 + 0.5 * 50) / 200
    assert add(pools, 0.3, 200) == 0.3


def test_a_stream_without_a_season_waits_for_the_end_of_the_day() -> None:
    pools = Pools.empty(np.array([True]))
    assert np.isnan(add(pools, 0.2, 500, 23 * HOUR))
    assert add(pools, 0.4, 500, DAY_MS) == pytest.approx(0.3)


def test_no_value_is_not_added() -> None:
    pools = Pools.empty(np.array([False]))
    assert np.isnan(add(pools, np.nan, 500))
    assert np.isnan(add(pools, 0.4, 0))
    assert int(pools.rows[0]) == 0


def test_cleared_and_copied_pools_are_separate() -> None:
    pools = Pools.empty(np.array([False, False]))
    pools.add(np.array([0.1, 0.2]), np.array([10, 20]), HOUR)
    copied = pools.copy()
    pools.clear(np.array([True, False]))
    assert pools.rows.tolist() == [0, 20]
    assert copied.rows.tolist() == [10, 20]
