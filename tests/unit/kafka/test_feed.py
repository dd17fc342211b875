import pytest

from stream_scorer.kafka.feed import Pace


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
