"""Public names of the previous release, as recorded, still exist."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.public_names import public_names

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "public_names.json").read_text()
)
ASKED = json.loads((Path(__file__).parents[1] / "recorded" / "json_keys.json").read_text())
NOT_ASKED = {
    "rollout approve": "needs a controller's proposal, and prints what other commands print",
    "rollout reject": "as approve",
}
ADDED_LABELS = {
    f"stream_scorer_{name}": ["group", "topic"]
    for name in ("lag_records", "lag_stable_records", "lag_seconds")
}
"""Labels that metrics of the previous release got: groups were scraped into one series."""
CHANGES = (Path(__file__).parents[2] / "CHANGELOG.md").read_text().split("\n## ")[1]


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return public_names()


@pytest.mark.parametrize("kind", ["settings", "log lines", "headers"])
def test_no_name_is_gone(kind: str, now: dict[str, Any]) -> None:
    assert RECORDED[kind]
    assert set(RECORDED[kind]) <= set(now[kind])


@pytest.mark.parametrize("kind", ["commands", "fields"])
def test_no_flag_and_no_field_is_gone(kind: str, now: dict[str, Any]) -> None:
    gone = {
        name: sorted(set(parts) - set(now[kind].get(name, ())))
        for name, parts in RECORDED[kind].items()
    }
    assert {name: parts for name, parts in gone.items() if parts or name not in now[kind]} == {}


@pytest.mark.parametrize("kind", ["topics", "metrics", "exit codes"])
def test_topics_metrics_and_exit_codes_stay(kind: str, now: dict[str, Any]) -> None:
    # The default name of each topic, the labels of each metric, the code of each error.
    assert RECORDED[kind]
    recorded = RECORDED[kind]
    if kind == "metrics":
        recorded = recorded | {
            name: sorted([*recorded[name], *labels]) for name, labels in ADDED_LABELS.items()
        }
    assert {name: now[kind].get(name) for name in recorded} == recorded


@pytest.mark.parametrize("name", ADDED_LABELS)
def test_a_label_that_is_added_is_announced(name: str) -> None:
    # A query that names all labels of a series must be adjusted.
    assert name.removeprefix("stream_scorer_") in CHANGES.split("### Added")[0]


def test_every_command_that_prints_json_has_its_keys_recorded() -> None:
    printing = {name for name, flags in RECORDED["commands"].items() if "--json" in flags}
    assert set(ASKED["commands"]) == printing - set(NOT_ASKED)
    assert all(ASKED["commands"].values())
