import numpy as np
import pytest

from stream_scorer.kafka.reading.paced_producer import Outgoing, Pace, Riders, _merged


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_record_is_due_at_its_number_over_the_rate(clock: Clock) -> None:
    pace = Pace(100.0, clock)
    assert pace.due(10).tolist() == [1_000_000]
    assert pace.due(10).tolist() == []
    assert pace.next_seconds == pytest.approx(0.01)
    clock.now += 0.035
    assert pace.due(10).tolist() == [1_000_010, 1_000_020, 1_000_030]


def test_what_is_late_keeps_its_scheduled_time_and_the_schedule(clock: Clock) -> None:
    pace = Pace(100.0, clock)
    clock.now += 1.0
    assert pace.due(4).tolist() == [1_000_000, 1_000_010, 1_000_020, 1_000_030]
    assert pace.next_seconds < 0
    assert len(pace.due(1_000)) == 97
    assert 0 < pace.next_seconds <= 0.01


def test_no_record_is_lost_or_due_twice_over_a_long_run(clock: Clock) -> None:
    pace = Pace(3_333.3, clock)
    times = []
    for _ in range(2_000):
        clock.now += 0.0007
        times += pace.due(50).tolist()
    assert len(times) == int(1.4 * 3_333.3) + 1
    assert times == sorted(times)
    assert times[-1] <= clock.now * 1_000


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_riders_immediately_precede_their_record_in_any_schedule(chunk: int) -> None:
    values = [b"0", b"1", b"2", b"3", b"4"]
    riders = Riders(
        "r",
        [b"k"] * 7,
        [b"a", b"b", b"c", b"d", b"e", b"f", b"g"],
        np.array([0, 0, 2, 3, 3, 5, 5]),
    )
    handed: list[Outgoing] = []
    for first in range(0, 5, chunk):
        times = np.arange(first, min(first + chunk, 5)) * 10
        handed += _merged("t", [b"k"] * 5, values, times, riders, first)
    assert b"".join(value or b"" for _, _, value, _ in handed) == b"ab01c2de34fg"
    assert [time for *_, time in handed] == [0, 0, 0, 10, 20, 20, 30, 30, 30, 40, 40, 40]
    assert [topic for topic, *_ in handed] == list("rrttrtrrttrr")


def test_without_riders_the_records_alone_are_handed_over() -> None:
    handed = list(_merged("t", [b"k", None], [b"0", None], np.array([5, 6]), None, 0))
    assert handed == [("t", b"k", b"0", 5), ("t", None, None, 6)]
