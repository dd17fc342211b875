"""docs/PLANS.md documents every key and default, and its example is a valid plan."""

import re
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.decision.policy import RowThresholds, Thresholds, policy_for
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import parse_plan
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.judging_rules import ControllerRules, DecisionCosts, Rules
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Strategy, plan_of, plan_table
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from tests.support.core.events import batch, event

PAGE = (Path(__file__).parents[4] / "docs" / "PLANS.md").read_text()


def table(heading: str) -> dict[str, str]:
    """Return the second column of a table by its first."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    rows = re.findall(r"^\| `([^|]+)` \|([^|]*)\|", found[0], re.MULTILINE)
    return {name: cell.strip() for name, cell in rows}


@pytest.mark.parametrize(
    ("heading", "part"),
    [("key", RolloutPlan), ("key of `guard`", Rules), ("key of `controller`", ControllerRules)],
)
def test_every_key_is_documented(heading: str, part: type[StrictModel]) -> None:
    assert list(table(heading)) == list(part.model_fields)


def test_defaults_of_the_guard_are_documented() -> None:
    told = table("key of `guard`")
    defaults: dict[str, Any] = Rules().model_dump()
    costs = defaults.pop("costs")
    told.pop("costs")
    assert told == {name: f"`{value}`" for name, value in defaults.items()}
    assert costs == DecisionCosts().model_dump()
    line = next(line for line in PAGE.splitlines() if line.startswith("| `costs`"))
    for name, value in costs.items():
        assert f"`{name}` {value:g}" in line


def test_strategies_and_commands_are_documented() -> None:
    assert set(table("strategy")) == {strategy.value for strategy in Strategy}
    commands = set(
        re.findall(r"`([a-z]+)`", " ".join(re.findall(r"^\| `[a-z`, ]+` \|", PAGE, re.MULTILINE)))
    )
    ours = {kind.value for kind in CommandKind} - {"plan", "verdict", "propose"}
    assert ours | {"start", "status", "history"} <= commands


def test_the_example_is_a_plan() -> None:
    text, _ = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    made = plan_of({**plan_table(text), "salt": "s"})
    assert [stage.percent for stage in made.ramp] == [1, 5, 25, 100]
    assert made.controller is not None
    assert made.controller.manual == ("promote",)


def test_the_policy_on_the_page_is_one_with_every_key() -> None:
    _, text = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    plan = parse_plan("", {"policy.toml": text})
    assert set(table("policy key")) == set(plan.policy)
    known = "default, segment, on_model_error, on_timeout, budget"
    with pytest.raises(ValueError, match=rf"known are {known}$"):
        parse_plan("policy = {x = 1}")
    events = batch([event(channel="ECOM", mcc="7995", amount_minor=amount) for amount in
                    (60_000, 40_000)] + [event()])  # fmt: skip
    found = policy_for(events, plan, Thresholds(0.5, 0.9), Outcome.REVIEW)
    assert isinstance(found.thresholds, RowThresholds)
    assert found.thresholds.review.tolist() == [0.22, 0.15, 0.31]
