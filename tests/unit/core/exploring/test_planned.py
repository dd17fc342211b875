"""Each decision's probability is compared with the plan of its own revision."""

import numpy as np

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.planned import are_planned
from tests.unit.core.exploring.test_draws import explore


def test_each_revision_has_its_own_probabilities() -> None:
    def banded(p: float) -> Plan:
        table = {**explore(), "bands": [{"from": 0.5, "p": p}]}
        return Plan(label_policy={"unlabelled": "genuine"}, explore=table)

    plans = {1: banded(0.02), 2: banded(0.25), 3: Plan()}
    chance = np.array([0.02, 0.02, 0.25, 0.98, 0.75, 0.02, 0.02, 1.0, np.nan])
    revision = np.array([1, 2, 2, 1, 2, 3, 1, 9, 1])
    block = np.arange(9) != 6
    found = are_planned(chance, block, revision, plans.__getitem__)
    assert found.tolist() == [True, False, True, True, True, False, False, True, False]


def test_a_probability_of_one_needs_no_plan() -> None:
    none: dict[int, Plan] = {}
    block, revision = np.zeros(2, np.bool_), np.array([4, 5])
    assert are_planned(np.ones(2), block, revision, none.__getitem__).all()
