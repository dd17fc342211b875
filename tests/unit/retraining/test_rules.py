"""``retrain.toml``, what starts a retraining, and what holds it back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.retraining.rules.contract import SearchRange
from stream_scorer.retraining.rules.delta import tolerated_cost
from stream_scorer.retraining.rules.rules_file import chosen_rules, read_rules, rules_of
from stream_scorer.retraining.rules.schedule import next_due
from stream_scorer.retraining.rules.triggers import (
    LossAlarm,
    MaturedDay,
    Situation,
    first_day,
    guards,
    wanted,
)
from stream_scorer.settings import Performance, Settings

DAY = 86_400_000
LEAST: dict[str, Any] = {"cost_of_retraining": 400.0, "horizon_days": 100}
DAYS = tuple(MaturedDay((day + 1) * DAY, 1_000, 100) for day in range(40))
ALARM = LossAlarm("ab" * 8, 34 * DAY, "loss/day@all rose")
CALM = Situation(
    now_ms=60 * DAY, champion="fraud:1.0.0", days=DAYS, alarm=None, asked="", running=False,
    faults=(), grant="", began_at=0, since_ms=0,
)  # fmt: skip


def test_a_file_becomes_rules(tmp_path: Path) -> None:
    path = tmp_path / "retrain.toml"
    path.write_text(
        "trials = 3\ncost_of_retraining = 400.0\nhorizon_days = 100\n"
        "[guards]\nleast_frauds = 50\n[space]\nlearning_rate = {low = 0.02, high = 0.3, log = true}"
        "\nmax_leaf_nodes = [15, 31]\n[rollout]\nramp = [0.0, 25.0]\n"
    )
    rules = read_rules(path)
    assert (rules.trials, rules.least_frauds, rules.ramp) == (3, 50, (0.0, 25.0))
    assert rules.features is None
    path.write_text('features = "own.toml"\n' + path.read_text())
    assert read_rules(path).features == tmp_path / "own.toml"
    path.write_text(path.read_text().partition("\n")[2])
    assert rules.space == {
        "learning_rate": SearchRange(0.02, 0.3, log=True), "max_leaf_nodes": (15, 31),
    }  # fmt: skip
    path.write_text("speed = 1\ncost_of_retraining = 1.0\nhorizon_days = 1\n")
    with pytest.raises(SettingsError, match="speed: unknown key"):
        read_rules(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_rules(tmp_path / "none.toml")


def test_the_rules_have_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, cost in (("retrain.toml", 1), ("own.toml", 2), ("same.toml", 2), ("other.toml", 3)):
        Path(name).write_text(f"cost_of_retraining = {cost}.0\nhorizon_days = 10\n")
    plain = Settings()
    own = Settings(performance=Performance(retrain_rules=Path("own.toml")))
    assert chosen_rules(plain, None).cost == 1
    assert chosen_rules(plain, Path("other.toml")).cost == 3
    assert chosen_rules(own, None).cost == 2
    assert chosen_rules(own, Path("same.toml")).cost == 2
    with pytest.raises(SettingsError, match=r"other rules than performance\.retrain_rules, own"):
        chosen_rules(own, Path("other.toml"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"horizon_days": 0}, "horizon_days: "),
        ({"cost_of_retraining": float("inf")}, "cost_of_retraining: "),
        ({"schedule": "daily"}, "schedule: has five fields"),
        ({"schedule": "0 3 31 2 *"}, "schedule: "),
        ({"guards": {"least_days": 3}}, "guards.least_days: 3 leaves no day to train on"),
        ({"space": {"a": {"low": 2.0, "high": 1.0}}}, "space.a: low must be less than high"),
        ({"space": {"a": {"low": 0.0, "high": 1.0, "log": True}}}, "space.a: low must be above 0"),
        ({"space": {"a": {"low": 0.5, "high": 1.0, "whole": True}}}, "space.a: low and high must"),
        ({"space": {"a": []}}, "space.a: has no value"),
        ({"space": {"a": {"low": 1.0, "high": 1e300, "whole": True}}}, "space.a.high: "),
        ({"rollout": {"ramp": [1.0]}}, "rollout.ramp: begins with a shadow"),
        ({"rollout": {"ramp": [0.0, 101.0]}}, "rollout.ramp: must ascend, up to 100"),
        ({"rollout": {"ramp": [0.0, 0.07, 50.005]}}, "rollout.ramp: 50.005 is not a multiple"),
        ({"rollout": 1}, "rollout: must be a table"),
        ({"space": {"a": 1}}, "space.a: must be a range, with low and high, or a list"),
        ({"space": {"a": [float("nan")]}}, "space.a: must be a range, with low and high, or a li"),
        ({"space": {"a": {"low": 1.0}}}, "space.a.high: Field required"),
    ],
)
def test_other_values_are_refused_by_their_key(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=r"^.") as refused:
        rules_of({**LEAST, **changed})
    assert str(refused.value).startswith(why)


def test_the_loss_that_does_not_matter() -> None:
    assert tolerated_cost(400.0, 100, [1] + [10_000] * 28) == pytest.approx(0.0004)
    assert tolerated_cost(400.0, 100, []) == float("inf")


def test_a_person_comes_before_an_alarm_before_the_schedule() -> None:
    rules = rules_of({**LEAST, "schedule": "0 3 1 * *"})
    due = next_due("0 3 1 * *", 0)
    assert due == 3 * 3_600_000
    calm = replace(CALM, now_ms=due - 1)
    assert wanted(calm, rules) is None
    found = wanted(replace(calm, now_ms=due), rules)
    assert found is not None
    assert (found.kind, found.onset_ms) == ("schedule", 0)
    assert wanted(replace(calm, now_ms=due, began_at=due), rules) is None
    alarmed = replace(calm, now_ms=due, alarm=ALARM)
    loss = wanted(alarmed, rules)
    assert loss is not None
    assert (loss.kind, loss.onset_ms) == ("loss", 34 * DAY)
    person = wanted(replace(alarmed, asked="we want it"), rules)
    assert person is not None
    assert (person.kind, person.reason, person.onset_ms) == ("person", "we want it", 34 * DAY)


def test_rows_begin_at_the_change_or_by_the_split() -> None:
    rules = rules_of(LEAST)
    assert first_day(CALM, rules, 0) == 9 * DAY
    assert first_day(CALM, rules, 34 * DAY) == 34 * DAY
    assert first_day(CALM, rules, 34 * DAY + 1) == 35 * DAY
    old = rules_of({**LEAST, "split": {"since_onset": False}})
    assert first_day(CALM, old, 34 * DAY) == 9 * DAY


@pytest.mark.parametrize(
    ("changed", "onset", "name"),
    [
        ({"champion": ""}, 0, "champion"),
        ({}, 35 * DAY, "days"),
        ({"days": DAYS[:2]}, 0, "frauds"),
        ({"began_at": 60 * DAY - 7 * DAY + 1}, 0, "cool-down"),
        ({"faults": ("LATE",)}, 0, "faults"),
        ({"running": True}, 0, "rollout"),
        ({"grant": "it expired"}, 0, "grant"),
        ({"days": ()}, 0, "days"),
    ],
)
def test_each_guard_holds_it_back(changed: dict[str, Any], onset: int, name: str) -> None:
    rules = rules_of(LEAST)
    assert all(each.passed for each in guards(CALM, rules, 34 * DAY))
    held = [each.name for each in guards(replace(CALM, **changed), rules, onset) if not each.passed]
    assert name in held
    later = replace(CALM, began_at=53 * DAY)
    assert all(each.passed for each in guards(later, rules, 0))
