"""Rollout plans: the values of a complete one, and each refusal's message."""

from typing import Any

import pytest

from stream_scorer.core.decision.routing import Version
from stream_scorer.core.events.plan import Plan
from stream_scorer.rollout.evidence.guardrail import GUARDS
from stream_scorer.rollout.plan.plan_file import RolloutPlan, plan_of, plan_table
from stream_scorer.rollout.plan.strict_parsing import buckets_of, read
from tests.support.rollout.scene import CANARY, COLOURS, CONTROLLER, CONTROLLER_KEY, plan

TEXT = """
name = "try 0.2"
strategy = "canary"
salt = "salt"
effective_at = 2026-11-25T10:00:00+01:00
ramp = [{ percent = 0 }, { percent = 0.07, least_seconds = 60 }, { percent = 100 }]

[versions]
champion = "fraud:0.1.0"
canary = "fraud:0.2.0"
challenger = "other:1.0.0"

[[overrides]]
field = "channel"
values = ["POS", "ATM"]
arm = "champion"

[guard]
alpha = 0.02
tolerance = { alerts = 0.1 }
costs = { most = 50, review = 1 }

[shared]
currencies = { USD = 2 }
"""


def test_a_file_is_completed_with_every_default() -> None:
    made = plan_of(plan_table(TEXT))
    assert made.effective_at == 1_795_597_200_000
    assert [stage.buckets for stage in made.ramp] == [0, 7, 10_000]
    assert made.version("challenger") == Version("other", "1.0.0")
    assert made.shared_plan(7) == Plan(revision=7, currencies={"USD": 2})
    assert made.shared["ring_cap"] == 4096
    assert made.guard.limits().alpha == 0.02
    assert {g.name: g.tolerance for g in made.guard.guards()} == {
        **{g.name: 0.0 for g in GUARDS}, "alerts": 0.1,
    }  # fmt: skip
    assert made.guard.costs.bounded().most == 50
    # The log's document has all values, and is read back as the same plan.
    assert read(RolloutPlan, made.model_dump(mode="json")) == made


def test_a_controller_is_known_by_its_key() -> None:
    controller = plan(controller={"key": CONTROLLER_KEY}).controller
    assert controller is not None
    assert controller.public_key == CONTROLLER.public_key()
    assert len(controller.key_id) == 32
    unsigned = plan(controller={}).controller
    assert unsigned is not None
    assert (unsigned.public_key, unsigned.key_id) == (None, "")


@pytest.mark.parametrize("percent", [0.01, 0.07, 0.29, 1, 5, 33.33, 57.43, 99.99, 100])
def test_hundredths_of_a_percent_are_entire_buckets(percent: float) -> None:
    made = plan(ramp=[{"percent": percent}])
    assert made.ramp[0].buckets == buckets_of(percent) == int(f"{percent:.2f}".replace(".", ""))


SPLIT: dict[str, Any] = {
    "name": "split", "strategy": "split", "salt": "s", "shares": {"champion": 50, "b": 50},
    "versions": {"champion": "fraud:0.1.0", "b": "fraud:0.2.0"},
}  # fmt: skip
SHADOW: dict[str, Any] = {
    "name": "shadow", "strategy": "shadow", "salt": "s",
    "versions": {"champion": "fraud:0.1.0", "b": "fraud:0.2.0"},
}  # fmt: skip
BOTH = CANARY["versions"]
CHAMPION: dict[str, Any] = {
    "name": "one",
    "strategy": "champion",
    "versions": {"champion": "fraud:0.1.0"},
}


