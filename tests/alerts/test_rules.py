"""Every alert fires on its fault, and none in a healthy hour; needs promtool."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.alerts.promtool import ROOT, RULES, Scenario, run
from tests.alerts.scenarios import BAD, GOOD, HEALTHY, SCENARIOS
from tests.alerts.several import SEVERAL
from tests.alerts.weeks import INPUT_SILENT
from tests.support.triangle import alert_rules

pytestmark = pytest.mark.prometheus


def every_rule() -> list[dict[str, Any]]:
    documents = [YAML(typ="safe").load(path) for path in RULES]
    return [rule for each in documents for group in each["groups"] for rule in group["rules"]]


def test_each_alert_fires_on_its_fault_and_on_nothing_else(tmp_path: Path) -> None:
    ran = run(SCENARIOS, HEALTHY, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_several_lag_processes_and_clusters(tmp_path: Path) -> None:
    ran = run(SEVERAL, {}, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_silent_input_pages_in_hours_that_are_usually_busy(tmp_path: Path) -> None:
    # All rules over nine days would take minutes.
    names = {"stream_scorer:slo_records:increase10m", "InputSilent"}
    rules = [rule for rule in every_rule() if names & {rule.get("record"), rule.get("alert")}]
    assert len(rules) == len(names)
    path = tmp_path / "rules.yaml"
    with path.open("w") as file:
        YAML().dump({"groups": [{"name": "some", "rules": rules}]}, file)
    ran = run([INPUT_SILENT], {}, tmp_path, [path])
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_a_fault() -> None:
    every = [*SCENARIOS, INPUT_SILENT]
    raised = {name for each in every for names in each.firing.values() for name in names}
    assert raised == {rule["alert"] for rule in alert_rules()}


def test_an_alert_that_does_not_fire_is_found(tmp_path: Path) -> None:
    silent = Scenario("healthy", {GOOD: "0+6000x400", BAD: "0+0x400"}, {"62m": ["GroupStopped"]})
    ran = run([silent], HEALTHY, tmp_path)
    assert ran.returncode == 1
    assert "GroupStopped" in ran.stdout + ran.stderr


def test_each_alert_is_a_notification_of_its_own() -> None:
    document = YAML(typ="safe").load(ROOT / "compose" / "prometheus" / "alertmanager.yml")
    routes = [document["route"], *document["route"]["routes"]]
    # Most alerts have no group and no topic: those would be one notification.
    assert all("alertname" in route["group_by"] for route in routes if "group_by" in route)
    assert "group_by" in document["route"]
