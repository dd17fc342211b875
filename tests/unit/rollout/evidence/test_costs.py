"""Each outcome's cost, computed by hand, and the refusals."""

import math

import numpy as np
import pytest

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
