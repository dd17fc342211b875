"""Reports on guards where blocked frauds have no label, and judges the report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness.script import missed
from stream_scorer.rollout.evidence.guardrail import Verdict

LEAST_RIGHT = 0.95
ALPHA = 0.01
MOST_ERROR, LEAST_NAIVE = 2.6, 5.0
LEAST_COVERED = 0.93
FULL_DRAWS = 2_000
LEAST_THROUGH, LEAST_GENUINE = 300, 50
_SHIPPED = {"blocks": 0.006, "precision": 0.99, "p": 0.01}
_A_DAY = {"handbook": 9_586, "100_per_second": 8_640_000}


def report(
    cities: Sequence[Mapping[str, Any]], alone: Mapping[str, float], distance: float, equal: int,
    retried: tuple[int, float],
) -> dict[str, Any]:  # fmt: skip
    """Return the report.

    Args:
        cities: What the guards made of each city.
        alone: Errors of the estimator alone, in standard errors of their mean, and its coverage.
        distance: Kolmogorov's distance of the p-values of equal arms.
        equal: Number of these.
        retried: Answers that a thief had in a day, and the share of thieves that passed.
    """
    numbers = [one["numbers"] for one in cities]
    bad = [one for one in cities if not one["better"]]
    good = [one for one in cities if one["better"]]

    def mean(name: str) -> float:
        return sum(one[name] for one in numbers) / len(numbers)

    def right(one: Mapping[str, Any], name: str) -> bool:
        return bool((one["numbers"][name] > 0) == one["better"])

    return {
        "cities": len(cities),
        "signs_right": sum(right(one, "benefit_ht") for one in cities),
        "signs_right_hajek": sum(right(one, "benefit_hajek") for one in cities),
        "signs_right_clipped": sum(right(one, "benefit_clipped") for one in cities),
        "wrong_promotions": sum(Verdict.PROMOTE in one["verdicts"] for one in bad),
        "wrong_rollbacks": sum(Verdict.ROLL_BACK in one["verdicts"] for one in good),
        "right_promotions": sum(Verdict.PROMOTE in one["verdicts"] for one in good),
        "right_rollbacks": sum(Verdict.ROLL_BACK in one["verdicts"] for one in bad),
        "better": len(good),
        "before_wrong": sum((one["before"] > 0) != one["before_better"] for one in cities),
        "before_wrong_verdicts": sum(
            one["before_verdict"]
            is (Verdict.ROLL_BACK if one["before_better"] else Verdict.PROMOTE)
            for one in cities
        ),
        "without_exploration_open": sum(
            not one["bounded"] & {Verdict.PROMOTE, Verdict.ROLL_BACK} for one in cities
        ),
        "true_benefit": round(sum(abs(one["true"]) for one in cities) / len(cities), 4),
        "let_through_least": min(one["let_through_raw"] for one in numbers),
        "genuine_least": min(one["let_through_genuine"] for one in numbers),
        "effective_sample": round(mean("effective_sample"), 1),
        "outside_share": round(mean("outside_share"), 5),
        "money_lost": round(mean("exploration_lost"), 2),
        "money_lost_per_let_through": round(mean("exploration_lost") / mean("let_through_raw"), 2),
        "estimator_error_in_standard_errors": round(alone["error"], 3),
        "naive_error_in_standard_errors": round(alone["naive"], 1),
        "coverage": alone["coverage"],
        "coverage_least": coverage_least(int(alone["draws"])),
        "equal_cities": equal,
        "kolmogorov": round(distance, 4),
        "kolmogorov_most": round(1.628 / math.sqrt(equal), 4),
        "answers_of_a_thief": retried[0],
        "thieves_let_through": retried[1],
        "days_at_one_percent": {name: days(rate) for name, rate in _A_DAY.items()},
    }


def coverage_least(draws: int) -> float:
    """Return the share of intervals that must cover; for few draws, with room for chance.

    >>> coverage_least(2_000), coverage_least(150)
    (0.93, 0.8837)
    """
    if draws >= FULL_DRAWS:
        return LEAST_COVERED
    return round(LEAST_COVERED - 2.6 * math.sqrt(0.95 * 0.05 / draws), 4)


def days(transactions: float) -> dict[str, float]:
    """Return after how many days the shipped model has enough labels at p = 1 %.

    >>> days(9_586)["let_through"], days(9_586)["genuine"]
    (521.6, 8693.2)
    """
    through = transactions * _SHIPPED["blocks"] * _SHIPPED["p"]
    return {
        "let_through": round(LEAST_THROUGH / through, 1),
        "genuine": round(LEAST_GENUINE / (through * (1 - _SHIPPED["precision"])), 1),
    }


def most_wrong(cities: int) -> int:
    """Return the 99 % quantile of wrong promotions of so many worse candidates, if alpha is kept.

    >>> most_wrong(100), most_wrong(4)
    (4, 1)
    """
    count, below = 0, (1 - ALPHA) ** cities
    term = below
    while below < 1 - ALPHA:
        count += 1
        term *= (cities - count + 1) / count * ALPHA / (1 - ALPHA)
        below += term
    return count


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each promise that a report does not keep."""
    cities = document["cities"]
    # Only a candidate that is worse can be promoted wrongly.
    worse = cities - document["better"]
    least = math.ceil(LEAST_RIGHT * cities)
    return missed(
        (f"signs_right is {{}} of {cities}", document["signs_right"], ">=", least),
        (f"wrong_promotions is {{}} of {worse}", document["wrong_promotions"], "<=",
         most_wrong(worse)),
        (f"before_wrong is {{}} of {cities}", document["before_wrong"], ">=", least),
        ("let_through_least is {}", document["let_through_least"], ">=", LEAST_THROUGH),
        ("genuine_least is {}", document["genuine_least"], ">=", LEAST_GENUINE),
        ("estimator_error_in_standard_errors is {}",
         abs(document["estimator_error_in_standard_errors"]), "<=", MOST_ERROR),
        ("naive_error_in_standard_errors is {}", document["naive_error_in_standard_errors"], ">=",
         LEAST_NAIVE),
        ("coverage is {}", document["coverage"], ">=", document["coverage_least"]),
        ("kolmogorov is {}", document["kolmogorov"], "<=", document["kolmogorov_most"]),
        ("answers_of_a_thief is {}", document["answers_of_a_thief"], "==", 1),
    )  # fmt: skip
