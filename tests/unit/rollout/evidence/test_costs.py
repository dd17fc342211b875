"""Each outcome's cost, computed by hand, and the refusals."""

import math

import numpy as np
import pytest

from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.rollout.evidence.costs import BoundedCosts

COSTS = BoundedCosts(most=150.0, missed_share=0.5, missed_fixed=10.0, review=4.0, false_block=30.0)


def _cost(amount: float, *, fraud: bool, decision: str) -> float:
    return float(
        COSTS.of(
            np.array([amount]),
            np.array([fraud]),
            np.array([decision == "REVIEW"]),
            np.array([decision == "BLOCK"]),
        )[0]
    )


def test_each_outcome_has_its_cost() -> None:
    assert _cost(80.0, fraud=False, decision="APPROVE") == 0.0
    assert _cost(80.0, fraud=True, decision="APPROVE") == 50.0
    assert _cost(80.0, fraud=False, decision="REVIEW") == 4.0
    assert _cost(80.0, fraud=True, decision="REVIEW") == 4.0
    assert _cost(80.0, fraud=False, decision="BLOCK") == 30.0
    assert _cost(80.0, fraud=True, decision="BLOCK") == 0.0


def test_no_transaction_costs_more_than_the_bound() -> None:
    assert _cost(280.0, fraud=True, decision="APPROVE") == 150.0
    assert _cost(1e12, fraud=True, decision="APPROVE") == 150.0


def test_a_forged_negative_amount_costs_nothing() -> None:
    assert _cost(-1e300, fraud=True, decision="APPROVE") == 10.0


@pytest.mark.parametrize(
    ("name", "value"),
    [("most", 0.0), ("most", math.inf), ("missed_share", -1.0), ("missed_fixed", math.nan),
     ("review", -0.1), ("false_block", math.inf)],
)  # fmt: skip
def test_costs_without_bound_or_below_zero_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        BoundedCosts(**{"most": 100.0, name: value})


def _weighted(
    policy: str, state: int, *, through: bool = False, p: float = 1.0, published: str = "",
    inside: bool = True,
) -> tuple[float, float, float, float]:  # fmt: skip
    found = COSTS.weighted(
        np.array([80.0]), np.array([state], np.uint8), np.array([policy == "REVIEW"]),
        np.array([policy == "BLOCK"]), np.array([through]), np.array([p]),
        published=np.array([(published or policy) == "BLOCK"]), inside=np.array([inside]),
    )  # fmt: skip
    one = (found.cost[0], found.count[0], found.low[0], found.high[0])
    return float(one[0]), float(one[1]), float(one[2]), float(one[3])


@pytest.mark.parametrize(
    ("policy", "cost"), [("BLOCK", (30.0, 0.0)), ("APPROVE", (0.0, 50.0)), ("REVIEW", (4.0, 4.0))]
)
@pytest.mark.parametrize("state", [GENUINE, FRAUD])
def test_the_mean_over_the_draw_is_the_cost(
    policy: str, cost: tuple[float, float], state: int
) -> None:
    p = 0.05
    through = _weighted(policy, state, through=True, p=p, published="BLOCK")
    # A label of a blocked transaction must not count in addition to the weight.
    for label in (state, UNKNOWN):
        blocked = _weighted(policy, label, p=1 - p, published="BLOCK")
        assert p * through[0] + (1 - p) * blocked[0] == pytest.approx(cost[state])
        assert blocked[1:] == (1.0, blocked[0], blocked[0])
    assert through[1:] == (1.0, through[0], through[0])


def test_a_let_through_fraud_costs_the_blocking_arm_nothing() -> None:
    assert _weighted("BLOCK", FRAUD, through=True, p=0.01) == (0.0, 1.0, 0.0, 0.0)
    assert _weighted("BLOCK", GENUINE, through=True, p=0.01) == (3000.0, 1.0, 3000.0, 3000.0)


def test_a_block_without_label_and_draw_is_only_bounded() -> None:
    assert _weighted("BLOCK", UNKNOWN) == (0.0, 1.0, 0.0, 30.0)
    assert _weighted("BLOCK", GENUINE) == (30.0, 1.0, 30.0, 30.0)
    assert _weighted("BLOCK", FRAUD) == (0.0, 1.0, 0.0, 0.0)
    # In shadow: what the candidate approves was blocked, and what it would have lost is not known.
    assert _weighted("APPROVE", UNKNOWN, published="BLOCK") == (0.0, 1.0, 0.0, 50.0)
    assert _weighted("REVIEW", UNKNOWN, published="BLOCK") == (4.0, 1.0, 4.0, 4.0)


def test_other_unknowns_and_what_is_outside_count_nothing() -> None:
    assert _weighted("APPROVE", UNKNOWN) == (0.0, 0.0, 0.0, 0.0)
    assert _weighted("REVIEW", UNKNOWN) == (0.0, 0.0, 0.0, 0.0)
    assert _weighted("BLOCK", GENUINE, inside=False) == (0.0, 0.0, 0.0, 0.0)
    assert _weighted("APPROVE", FRAUD, inside=False) == (0.0, 0.0, 0.0, 0.0)


def test_what_was_let_through_without_a_finding_is_bounded() -> None:
    assert _weighted("BLOCK", UNKNOWN, through=True, p=0.5) == (0.0, 1.0, 0.0, 60.0)
