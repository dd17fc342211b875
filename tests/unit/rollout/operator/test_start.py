"""From a file and options to a plan: what is filled in, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.rollout.operator.commands import event_time
from stream_scorer.rollout.operator.start import Given, planned, verify
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.settings import MODELS_DIRECTORY, Settings, load_settings
from tests.support.rollout.scene import CONTROLLER_KEY, Writer, plan

VERSION = max(path.name for path in (MODELS_DIRECTORY / "fraud").iterdir() if path.is_dir())
CANARY = Given(
    name="try", strategy="canary", versions=["champion=fraud:0.1.0", "canary=fraud:0.2.0"]
)


@pytest.fixture
def store(tmp_path: Path) -> Settings:
    """Return settings of a store whose plan differs from the default."""
    shutil.copytree(MODELS_DIRECTORY / "fraud", tmp_path / "store" / "fraud")
    (tmp_path / "store" / "fraud" / "plan.toml").write_text("ring_cap = 77\n")
    return load_settings({"models": {"directory": tmp_path / "store"}})


def given(**changed: Any) -> Given:
    return Given(**{**{name: getattr(CANARY, name) for name in Given.__slots__}, **changed})


def test_a_first_plan_shares_what_lies_beside_the_champion(store: Settings) -> None:
    made = planned(store, CANARY, RolloutState())
    assert made.shared_plan(3) == Plan(revision=3, ring_cap=77)
    assert [stage.percent for stage in made.ramp] == [1, 5, 25, 50, 100]
    assert len(made.salt) == 32
    assert made.salt != planned(store, CANARY, RolloutState()).salt


def test_a_later_plan_shares_what_the_log_says_and_keeps_the_champion(store: Settings) -> None:
    writer = Writer()
    writer.start(shared={"ring_cap": 500, "late_decision_ms": 5})
    writer.accept("promote", arm="canary")
    state = writer.log.state
    made = planned(store, given(versions=["canary=fraud:0.3.0"]), state)
    assert made.versions == {"champion": "fraud:0.2.0", "canary": "fraud:0.3.0"}
    assert made.shared_plan(0) == Plan(ring_cap=500, late_decision_ms=5)


@pytest.mark.parametrize(
    ("text", "key"),
    [('versions = "x"', "versions"), ('versions = ["a"]', "versions"), ("shares = 3", "shares"),
     ("controller = [1]", "controller"), ("shared = 'all'", "shared"), ("ramp = 5", "ramp"),
     ("ramp = [5]", "ramp")],
)  # fmt: skip
def test_a_file_of_another_shape_is_refused_by_its_key(
    text: str, key: str, store: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(f'name = "a"\nstrategy = "canary"\n{text}\n')
    with pytest.raises(SettingsError, match=rf"plan .*: {key}: must be a "):
        planned(store, Given(file=file, stage_seconds=60), RolloutState())


@pytest.mark.parametrize("champion", ["nosuch:1.0.0", "../../etc:1.0.0", ":1.0.0"])
def test_a_champion_that_is_no_model_is_told_as_such(champion: str, store: Settings) -> None:
    with pytest.raises(ModelError, match=r"not in|not a reference"):
        planned(
            store, given(versions=[f"champion={champion}", "canary=fraud:0.2.0"]), RolloutState()
        )


def test_options_lie_over_a_file(store: Settings, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        'name = "a"\nstrategy = "canary"\nsalt = "s"\nramp = [{percent = 2}]\n'
        '[versions]\nchampion = "fraud:0.1.0"\ncanary = "fraud:0.2.0"\n'
        "[shared]\nring_cap = 9\n[controller]\nmay = ['step']\n"
    )
    said = Given(
        file=file, name="b", reason="because", versions=["canary=fraud:0.4.0"], ramp="0,7.5",
        stage_seconds=60, effective_at=5, controller=CONTROLLER_KEY, up_to=7.5, manual=True,
    )  # fmt: skip
    made = planned(store, said, RolloutState())
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


def test_colours_and_shares_by_options(store: Settings) -> None:
    colours = given(
        strategy="blue-green", versions=["blue=fraud:0.1.0", "green=fraud:0.2.0"], active="green"
    )
    assert planned(store, colours, RolloutState()).first == "green"
    split = given(strategy="split", shares=["champion=90", "canary=10"], may="rollback")
    made = planned(store, split, RolloutState())
    assert made.shares == {"champion": 90, "canary": 10}
    assert made.controller is not None
    assert made.controller.may == ("rollback",)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": None}, "options: name: Field required"),
        ({"strategy": None}, "options: strategy: Field required"),
        ({"versions": ["fraud:0.1.0"]}, "--version fraud:0.1.0: write ARM=VALUE"),
        ({"versions": ["a=b:1.0.0", "a=b:1.0.0"]}, "each arm once"),
        ({"ramp": "1,x"}, "'x' is no number of per cents"),
        ({"ramp": ""}, "'' is no number of per cents"),
        ({"ramp": "5,1"}, "its percents must ascend"),
        ({"ramp": "nan"}, "'nan' is no number of per cents"),
        ({"shares": ["champion=100"]}, "shares: is for strategy split"),
        ({"may": "step,fly"}, "controller.may.1"),
        ({"effective_at": 2**63}, "effective_at"),
        ({"file": Path("/nowhere/plan.toml")}, "plan /nowhere/plan.toml: No such file"),
        ({"controller": "nobody.pub"}, "--controller-key: nobody.pub: No such file"),
        ({"versions": ["canary=fraud:0.2.0"]}, "needs the arm champion"),
    ],
)
def test_what_is_no_plan_is_refused(store: Settings, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError) as refused:
        planned(store, given(**changed), RolloutState())
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["versions = 5", "shared = 5", "controller = 5", "ramp = [5]"])
def test_a_file_of_other_types_is_refused(store: Settings, tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(f'name = "a"\nstrategy = "canary"\n{text}\n')
    said = Given(file=file, stage_seconds=5, manual=True, versions=["canary=a:1.0.0"])
    with pytest.raises(SettingsError, match=r"plan .*plan\.toml: "):
        planned(store, said, RolloutState())


def test_every_version_is_loaded_as_a_scorer_would(store: Settings) -> None:
    label = f"fraud:{VERSION}"
    verify(store, plan(versions={"champion": label, "canary": label}))
    with pytest.raises(ModelError, match=r"fraud:9\.9\.9"):
        verify(store, plan(versions={"champion": label, "canary": "fraud:9.9.9"}))


def test_a_time_names_its_zone() -> None:
    assert event_time(None) is None
    assert event_time("1795597200000") == 1_795_597_200_000
    assert event_time("2026-11-25T10:00:00+01:00") == event_time("2026-11-25T09:00:00Z")
    for text, why in (("soon", "is no date and time"), ("2026-11-25T10:00:00", "names no zone")):
        with pytest.raises(SettingsError, match=why):
            event_time(text)
