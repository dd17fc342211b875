"""Writes the dashboards of Grafana from their one source: ``python -m tests.layout.dashboards``."""

import json
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "compose" / "grafana" / "dashboards.toml"
FOLDER = ROOT / "compose" / "grafana" / "dashboards"
_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_FIRING = 'count(ALERTS{alertname="NAME",alertstate="firing"}) or vector(0)'
_COLUMNS = 24
_TILE, _PANEL = (4, 3), (12, 8)
"""Width and height, in Grafana's grid."""


def dashboards() -> dict[str, str]:
    """Return the text of each dashboard's file, by its name."""
    source = tomllib.loads(SOURCE.read_text())
    return {
        f"{board['name']}.json": json.dumps(_board(board), indent=1, ensure_ascii=False) + "\n"
        for board in source["dashboard"]
    }


def _board(board: dict[str, Any]) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    row = 0
    for kind, size in ((_tiles(board), _TILE), (_panels(board), _PANEL)):
        width, height = size
        across = _COLUMNS // width
        for place, panel in enumerate(kind):
            at = {
                "h": height, "w": width,
                "x": place % across * width, "y": row + place // across * height,
            }  # fmt: skip
            head = {"id": len(panels) + 1, "type": panel.pop("type"), "title": panel.pop("title")}
            head |= {"description": panel.pop("description"), "datasource": _SOURCE}
            panels.append(head | {"gridPos": at} | panel)
        row += -(-len(kind) // across) * height
    return {
        "uid": f"stream-scorer-{board['name']}", "title": board["title"],
        "tags": ["stream-scorer"], "schemaVersion": 39, "version": 1, "editable": False,
        "time": {"from": "now-1h", "to": "now"}, "refresh": "10s", "timezone": "utc",
        "templating": {"list": []}, "annotations": {"list": []}, "panels": panels,
    }  # fmt: skip


def _tiles(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a tile for each alert: it is red while the alert fires."""
    return [
        {
            "type": "stat", "title": alert,
            "description": f"docs/RUNBOOK.md#{alert.lower()}",
            "fieldConfig": {
                "defaults": {
                    "mappings": [
                        {"type": "value", "options": {"0": {"text": "ok"}}},
                        {
                            "type": "range",
                            "options": {"from": 1, "to": None, "result": {"text": "FIRES"}},
                        },
                    ],
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [{"color": "blue", "value": None}, {"color": "red", "value": 1}],
                    },
                },
                "overrides": [],
            },
            "options": {"colorMode": "background", "graphMode": "none", "textMode": "value"},
            "targets": [
                {
                    "refId": "A",
                    "expr": _FIRING.replace("NAME", alert),
                    "legendFormat": alert,
                }
            ],
        }
        for alert in board.get("tiles", [])
    ]  # fmt: skip


def _panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "type": "timeseries", "title": panel["title"], "description": panel.get("about", ""),
            "fieldConfig": {"defaults": _scale(panel["unit"], panel["queries"]), "overrides": []},
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi"},
            },
            "targets": [
                {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend}
                for number, (query, legend) in enumerate(panel["queries"])
            ],
        }
        for panel in board["panel"]
    ]  # fmt: skip


def _scale(unit: str, queries: list[list[str]]) -> dict[str, Any]:
    """Return unit and minimum; clocks may be behind, too."""
    signed = any("skew" in query for query, _ in queries)
    return {"unit": unit} if signed else {"unit": unit, "min": 0}


def write() -> None:
    """Write all files."""
    for name, text in dashboards().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    write()
