"""The null: 100 days without a drift, by the same rules and thresholds, without a broker."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from bench.retrain_steps.city import DAY_MS, DRAWN, City, CityDay
from stream_scorer.nesting import parse_toml
from stream_scorer.performance.measures.contract import WindowKey
from stream_scorer.performance.warning.day_loss import LossSums
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
from stream_scorer.rollout.evidence.costs import BoundedCosts

DAYS = 100
_LEARNING = 28
_REVIEW_FROM = 0.06
_COSTS = BoundedCosts(most=200.0)


def nulls(rows: int, rules: str, seconds: float, seed: int = 2) -> Mapping[str, Any]:
    """Let 100 days pass after the learned ones, in a city without a drift.

    Args:
        rows: Transactions a day.
        rules: ``retrain.toml``, as it is where there is a drift.
        seconds: Of the clock for a day: the cool-down counts these, as in a run on a broker.
        seed: Of the city.

    Returns:
        ``retrains_null``: retrainings;
        ``early_frauds_alarms_null``: 1 if the early labels of frauds alone raised an alarm.
    """
    read = rules_of(parse_toml(rules))
    city = City(0, None, rows, seed=seed)
    past = [city.day(number) for number in range(-30, 0)]
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
    model.fit(np.concatenate([d.features for d in past]), np.concatenate([d.fraud for d in past]))
    budget = WarningBudget(horizon_days=read.horizon_days)
    watch = LossWatch(budget)
    frauds_only = City(0, None, rows, seed=seed, early_frauds=True)
    early = LossWatch(budget)
    days: list[MaturedDay] = []
    alarm, began, count = None, 0, 0
    for number in range(_LEARNING + DAYS):
        day = city.day(number)
        end = (number + 1) * DAY_MS
        key = WindowKey("fraud", "1.0.0", "champion", "all", end - DAY_MS, end)
        cost = _cost(model, day)
        days.append(MaturedDay(end, len(cost), int(day.fraud.sum())))
        decided = [each.rows for each in days]
        allowed = tolerated_cost(read.cost, read.horizon_days, decided) / _COSTS.most
        watch.allowed = early.allowed = allowed
        now = round((number + 1) * seconds * 1_000)
        watch.powered(key, _sums(cost, day.drawn))
        judged = watch.matured(key, LossSums(len(cost), float(cost.sum()) / _COSTS.most))
        warned = watch.catch_up(key) or (judged[2].warned if judged else None)
        if warned is not None and alarm is None:
            alarm = LossAlarm("0" * 16, warned.onset, "loss/day@all rose")
        only = frauds_only.day(number)
        early.powered(key, _sums(_cost(model, only), only.drawn))
        early.matured(key, LossSums(len(cost), float(cost.sum()) / _COSTS.most))
        found = Situation(now, "fraud:1.0.0", days, alarm, "", False, (), "", began, 0)
        trigger = wanted(found, read)
        if trigger and all(each.passed for each in guards(found, read, trigger.onset_ms)):
            began, count = now, count + 1
    return {"retrains_null": count, "early_frauds_alarms_null": int(early.warned)}


def _cost(model: Any, day: CityDay) -> Any:
    """Return float64[n], the cost of each decision of a day; the model only reviews."""
    review = model.predict_proba(day.features)[:, 1] >= _REVIEW_FROM
    amount = day.features[:, 0]
    return _COSTS.of(amount, day.fraud, review, np.zeros(len(review), np.bool_))


def _sums(cost: Any, drawn: Any) -> LossSums:
    """Return the loss by the drawn rows, each weighted by 1 / its probability."""
    weighted = np.where(drawn, cost / DRAWN, 0.0)
    return LossSums(len(cost), float(weighted.sum()) / _COSTS.most, int(drawn.sum()), 0)
