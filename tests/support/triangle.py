"""Alerts, their runbook sections and their tiles: each has the other two."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
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


def runbook_sections(text: str) -> dict[str, str]:
    """Return the text of each alert's section."""
    (part,) = re.findall(r"^## Alerts$(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    _, *parts = re.split(r"^### (\w+)$", part, flags=re.MULTILINE)
    names, texts = parts[::2], parts[1::2]
    assert len(set(names)) == len(names), "two sections of a name"
    return dict(zip(names, map(str.strip, texts), strict=True))


def red_tiles(boards: Iterable[dict[str, Any]]) -> list[str]:
    """Return what the panels show that changes its colour: an alert's name, or the query.

    The colour does not matter: every shade above a threshold, or of a value, asks for a look.
    """
    found = []
    for panel in (panel for board in boards for panel in board["panels"]):
        steps = _settings(panel["fieldConfig"], "thresholds")
        above = any(step["value"] is not None for each in steps for step in each["steps"])
        if not above and '"color"' not in json.dumps(_settings(panel["fieldConfig"], "mappings")):
            continue
        for target in panel["targets"]:
            named = re.search(r'ALERTS\{alertname="(\w+)"', target["expr"])
            found.append(named[1] if named else target["expr"])
    return found


def _settings(config: dict[str, Any], name: str) -> list[Any]:
    """Return a setting of a panel: the default one, and what overrides it."""
    every = [config["defaults"].get(name)]
    every += [
        each["value"]
        for override in config.get("overrides", [])
        for each in override["properties"]
        if each["id"] == name
    ]
    return [each for each in every if each]


def boards() -> list[dict[str, Any]]:
    """Return the committed dashboards."""
    return [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def faults(rules: list[dict[str, Any]], sections: Mapping[str, str], tiles: list[str]) -> list[str]:
    """Return what is missing, doubled, or does not fit to the alert."""
    named = {"alert": [rule["alert"] for rule in rules], "section": [*sections], "tile": tiles}
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
        severity = rule.get("labels", {}).get("severity", "")
        if severity not in {PAGE, TICKET}:
            found.append(f"{name}: no severity")
        text = sections.get(name)
        # The severity first, then what to do.
        if text is not None and not re.match(rf"{severity.capitalize()}[.;] \S", text):
            found.append(f"{name}: its section is {text}")
    return found
