"""Cities as their early warning sees them: matured losses a week late, drawn rows after a day."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.performance_steps.city import CityDays, CitySize, Float64
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import FRAUD, UNKNOWN
from stream_scorer.performance.measures.contract import (
    Bool,
    LossCosts,
    MaturedRows,
    UInt8,
    WindowKey,
)
from stream_scorer.performance.warning.day_loss import LossSums, powered_loss
from stream_scorer.performance.warning.evidence import CLASSES, DrawnEvidence, LossEvidence
from stream_scorer.performance.warning.reference import LEARNING_DAYS, learn
from stream_scorer.performance.warning.watch import (
    POWERED,
    SHARE_OF_LOSS,
    LossWatch,
    WarningBudget,
)

if TYPE_CHECKING:
    from stream_scorer.performance.warning.contract import Warned

DAY_MS = 86_400_000
MATURITY_DAYS = 7
REVIEW_DAYS = 1


@dataclass(frozen=True)
class CityWarning:
    """The first warning of a city.

    Attributes:
        day: The day whose closing warned, counted from the city's first day; -1 without one.
        klass: Its class.
    """

    day: int
    klass: str = ""


def watch_city(
    city: CityDays, number: int, size: CitySize, budget: WarningBudget, *, draws: bool
) -> CityWarning:
    """Return the first warning of a city, by the watch of the process.

    Args:
        city: The cities.
        number: Which of them.
        size: Of each.
        budget: Of the warning.
        draws: Whether decisions are drawn at random.
    """
    watch = LossWatch(budget)
    count = size.decisions
    loss, shown, hits = city.loss[number], city.revealed[number], city.hits[number]
    days = len(loss)
    for now in range(days + MATURITY_DAYS):
        warned: Warned | None = None
        day = now - REVIEW_DAYS
        if draws and 0 <= day < days:
            sums = LossSums(count, 0.0, float(hits[day]), city.exposure, 1)
            warned = watch.powered(_key(day), sums).warned
        day = now - MATURITY_DAYS
        if warned is None and day >= 0:
            sums = LossSums(count, float(loss[day]) * count, float(shown[day]) * count, count)
            told = watch.matured(_key(day), sums)
            warned = None if told is None else told[2].warned
            warned = warned or watch.catch_up(_key(day))
        if warned is not None:
            return CityWarning(now, warned.klass)
    return CityWarning(-1)


def watch_cities(
    city: CityDays, size: CitySize, budget: WarningBudget, *, draws: bool
) -> list[CityWarning]:
    """Return what :func:`watch_city` returns for each city, with the evidence of all in one array.

    Args:
        city: The cities.
        size: Of each city.
        budget: Of each warning.
        draws: Whether decisions are drawn at random.
    """
    cities, days = city.loss.shape
    learned = [learn(each[:LEARNING_DAYS], size.most, 1 / size.decisions) for each in city.loss]
    high, mean, phi, scale = (
        np.array([getattr(each, name) for each in learned])
        for name in ("high", "mean", "phi", "scale")
    )
    tolerance = SHARE_OF_LOSS * mean if not budget.tolerance else np.full(cities, budget.tolerance)
    found = [(days + MATURITY_DAYS + 1, "")] * cities
    evidence = LossEvidence(cities)
    for day in range(LEARNING_DAYS, days):
        log_e = evidence.update(city.loss[:, day], high, phi, scale, tolerance)
        best = log_e.argmax(axis=0)
        for at in np.flatnonzero(log_e.max(axis=0) >= budget.threshold).tolist():
            found[at] = min(found[at], (day + MATURITY_DAYS, CLASSES[best[at]]), key=_when)
    if draws:
        shown = [learn(each[:LEARNING_DAYS], size.most, 1 / size.decisions)
                 for each in city.revealed]  # fmt: skip
        spread = np.array([each.scale for each in shown])
        usual = np.array([each.mean for each in shown])
        level = np.array([each.high for each in shown]) + tolerance * (usual / mean)
        drawn, known = DrawnEvidence(cities), LEARNING_DAYS - 1 + MATURITY_DAYS
        for day in range(LEARNING_DAYS, days):
            log_e = drawn.update(city.hits[:, day], level * city.exposure, spread * city.exposure)
            now = max(day + REVIEW_DAYS, known)
            for at in np.flatnonzero(log_e >= budget.threshold).tolist():
                # On the same day, drawn decisions are judged first.
                found[at] = min((now, POWERED), found[at], key=_when)
    last = days + MATURITY_DAYS
    return [CityWarning(now, klass) if now <= last else CityWarning(-1) for now, klass in found]


def _when(found: tuple[int, str]) -> int:
    return found[0]


def differing_days(days: int, seed: int) -> int:
    """Return on how many days early labels of frauds that were not drawn change a drawn loss.

    Args:
        days: Days of a city, decision by decision.
        seed: Of the random numbers.
    """
    chance = np.random.default_rng(seed)
    count, differing = 9_586, 0
    for _ in range(days):
        fraud = chance.random(count) < 0.0084
        drawn = chance.random(count) < 0.05
        state = np.where(drawn, np.where(fraud, FRAUD, 0), UNKNOWN).astype(np.uint8)
        early = np.where(fraud & (chance.random(count) < 0.5), np.uint8(FRAUD), state)
        outcome = np.where(chance.random(count) < 0.01, Outcome.REVIEW, Outcome.APPROVE)
        amount = chance.gamma(2.0, 30.0, count)
        calm, told = (
            powered_loss(_rows(amount, outcome.astype(np.uint8), each, drawn), LossCosts())
            for each in (state, early)
        )
        differing += calm != told
    return differing


def _rows(amount: Float64, outcome: UInt8, state: UInt8, drawn: Bool) -> MaturedRows:
    ones = np.ones(len(amount))
    return MaturedRows(
        ones.astype(np.int32), ones.astype(np.uint8), ones.astype(np.uint64), ones * 0, amount,
        ones, outcome, state, ones.astype(np.uint64), ones.astype(np.int32), drawn, ones * 0.05,
        ones.astype(np.int64),
    )  # fmt: skip


def _key(day: int) -> WindowKey:
    return WindowKey("fraud", "1", "all", "all", day * DAY_MS, (day + 1) * DAY_MS)
