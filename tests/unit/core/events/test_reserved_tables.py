"""A plan with a table that nothing acts on yet is refused, and its format is known already."""

from typing import Any

import pytest

from stream_scorer.core.events import plan as module
from stream_scorer.core.events.plan import RESERVED, Plan, parse_plan, plan_from, table_of
from stream_scorer.rollout.plan.allowed_commands import MAY_CHANGE
from stream_scorer.rollout.plan.plan_file import plan_of
from stream_scorer.rollout.plan.strict_parsing import PLAN_FORMAT
from tests.unit.core.events.test_explore_table import EXPLORE, REVIEW

TABLES: dict[str, dict[str, Any]] = {
    "explore": EXPLORE,
    "review_sample": REVIEW,
}
CHAMPION = {"name": "one", "strategy": "champion", "versions": {"champion": "fraud:1.0.0"}}


def test_each_reserved_table_has_its_case() -> None:
    assert set(TABLES) == RESERVED


@pytest.mark.parametrize("name", list(TABLES))
def test_a_reserved_table_is_refused_by_its_name(name: str) -> None:
    told = f"^{name}: is reserved, and this version of stream-scorer does not act on it; leave"
    with pytest.raises(ValueError, match=told):
        plan_from({name: TABLES[name]})
    with pytest.raises(ValueError, match=f"shared: {name}: is reserved"):
        plan_of({**CHAMPION, "shared": {name: TABLES[name]}})
    # What is wrong with it is said first.
    with pytest.raises(ValueError, match=f"^{name}: unknown key 'speed'"):
        plan_from({name: {"speed": 1}})
    with pytest.raises(ValueError, match=f"^{name}: must be a table, not 1"):
        plan_from({name: 1})


def test_a_plan_without_them_is_written_as_before() -> None:
    assert not RESERVED & table_of(Plan()).keys()
    assert plan_from({name: {} for name in RESERVED}) == parse_plan("")
    assert plan_of(CHAMPION).format == 1


def test_a_label_policy_has_its_format() -> None:
    made = plan_of({**CHAMPION, "shared": {"label_policy": {"unlabelled": "genuine"}}})
    assert made.format == PLAN_FORMAT == 4
    assert made.shared_plan(7).label_policy == {"unlabelled": "genuine"}
    assert "label_policy" in MAY_CHANGE


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_that_is_acted_on_has_its_format(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "RESERVED", frozenset())
    made = plan_of({**CHAMPION, "shared": {name: TABLES[name]}})
    assert made.format == PLAN_FORMAT == 4
    assert getattr(made.shared_plan(7), name) == TABLES[name]
    told = "format: must be 4 for a plan that shares a label policy, an exploration or a review"
    with pytest.raises(ValueError, match=told):
        plan_of({**CHAMPION, "format": 3, "shared": {name: TABLES[name]}})
    assert name in MAY_CHANGE
