"""Detectors on simulated transactions: silent without a change, quick with one."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from stream_scorer.drift.detectors import BASELINE, LEAST_COUNT, SETTLING, SignalDetector
from stream_scorer.drift.windows import Window
from tests.support.drift.simulated import (
    DAY_MS,
    FIRST_MS,
    HOUR_MS,
    changed,
    summaries,
    transactions,
    watch,
    windows,
)

DAYS = 183
WEEK = 168
SIGNALS = ("score", "amount")


@pytest.fixture(scope="module")
def calm() -> list[Window]:
    return windows(summaries(transactions(DAYS)))


def window(number: int, amount: float, count: int = LEAST_COUNT) -> Window:
    start = FIRST_MS + number * HOUR_MS
    return Window(
        "m", "1", start, start + HOUR_MS, count=count, amount_minor_sum=round(amount * count)
    )


@pytest.mark.thorough
@pytest.mark.parametrize("signal", SIGNALS)
def test_half_a_year_without_a_change_is_silent(calm: list[Window], signal: str) -> None:
    assert sum(one.count for one in calm) > 1_700_000
    assert watch(calm, signal) == []


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("signal", SIGNALS)
def test_weeks_in_another_order_are_silent_too(calm: list[Window], signal: str, seed: int) -> None:
    # The first four weeks stay, because the customers' histories fill there.
    weeks = [calm[at : at + WEEK] for at in range(0, len(calm) - WEEK, WEEK)]
    order = [*range(4), *(4 + np.random.default_rng(seed).permutation(len(weeks) - 4))]
    assert watch([one for week in order for one in weeks[week]], signal) == []


@pytest.mark.parametrize(
    ("factor", "of_ten", "signal"),
    [
        (1.5, 3, "amount"),
        (1.5, 5, "amount"),
        (2.0, 3, "amount"),
        (2.0, 5, "amount"),
        (2.0, 3, "score"),
        (2.0, 5, "score"),
    ],
)
def test_grown_amounts_are_found_within_a_day(factor: float, of_ten: int, signal: str) -> None:
    change_ms = FIRST_MS + 11 * DAY_MS
    table = changed(transactions(14), 11, factor, of_ten).slice(0, 13 * 9_600)
    first, *_ = watch(windows(summaries(table)), signal)
    assert change_ms <= first.start < change_ms + 24 * HOUR_MS
    assert first.estimate > first.reference
    assert first.detector == "adwin"
    assert first.observations > BASELINE


def test_quiet_hours_are_pooled() -> None:
    rng = np.random.default_rng(1)
    hours = [
        window(n, 5_000 + 300 * rng.standard_normal() + 3_000 * (n >= 800), LEAST_COUNT // 4)
        for n in range(1_000)
    ]
    first, *_ = watch(hours, "amount")
    assert first.end - first.start == 4 * HOUR_MS
    assert first.start >= hours[800].start
    assert first.observations > (800 // 4) - SETTLING
    assert first.reference == pytest.approx(5_000, rel=0.05)
    assert first.estimate == pytest.approx(8_000, rel=0.05)


def test_a_change_too_small_to_matter_is_not_reported() -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(4_000)

    def shifted(relative: float) -> list[Window]:
        shift = [5_000 * relative * (n >= 2_000) for n in range(4_000)]
        return [window(n, 5_000 + 20 * noise[n] + shift[n]) for n in range(4_000)]

    assert watch(shifted(0.03), "amount") == []
    assert len(watch(shifted(0.10), "amount")) == 1


def test_after_a_report_the_new_level_is_the_reference() -> None:
    rng = np.random.default_rng(3)
    levels = [5_000] * 300 + [7_000] * 300 + [5_000] * 300
    hours = [window(n, a + 50 * rng.standard_normal()) for n, a in enumerate(levels)]
    found = watch(hours, "amount")
    assert [round(one.estimate / one.reference, 1) for one in found] == [1.4, 0.7]
    assert all(one.start < other.start for one, other in pairwise(found))


def test_a_rate_that_is_zero_at_first_can_change() -> None:
    calm = [Window("m", "1", n, n + 1, count=400) for n in range(100)]
    blocking = [Window("m", "1", 100 + n, 101 + n, count=400, block=300) for n in range(100)]
    assert watch(calm, "block_rate") == []
    first, *_ = watch([*calm, *blocking], "block_rate")
    assert first.reference == 0
    assert first.estimate == pytest.approx(0.75)


def test_a_copy_is_independent() -> None:
    rng = np.random.default_rng(4)
    detector = SignalDetector("amount", 0.0005)
    for n in range(200):
        assert detector.update(window(n, 5_000 + 50 * rng.standard_normal())) is None
    before = copy.deepcopy(detector)
    after = [window(200 + n, 7_000 + n) for n in range(30)]
    first = [detector.update(one) for one in after]
    assert [before.update(one) for one in after] == first
    assert any(first)
