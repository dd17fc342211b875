"""Byte strings as one column."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.ports import BytesColumn

Values = list[bytes | None]


@given(st.lists(st.none() | st.binary(max_size=9)), st.data())
def test_a_column_reads_as_the_byte_strings_that_it_was_made_of(
    values: Values, data: st.DataObject
) -> None:
    column = BytesColumn.of(values)
    assert list(column) == values
    assert [column[row] for row in range(len(column))] == values
    assert column.to_list() == [value or b"" for value in values]
    if values:
        rows = data.draw(st.lists(st.integers(0, len(values) - 1)))
        assert list(column.take(np.array(rows, np.int64))) == [values[row] for row in rows]


def test_nulls_are_distinct_from_empty_strings() -> None:
    assert list(BytesColumn.nulls(2)) == [None, None]
    assert BytesColumn.of([b"", b"x"]).null is None
    with pytest.raises(IndexError):
        BytesColumn.of([b"a"])[1]


@given(values=st.lists(st.binary(max_size=5), min_size=1, max_size=8), data=st.data())
def test_a_part_of_a_column_has_its_own_rows(values: list[bytes], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(first, len(values)))
    assert BytesColumn.of(values).between(first, end).to_list() == values[first:end]
