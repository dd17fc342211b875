import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.core.events.partitions import rows_by


@given(st.lists(st.integers(0, 40) | st.just(100_000), max_size=60))
def test_rows_are_grouped_by_partition_in_order(partitions: list[int]) -> None:
    found = rows_by(np.array(partitions, np.int32))
    assert {number: rows.tolist() for number, rows in found} == {
        number: [row for row, each in enumerate(partitions) if each == number]
        for number in partitions
    }
    assert [number for number, _ in found] == sorted(set(partitions))
