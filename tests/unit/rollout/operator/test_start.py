"""A rollout plan from a file and options: what is filled in, and what is refused."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.rollout.operator.commands import event_time
from stream_scorer.rollout.operator.old_options import OLD_OPTIONS
from stream_scorer.rollout.operator.start import planned, verify
from stream_scorer.rollout.operator.template import template
from stream_scorer.rollout.plan.judging_rules import ControllerRules, Rules
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Stage, Strategy
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.settings import MODELS_DIRECTORY, Settings, load_settings
from tests.support.codec.foreign_events import EVENTS
from tests.support.rollout.mapped_extras import plan_of, write_model
from tests.support.rollout.scene import CONTROLLER_KEY, Writer, plan

VERSION = max(path.name for path in (MODELS_DIRECTORY / "fraud").iterdir() if path.is_dir())
CANARY = """
name = "try"
strategy = "canary"
versions = { champion = "fraud:0.1.0", canary = "fraud:0.2.0" }
"""


@pytest.fixture
def store(tmp_path: Path) -> Settings:
    """Return settings of a store whose plan differs from the default."""
    shutil.copytree(MODELS_DIRECTORY / "fraud", tmp_path / "store" / "fraud")
    (tmp_path / "store" / "fraud" / "plan.toml").write_text("ring_cap = 77\n")
    return load_settings({"models": {"directory": tmp_path / "store"}})


@pytest.fixture
def start(store: Settings, tmp_path: Path) -> Callable[..., RolloutPlan]:
    """Return a function that makes a plan of a file's text, with options that override it."""

    def made(text: str | None, state: RolloutState | None = None, **old: Any) -> RolloutPlan:
        file = None if text is None else tmp_path / "plan.toml"
        if file is not None and text is not None:
            file.write_text(text)
        given = {f"--{name.replace('_', '-')}": value for name, value in old.items()}
        return planned(store, state or RolloutState(), file, "because" if old else "", given)

    return made


Start = Callable[..., RolloutPlan]


def test_a_first_plan_takes_the_shared_plan_next_to_the_champion(start: Start) -> None:
    made = start(CANARY)
    assert made.shared_plan(3) == Plan(revision=3, ring_cap=77)
    assert [stage.percent for stage in made.ramp] == [1, 5, 25, 50, 100]
    assert len(made.salt) == 32
    assert made.salt != start(CANARY).salt


def test_a_later_plan_takes_the_logs_shared_plan_and_champion(start: Start) -> None:
    writer = Writer()
    writer.start(shared={"ring_cap": 500, "late_decision_ms": 5})
    writer.accept("promote", arm="canary")
    text = 'name = "try"\nstrategy = "canary"\nversions = { canary = "fraud:0.3.0" }\n'
    made = start(text, writer.log.state)
    assert made.versions == {"champion": "fraud:0.2.0", "canary": "fraud:0.3.0"}
    assert made.shared_plan(0) == Plan(ring_cap=500, late_decision_ms=5)


def test_a_policy_is_a_table_or_a_file_next_to_the_plan(
    start: Start, store: Settings, tmp_path: Path
) -> None:
    text = "[default]\nreview = 0.2\nblock = 0.7\n"
    table = {"default": {"review": 0.2, "block": 0.7}}
    assert "policy" not in start(CANARY).shared
    (tmp_path / "policy.toml").write_text(text)
    by_path = start(CANARY + '[shared]\npolicy = "policy.toml"\n')
    assert by_path.shared["policy"] == table
    assert by_path == start(
        CANARY + "[shared.policy]\n" + text.replace("[", "[shared.policy.")
    ).model_copy(update={"salt": by_path.salt})
    # A first plan takes the policy next to the champion, unless it has an empty one.
    (tmp_path / "store" / "fraud" / "policy.toml").write_text(text)
    assert start(CANARY).shared["policy"] == table
    assert "policy" not in start(CANARY + "[shared]\npolicy = {}\n").shared

    writer = Writer()
    writer.start(shared={"policy": table})
    writer.accept("promote", arm="canary")
    later = 'name = "try"\nstrategy = "canary"\nversions = { canary = "fraud:0.3.0" }\n'
    assert start(later, writer.log.state).shared["policy"] == table
    back = start(later + "[shared]\npolicy = {}\n", writer.log.state)
    assert "policy" not in back.shared
    assert back.shared_plan(0).policy == {}


