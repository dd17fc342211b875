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


def test_no_metric_and_no_label_is_gone(now: dict[str, Any]) -> None:
    # A label that is added, such as group, breaks no query that aggregates.
    assert RECORDED["metrics"]
    for name, labels in RECORDED["metrics"].items():
        assert set(labels) <= set(now["metrics"].get(name, ())), name
        assert name in now["metrics"]


@pytest.mark.parametrize("kind", ["topics", "exit codes"])
def test_topics_and_exit_codes_stay(kind: str, now: dict[str, Any]) -> None:
    # The default name of each topic, the code of each error.
    assert RECORDED[kind]
    assert {name: now[kind].get(name) for name in RECORDED[kind]} == RECORDED[kind]


def test_every_command_that_prints_json_has_its_keys_recorded() -> None:
    printing = {name for name, flags in RECORDED["commands"].items() if "--json" in flags}
    assert set(ASKED["commands"]) == printing - set(NOT_ASKED)
    assert all(ASKED["commands"].values())
