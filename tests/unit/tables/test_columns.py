"""Whether a value fits depends only on that value, not on the others in its column."""

import json
import math
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.tables.columns import as_read, fit, plain

TEXT, NUMBER, TIME, TRUTH = pa.string(), pa.int64(), pa.timestamp("ms"), pa.bool_()
MS = 1_522_585_815_250
AT = datetime(2018, 4, 1, 12, 30, 15, 250_000)  # noqa: DTZ001 a column without zone
BAD = object()
BAD_SECONDS = 200e-6
VALUES: list[tuple[pa.DataType, Any, Any]] = [
    (TEXT, "a", "a"), (TEXT, "ä€", "ä€"), (TEXT, "", ""), (TEXT, None, None), (TEXT, 7, "7"),
    (TEXT, 2**70, str(2**70)), (TEXT, 1.5, BAD), (TEXT, True, BAD), (TEXT, {"a": 1}, BAD),
    (TEXT, [1], BAD), (TEXT, "\ud800", BAD), (TEXT, b"a", BAD),
    (NUMBER, 7, 7), (NUMBER, "7", 7), (NUMBER, 7.0, 7), (NUMBER, None, None), (NUMBER, "7.0", BAD),
    (NUMBER, 7.5, BAD), (NUMBER, math.nan, BAD), (NUMBER, math.inf, BAD), (NUMBER, True, BAD),
    (NUMBER, 2**63, BAD), (NUMBER, -(2**63), -(2**63)), (NUMBER, [], BAD), (NUMBER, "abc", BAD),
    (NUMBER, {}, BAD), (NUMBER, "\udcff", BAD), (NUMBER, Decimal(7), 7),
    (NUMBER, Decimal("7.5"), BAD),
    (TIME, MS, AT), (TIME, float(MS), AT), (TIME, "2018-04-01T12:30:15.250Z", AT),
    (TIME, str(MS), AT),
    (TIME, "2018-04-01T14:30:15.25+02:00", AT), (TIME, "soon", BAD), (TIME, 1.5, BAD),
    (TIME, True, BAD), (TIME, date(2018, 4, 1), BAD), (TIME, 2**63, BAD),
    (TRUTH, True, True), (TRUTH, "false", False), (TRUTH, 1, BAD), (TRUTH, "perhaps", BAD),
]  # fmt: skip


@pytest.mark.parametrize("target", [TEXT, NUMBER, TIME, TRUTH])
def test_a_value_fits_alone_as_it_fits_among_any_others(target: pa.DataType) -> None:
    own = [(value, fitted) for kind, value, fitted in VALUES if kind == target]
    for value, fitted in own:
        column, bad = fit([value], target)
        assert column.type == target
        assert bad == ([0] if fitted is BAD else []), value
        assert column.to_pylist() == [None if fitted is BAD else fitted]
    numbers = np.random.default_rng(0)
    for _ in range(50):
        some = [own[at] for at in numbers.integers(0, len(own), int(numbers.integers(1, 30)))]
        column, bad = fit([value for value, _ in some], target)
        assert column.to_pylist() == [None if fitted is BAD else fitted for _, fitted in some]
        assert bad == [row for row, (_, fitted) in enumerate(some) if fitted is BAD]


def foreign(values: list[bytes | None], kind: pa.DataType) -> pa.Array:
    """Return texts of any bytes, as a Parquet file may have them."""
    held = pa.array(values, pa.large_binary() if kind == pa.large_string() else pa.binary())
    return pa.Array.from_buffers(kind, len(values), held.buffers(), held.null_count)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_that_is_not_utf8_fits_no_column(kind: pa.DataType) -> None:
    good = [b"plain", "ä€".encode(), None, b""]
    bad = [b"\xff\xfe", b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf"]
    column = foreign([*good, *bad, b"last"], kind)
    for given, first in ((column, 0), (column.slice(3), 3), (column.dictionary_encode(), 0)):
        fitted, rows = fit(given, TEXT)
        assert rows == [row - first for row in range(4, 8)]
        assert fitted.to_pylist() == ["plain", "ä€", None, "", *[None] * 4, "last"][first:]
    assert fit(column.slice(0, 4), TEXT)[1] == []
    for target in (NUMBER, TIME):
        assert fit(column.slice(4, 1), target)[1] == [0]


def test_values_as_read_are_strict_json() -> None:
    told = [
        (as_read(foreign([b"a\xff"], pa.string()), 0), "a\\xff"),
        (as_read(foreign([b"a\xff"], pa.string()).dictionary_encode(), 0), "a\\xff"),
        (as_read(pa.array([10**18], pa.timestamp("ms")), 0), 10**18),
        (as_read(pa.array([-(2**63)], pa.timestamp("us", "UTC")), 0), -(2**63) // 1_000),
        (as_read(pa.array([MS // 1_000], pa.timestamp("s")), 0), MS // 1_000 * 1_000),
        (as_read(pa.array([MS * 1_000_000 + 1], pa.timestamp("ns")), 0), MS),
        (as_read(pa.array([None], pa.timestamp("ns")), 0), None),
        (as_read(pa.array([2**31 - 1], pa.date32()), 0), "a date32[day]"),
        (as_read(pa.array([math.nan]), 0), "NaN"),
        (as_read([True, 7], 0), True),
        (as_read(["a", {"a": [math.inf, -math.inf]}], 1), {"a": ["Infinity", "-Infinity"]}),
        (as_read(["\ud800"], 0), "\\ud800"),
        (as_read([{"\ud800": b"\xff"}], 0), {"\\ud800": "\\xff"}),
        (as_read([Decimal("1.50")], 0), "1.50"),
        (as_read([datetime(2018, 4, 1, tzinfo=UTC)], 0), "2018-04-01 00:00:00+00:00"),
    ]
    for found, expected in told:
        assert found == expected
        assert type(found) is type(expected)
        json.dumps(found, allow_nan=False).encode()
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    assert json.dumps(plain(deep)).count("nested too deeply") == 1


@pytest.mark.parametrize("target", [TEXT, NUMBER, TIME, TRUTH])
def test_objects_with_keys_of_their_own_take_no_memory(target: pa.DataType) -> None:
    # A table of all rows by all keys would take 128 MB.
    rows: list[Any] = [{f"key {row}": row} for row in range(4_000)]
    before = pa.default_memory_pool().max_memory()
    column, bad = fit(rows, target)
    mixed, worse = fit([*rows, None, [1], 1.5], target)
    assert pa.default_memory_pool().max_memory() - before < 32 << 20
    assert (column.null_count, bad) == (4_000, list(range(4_000)))
    assert (mixed.null_count, worse) == (4_003, [*range(4_000), 4_001, 4_002])


def test_texts_that_are_no_times_take_little_time() -> None:
    texts = ["2018-04-01T12:30:15Z", "31.01.2026 12:00", str(2**64), None, str(MS), "soon"] * 500
    begun = time.thread_time()
    column, bad = fit(pa.array(texts), TIME)
    assert time.thread_time() - begun < len(bad) * BAD_SECONDS
    assert bad == [row for row in range(len(texts)) if row % 6 in {1, 2, 5}]
    assert column.null_count == len(bad) + 500


def test_a_time_that_is_not_utf8_fits_alone() -> None:
    texts = foreign([b"2018-04-01", b"2018-04-01\xff", b"\xff", None, b"1"], pa.string())
    column, bad = fit(texts, TIME)
    assert bad == [1, 2]
    assert column.is_valid().to_pylist() == [True, False, False, False, True]