MAPPING = """
[fields]
transaction_id = "id"
event_time = {path = "at", unit = "ms"}
customer_id = "who"
amount = {path = "paid", unit = "minor"}
currency = {constant = "EUR"}
"""


def test_a_mapping_of_a_file_replaces_the_one_before(start: Start, tmp_path: Path) -> None:
    (tmp_path / "events.toml").write_text(MAPPING)
    with_extra = MAPPING + '[extra]\nbasket = {path = "n", type = "long"}\n'
    (tmp_path / "more.toml").write_text(with_extra)
    first = start(CANARY + '[shared]\nevents = "more.toml"\n')
    assert first.shared["extras"] == {"basket": "long"}
    assert first.format == 2
    writer = Writer()
    writer.start(shared={"events": first.shared["events"]})
    writer.accept("promote", arm="canary")
    later = 'name = "try"\nstrategy = "canary"\nversions = { canary = "fraud:0.3.0" }\n'
    assert start(later, writer.log.state).shared["extras"] == {"basket": "long"}
    made = start(later + '[shared]\nevents = "events.toml"\n', writer.log.state)
    assert "extras" not in made.shared
    assert made.shared_plan(0).mapping is not None
    (tmp_path / "wrong.toml").write_text(MAPPING.replace("id", "Idle", 0) + "[fields.nothing]\n")
    with pytest.raises(SettingsError, match=r"shared: events: fields: unknown key"):
        start(CANARY + '[shared]\nevents = "wrong.toml"\n')


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ('"nowhere.toml"', "nowhere.toml: No such file"),
        ('"wrong.toml"', "shared.policy: .*wrong.toml: not TOML"),
        ("5", "shared: policy: must be a table"),
        ("{default = {review = 2, block = 3}}", "shared: policy: default: review: 0 < review"),
    ],
)
def test_an_invalid_policy_is_refused(
    start: Start, tmp_path: Path, policy: str, message: str
) -> None:
    (tmp_path / "wrong.toml").write_text("[")
    with pytest.raises(SettingsError, match=message) as refused:
        start(f"{CANARY}[shared]\npolicy = {policy}\n")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("old", [{}, {"stage_seconds": ["60"]}])
@pytest.mark.parametrize(
    ("text", "key"),
    [('versions = "x"', "versions"), ('versions = ["a"]', "versions"), ("shares = 3", "shares"),
     ("controller = [1]", "controller"), ("shared = 'all'", "shared"), ("ramp = 5", "ramp"),
     ("ramp = [5]", "ramp")],
)  # fmt: skip
def test_a_file_of_another_shape_is_refused_by_its_key(
    text: str, key: str, old: dict[str, Any], start: Start
) -> None:
    with pytest.raises(SettingsError, match=rf"plan .*: {key}: must be a "):
        start(f'name = "a"\nstrategy = "canary"\n{text}\n', **old)


@pytest.mark.parametrize("champion", ["nosuch:1.0.0", "../../etc:1.0.0", ":1.0.0"])
def test_a_champion_that_is_not_a_model_is_reported_as_such(champion: str, start: Start) -> None:
    with pytest.raises(ModelError, match=r"not in|not a reference"):
        start(CANARY.replace("fraud:0.1.0", champion))


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_printed_template_is_a_plan(strategy: Strategy, start: Start) -> None:
    printed = template(strategy)
    made = start(printed)
    assert made.strategy is strategy
    assert max(map(len, printed.splitlines())) <= 100


