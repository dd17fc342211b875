"""What counts for a transaction without a label."""

from typing import Any

import numpy as np
import pytest

from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.labelling.contract import (
    DISPUTED,
    FRAUD,
    GENUINE,
    NO_LABEL,
    UNKNOWN,
    LabelPolicy,
)
from tests.support.core.label_oracle import Told, statements

DAY = 86_400_000
STATES = np.array([GENUINE, FRAUD, UNKNOWN, DISPUTED, NO_LABEL], np.uint8)


def settled(policy: LabelPolicy, *, blocked: bool, age: int = 0, risk: bool = False) -> list[int]:
    rows = len(STATES)
    found = policy.settle(STATES, np.full(rows, blocked), np.full(rows, age), risk=risk)
    assert found.dtype == np.uint8
    return found.tolist()


def policy(**table: Any) -> LabelPolicy:
    return LabelPolicy.of(read_label_policy(table))


@pytest.mark.parametrize("blocked", [True, False])
def test_without_a_policy_only_a_fraud_label_counts(*, blocked: bool) -> None:
    for risk in (True, False):
        assert settled(LabelPolicy.absent(), blocked=blocked, risk=risk) == [0, 1, 0, 0, 0]
    assert LabelPolicy.of(None) == LabelPolicy.absent()
    assert not LabelPolicy.absent().on


@pytest.mark.parametrize(
    ("table", "age", "risk", "unlabelled"),
    [
        ({"unlabelled": "genuine"}, 0, False, GENUINE),
        ({"unlabelled": "genuine", "unlabelled_in_risk": "ignore"}, 0, True, UNKNOWN),
        ({"unlabelled": "ignore"}, 10**15, False, UNKNOWN),
        ({"unlabelled": "ignore"}, 0, True, GENUINE),
        ({"unlabelled": "mature", "after_days": 2}, 2 * DAY - 1, False, UNKNOWN),
        ({"unlabelled": "mature", "after_days": 2}, 2 * DAY, False, GENUINE),
        ({"unlabelled": "mature", "after_days": 2}, 0, True, GENUINE),
    ],
)
def test_the_policy_says_what_is_not_labelled(
    table: dict[str, Any], age: int, unlabelled: int, *, risk: bool
) -> None:
    chosen = policy(**table)
    assert settled(chosen, blocked=False, age=age, risk=risk) == [0, 1, 2, 2, unlabelled]
    # What was blocked is unknown whatever the policy is; a label counts, though.
    assert settled(chosen, blocked=True, age=age, risk=risk) == [0, 1, 2, 2, UNKNOWN]


def test_the_first_source_has_the_highest_rank() -> None:
    chosen = policy(unlabelled="genuine", sources=["bank", "shop"])
    assert chosen.rank(["shop", None, "bank", "", "other"]).tolist() == [1, 0, 2, 0, 0]
    assert chosen.rank([]).tolist() == []
    assert LabelPolicy.absent().rank(["bank", None]).tolist() == [0, 0]


def test_statements_are_taken_and_joined() -> None:
    made = statements([Told(offset=n, label_time=n) for n in range(4)])
    some = made.take(np.array([2, 0]))
    assert (some.offset.tolist(), len(some)) == ([2, 0], 2)
    joined = type(made).joined([some, made.take(np.arange(4) == 3)])
    assert joined.offset.tolist() == joined.label_time.tolist() == [2, 0, 3]
    assert type(made).joined([some]) is some
