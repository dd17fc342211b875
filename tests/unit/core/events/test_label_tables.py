"""The tables of labels and draws: they need a newer format, and exploration a label policy."""

from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan, parse_plan, plan_from, table_of
from stream_scorer.rollout.plan.allowed_commands import MAY_CHANGE
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.rollout.plan.strict_parsing import PLAN_FORMAT
from tests.unit.core.events.test_explore_table import EXPLORE, REVIEW

TABLES: dict[str, dict[str, Any]] = {
    "label_policy": {"unlabelled": "ignore"},
    "explore": EXPLORE,
    "review_sample": REVIEW,
}
CHAMPION = {"name": "one", "strategy": "champion", "versions": {"champion": "fraud:1.0.0"}}


@pytest.mark.parametrize("name", list(TABLES))
def test_what_is_wrong_with_a_table_is_reported_by_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: unknown key 'speed'"):
        plan_from({name: {"speed": 1}})
    with pytest.raises(ValueError, match=f"^{name}: must be a table, not 1"):
        plan_from({name: 1})


def test_an_exploration_needs_a_label_policy() -> None:
    with pytest.raises(ValueError, match=r"^explore: needs the table label_policy"):
        plan_from({"explore": EXPLORE})
    both = {name: TABLES[name] for name in ("explore", "label_policy")}
    assert plan_from(both).explore == EXPLORE


def test_a_plan_without_them_is_written_as_before() -> None:
    assert not TABLES.keys() & table_of(Plan()).keys()
    assert plan_from({name: {} for name in TABLES}) == parse_plan("")
    assert plan_of(CHAMPION).format == 1


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_that_is_acted_on_has_its_format(name: str) -> None:
    shared = {"label_policy": TABLES["label_policy"], name: TABLES[name]}
    made = plan_of({**CHAMPION, "shared": shared})
    assert made.format == PLAN_FORMAT == 4
    assert getattr(made.shared_plan(7), name) == TABLES[name]
    told = "format: must be 4 for a plan that shares a label policy, an exploration or a review"
    with pytest.raises(ValueError, match=told):
        plan_of({**CHAMPION, "format": 3, "shared": shared})
    assert name in MAY_CHANGE
