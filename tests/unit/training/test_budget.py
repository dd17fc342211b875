"""Daily numbers, their Poisson share and a budget's likely error, compared with simulations."""

import math
import statistics

import numpy as np
import pytest

from stream_scorer.core.events.batch import Outcome
from stream_scorer.models.bundles.bundle import ThresholdCosts
from stream_scorer.training.budget import DailyNumbers, JudgedDays

COSTS = ThresholdCosts(missed_share=0.5, missed_fixed=2, review=5, false_block=25)


def test_decisions_are_counted_by_day() -> None:
    day = np.array([0, 0, 0, 2, 2, 2])
    fraud = np.array([1, 0, 1, 0, 1, 0])
    amount = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    outcome = np.array([Outcome[name] for name in ("REVIEW", "REVIEW", "APPROVE", "BLOCK", "BLOCK",
                                                   "APPROVE")], np.uint8)  # fmt: skip
    found = JudgedDays(day, 3, fraud, amount).judge(outcome, COSTS)
    assert (found.reviews.mean, found.blocks.mean) == (2 / 3, 2 / 3)
    assert found.reviews.variance == pytest.approx(statistics.variance([2, 0, 0]))
    assert (found.precision, found.recall) == (2 / 4, 2 / 3)
    # One missed fraud of 30, two reviews and one false block, in three days.
    assert found.cost == pytest.approx((0.5 * 30 + 2 + 2 * 5 + 25) / 3)


def test_unknown_daily_numbers_are_nan() -> None:
    nothing = JudgedDays(np.array([0]), 1, np.array([0]), np.array([5.0]))
    found = nothing.judge(np.array([Outcome.APPROVE], np.uint8), COSTS)
    assert [math.isnan(x) for x in (found.precision, found.recall, found.reviews.variance)]
    assert math.isnan(found.reviews.poisson_share)
    assert math.isnan(found.reviews.likely_error(1, 60))
    assert found.reviews.days_for(0.05, 60) is None


def test_the_poisson_share_of_chance_is_all_and_of_waves_is_less() -> None:
    random = np.random.default_rng(1)
    chance = DailyNumbers.of(random.poisson(400, 10_000))
    assert chance.poisson_share == pytest.approx(1, abs=0.05)
    waves = DailyNumbers.of(random.poisson(random.choice([300, 500], 10_000)))
    assert waves.poisson_share == pytest.approx(400 / (400 + 100**2), abs=0.01)


@pytest.mark.parametrize(("mean", "days", "error"), [(400, 7, 0.0391), (40, 7, 0.1238)])
def test_the_likely_error_holds_for_19_of_20_choices(mean: int, days: int, error: float) -> None:
    told = DailyNumbers(mean, mean).likely_error(days, 60)
    assert told == pytest.approx(error, abs=1e-4)
    random = np.random.default_rng(2)
    chosen = random.poisson(mean * days, 20_000) / days
    later = random.poisson(mean * 60, 20_000) / 60
    # The threshold meets the budget on the chosen days, so the error is the difference to the later
    # ones.
    missed = np.abs(later - chosen) / mean > told
    assert missed.mean() == pytest.approx(0.05, abs=0.01)


def test_the_days_that_are_needed_make_the_error_small_enough() -> None:
    found = DailyNumbers(100, 150)
    needed = found.days_for(0.05, 60)
    assert needed is not None
    assert found.likely_error(needed, 60) <= 0.05 < found.likely_error(needed - 1, 60)
    # With 5 reviews a day, the later days alone vary by more than the allowed error.
    assert DailyNumbers(5, 5).days_for(0.05, 60) is None


def test_days_that_look_more_alike_than_chance_are_not_believed() -> None:
    assert DailyNumbers(100, 1).likely_error(7, 60) == DailyNumbers(100, 100).likely_error(7, 60)