@pytest.mark.parametrize(
    ("base", "changed", "why"),
    [
        (CANARY, {"speed": 1}, "speed: unknown key"),
        (CANARY, {"name": ""}, "name: String should match pattern"),
        (CANARY, {"format": 5}, "format: Input should be 1, 2, 3 or 4"),
        (
            CANARY,
            {"format": 1, "shared": {"policy": {"on_model_error": "BLOCK"}}},
            "format: must be 2 for a plan that shares a policy or a mapping",
        ),
        (
            CANARY,
            {"format": 2, "shared": {"segments": {"mcc": ["1"]}}},
            "format: must be 3 for a plan that shares segments",
        ),
        (CANARY, {"shared": {"segments": {"mc": ["1"]}}}, "shared: segments: mc: unknown field"),
        (CANARY, {"strategy": "fast"}, "strategy: Input should be 'champion'"),
        (CANARY, {"salt": ""}, "salt: must not be empty"),
        (CANARY, {"salt": 7}, "salt: Input should be a valid string"),
        (CANARY, {"ramp": []}, "ramp: a canary needs one stage at least"),
        (CANARY, {"ramp": [{"percent": 5}, {"percent": 5}]}, "percents must ascend"),
        (CANARY, {"ramp": [{"percent": 0.001}]}, "ramp.0.percent: 0.001 is not a whole number"),
        (CANARY, {"ramp": [{"percent": 101}]}, "less than or equal to 100"),
        (CANARY, {"ramp": [{"percent": "5"}]}, "ramp.0.percent: Input should be a valid number"),
        (CANARY, {"ramp": [{"percent": float("inf")}]}, "not JSON compliant"),
        (CANARY, {"ramp": [{"percent": 5, "least_seconds": -1}]}, "greater than or equal to 0"),
        (CANARY, {"shares": {"champion": 100}}, "shares: is for strategy split"),
        (CANARY, {"active": "blue"}, "active: is for strategy blue-green"),
        (CANARY, {"versions": {"champion": "fraud:0.1.0"}}, "canary needs the arm canary"),
        (CANARY, {"versions": {"champion": "fraud", "canary": "a:1.0.0"}}, "versions.champion"),
        (CANARY, {"versions": BOTH | {"control": "a:1.0.0"}}, "the arm control is not for a plan"),
        (CANARY, {"versions": BOTH | {"blue": "a:1.0.0"}}, "the arm blue is not for a plan"),
        (CANARY, {"overrides": [{"field": "mcc", "values": ["1"], "arm": "canary"}]}, "field"),
        (CANARY, {"overrides": [{"field": "channel", "values": [], "arm": "canary"}]}, "values"),
        (
            CANARY, {"overrides": [{"field": "channel", "values": ["a"], "arm": "other"}]},
            "overrides: arm 'other' has no version",
        ),
        (
            CANARY,
            {
                "overrides": [{"field": "channel", "values": ["a"], "arm": "canary"}],
                "ramp": [{"percent": 0}, {"percent": 5}],
            },
            "is not a shadow where the ramp begins, at 0 %: nothing would be judged there, and the",
        ),
        (
            SHADOW, {"overrides": [{"field": "channel", "values": ["a"], "arm": "b"}]},
            "overrides: strategy shadow has none",
        ),
        (CANARY, {"guard": {"alpha": 0}}, "guard: alpha: must be between 0 and 1"),
        (CANARY, {"guard": {"least_frauds": 0}}, "least_frauds: must be at least 1"),
        (CANARY, {"guard": {"alpha": 1e-310}}, "guard: alpha: must be at least 1e-100"),
        (CANARY, {"guard": {"alpha_mismatch": 5e-324}}, "alpha_mismatch: must be at least 1e-100"),
        (CANARY, {"guard": {"least_events": 10**400}}, "least_events: must be at most 9007199254"),
        (CANARY, {"guard": {"delta": 1e200}}, "guard: delta: must be at most 1e+100"),
        (CANARY, {"guard": {"costs": {"review": 1e200}}}, "review: must be at most 1e+100"),
        (CANARY, {"guard": {"tolerance": {"speed": 1}}}, "no guard 'speed'; there are errors"),
        (CANARY, {"guard": {"tolerance": {"alerts": -1}}}, "tolerance -1.0 is not 0 or more"),
        (CANARY, {"guard": {"costs": {"most": 0}}}, "a bound must be more than 0"),
        (CANARY, {"controller": {"key": "x"}}, "controller.key: is not the base64"),
        (CANARY, {"controller": {"may": ["plan"]}}, "controller.may.0"),
        (CANARY, {"controller": {"may": ["step"], "manual": ["promote"]}}, "promote is not among"),
        (CANARY, {"shared": {"revision": 1}}, "shared: revision: is the number of the command"),
        (CANARY, {"shared": {"speed": 1}}, "shared: unknown key 'speed'"),
        (CANARY, {"shared": {"ring_cap": True}}, "ring_cap: must be a whole number"),
        (CANARY, {"effective_at": -1}, "effective_at"),
        (SHADOW, {"versions": {"champion": "fraud:0.1.0"}}, "a shadow needs another arm"),
        (SHADOW, {"ramp": [{"percent": 5}]}, "ramp: is for strategy canary"),
        (CHAMPION, {"versions": SPLIT["versions"]}, "has the arm champion alone"),
        (COLOURS, {"versions": {"blue": "fraud:0.1.0"}}, "has the arms blue and green"),
        (
            COLOURS, {"versions": {"blue": "a:1.0.0", "green": "a:1.0.0"}},
            "blue and green are the same version",
        ),
        (SPLIT, {"shares": {"champion": 50, "b": 49}}, "shares: must sum to 100, not 99"),
        (SPLIT, {"shares": {"champion": 50, "c": 50}}, "shares: arm 'c' has no version"),
        (SPLIT, {"shares": {"champion": 99.999, "b": 0.001}}, "not a whole number of hundredths"),
    ],
)  # fmt: skip
def test_a_mistaken_plan_is_refused_in_one_line(
    base: dict[str, Any], changed: dict[str, Any], why: str
) -> None:
    plan(base)
    with pytest.raises(ValueError, match=r".") as refused:
        plan(base, **changed)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = ", "not TOML"),
        ("effective_at = 2026-11-25T10:00:00", "effective_at: a date and time needs its zone"),
        ("name = 2026-11-25", "a value has no place there"),
        ('strategy = "shadow"', "name: Field required"),
    ],
)
def test_an_invalid_file_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        plan_of(plan_table(text))


def test_half_a_character_is_not_a_value() -> None:
    rule = '{"arm":"canary","field":"channel","values":["\\ud800"]}'
    document = plan().model_dump_json().replace('"overrides":[]', f'"overrides":[{rule}]')
    with pytest.raises(ValueError, match="JSON"):
        read(RolloutPlan, document.encode())


def test_a_ramp_may_begin_in_shadow_with_an_override_elsewhere() -> None:
    rule = {"field": "channel", "values": ["a"], "arm": "champion"}
    ramp = [{"percent": 0}, {"percent": 5}]
    assert plan(overrides=[rule], ramp=ramp).overrides[0].arm == "champion"
    assert plan(overrides=[{**rule, "arm": "canary"}], ramp=ramp[1:]).overrides[0].arm == "canary"


@pytest.mark.parametrize("arm", ["edge", "central"])
def test_arms_of_devices_are_reserved_in_new_plans(arm: str) -> None:
    table = plan_table(TEXT.replace("challenger", arm))
    with pytest.raises(ValueError, match=f"versions: {arm} is the arm of devices"):
        plan_of(table)
    # One that was written before is still read.
    before = plan_of(plan_table(TEXT)).model_dump(mode="json")
    before["versions"][arm] = before["versions"].pop("challenger")
    assert read(RolloutPlan, before).version(arm) == Version("other", "1.0.0")
