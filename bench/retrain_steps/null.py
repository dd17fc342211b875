"""The null: 100 days without a drift, by the same rules and thresholds, without a broker."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from bench.retrain_steps.city import DAY_MS, DRAWN, MATURITY_DAYS, REVIEW_DAYS, City, CityDay
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.nesting import parse_toml
from stream_scorer.performance.measures.contract import LossCosts, MaturedRows, WindowKey
from stream_scorer.performance.warning.day_loss import matured_loss, powered_loss
from stream_scorer.performance.warning.watch import LossWatch, WarningBudget
from stream_scorer.retraining.rules.delta import tolerated_cost
from stream_scorer.retraining.rules.rules_file import rules_of
from stream_scorer.retraining.rules.triggers import (
    LossAlarm,
    MaturedDay,
    Situation,
    guards,
    wanted,
)

DAYS = 100
_LEARNING = 28
_REVIEW_FROM = 0.06
_COSTS = LossCosts()


def nulls(rows: int, rules: str, seconds: float, seed: int = 2) -> Mapping[str, Any]:
    """Let 100 days pass after the learned ones, in a city without a drift.

    A day's random sample is known a day later, all its labels a week later. A second watch also
    gets the day's frauds after a day, drawn or not.

    Args:
        rows: Transactions a day.
        rules: ``retrain.toml``, as it is where there is a drift.
        seconds: Of the clock for a day: the cool-down counts these, as in a run on a broker.
        seed: Of the city.

    Returns:
        ``retrains_null``: retrainings; ``early_frauds_alarms_null``: 1 if the second watch raised
        an alarm that the first one did not.
    """
    read = rules_of(parse_toml(rules))
    city = City(0, None, rows, seed=seed)
    past = [city.day(number) for number in range(-30, 0)]
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    model.fit(np.concatenate([d.features for d in past]), np.concatenate([d.fraud for d in past]))
    budget = WarningBudget(horizon_days=read.horizon_days, most=_COSTS.most)
    watches = LossWatch(budget), LossWatch(budget)
    days: list[MaturedDay] = []
    alarm, began, count = None, 0, 0
    for today in range(_LEARNING + DAYS + MATURITY_DAYS):
        now = round((today + 1) * seconds * 1_000)
        reviewed, matured = today - REVIEW_DAYS, today - MATURITY_DAYS
        if 0 <= reviewed < _LEARNING + DAYS:
            day = city.day(reviewed)
            for watch, early in zip(watches, (False, True), strict=True):
                sums = powered_loss(_rows(model, day, _reviewed(day, early=early)), _COSTS)
                watch.powered(_key(reviewed), sums)
        if matured < 0:
            continue
        day = city.day(matured)
        days.append(MaturedDay((matured + 1) * DAY_MS, rows, int(day.fraud.sum())))
        decided = [each.rows for each in days]
        sums = matured_loss(_rows(model, day, np.where(day.fraud, FRAUD, GENUINE)), _COSTS)
        for watch in watches:
            watch.allowed = tolerated_cost(read.cost, read.horizon_days, decided) / _COSTS.most
            told = watch.matured(_key(matured), sums)
            warned = watch.catch_up(_key(matured)) or (told[2].warned if told else None)
            if watch is watches[0] and warned is not None:
                alarm = LossAlarm("0" * 16, warned.onset, "loss/day@all rose")
        found = Situation(now, "fraud:1.0.0", days, alarm, "", False, (), "", began, 0)
        trigger = wanted(found, read)
        if trigger and all(each.passed for each in guards(found, read, trigger.onset_ms)):
            began, count = now, count + 1
    more = watches[1].warned and not watches[0].warned
    return {"retrains_null": count, "early_frauds_alarms_null": int(more)}


def _key(day: int) -> WindowKey:
    return WindowKey("fraud", "1.0.0", "all", "all", day * DAY_MS, (day + 1) * DAY_MS)


def _reviewed(day: CityDay, *, early: bool) -> NDArray[np.int64]:
    """Return int64[n]: what is known of a day after a day; ``early``: frauds, drawn or not."""
    known = np.where(day.drawn, np.where(day.fraud, FRAUD, GENUINE), UNKNOWN)
    return np.where(day.fraud & early, FRAUD, known)


def _rows(model: Any, day: CityDay, state: NDArray[np.int64]) -> MaturedRows:
    """Return the decisions of a day; the model only reviews."""
    n = len(day.time)
    score = model.predict_proba(day.features)[:, 1]
    outcome = np.where(score >= _REVIEW_FROM, Outcome.REVIEW, Outcome.APPROVE)
    return MaturedRows(
        np.zeros(n, np.int32), np.zeros(n, np.uint8), np.ones(n, np.uint64), score,
        day.features[:, 0], np.ones(n), outcome.astype(np.uint8), state.astype(np.uint8),
        np.arange(n).astype(np.uint64), np.zeros(n, np.int32), day.drawn, np.full(n, DRAWN),
        day.time,
    )  # fmt: skip
