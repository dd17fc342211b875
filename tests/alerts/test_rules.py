"""Every alert fires on its fault, and none in a healthy hour; needs promtool."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.alerts.promtool import ROOT, RULES, Scenario, run
from tests.alerts.scenarios import BAD, GOOD, HEALTHY, SCENARIOS
from tests.alerts.weeks import INPUT_SILENT
from tests.support.triangle import alert_rules

pytestmark = pytest.mark.prometheus


def alerts() -> set[str]:
    documents = [YAML(typ="safe").load(path) for path in RULES]
    return {
        rule["alert"]
        for document in documents
        for group in document["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def test_each_alert_fires_on_its_fault_and_on_nothing_else(tmp_path: Path) -> None:
    ran = run(SCENARIOS, HEALTHY, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_silent_input_pages_in_hours_that_are_usually_busy(tmp_path: Path) -> None:
    # All rules over nine days would take minutes.
    (rule,) = (rule for rule in alert_rules() if rule["alert"] == "InputSilent")
    path = tmp_path / "rules.yaml"
    with path.open("w") as file:
        YAML().dump({"groups": [{"name": "one", "rules": [rule]}]}, file)
    ran = run([INPUT_SILENT], {}, tmp_path, [path])
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_a_fault() -> None:
    every = [*SCENARIOS, INPUT_SILENT]
    raised = {name for each in every for names in each.firing.values() for name in names}
    assert raised == alerts()


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
