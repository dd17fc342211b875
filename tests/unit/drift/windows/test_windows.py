"""Windows close by watermark, however far apart the partitions are."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.windows.kafka_time import JUMP_MS
from stream_scorer.drift.windows.watermarks import IDLE_MS, PARTITIONS_MOST
from stream_scorer.drift.windows.windows import OPEN_CELLS_MOST, OPEN_MOST, Windows
from tests.support.drift.synthetic import packed_cells, packed_sums

HOUR = 3_600_000


def summary(partition: int, *hours: int, watermark: int | None = None) -> dict[str, Any]:
    """Return a summary with one transaction in each of these hours."""
    newest = max(hours, default=0) * HOUR + 1 if watermark is None else watermark
    return {
        "model": "m",
        "model_version": "1",
        "sources": [{"partition": partition, "watermark": newest}],
        "windows": [
            {
                "partition": partition, "start": hour * HOUR, "width_ms": HOUR, "count": 1,
                "late": partition, "sums": packed_sums(np.array([5]), np.array([7])),
            }
            for hour in hours
        ],
    }  # fmt: skip


@pytest.fixture
def two() -> Windows:
    return Windows((0, 1), HOUR)


NOW = 50 * HOUR
"""Kafka time; without it, summaries of a test are published at the epoch."""


def starts(windows: Windows, one: dict[str, Any], published: int = 0) -> list[int]:
    return [window.start // HOUR for window in windows.update(one, published)]


def test_a_window_closes_when_all_partitions_passed_it(two: Windows) -> None:
    assert starts(two, summary(0, 1, 2, 9)) == []
    assert starts(two, summary(1, 1, 2)) == []
    assert starts(two, summary(1, 3)) == [1]
    assert starts(two, summary(1, 4)) == [2]


def test_a_closed_window_holds_all_partitions(two: Windows) -> None:
    two.update(summary(0, 1, 9), 0)
    (closed,) = two.update(summary(1, 1, 9), 0)
    assert (closed.count, closed.late, closed.tiled) == (2, 1, True)
    assert closed.score_sum.tolist() == [10]
    assert closed.end - closed.start == HOUR


def test_counts_are_merged_by_cell() -> None:
    one = Windows((0,), 0)
    for counts, hours in (([1, 0, 2], (1,)), ([0, 5, 1], (1, 9))):
        made = summary(0, *hours) | {"reference": "r"}
        made["windows"][0] |= {"count": 9, "cells": packed_cells(np.array(counts))}
        for later in made["windows"][1:]:
            later["cells"] = b""
        closed = one.update(made, 0, cells=3)
    assert closed[0].counts.tolist() == [[1, 5, 3]]
    assert closed[0].reference == "r"


def test_short_windows_are_merged_into_hours() -> None:
    one = Windows((0,), 0)
    made = summary(0, 1, 9)
    made["windows"][0] |= {"start": HOUR + 600_000, "width_ms": 300_000}
    made["windows"].insert(1, made["windows"][0] | {"start": HOUR})
    (closed,) = one.update(made, 0)
    assert (closed.start, closed.end, closed.count) == (HOUR, 2 * HOUR, 2)


@pytest.mark.parametrize("name", ["score_sum", "log_sum"])
@pytest.mark.parametrize("last", [0, 1])
def test_a_window_whose_sums_overflow_is_marked(name: str, last: int) -> None:
    """No sum wraps around to a number that looks usual."""
    one, half, count = Windows((0,), 0), 2**62, 2**31 - 1
    for total, hours in ((half, (1,)), (half - 1 + last, (1, 9))):
        made = summary(0, *hours)
        sums = {"score_sum": np.array([5]), "log_sum": np.array([7])} | {name: np.array([total])}
        made["windows"][0] |= {"count": count, "sums": packed_sums(*sums.values())}
        closed = one.update(made, 0)
    assert closed[0].tiled == (last == 0)
    assert getattr(closed[0], name).tolist() == [half if last else 2**63 - 1]
    assert closed[0].count == 2 * count


def test_a_summary_that_does_not_fit_marks_what_is_open() -> None:
    one = Windows((0,), 0)
    one.update(summary(0, 1), 0)
    before = one.copy()
    (closed,) = one.update(summary(0, 9), 0, tiled=False)
    assert not closed.tiled
    assert not one.opened()[0].tiled
    (untouched,) = before.update(summary(0, 9), 0)
    assert untouched.tiled


def test_a_state_continues_as_its_original_does(two: Windows) -> None:
    two.update(summary(0, 1, 2, 9), 5)
    two.update(summary(1, 1), 7)
    read = Windows((), HOUR)
    read.read(two.document(), [replace(each) for each in two.opened()])
    for one in (two, read):
        assert starts(one, summary(1, 1, 9), 8) == [1, 2]
    assert read.document() == two.document()
    assert len(read.opened()) == 1


def test_of_too_many_cells_windows_are_dropped() -> None:
    one = Windows((0,), 0)
    for hour in range(1, 20):
        made = summary(0, hour, watermark=1) | {"reference": "r"}
        made["windows"][0]["cells"] = b""
        one.update(made, 0, cells=OPEN_CELLS_MOST // 10)
    assert (len(one.opened()), one.dropped) == (10, 9)


def test_windows_are_in_order_when_partitions_are_read_in_turn(
    two: Windows,
) -> None:
    assert starts(two, summary(0, *range(1, 50)), NOW) == []
    assert starts(two, summary(1, *range(1, 30)), NOW) == list(range(1, 28))
    assert two.late == 0


def test_an_unseen_partition_holds_windows_until_it_is_idle(two: Windows) -> None:
    assert starts(two, summary(0, 1), 0) == []
    assert starts(two, summary(0, 8), IDLE_MS - 1) == []
    assert starts(two, summary(0, 9), IDLE_MS) == [1]


def test_a_partition_without_movement_holds_windows_until_idle(two: Windows) -> None:
    two.update(summary(0, 1), 0)
    two.update(summary(1, 1), 0)
    assert starts(two, summary(0, 9), IDLE_MS - 1) == []
    # Only rejected records: they do not move event time.
    assert starts(two, summary(1, watermark=0), IDLE_MS - 1) == []
    assert starts(two, summary(0, 10), IDLE_MS) == [1]


def test_an_idle_partition_that_wakes_up_reopens_nothing(two: Windows) -> None:
    two.update(summary(0, 1, 9), 0)
    assert starts(two, summary(0, 10), IDLE_MS) == [1]
    assert starts(two, summary(0, 20), 2 * IDLE_MS) == [9, 10]
    assert starts(two, summary(1, 2, 3), 2 * IDLE_MS) == []
    assert two.late == 2
    assert starts(two, summary(1, 22), 2 * IDLE_MS) == []
    assert starts(two, summary(0, 22), 2 * IDLE_MS) == [20]


def test_a_partition_that_wakes_up_does_not_turn_time_back(two: Windows) -> None:
    two.update(summary(0, 1, 9), 0)
    assert starts(two, summary(0, 20), IDLE_MS) == [1, 9]
    # Partition 1 wakes up: what is closed stays closed, for its next summaries too.
    assert starts(two, summary(1, 2), IDLE_MS) == []
    assert starts(two, summary(1, 3), IDLE_MS) == []
    assert two.late == 2
    assert two.watermark == 19 * HOUR + 1


def test_a_far_watermark_does_not_count() -> None:
    one = Windows((0,), 0, ahead_ms=HOUR)
    begin = 1_000 * HOUR
    for hour in range(1_000, 1_003):
        one.update(summary(0, hour), hour * HOUR)
    assert starts(one, summary(0, watermark=10**15), begin + 3 * HOUR) == []
    limit = begin + 3 * HOUR + JUMP_MS + HOUR
    assert starts(one, summary(0, watermark=limit + 1), begin + 3 * HOUR) == []
    assert starts(one, summary(0, 1_003), begin + 3 * HOUR) == [1_002]
    assert starts(one, summary(0, watermark=limit), begin + 3 * HOUR) == [1_003]


@pytest.mark.parametrize("wrong", [10 * 365 * 24 * HOUR, -10 * 365 * 24 * HOUR])
def test_a_wrong_clock_does_not_keep_windows_open(wrong: int) -> None:
    one, closed = Windows((0, 1), 0), 0
    for hour in range(1_000, 1_100):
        at = hour * HOUR + HOUR + (wrong if hour == 1_050 else 0)
        closed += len(one.update(summary(0, hour), at))
        # Partition 1 falls silent.
        closed += len(one.update(summary(1, hour), at)) if hour < 1_060 else 0
    assert closed == 99
    assert one.now == 1_100 * HOUR


def test_each_model_has_separate_windows(two: Windows) -> None:
    two.update(summary(0, 1, 9) | {"model_version": "2"}, 0)
    closed = two.update(summary(1, 1, 9), 0)
    assert [(window.version, window.count) for window in closed] == [("1", 1), ("2", 1)]


def test_of_too_many_windows_those_that_end_last_are_dropped(two: Windows) -> None:
    future = 10**6
    for first in range(future, future + OPEN_MOST, 2_000):
        assert starts(two, summary(0, *range(first, first + 2_000), watermark=1)) == []
    assert two.dropped == 0
    two.update(summary(0, 1, 2, 3), 0)
    assert two.dropped == 3
    assert len(two._open) == OPEN_MOST
    two.update(summary(0, *range(future, future + OPEN_MOST), watermark=1), 0)
    assert (two.dropped, len(two._open)) == (6, OPEN_MOST)
    two.update(summary(0, 9, watermark=9 * HOUR), 0)
    # The windows of real transactions are still there.
    assert starts(two, summary(1, 9)) == [1, 2, 3]


def test_only_so_many_partitions_are_known(two: Windows) -> None:
    made_up = [{"partition": n, "watermark": HOUR} for n in range(2, 2 * PARTITIONS_MOST)]
    two.update({"model": "m", "model_version": "1", "sources": made_up, "windows": []}, 0)
    assert len(two._watermarks) == PARTITIONS_MOST
    # Those of the input are known before.
    two.update(summary(1, 1), IDLE_MS)
    assert starts(two, summary(0, 9), IDLE_MS) == []
    assert starts(two, summary(1, 9), IDLE_MS) == [1]


def test_a_copy_and_its_original_do_not_change_each_other(two: Windows) -> None:
    two.update(summary(0, 1), 0)
    before = two.copy()
    two.update(summary(0, 1, 9), 0)
    assert starts(two, summary(1, 1, 9)) == [1]
    (closed,) = (before.update(summary(0, 9), 0), before.update(summary(1, 9), 0))[1]
    assert closed.count == 1
    assert (len(two._open), len(before._open)) == (1, 1)