@pytest.mark.parametrize("strategy", list(Strategy))
def test_every_key_that_a_template_has_in_a_comment_may_be_set(
    strategy: Strategy, start: Start
) -> None:
    key = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)
    printed = template(strategy)
    made = start(key.sub("", printed))
    assert len(key.findall(printed)) >= 4
    assert made.reason == "why, for people"
    assert made.effective_at == event_time("2026-12-01T00:00:00Z")
    assert made.shared_plan(0).late_decision_ms == 60_000
    judged = strategy in {Strategy.CANARY, Strategy.SHADOW}
    assert (made.controller is not None) == judged
    # The defaults in the comments are the real ones, except the example of a tolerance.
    assert not judged or made.guard.model_copy(update={"tolerance": {}}) == Rules()


def test_every_option_that_was_has_its_key_in_the_plan_file() -> None:
    for old in OLD_OPTIONS.values():
        part: Any = RolloutPlan
        *outer, name = old.key.split(".")
        for each in outer:
            part = {"ramp": Stage, "controller": ControllerRules}[each]
        assert name in part.model_fields


def test_old_options_override_a_file(start: Start) -> None:
    made = start(
        'name = "a"\nstrategy = "canary"\nsalt = "s"\nramp = [{percent = 2}]\n'
        '[versions]\nchampion = "fraud:0.1.0"\ncanary = "fraud:0.2.0"\n'
        "[shared]\nring_cap = 9\n[controller]\nmay = ['step']\n",
        name=["b"], version=["canary=fraud:0.4.0"], ramp=["0,7.5"], stage_seconds=["60"],
        effective_at=["5"], controller_key=[CONTROLLER_KEY], controller_up_to=["7.5"], manual=True,
    )  # fmt: skip
    assert (made.name, made.salt, made.effective_at) == ("b", "s", 5)
    assert made.reason == "because"
    assert made.versions == {"champion": "fraud:0.1.0", "canary": "fraud:0.4.0"}
    assert [(s.percent, s.least_seconds) for s in made.ramp] == [(0, 60), (7.5, 60)]
    assert made.shared_plan(0).ring_cap == 9
    controller = made.controller
    assert controller is not None
    assert (controller.key, controller.may, controller.manual, controller.up_to) == (
        CONTROLLER_KEY, ("step",), ("step",), 7.5,
    )  # fmt: skip


def test_old_options_make_a_plan_without_a_file(start: Start) -> None:
    colours = start(
        None, name=["a"], strategy=["blue-green"], active=["green"],
        version=["blue=fraud:0.1.0", "green=fraud:0.2.0"],
    )  # fmt: skip
    assert colours.first == "green"
    made = start(
        None, name=["a"], strategy=["split"], share=["champion=90", "canary=10"], salt=["s"],
        version=["champion=fraud:0.1.0", "canary=fraud:0.2.0"], controller_may=["rollback"],
    )  # fmt: skip
    assert (made.shares, made.salt) == ({"champion": 90, "canary": 10}, "s")
    assert made.controller is not None
    assert made.controller.may == ("rollback",)


def test_old_stage_seconds_apply_to_a_plan_without_a_ramp(start: Start) -> None:
    made = start(CANARY, stage_seconds=["60"])
    assert {stage.least_seconds for stage in made.ramp} == {60}
    assert len(made.ramp) == 5


@pytest.mark.parametrize(
    ("text", "old", "why"),
    [
        (CANARY.replace("name", "names"), {}, "plan.toml: name: Field required"),
        (CANARY.replace('strategy = "canary"', ""), {}, "plan.toml: strategy: Field required"),
        (CANARY.replace("champion", "blue"), {}, "needs the arm champion"),
        (CANARY + "shares = { champion = 100 }", {}, "shares: is for strategy split"),
        (None, {"name": ["a"]}, "options: strategy: Field required"),
        (CANARY, {"version": ["fraud:0.1.0"]}, "--version fraud:0.1.0: write ARM=VALUE"),
        (CANARY, {"version": ["a=b:1.0.0", "a=b:1.0.0"]}, "each arm once"),
        (CANARY, {"ramp": ["1,x"]}, "'x' is not a percentage"),
        (CANARY, {"ramp": [""]}, "'' is not a percentage"),
        (CANARY, {"ramp": ["5,1"]}, "its percents must ascend"),
        (CANARY, {"ramp": ["nan"]}, "'nan' is not a percentage"),
        (CANARY, {"stage_seconds": ["-1"]}, "ramp.0.least_seconds"),
        (CANARY, {"stage_seconds": ["x"]}, "'x'"),
        (CANARY, {"share": ["champion=100"]}, "shares: is for strategy split"),
        (CANARY, {"controller_may": ["step,fly"]}, "controller.may.1"),
        (CANARY, {"controller_up_to": ["101"]}, "controller.up_to"),
        (CANARY, {"effective_at": [str(2**63)]}, "effective_at"),
        (CANARY, {"controller_key": ["nobody.pub"]}, "--controller-key: nobody.pub: No such file"),
    ],
)
def test_an_invalid_plan_is_refused(
    text: str | None, old: dict[str, Any], why: str, start: Start
) -> None:
    with pytest.raises(SettingsError) as refused:
        start(text, **old)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(store: Settings) -> None:
    with pytest.raises(SettingsError, match=r"plan /nowhere/plan\.toml: No such file"):
        planned(store, RolloutState(), Path("/nowhere/plan.toml"))


