"""The triangle of alerts, runbook and dashboards; and what alerts are made of."""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from stream_scorer.lag.verdicts.sample import LagVerdict
from tests.layout.dashboards import FOLDER, dashboards
from tests.support.metric_names import labels_of, sample_names
from tests.support.triangle import (
    PAGE,
    ROOT,
    RULES,
    RUNBOOK,
    alert_rules,
    boards,
    faults,
    red_tiles,
    runbook_sections,
)  # fmt: skip

ALERTS = [rule["alert"] for rule in alert_rules()]
EXPRESSIONS = [
    rule["expr"]
    for path in sorted(RULES.glob("*.yaml"))
    for group in YAML(typ="safe").load(path)["groups"]
    for rule in group["rules"]
]
RECORDED = {
    name for path in RULES.glob("*.yaml") for name in re.findall(r"record: (\S+)", path.read_text())
}
PAGES = {
    "DecisionsLate", "LagProcessAbsent", "InputSilent", "DataLost", "DriftPages",
    "RecordsUnaccounted",
}  # fmt: skip


Sides = tuple[list[dict[str, Any]], dict[str, str], list[str]]


def sides() -> Sides:
    return alert_rules(), runbook_sections(RUNBOOK.read_text()), red_tiles(boards())


def test_every_alert_has_one_section_and_one_tile() -> None:
    assert faults(*sides()) == []
    assert len(ALERTS) >= 20


@pytest.mark.parametrize("name", ALERTS)
def test_the_loss_of_one_side_is_found(name: str) -> None:
    rules, sections, tiles = sides()
    without = [rule for rule in rules if rule["alert"] != name]
    assert f"{name}: 0 times a alert" in faults(without, sections, tiles)
    sections_without = runbook_sections(RUNBOOK.read_text().replace(f"### {name}\n", "\n"))
    assert faults(rules, sections_without, tiles) == [f"{name}: 0 times a section"]
    tiles_without = [tile for tile in tiles if tile != name]
    assert faults(rules, sections, tiles_without) == [f"{name}: 0 times a tile"]


@pytest.mark.parametrize("name", ALERTS)
def test_a_section_is_of_its_alert_s_severity_and_not_empty(name: str) -> None:
    rules, sections, tiles = sides()
    (rule,) = (rule for rule in rules if rule["alert"] == name)
    severity = rule["labels"]["severity"].capitalize()
    other = ({"Page", "Ticket"} - {severity}).pop()
    for text in ("", f"{severity}.", sections[name].replace(severity, other, 1)):
        assert faults(rules, sections | {name: text}, tiles) == [f"{name}: its section is {text}"]


@pytest.mark.parametrize("color", ["red", "dark-red", "#F2495C", "orange"])
@pytest.mark.parametrize("override", [False, True])
def test_a_red_tile_without_an_alert_is_found(color: str, *, override: bool) -> None:
    rules, sections, tiles = sides()
    (board,) = [board for board in boards() if board["uid"] == "stream-scorer-sre"]
    panel = board["panels"][0]
    panel["targets"][0]["expr"] = "stream_scorer_ready == 0"
    config = panel["fieldConfig"]
    config["defaults"]["thresholds"]["steps"][1]["color"] = color
    if override:
        thresholds = {"id": "thresholds", "value": config["defaults"].pop("thresholds")}
        config["overrides"] = [{"matcher": {}, "properties": [thresholds]}]
    found = faults(rules, sections, red_tiles([board]))
    assert "stream_scorer_ready == 0: 0 times a alert" in found
    assert f"{tiles[0]}: 0 times a tile" in found


@pytest.mark.parametrize("override", [False, True])
def test_a_tile_that_a_value_makes_red_is_found(*, override: bool) -> None:
    panel: dict[str, Any] = {
        "fieldConfig": {"defaults": {}},
        "targets": [{"expr": "stream_scorer_ready"}],
    }
    mappings = [{"type": "value", "options": {"0": {"text": "down", "color": "red"}}}]
    if override:
        changed = {"id": "mappings", "value": mappings}
        panel["fieldConfig"]["overrides"] = [{"matcher": {}, "properties": [changed]}]
    else:
        panel["fieldConfig"]["defaults"]["mappings"] = mappings
    assert red_tiles([{"panels": [panel]}]) == ["stream_scorer_ready"]


def test_the_dashboards_are_those_of_their_source() -> None:
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == dashboards()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_uses_metrics_and_labels_that_exist(expression: str) -> None:
    samples = re.findall(r"(?<![\w:])stream_scorer_\w+", expression)
    assert set(samples) <= sample_names()
    assert set(re.findall(r"stream_scorer:[\w:]+", expression)) <= RECORDED
    for sample, matchers in re.findall(r"(stream_scorer_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)=", matchers)) <= labels_of(sample)
    grouped = {
        label for each in re.findall(r"by \(([^)]*)\)", expression) for label in each.split(", ")
    }
    assert grouped <= set().union({"job", "instance"}, *(labels_of(sample) for sample in samples))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_clusters_are_not_added(expression: str) -> None:
    # A job is a cluster, and two of them may have groups and topics of the same names.
    kept = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    assert all("job" in labels.split(", ") for labels in kept)


FOLDED = {"LabelsLate", "RegistrySlow", "CheckpointStoreSlow", "BrokersSlow", "ClientsThrottled"}
"""They are about a service or a topic, whichever process reports it."""


def test_an_alert_on_a_process_names_its_instance_or_group() -> None:
    (group,) = YAML(typ="safe").load(RULES / "processes.yaml")["groups"]
    for rule in group["rules"]:
        kept = [set(each.split(", ")) for each in re.findall(r"by \(([^)]*)\)", rule["expr"])]
        named = all(labels & {"instance", "group"} for labels in kept)
        name = rule.get("alert", rule.get("record"))
        assert named == (name not in FOLDED), name


def test_every_verdict_but_ok_has_an_alert() -> None:
    text = (RULES / "lag.yaml").read_text()
    named = set(re.findall(r'verdict="([^"]+)"', text))
    assert named == {str(verdict) for verdict in LagVerdict} - {"OK"}


def test_few_alerts_page() -> None:
    paging = {rule["alert"] for rule in alert_rules() if rule["labels"]["severity"] == PAGE}
    assert paging == PAGES
    sre = (ROOT / "docs" / "SRE.md").read_text()
    assert all(f"RUNBOOK.md#{name.lower()}" in sre for name in paging)


def test_pages_and_tickets_have_different_receivers() -> None:
    route = YAML(typ="safe").load(ROOT / "compose" / "prometheus" / "alertmanager.yml")["route"]
    pages = [each for each in route["routes"] if each["matchers"] == ["severity = page"]]
    assert [each["receiver"] for each in pages] == ["pages"]
    assert route["receiver"] == "tickets"
    severities = {rule["labels"]["severity"] for rule in alert_rules()}
    assert severities == {"page", "ticket"}
