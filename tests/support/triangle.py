"""Alerts, their runbook sections and their tiles: each has the other two."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
RULES = ROOT / "compose" / "prometheus" / "rules"
RUNBOOK = ROOT / "docs" / "RUNBOOK.md"
DASHBOARDS = ROOT / "compose" / "grafana" / "dashboards"
PAGE, TICKET = "page", "ticket"


def alert_rules(folder: Path = RULES) -> list[dict[str, Any]]:
    """Return every alert's rule."""
    return [
        rule
        for path in sorted(folder.glob("*.yaml"))
        for group in YAML(typ="safe").load(path)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def runbook_sections(text: str) -> list[str]:
    """Return the alerts that have a section."""
    (part,) = re.findall(r"^## Alerts$(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^### (\w+)$", part, re.MULTILINE)


def red_tiles(boards: Iterable[dict[str, Any]]) -> list[str]:
    """Return what the panels show that has a threshold: an alert's name, or the query.

    The colour does not matter: every shade above a threshold asks for a look.
    """
    found = []
    for panel in (panel for board in boards for panel in board["panels"]):
        if not any(step["value"] is not None for step in _steps(panel["fieldConfig"])):
            continue
        for target in panel["targets"]:
            named = re.search(r'ALERTS\{alertname="(\w+)"', target["expr"])
            found.append(named[1] if named else target["expr"])
    return found


def _steps(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of the thresholds; the first one has no value."""
    every = [config["defaults"].get("thresholds")]
    every += [
        each["value"]
        for override in config.get("overrides", [])
        for each in override["properties"]
        if each["id"] == "thresholds"
    ]
    return [step for each in every if each for step in each["steps"]]


def boards() -> list[dict[str, Any]]:
    """Return the committed dashboards."""
    return [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def faults(rules: list[dict[str, Any]], sections: list[str], tiles: list[str]) -> list[str]:
    """Return what is missing or doubled."""
    named = {"alert": [rule["alert"] for rule in rules], "section": sections, "tile": tiles}
    every = sorted({name for names in named.values() for name in names})
    counts = {kind: Counter(names) for kind, names in named.items()}
    found = [
        f"{name}: {counts[kind][name]} times a {kind}"
        for name in every
        for kind in named
        if counts[kind][name] != 1
    ]
    for rule in rules:
        name, notes = rule["alert"], rule.get("annotations", {})
        if notes.get("runbook") != f"docs/RUNBOOK.md#{name.lower()}":
            found.append(f"{name}: its runbook is {notes.get('runbook')}")
        if not notes.get("summary"):
            found.append(f"{name}: no summary")
        if rule.get("labels", {}).get("severity") not in {PAGE, TICKET}:
            found.append(f"{name}: no severity")
    return found