@pytest.mark.parametrize("text", ["versions = 5", "shared = 5", "controller = 5", "ramp = [5]"])
def test_a_file_of_other_types_is_refused(text: str, start: Start) -> None:
    with pytest.raises(SettingsError, match=r"plan .*plan\.toml: "):
        start(
            f'name = "a"\nstrategy = "canary"\n{text}\n',
            stage_seconds=["5"], manual=True, version=["canary=a:1.0.0"],
        )  # fmt: skip


def test_every_version_is_loaded_as_a_scorer_would(store: Settings) -> None:
    label = f"fraud:{VERSION}"
    assert verify(store, plan(versions={"champion": label, "canary": label}), RolloutState()) == []
    with pytest.raises(ModelError, match=r"fraud:9\.9\.9"):
        verify(store, plan(versions={"champion": label, "canary": "fraud:9.9.9"}), RolloutState())


def test_a_mapping_without_history_for_a_version_is_reported(tmp_path: Path) -> None:
    write_model(tmp_path)
    store = load_settings({"models": {"directory": tmp_path}})
    alone = {"name": "a", "strategy": "champion", "versions": {"champion": "fraud:1.0.0"}}

    def started(path: str | None) -> RolloutPlan:
        return plan(alone, shared={"events": plan_of(path).events})

    writer = Writer()
    writer.start(alone, shared={"events": plan_of("Gross").events})
    assert verify(store, started("Gross"), writer.log.state) == []
    (lacking,) = verify(store, started("total"), writer.log.state)
    assert "fraud:1.0.0 is warming: the rings do not keep gross (double) as this" in lacking
    assert "restart the scorers; it then begins when it is warm" in lacking
    with pytest.raises(ModelError, match="gross"):
        verify(store, started(None), writer.log.state)


def test_a_plan_whose_key_is_not_the_customer_is_refused(store: Settings) -> None:
    events = parse_events(f'{EVENTS}\n[key]\ncustomer = "none"')
    unkeyed = plan(shared={"events": events})
    with pytest.raises(SettingsError, match=r"key\.customer .* stream-scorer rekey"):
        verify(store, unkeyed, RolloutState())


def test_a_time_names_its_zone() -> None:
    assert event_time(None) is None
    assert event_time("1795597200000") == 1_795_597_200_000
    assert event_time("2026-11-25T10:00:00+01:00") == event_time("2026-11-25T09:00:00Z")
    for text, why in (("soon", "is not a date and time"), ("2026-11-25T10:00:00", "names no zone")):
        with pytest.raises(SettingsError, match=why):
            event_time(text)


MATURE = """
[guard]
maturity_seconds = 604_800
[shared.label_policy]
unlabelled = "mature"
after_days = {days}
"""


def test_a_guard_that_waits_less_than_the_labels_need_is_refused(start: Start) -> None:
    assert start(CANARY + MATURE.format(days=7.0)).format == 4
    told = r"guard\.maturity_seconds: 604800 is less than label_policy\.after_days, 8 days"
    with pytest.raises(SettingsError, match=told):
        start(CANARY + MATURE.format(days=8.0))
