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
from stream_scorer.performance.warning.evidence import CLASSES, GAUSSIAN, LossEvidence
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
    loss: Float64, drawn: Float64 | None, size: CitySize, budget: WarningBudget, draws: int
) -> CityWarning:
    """Return the first warning of a city.

    Args:
        loss: float64[d], losses of days.
        drawn: float64[d], losses by drawn decisions; None without draws.
        size: The city.
        budget: Of the warning.
        draws: Drawn decisions of a day.
    """
    watch = LossWatch(budget)
    days = len(loss)
    for now in range(days + MATURITY_DAYS):
        warned: Warned | None = None
        if drawn is not None and 0 <= now - REVIEW_DAYS < days:
            day = now - REVIEW_DAYS
            sums = LossSums(size.decisions, float(drawn[day]) * size.decisions, draws, 0)
            warned = watch.powered(_key(day), sums).warned
        if warned is None and now - MATURITY_DAYS >= 0:
            day = now - MATURITY_DAYS
            sums = LossSums(size.decisions, float(loss[day]) * size.decisions)
            told = watch.matured(_key(day), sums)
            warned = None if told is None else told[2].warned
            warned = warned or watch.catch_up(_key(day))
        if warned is not None:
            return CityWarning(now, warned.klass)
    return CityWarning(-1)


def watch_cities(
    loss: Float64, drawn: Float64 | None, size: CitySize, budget: WarningBudget, draws: int
) -> list[CityWarning]:
    """Return what :func:`watch_city` returns for each city, with the evidence of all in one array.

    Args:
        loss: float64[c, d], losses of days.
        drawn: float64[c, d], losses by drawn decisions; None without draws.
        size: Of each city.
        budget: Of each warning.
        draws: Drawn decisions of a day.
    """
    cities, days = loss.shape
    learned = [learn(each[:LEARNING_DAYS], size.most, 1 / size.decisions) for each in loss]
    high, mean, phi, scale = (
        np.array([getattr(each, name) for each in learned])
        for name in ("high", "mean", "phi", "scale")
    )
    tolerance = SHARE_OF_LOSS * mean
    found = [(days + MATURITY_DAYS + 1, "")] * cities
    evidence = LossEvidence(cities)
    for day in range(LEARNING_DAYS, days):
        log_e = evidence.update(loss[:, day], high, phi, scale, tolerance)
        best = log_e.argmax(axis=0)
        for city in np.flatnonzero(log_e.max(axis=0) >= budget.threshold).tolist():
            found[city] = min(found[city], (day + MATURITY_DAYS, CLASSES[best[city]]), key=_when)
    if drawn is not None:
        noise = [learn(each[:LEARNING_DAYS], size.most, 1 / draws) for each in drawn]
        own_phi = np.array([each.phi for each in noise])
        own_scale = np.maximum([each.scale for each in noise], scale)
        evidence, known = LossEvidence(cities), LEARNING_DAYS - 1 + MATURITY_DAYS
        for day in range(LEARNING_DAYS, days):
            log_e = evidence.update(drawn[:, day], high, own_phi, own_scale, tolerance)
            now = max(day + REVIEW_DAYS, known)
            for city in np.flatnonzero(log_e[GAUSSIAN] >= budget.threshold).tolist():
                # On the same day, drawn decisions are judged first.
                found[city] = min((now, POWERED), found[city], key=_when)
    last = days + MATURITY_DAYS
    return [CityWarning(now, klass) if now <= last else CityWarning(-1) for now, klass in found]


def _when(found: tuple[int, str]) -> int:
    return found[0]


def drawn_losses(city: CityDays, size: CitySize, share: float, seed: int) -> Float64:
    """Return float64[c, d]: the losses by a random sample of decisions, each weighted by 1 / share.

    Args:
        city: The cities.
        size: Their size.
        share: Share of the decisions that is drawn.
        seed: Of the random numbers.
    """
    chance = np.random.default_rng(seed)
    seen = chance.binomial(city.missed.astype(np.int64), share)
    mean = np.divide(city.missed_money, city.missed, out=np.zeros_like(city.missed),
                     where=city.missed > 0)  # fmt: skip
    spread = chance.gamma(np.maximum(seen, 1) * 1.5, np.maximum(mean, 1e-9) / 1.5)
    money = np.where(seen > 0, np.minimum(spread, seen * size.most), 0.0) / share
    return (money + city.review_money) / (size.decisions * size.most)


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
