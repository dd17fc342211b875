"""docs/EDGE.md has each error of a device and of its updates, and settings that are accepted."""

import re
import tomllib
from pathlib import Path

from stream_scorer.edge.run.answers import _CODES, _REFUSALS
from stream_scorer.edge.update.refusals import UpdateRefusedError
from stream_scorer.edge.update.repository_metadata import EXPIRY
from stream_scorer.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "EDGE.md").read_text()


def _rows(heading: str) -> list[list[str]]:
    """Return the cells of the table rows below a heading, up to the next heading."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in found[1].splitlines()
        if line.startswith("| ") and not line.startswith("| |")
    ]


def test_each_refusal_of_an_update_has_its_row() -> None:
    told = {row[0].strip("`") for row in _rows("Update a device")} - {"error"}
    assert told == {kind.kind for kind in UpdateRefusedError.__subclasses__()}


def test_each_problem_of_a_device_has_status_and_code() -> None:
    told = {tuple(row[:2]) for row in _rows("Decide offline")}
    statuses = {kind: status for status, kind, _ in _REFUSALS.values()}
    statuses |= {"invalid-json": 400}
    for kind, code in _CODES.items():
        shown = f"{statuses[kind]} `{kind}`" if kind in statuses else "413"
        assert (shown, f"`{code}`") in told


def test_the_lifetimes_of_metadata_are_those_of_the_code() -> None:
    told = {row[0]: row[2] for row in _rows("Publish releases")}
    for role, life in EXPIRY.items():
        assert told[role].split() == [str(life.days), "day" if life.days == 1 else "days"]


def test_the_settings_of_the_story_are_accepted() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    operator, device = (Settings.model_validate(tomllib.loads(each)) for each in blocks)
    assert operator.scorer.edge == "accept"
    assert operator.serving.edge.enabled
    assert operator.edge.trusted_keys == device.edge.trusted_keys
    assert device.edge.upload_url == f"https://localhost:{operator.serving.port}"
