"""String columns are read in place, and rings' stored field values are the same in checkpoints."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.fields import (
    MISSING,
    NULL,
    Field,
    fields_of,
    in_order,
    kept_value,
    kept_values,
    numbers,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import string_views
from stream_scorer.core.kernels.observing import DOUBLE_CODE, LONG_CODE
from tests.support.core.events import batch, event
from tests.support.effort import examples

WORDS = pa.array(["one", "", None, "four"], pa.string())


@pytest.mark.parametrize("column", [WORDS, WORDS[1:3], WORDS[3:], WORDS[4:]])
def test_each_string_is_between_its_offsets(column: pa.Array) -> None:
    offsets, data = string_views(column)
    found = [data[a:b].tobytes().decode() for a, b in pairwise(offsets.tolist())]
    assert found == [text or "" for text in column.to_pylist()]


def test_a_column_without_rows_may_have_no_offsets() -> None:
    # Arrow's format allows it, and other libraries make such empty columns.
    offsets, data = string_views(pa.StringArray.from_buffers(0, None, pa.py_buffer(b"")))
    assert offsets.tolist() == [0]
    assert offsets.dtype == np.dtype(np.int32)
    assert len(data) == 0


def test_what_rings_keep_of_a_boolean_is_what_checkpoints_hold() -> None:
    events = batch(
        [event(n, card_present=present) for n, present in enumerate((False, True, None))]
    )
    assert kept_values(events, ["card_present"]).tolist() == [[2, 3, 1]]
    assert (MISSING, NULL) == (0, 1)


EXTRAS = {
    "ratio": "double",
    "items": "long",
    "opened": "timestamp",
    "vip": "boolean",
    "ip": "string",
}
FIELDS = fields_of(Plan(extras=EXTRAS))


def extra(name: str, values: list[Any]) -> EventBatch:
    """Return events with values of one extra field."""
    rest = dict.fromkeys(EXTRAS)
    return batch([event(n, **rest | {name: value}) for n, value in enumerate(values)], EXTRAS)


def kept(name: str, values: list[Any]) -> list[int]:
    return [int(code) for code in kept_values(extra(name, values), [FIELDS[name].stored])[0]]


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=20))
def test_doubles_come_back_bit_for_bit(values: list[float]) -> None:
    values += [0.0, -0.0, 5e-324, 1.7976931348623157e308]
    codes = np.array(kept("ratio", values), np.int64)
    assert not np.isin(codes, [MISSING, NULL]).any()
    back = (codes ^ DOUBLE_CODE).view(np.float64)
    assert back.tobytes() == np.array(values).tobytes()


@pytest.mark.parametrize("name", ["items", "opened"])
@settings(max_examples=examples(200), deadline=None)
@given(values=st.lists(st.integers(-(2**63) + 2, 2**63 - 1), max_size=20))
def test_whole_numbers_come_back_exactly(name: str, values: list[int]) -> None:
    values += [0, 1, -1, 2**63 - 1, -(2**63) + 2]
    codes = np.array(kept(name, values), np.int64)
    assert not np.isin(codes, [MISSING, NULL]).any()
    assert (codes ^ LONG_CODE).tolist() == values


def test_null_is_a_value_of_its_own() -> None:
    assert kept("ratio", [None, math.nan, math.inf, -math.inf]) == [NULL] * 4
    assert kept("items", [None, -(2**63), -(2**63) + 1]) == [NULL] * 3
    assert kept("opened", [None]) == [NULL]
    assert kept("vip", [None, False, True]) == [NULL, 2, 3]
    assert kept("ip", [None, ""])[0] == NULL != kept("ip", [None, ""])[1]


def test_a_wanted_value_is_kept_as_the_event_s() -> None:
    assert kept("ip", ["DE", ""]) == [kept_value("DE"), kept_value("")]
    assert kept("vip", [False, True]) == [kept_value(False), kept_value(True)]


def test_numbers_of_fields() -> None:
    def read(name: str, *values: Any) -> str:
        return repr(numbers(extra(name, list(values)), FIELDS[name]).tolist())

    assert read("ratio", -0.0, None, math.inf, 0.1) == "[-0.0, nan, nan, 0.1]"
    assert read("items", 2**53 + 1, None, -(2**63), -3) == "[9007199254740992.0, nan, nan, -3.0]"
    assert read("opened", 1_500, None, -1) == "[1.5, nan, -0.001]"
    assert read("vip", True, None, False) == "[1.0, nan, 0.0]"


def test_a_part_of_a_batch_is_read_where_it_begins() -> None:
    events = extra("items", [1, None, 3, 4])
    part = EventBatch(
        events.records.slice(1, 2), events.partition[1:3], events.offset[1:3], events.timestamp[1:3]
    )
    assert repr(numbers(part, FIELDS["items"]).tolist()) == "[nan, 3.0]"
    assert kept_values(part, ["items:long"])[0].tolist() == [NULL, 3 ^ int(LONG_CODE)]


def test_rings_call_an_extra_field_by_name_and_type() -> None:
    assert FIELDS["items"] == Field("items", "long", "items:long")
    assert FIELDS["mcc"] == Field("mcc", "string", "mcc")
    assert in_order(["vip:boolean", "mcc", "items:long", "mcc", "terminal_id"]) == (
        "terminal_id", "mcc", "items:long", "vip:boolean",
    )  # fmt: skip
