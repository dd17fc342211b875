"""The gate: passes what is better with confidence, and nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from stream_scorer.retraining.gate.compare import OutcomeThresholds, TestRows, gate_bytes, judge
from stream_scorer.rollout.evidence.costs import BoundedCosts

COSTS = BoundedCosts(most=200.0)
AT = OutcomeThresholds(0.5, 0.9)


def rows(seed: int, old: float, new: float, n: int = 8_000) -> TestRows:
    """Return rows whose scores are a mixture of the label and of noise."""
    numbers = np.random.default_rng(seed)
    fraud = numbers.random(n) < 0.05
    noise = numbers.random((2, n))
    return TestRows(
        fraud, numbers.exponential(80.0, n), np.ones(n), numbers.integers(0, 900, n),
        np.arange(n) * 3 // n + 17_000, old * fraud + (1 - old) * noise[0],
        new * fraud + (1 - new) * noise[1],
    )  # fmt: skip


def test_the_better_one_passes_and_the_worse_one_does_not() -> None:
    good = judge(rows(1, 0.3, 0.6), AT, AT, COSTS, 0.0004)
    assert good.passed
    assert good.cost[0] < good.cost[1] < good.cost[2] < 0
    assert good.ap[0] > 0
    bad = judge(rows(1, 0.6, 0.3), AT, AT, COSTS, 0.0004)
    assert not bad.passed
    assert bad.cost[0] > 0


def test_equal_ones_do_not_pass() -> None:
    same = rows(2, 0.5, 0.5)
    equal = replace(same, challenger=same.champion)
    found = judge(equal, AT, AT, COSTS, 0.0004)
    assert (found.passed, found.cost, found.ap) == (False, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    passed = sum(
        judge(rows(seed, 0.5, 0.5, 2_000), AT, AT, COSTS, 0.0).passed for seed in range(60)
    )
    assert passed <= 5


def test_a_better_order_by_chance_does_not_pass() -> None:
    found = [judge(rows(seed, 0.3, 0.3, 2_000), AT, AT, COSTS, 1_000.0) for seed in range(60)]
    assert sum(each.ap[1] > 0 for each in found) > 20
    assert sum(each.passed for each in found) <= 8


def test_a_dearer_one_does_not_pass_though_it_orders_better() -> None:
    found = rows(3, 0.3, 0.6)
    dear = OutcomeThresholds(0.01, 0.02)
    assert judge(found, AT, dear, COSTS, 0.0).ap[0] > 0
    assert not judge(found, AT, dear, COSTS, 0.0).passed
    assert judge(found, AT, dear, COSTS, 1_000.0).passed


def test_weights_count_as_repeated_rows() -> None:
    found = rows(4, 0.4, 0.6, 3_000)
    weight = np.random.default_rng(5).integers(1, 4, 3_000)
    repeated = {
        name: np.repeat(getattr(found, name), weight)
        for name in ("fraud", "amount", "customer", "day", "champion", "challenger")
    }
    many = TestRows(weight=np.ones(int(weight.sum())), **repeated)
    one = judge(replace(found, weight=weight.astype(float)), AT, AT, COSTS, 0.0)
    other = judge(many, AT, AT, COSTS, 0.0)
    assert one.cost == pytest.approx(other.cost)
    assert one.ap == pytest.approx(other.ap)
    truth = [
        average_precision_score(many.fraud, score) for score in (many.challenger, many.champion)
    ]
    assert one.ap[1] == pytest.approx(truth[0] - truth[1])


def test_the_report_is_canonical() -> None:
    gated = judge(rows(1, 0.3, 0.6), AT, AT, COSTS, 0.0004)
    data = gate_bytes(gated, "fraud:1.0.0", "fraud:1.1.0", "ab" * 32, float("inf"))
    document = json.loads(data)
    assert (document["parent"], document["tolerance"], document["rows"]) == (
        "fraud:1.0.0", None, 8_000,
    )  # fmt: skip
    assert document["days"]["days"] == 3
    assert 0 < document["days"]["mean"] <= document["days"]["high"]
