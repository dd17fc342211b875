"""Windows of arrival close when every active partition has later records."""

from typing import Any

from stream_scorer.drift.windows.arrival_windows import ARRIVALS_MOST, ArrivalWindows
from stream_scorer.drift.windows.watermarks import IDLE_MS

HOUR, MINUTE = 3_600_000, 60_000


def summary(partition: int, *hours: int, width: int = HOUR) -> dict[str, Any]:
    return {
        "arrivals": [
            {
                "partition": partition, "start": hour * HOUR, "width_ms": width, "records": 10,
                "late": 1, "rejected": {"DUPLICATE": 2, f"R{partition}": 1},
            }
            for hour in hours
        ]
    }  # fmt: skip


def test_partitions_are_merged() -> None:
    windows = ArrivalWindows((0, 1))
    assert windows.update(summary(0, 1, 2), 0) == []
    (closed,) = windows.update(summary(1, 1, 2), 0)
    assert (closed.start, closed.end, closed.records, closed.late) == (HOUR, 2 * HOUR, 20, 2)
    assert closed.rejected == {"DUPLICATE": 4, "R0": 1, "R1": 1}
    assert closed.tiled


def test_a_gap_marks_open_windows() -> None:
    windows = ArrivalWindows((0,))
    windows.update(summary(0, 1), 0)
    (closed,) = windows.update(summary(0, 2), 0, tiled=False)
    assert not closed.tiled


def test_records_that_come_after_the_close_are_counted() -> None:
    windows = ArrivalWindows((0,))
    windows.update(summary(0, 1, 2), 0)
    assert windows.update(summary(0, 1), 0) == []
    (closed,) = windows.update(summary(0, 3), 0)
    assert (closed.start, closed.records, windows.late) == (2 * HOUR, 10, 10)


def test_a_partition_that_lags_keeps_its_window_open() -> None:
    """A watermark of arrival moves once a window: a partition that has not moved is not idle."""
    windows = ArrivalWindows((0, 1))
    for minute in range(60):
        assert windows.update(summary(0, 1), HOUR + minute * MINUTE) == []
    # Partition 1 is read from an hour before, and is at its end ten minutes later.
    for minute in range(10):
        assert windows.update(summary(0, 2), 2 * HOUR + minute * MINUTE) == []
        assert windows.update(summary(1, 1), 2 * HOUR + minute * MINUTE) == []
    (closed,) = windows.update(summary(1, 2), 2 * HOUR + 10 * MINUTE)
    assert (closed.start, closed.records) == (HOUR, 700)
    assert closed.rejected == {"DUPLICATE": 140, "R0": 60, "R1": 10}
    assert windows.late == 0


def test_a_shorter_width_makes_no_partition_idle() -> None:
    """A plan's new revision has shorter windows; those of an hour still move once an hour."""
    windows = ArrivalWindows((0, 1))
    windows.update(summary(1, 1), HOUR)
    for minute in range(0, 60, 10):
        newer = summary(0, 2, width=10 * MINUTE)
        newer["arrivals"][0]["start"] += minute * MINUTE
        windows.update(newer, HOUR + minute * MINUTE)
    windows.update(summary(1, 1), 2 * HOUR)
    assert windows.late == 0


def test_a_silent_partition_holds_windows_for_a_width_and_more() -> None:
    windows = ArrivalWindows((0, 1))
    windows.update(summary(0, 1), HOUR)
    windows.update(summary(1, 1), HOUR)
    assert windows.update(summary(0, 2), 2 * HOUR + IDLE_MS - 1) == []
    (closed,) = windows.update(summary(0, 2), 2 * HOUR + IDLE_MS)
    assert closed.records == 20


def test_short_windows_are_merged_into_hours() -> None:
    windows = ArrivalWindows((0,))
    windows.update(summary(0, 1, width=60_000), 0)
    (closed,) = windows.update(summary(0, 2, width=60_000), 0)
    assert (closed.start, closed.end) == (HOUR, 2 * HOUR)


def test_forged_windows_are_limited() -> None:
    windows = ArrivalWindows((0, 1))
    for first in range(0, 2 * ARRIVALS_MOST, 500):
        windows.update(summary(0, *range(first, first + 500)), 0)
    assert len(windows.document()["open"]) == ARRIVALS_MOST
    assert windows.late == 10 * ARRIVALS_MOST


def test_a_copy_and_a_state_continue_alike() -> None:
    windows = ArrivalWindows((0, 1))
    windows.update(summary(0, 1, 2), 0)
    others = (windows.copy(), ArrivalWindows.read(windows.document()))
    (expected,) = windows.update(summary(1, 1, 2), 0)
    for each in others:
        assert each.update(summary(1, 1, 2), 0) == [expected]
        assert each.document() == windows.document()
