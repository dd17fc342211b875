"""``models thresholds``: choose thresholds of a trained version from data and a review budget.

No model is trained and no bundle changes: the thresholds are written to a policy.toml, which is a
part of the plan.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide import Model, model_scores
from stream_scorer.core.decision.policy import Thresholds, decide, fits_no_segment, policy_for
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import read_policy
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.bundle import ThresholdCosts
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.commands.policy_file import policy_text
from stream_scorer.models.commands.threshold_days import DaySelection, ScoredDays
from stream_scorer.models.stores.choose_version import choose
from stream_scorer.models.stores.deployment import plan_of
from stream_scorer.models.stores.remote import open_store
from stream_scorer.settings import Settings
from stream_scorer.training.budget import DailyOutcomes
from stream_scorer.training.data import take
from stream_scorer.training.days import Days
from stream_scorer.training.thresholds import RankedScores, read_costs

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]

_AIM = 0.05
_POINTS = 24
_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?)/day")
_COSTS = {"missed": "amount", "review": "5", "false_block": "25"}


@dataclass(frozen=True, slots=True)
class ThresholdJob:
    """The parameters of a choice of thresholds.

    Attributes:
        model: NAME:VERSION.
        data: Labelled transactions, as for training.
        out: The policy.toml to write; the picture is written next to it.
        plan: Plan file or folder; None: the plan next to the model's versions.
        budget: Reviews per day; None: the budget of the plan's policy, or, if it has none, the
            thresholds with the lowest cost are chosen.
        costs: The costs of outcomes.
        days: Days on which to choose; None: all days with their complete history.
        check_days: Number of days after them on which the choice is checked.
        sort: Whether the data may be out of order; they are then sorted.
        most_rejected: Maximum share of the data that may be left out because the stream would
            reject it.
        replace: Whether existing files are overwritten.
        labels: Where the data have their labels; None: in ``is_fraud`` and ``label_time``.
    """

    model: str
    data: Path
    out: Path = Path("policy.toml")
    plan: Path | None = None
    budget: float | None = None
    costs: ThresholdCosts = field(default_factory=ThresholdCosts)
    days: Days | None = None
    check_days: int = 60
    sort: bool = False
    most_rejected: float = 0.01
    replace: bool = False
    labels: EventMapping | None = None


def read_budget(text: str) -> float:
    """Return the number of reviews per day in a text such as ``400/day``.

    Raises:
        SettingsError: It is not such a text, or the number is 0.
    """
    match = _BUDGET.fullmatch(text.replace(" ", ""))
    if match is None or not 0 < float(match[1]) < math.inf:
        raise SettingsError(f"--budget {text!r}: not a budget", "write 400/day")
    return float(match[1])


def read_cost_list(text: str) -> ThresholdCosts:
    """Return the costs in ``missed=0.8*amount+20,review=5,false_block=25``; each part is optional.

    Raises:
        SettingsError: It is not such a text, or a cost is impossible or given twice; the message
            names it.
    """
    given: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, sign, value = (each.strip() for each in part.partition("="))
        if name not in _COSTS or not sign:
            raise SettingsError(
                f"--costs: {part.strip()!r}: not understood",
                "write missed=amount,review=5,false_block=25",
            )
        if name in given:
            raise SettingsError(f"--costs: {name}: is given twice", "write it once")
        given[name] = value
    given = _COSTS | given
    numbers = {}
    for name in ("review", "false_block"):
        try:
            numbers[name] = float(given[name])
        except ValueError:
            raise SettingsError(
                f"--costs: {name}={given[name]}: not a number", "write a number"
            ) from None
    return read_costs(given["missed"], **numbers)


def choose_thresholds_by(settings: Settings, job: ThresholdJob) -> dict[str, Any]:
    """Choose thresholds on scored data; write policy.toml and, with matplotlib, its picture.

    Returns:
        The report, as plain data.

    Raises:
        ModelError: The bundle is missing or refused.
        SettingsError: Data or plan are refused, the model fails for a transaction, the budget
            cannot be met, or a file exists or cannot be written.
        UnavailableError: The store does not answer.
    """
    picture = job.out.with_suffix(".png")
    if not job.replace:
        _refuse_existing(job.out, picture)
    store = open_store(settings.models)
    chosen = choose(store, job.model)
    bundle = load_bundle(store.folder(chosen), trust_of(settings.models))
    plan = plan_of(store, chosen.name, job.plan)
    model = bundle.model(plan)
    data = take(
        job.data, model.features, plan, sort=job.sort, most_rejected=job.most_rejected,
        labels=job.labels,
    )  # fmt: skip
    scores, failed, failure = model_scores(model.predictor, np.ascontiguousarray(data.features))
    if failed.any():
        raise SettingsError(
            f"model {chosen.label}: fails for {int(failed.sum())} transactions: {failure}",
            "fix the data or the model",
        )
    train = bundle.manifest.training.train
    fitted_on = None if train is None else Days(train.first_day, train.last_day)
    days = DaySelection(data, job.days, job.check_days, model.features, fitted_on)
    fitted = days.scored(days.chosen, data, scores, plan)
    budget = job.budget or read_policy(plan.policy, plan.exponent, plan.extras).reviews_per_day
    review, block = _choose(fitted, plan, job.costs, budget)
    policy = {
        **plan.policy, "default": {"review": review, "block": block},
        **({} if budget is None else {"budget": {"reviews_per_day": budget}}),
    }  # fmt: skip
    made = replace(plan, policy=policy)
    result = fitted.judged.judge(fitted.outcomes(made, model), job.costs)
    document: dict[str, Any] = {
        "model": chosen.label, "policy": str(job.out), "picture": None,
        "review": review, "block": block, "budget": budget,
        **days.told(), **_figures(result),
        **_certainty(result, fitted.judged.days, job.check_days, budget),
        **_ties(fitted, plan, review, budget),
        "before": _figures(fitted.judged.judge(fitted.outcomes(plan, model), job.costs)),
        "check": None,
        "curve": list(_curve(fitted, plan, model, job.costs)),
    }  # fmt: skip
    after = days.after()
    if after.any():
        checked = days.scored(after, data, scores, plan)
        shown = checked.judged.judge(checked.outcomes(made, model), job.costs)
        document["check"] = {
            "days": str(checked.held), "number_of_days": checked.judged.days,
            "difference": shown.reviews.mean / budget - 1 if budget else None, **_figures(shown),
        }  # fmt: skip
    _write(job.out, policy_text(policy, _comment(document, job)))
    if find_spec("matplotlib") is not None:
        from stream_scorer.models.commands.threshold_picture import (  # noqa: PLC0415 matplotlib is optional
            picture_of,
        )

        _write(picture, picture_of(document, plan.currency))
        document["picture"] = str(picture)
    return document


def _choose(
    fitted: ScoredDays, plan: Plan, costs: ThresholdCosts, budget: float | None
) -> tuple[float, float]:
    """Return the thresholds of transactions that fit no segment of the plan's policy.

    Raises:
        SettingsError: The budget is higher than the number of transactions that can be reviewed, or
            lower than the reviews of the segments alone.
    """
    left = fits_no_segment(fitted.events, plan)
    judged, scores = fitted.judged, fitted.scores
    ranked = RankedScores.of(scores[left], judged.fraud[left], judged.amount[left], costs)
    if budget is None:
        review, block = ranked.cheapest()
    else:
        wanted = budget * judged.days - _reviews_of_segments(fitted, plan, left)
        if wanted < 0:
            raise SettingsError(
                f"budget {budget:g}/day: the policy's segments alone review "
                f"{budget - wanted / judged.days:,.1f} a day",
                "raise the budget, or their thresholds",
            )
        if wanted > ranked.most_reviews:
            raise SettingsError(
                f"budget {budget:g}/day: at most "
                f"{budget + (ranked.most_reviews - wanted) / judged.days:,.1f} transactions a day "
                "can be reviewed: those whose score is above 0",
                "lower the budget",
            )
        review, block = ranked.within(wanted)
    return float(ranked.candidates[review]), float(ranked.candidates[block])


def _reviews_of_segments(fitted: ScoredDays, plan: Plan, left: Mask) -> int:
    # Transactions of segments do not depend on the default.
    any_default = Thresholds(1.0, 1.0)
    policy = policy_for(fitted.events, plan, any_default, Outcome.REVIEW)
    return int((decide(fitted.scores, policy.thresholds)[~left] == Outcome.REVIEW).sum())


def _curve(
    fitted: ScoredDays, plan: Plan, model: Model, costs: ThresholdCosts
) -> Iterator[dict[str, Any]]:
    """Yield the results of the cheapest thresholds of some budgets, by ascending budget."""
    left = fits_no_segment(fitted.events, plan)
    judged, scores = fitted.judged, fitted.scores
    ranked = RankedScores.of(scores[left], judged.fraud[left], judged.amount[left], costs)
    seen: set[tuple[int, int]] = set()
    most = ranked.most_reviews / 2
    for reviews in _steps(judged.days, most):
        pair = ranked.within(reviews)
        if pair in seen:
            continue
        seen.add(pair)
        review, block = (float(ranked.candidates[place]) for place in pair)
        made = replace(plan, policy={**plan.policy, "default": {"review": review, "block": block}})
        found = judged.judge(fitted.outcomes(made, model), costs)
        yield {
            "review": review, "block": block, "reviews_per_day": found.reviews.mean,
            "blocks_per_day": found.blocks.mean, "precision": _number(found.precision),
            "recall": _number(found.recall), "cost_per_day": found.cost,
        }  # fmt: skip


def _steps(least: float, most: float) -> list[float]:
    """Return numbers of reviews with equal ratios; none if nothing can be reviewed."""
    return np.geomspace(min(least, most), most, _POINTS).tolist() if most > 0 else []


def _figures(found: DailyOutcomes) -> dict[str, Any]:
    return {
        "reviews_per_day": found.reviews.mean,
        "reviews_daily_spread": _number(math.sqrt(found.reviews.variance)),
        "reviews_poisson_share": _number(found.reviews.poisson_share),
        "blocks_per_day": found.blocks.mean,
        "precision": _number(found.precision),
        "recall": _number(found.recall),
        "cost_per_day": found.cost,
    }


def _certainty(found: DailyOutcomes, days: int, later: int, budget: float | None) -> dict[str, Any]:
    """Return how much the mean of later days may differ from the budget by chance."""
    if budget is None or later < 1:
        return {"likely_error": None, "days_needed": None}
    return {
        "likely_error": _number(found.reviews.likely_error(days, later)),
        "days_needed": found.reviews.days_for(_AIM, later),
    }


def _ties(fitted: ScoredDays, plan: Plan, review: float, budget: float | None) -> dict[str, Any]:
    """Return how many transactions a day have exactly the score at which REVIEW begins."""
    if budget is None:
        return {"tied_per_day": None}
    left = fits_no_segment(fitted.events, plan)
    return {"tied_per_day": float((fitted.scores[left] == review).sum()) / fitted.judged.days}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _comment(document: Mapping[str, Any], job: ThresholdJob) -> list[str]:
    costs = job.costs
    of = "what costs least" if document["budget"] is None else f"{document['budget']:g} reviews/day"
    return [
        f"Thresholds of {document['model']}, chosen on {document['days']} for {of}.",
        "There, per day: {reviews_per_day:.1f} reviews, {blocks_per_day:.1f} blocks.".format(
            **document
        ),
        f"Costs: a missed fraud {costs.missed_share:g} x its amount + {costs.missed_fixed:g},",
        f"a review {costs.review:g}, a blocked genuine transaction {costs.false_block:g}.",
    ]


def _refuse_existing(*files: Path) -> None:
    for file in files:
        if os.path.lexists(file):
            raise SettingsError(f"{file}: exists already", "name another: --out; or --replace")


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise SettingsError(
            f"{file}: cannot be written ({error.strerror})", "name another: --out"
        ) from error
