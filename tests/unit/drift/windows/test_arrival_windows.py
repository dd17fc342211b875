"""Windows of arrival close when every active partition has later records."""

from typing import Any

from stream_scorer.drift.windows.arrival_windows import ARRIVALS_MOST, ArrivalWindows

HOUR = 3_600_000


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


def test_records_that_come_after_the_close_are_left_out() -> None:
    windows = ArrivalWindows((0,))
    windows.update(summary(0, 1, 2), 0)
    assert windows.update(summary(0, 1), 0) == []
    (closed,) = windows.update(summary(0, 3), 0)
    assert (closed.start, closed.records) == (2 * HOUR, 10)


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


def test_a_copy_and_a_state_continue_alike() -> None:
    windows = ArrivalWindows((0, 1))
    windows.update(summary(0, 1, 2), 0)
    others = (windows.copy(), ArrivalWindows.read(windows.document()))
    (expected,) = windows.update(summary(1, 1, 2), 0)
    for each in others:
        assert each.update(summary(1, 1, 2), 0) == [expected]
        assert each.document() == windows.document()
