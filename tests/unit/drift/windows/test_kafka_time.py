"""Kafka time follows the summaries' timestamps, and not a single wrong clock."""

import pytest

from stream_scorer.drift.windows.kafka_time import AGREE, JUMP_MS, KafkaTime

DAY = 24 * 3_600_000
NOW = 20_000 * DAY
YEAR = 365 * DAY


def at(*published: int) -> KafkaTime:
    time = KafkaTime()
    for each in published:
        time.move(each)
    return time


def test_time_is_the_largest_timestamp() -> None:
    assert KafkaTime().now == -1
    assert at(NOW, NOW + 5, NOW + 3).now == NOW + 5
    assert at(NOW, NOW + JUMP_MS).now == NOW + JUMP_MS


@pytest.mark.parametrize("wrong", [YEAR, -YEAR, JUMP_MS + 1])
def test_a_wrong_clock_among_right_ones_moves_nothing(wrong: int) -> None:
    time = at(NOW)
    for number in range(100 * AGREE):
        time.move(NOW + number + (wrong if number % 3 else 0))
    assert time.now == NOW + 100 * AGREE - 3


def test_a_long_pause_is_believed_after_some_summaries() -> None:
    time = at(NOW)
    moved = [time.move(NOW + YEAR + n) for n in range(AGREE + 1)]
    newest = NOW + YEAR + AGREE
    assert moved == [NOW] * (AGREE - 1) + [newest - 1, newest]


@pytest.mark.parametrize("hours", [0.01, 0.5, 1, 2, 24, 25, 24 * 7])
def test_time_catches_up_at_any_rate_of_summaries(hours: float) -> None:
    step = round(hours * 3_600_000)
    time = at(NOW)
    for number in range(AGREE):
        time.move(NOW + YEAR + number * step)
    newest = NOW + YEAR + (AGREE - 1) * step
    assert time.now == newest
    assert time.allows(newest)


@pytest.mark.parametrize("step", [1_000, 3_600_000, DAY])
def test_a_wrong_clock_is_not_believed_after_a_pause(step: int) -> None:
    time = at(NOW)
    for number in range(AGREE):
        time.move(NOW + YEAR + number * step + (0 if number % 3 else 10 * YEAR))
    assert time.now == NOW + YEAR + (AGREE - 1) * step


def test_time_goes_back_when_a_wrong_clock_is_corrected() -> None:
    time = at(NOW + YEAR)
    moved = [time.move(NOW + n) for n in range(AGREE + 1)]
    assert moved == [NOW + YEAR] * (AGREE - 1) + [NOW + AGREE - 1, NOW + AGREE]


def test_timestamps_on_both_sides_do_not_agree() -> None:
    time = at(NOW)
    for number in range(10 * AGREE):
        time.move(NOW + (YEAR if number % 2 else -YEAR))
    assert time.now == NOW


def test_a_time_far_ahead_is_not_allowed() -> None:
    time = at(NOW)
    assert time.allows(NOW + DAY)
    assert not time.allows(NOW + DAY + 1)
    assert time.allows(NOW + DAY + 7, ahead_ms=7)


def test_a_copy_and_a_state_continue_alike() -> None:
    time = at(NOW, *(NOW + YEAR for _ in range(AGREE - 1)))
    others = (time.copy(), KafkaTime.read(time.document()))
    time.move(NOW)
    for each in others:
        assert each.move(NOW + YEAR + 1) == NOW + YEAR + 1
    assert time.now == NOW
