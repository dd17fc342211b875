"""Packed counts that no writer makes are refused: any client may write to the topic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.summaries.segments import NO_SEGMENTS
from stream_scorer.core.summaries.summary_cell_kernels import unpack_cells, unpack_sums
from stream_scorer.core.summaries.summary_kernels import FIXED_ONE
from stream_scorer.core.summaries.summary_reading import read_windows
from tests.support.core.watched import FEATURES, TABLE, bins_of, decided, full, segments, summary_of
from tests.support.effort import examples

BINS = bins_of(FEATURES)
CELLS = int(BINS.first_cell[-1])
SEGMENTS = segments(TABLE)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00", b"\x80", b"\x00\x80", b"\x00\x00", b"\x00\x06", b"\x08\x01", b"\x00\x01\x07\x01",
        b"\x80" * 9 + b"\x01\x01", b"\x80" * 10 + b"\x01", b"\xff" * 8 + b"\x7f\x01",
        b"\x80\x00\x01", b"\x00\x81\x00", b"\x00\x01\x00", b"\x00" + b"\xff" * 9 + b"\x01",
    ],
)  # fmt: skip
def test_cells_that_no_writer_packs_are_refused(data: bytes) -> None:
    counts = np.zeros(8, np.int64)
    assert not unpack_cells(np.frombuffer(data, np.uint8), 5, counts)


def test_cells_within_all_limits_are_read() -> None:
    counts = np.zeros(8, np.int64)
    assert unpack_cells(np.frombuffer(b"\x00\x05\x06\x01", np.uint8), 5, counts)
    assert counts.tolist() == [5, 0, 0, 0, 0, 0, 0, 1]
    assert unpack_cells(np.frombuffer(b"", np.uint8), 5, np.zeros(8, np.int64))
    large = np.zeros(8, np.int64)
    assert unpack_cells(np.frombuffer(b"\x07\x80\x01", np.uint8), 128, large)
    assert large[7] == 128


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x00\x01", b"\x02\x01\x01", b"\x00\x01\x80", b"\x00\x01\x01\x01\x01\x01"]
)
def test_sums_that_no_writer_packs_are_refused(data: bytes) -> None:
    assert not unpack_sums(np.frombuffer(data, np.uint8), np.zeros((2, 2), np.int64))


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_value_error(cells: bytes, sums: bytes) -> None:
    made = summary_of(decided([full(0)]), BINS, SEGMENTS)
    made["windows"][0] |= {"cells": cells, "sums": sums}
    try:
        (window,) = read_windows(made, CELLS)
    except ValueError as error:
        assert str(error).startswith("summary: ")  # noqa: PT017 valid bytes raise nothing
        return
    assert window.counts.min() >= 0
    assert window.counts.max() <= 1
    assert 0 <= window.score_sum.min() <= window.score_sum.max() <= FIXED_ONE


def test_a_sum_that_its_decisions_cannot_have_is_refused() -> None:
    made = summary_of(decided([full(0, score=1.0)]), None, NO_SEGMENTS)
    (window,) = made["windows"]
    # One score of 2^32, one logarithm: the score may not be larger.
    assert window["sums"][:6] == b"\x00\x80\x80\x80\x80\x10"
    window["sums"] = b"\x00\x81\x80\x80\x80\x10" + window["sums"][6:]
    with pytest.raises(ValueError, match="the sums of a window of 1 decisions are not valid"):
        list(read_windows(made, 0))
