"""The early warning: what it sees, what it must not see, and that it continues from its state."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import binom

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.performance.measures.contract import LossCosts, MaturedRows, WindowKey
from stream_scorer.performance.warning.contract import Warned
from stream_scorer.performance.warning.day_loss import LossSums, matured_loss, powered_loss
from stream_scorer.performance.warning.evidence import (
    GAUSSIAN,
    LAMBDAS,
    DrawnEvidence,
    LossEvidence,
)
from stream_scorer.performance.warning.reference import LEARNING_DAYS, learn
from stream_scorer.performance.warning.watch import LossWatch, WarningBudget

DAY = 86_400_000
BUDGET = WarningBudget()


def key(day: int) -> WindowKey:
    return WindowKey("fraud", "1", "all", "all", day * DAY, (day + 1) * DAY)


def rows_of(*rows: tuple[int, int, float, bool, float]) -> MaturedRows:
    """Return rows of (outcome, state, weight, drawn, pi), each of 100 units."""
    count = len(rows)
    outcome, state, weight, drawn, pi = zip(*rows, strict=True)
    return MaturedRows(
        np.zeros(count, np.int32), np.zeros(count, np.uint8), np.ones(count, np.uint64),
        np.zeros(count), np.full(count, 100.0), np.array(weight, float),
        np.array(outcome, np.uint8), np.array(state, np.uint8), np.arange(count, dtype=np.uint64),
        np.zeros(count, np.int32), np.array(drawn, np.bool_), np.array(pi, float),
        np.zeros(count, np.int64),
    )  # fmt: skip


def test_a_days_loss_is_its_mean_cost() -> None:
    rows = rows_of(
        (Outcome.APPROVE, FRAUD, 1.0, False, 0.0),  # 100
        (Outcome.APPROVE, GENUINE, 1.0, False, 0.0),  # 0
        (Outcome.REVIEW, GENUINE, 1.0, False, 0.0),  # 5
        (Outcome.BLOCK, GENUINE, 4.0, True, 0.25),  # 25 four times
        (Outcome.BLOCK, UNKNOWN, 0.0, False, 0.25),  # represented by the one before
        (Outcome.BLOCK, UNKNOWN, 1.0, False, 0.0),  # not counted
        (Outcome.APPROVE, UNKNOWN, 1.0, False, 0.0),  # not counted
    )
    sums = matured_loss(rows, LossCosts())
    assert sums.rows == 5
    assert sums.mean == (100 + 5 + 100) / 5 / 200


def test_a_weighted_cost_is_clipped() -> None:
    rows = rows_of((Outcome.BLOCK, GENUINE, 1_000.0, True, 0.001))
    assert matured_loss(rows, LossCosts()).mean == 1.0


def test_drawn_rows_alone_give_the_powered_loss() -> None:
    drawn = (Outcome.APPROVE, FRAUD, 1.0, True, 0.05)
    sums = powered_loss(
        rows_of(drawn, (Outcome.APPROVE, UNKNOWN, 1.0, True, 0.05),
                (Outcome.REVIEW, UNKNOWN, 1.0, False, 0.05),
                (Outcome.BLOCK, UNKNOWN, 1.0, False, 0.0)),
        LossCosts(),
    )  # fmt: skip
    assert (sums.rows, sums.drawn, sums.missing) == (3, 2, 1)
    assert sums.loss == (100 / 0.05 + 5) / 200
    assert sums.revealed == 1.0  # clipped at the cost of a false block
    assert sums.exposure == 3 * 0.05 * 200 / 25


def test_the_revealed_loss_has_the_same_mean_for_both() -> None:
    chance = np.random.default_rng(8)
    fraud, matured, hits = chance.random(20_000) < 0.1, [], []
    for _ in range(200):
        drawn = chance.random(20_000) < 0.05
        rows = rows_of((Outcome.APPROVE, GENUINE, 1.0, True, 0.05))
        every = rows.take(np.zeros(20_000, np.int64))
        state = np.where(fraud, np.uint8(FRAUD), np.uint8(GENUINE))
        seen = dataclasses.replace(every, state=state, drawn=drawn)
        matured.append(matured_loss(seen, LossCosts()).revealed_mean)
        hits.append(powered_loss(seen, LossCosts()).revealed_mean)
    assert set(matured) == {matured[0]}
    assert abs(np.mean(hits) - matured[0]) < 2.6 * np.std(hits) / len(hits) ** 0.5


@pytest.mark.parametrize(("count", "level", "spread"), [(30, 0.05, 0.0), (20_000, 0.05, 200.0)])
def test_honest_draws_bound_false_warnings(count: int, level: float, spread: float) -> None:
    # The days' means vary around their bound, and the draws are honest.
    chance, runs = np.random.default_rng(2), 2_000
    evidence, highest = DrawnEvidence(runs), np.zeros(runs)
    expected = np.full(runs, count * level)
    for _ in range(100):
        today = np.clip(chance.normal(level, spread / count, runs), 0, 1)
        hits = chance.binomial(count, today).astype(float)
        found = evidence.update(hits, expected, np.full(runs, spread))
        highest = np.maximum(highest, found)
    alarms = int((highest >= np.log(100 / 0.05)).sum())
    assert alarms <= binom.ppf(0.99, runs, 0.05)


@pytest.mark.parametrize(("count", "spread"), [(200, 0.0), (20_000, 200.0), (2_000_000, 20_000.0)])
def test_a_triple_loss_of_drawn_rows_is_seen(count: int, spread: float) -> None:
    chance, evidence = np.random.default_rng(3), DrawnEvidence(1)
    for _ in range(3):
        hits = np.array([float(chance.binomial(count, 0.15))])
        log_e = evidence.update(hits, np.array([count * 0.05]), np.array([spread]))
    assert log_e[0] > np.log(100 / 0.05)
    assert evidence.days(0) == 3


def test_early_frauds_that_were_not_drawn_change_nothing() -> None:
    calm = [(Outcome.APPROVE, GENUINE, 1.0, n % 20 == 0, 0.05) for n in range(200)]
    early = [
        (outcome, FRAUD if n % 20 == 1 else state, weight, drawn, pi)
        for n, (outcome, state, weight, drawn, pi) in enumerate(calm)
    ]
    assert powered_loss(rows_of(*early), LossCosts()) == powered_loss(rows_of(*calm), LossCosts())


def test_the_powered_loss_is_unbiased() -> None:
    chance = np.random.default_rng(3)
    found = []
    for _ in range(400):
        drawn = chance.random(2_000) < 0.05
        rows = [
            (Outcome.APPROVE, FRAUD if n % 10 == 0 else GENUINE, 1.0, bool(each), 0.05)
            for n, each in enumerate(drawn)
        ]
        found.append(powered_loss(rows_of(*rows), LossCosts()).mean)
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - 0.1 * 0.5) < 2.6 * error


def test_a_day_after_a_high_one_is_expected_to_be_high() -> None:
    evidence, one = LossEvidence(1), np.ones(1)
    loss, high, phi, scale = 0.3 * one, 0.1 * one, 0.5 * one, 0.1 * one
    bets = np.zeros(len(LAMBDAS))
    # Two standard deviations above the mean; the next day, half of that was to be expected.
    for residual in (2.0, 1.0, 1.0):
        evidence.update(loss, high, phi, scale, 0 * one)
        bets = np.maximum(bets, 0) + LAMBDAS * residual - LAMBDAS**2 / 2
        assert evidence.cusum[GAUSSIAN, 0] == pytest.approx(bets)


def days(count: int, level: float, seed: int) -> list[float]:
    chance = np.random.default_rng(seed)
    return [float(each) for each in level * chance.gamma(50, 1 / 50, count)]


def matured_day(loss: float) -> LossSums:
    """Return a day whose losses a label reveals."""
    return LossSums(100_000, 100_000 * loss, 100_000 * loss, 100_000)


def drawn_day(loss: float) -> LossSums:
    """Return a day of which 5 % are drawn, and costs are at most an eighth of the largest."""
    return LossSums(100_000, 100_000 * loss, 40_000 * loss, 40_000, 5_000)


def run(
    losses: list[float],
    drawn: list[float],
    *,
    restart: bool = False,
    budget: WarningBudget = BUDGET,
) -> tuple[list[Warned], LossWatch]:
    """Give a watch matured days that are a week late, and drawn ones of the day."""
    watch, warned = LossWatch(budget), []
    for day in range(len(losses) + 7):
        if day < len(drawn):
            judged = watch.powered(key(day), drawn_day(drawn[day]))
            warned += [judged.warned] if judged.warned else []
        if day >= 7:
            told = watch.matured(key(day - 7), matured_day(losses[day - 7]))
            assert told is not None
            warned += [told[2].warned] if told[2].warned else []
            caught = watch.catch_up(key(day - 7))
            warned += [caught] if caught else []
        if restart:
            watch = LossWatch.restored(budget, json.loads(json.dumps(watch.document())))
    return warned, watch


def test_a_triple_loss_warns_once_and_soon() -> None:
    losses = days(60, 0.005, 1) + days(20, 0.015, 2)
    warned, watch = run(losses, [])
    assert len(warned) == 1
    assert watch.warned
    assert warned[0].klass == "gaussian"
    assert 60 * DAY < warned[0].key.end <= 62 * DAY
    assert 59 * DAY <= warned[0].onset <= 61 * DAY
    assert warned[0].tolerance > 0


def test_a_usual_loss_does_not_warn() -> None:
    for seed in range(20):
        warned, watch = run(days(130, 0.005, seed), days(130, 0.005, seed + 50))
        assert not warned
        assert watch.reference is not None


def test_drawn_rows_warn_before_labels_mature() -> None:
    losses = days(60, 0.005, 1) + days(20, 0.015, 2)
    drawn = days(60, 0.005, 3) + days(20, 0.015, 4)
    warned, _ = run(losses, drawn)
    assert warned[0].klass == "powered"
    assert warned[0].key.end <= 62 * DAY
    assert len(warned) == 1


def test_a_rise_of_drawn_losses_may_be_tolerated() -> None:
    losses, drawn = days(80, 0.005, 1), days(60, 0.005, 3) + days(20, 0.015, 4)
    warned, _ = run(losses, drawn)
    assert [each.klass for each in warned] == ["powered"]
    warned, watch = run(losses, drawn, budget=WarningBudget(tolerance=0.02))
    assert not warned
    assert watch.tolerance == 0.02


def test_drawn_days_that_were_learned_are_not_judged() -> None:
    losses, drawn = days(40, 0.005, 1), days(10, 0.05, 2) + days(30, 0.005, 3)
    warned, watch = run(losses, drawn)
    assert watch.reference is not None
    assert not warned


def test_a_change_while_learning_ends_is_caught_up() -> None:
    # Day 28 on has changed; the level is learned on day 35, when days 28 to 34 are drawn already.
    losses, drawn = days(28, 0.005, 1), days(28, 0.005, 2) + days(10, 0.02, 3)
    warned, _ = run(losses, drawn)
    assert [each.klass for each in warned] == ["powered"]
    assert warned[0].key.end <= 31 * DAY


def test_a_restart_changes_nothing() -> None:
    losses = days(60, 0.005, 1) + days(20, 0.012, 2)
    drawn = days(60, 0.005, 3) + days(20, 0.012, 4)
    calm, first = run(losses, drawn)
    again, second = run(losses, drawn, restart=True)
    assert calm == again
    assert first.document() == second.document()


def test_small_days_are_pooled() -> None:
    watch = LossWatch(BUDGET)
    assert watch.matured(key(0), LossSums(150, 1.5)) is None
    told = watch.matured(key(1), LossSums(150, 4.5))
    assert told is not None
    window, sums, judged = told
    assert (window.start, window.end, sums.rows, sums.mean) == (0, 2 * DAY, 300, 0.02)
    assert not judged.log_e
    assert watch.learning_days == LEARNING_DAYS - 1


def test_the_reference_bounds_the_mean() -> None:
    misses = 0
    for seed in range(200):
        reference = learn(np.array(days(28, 0.005, seed)), 200.0, 1e-5)
        misses += reference.high < 0.005
        assert reference.scale > 0
    assert misses <= 4


def test_days_without_a_loss_do_not_promise_none() -> None:
    watch, warned = LossWatch(BUDGET), 0
    for day in range(60):
        loss = 0.2 if day == 40 else 0.0  # one review in 40 days, of 1,000 decisions a day
        told = watch.matured(key(day), LossSums(1_000, loss, loss, 1_000))
        warned += told is not None and told[2].warned is not None
    assert not warned
    assert watch.reference is not None
    assert watch.reference.high > 0
