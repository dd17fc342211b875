"""docs/YOUR_MODEL.md: all of its commands, run as written."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stream_scorer.models.bundles.loader import load_bundle
from tests.support.pages import commands_of, run_commands

pytestmark = [pytest.mark.kafka, pytest.mark.thorough, pytest.mark.timeout(900)]

MOST_SECONDS = 600.0
PAGE = "YOUR_MODEL.md"
SECTION = "In ten minutes"


def check_files(folder: Path) -> None:
    """Check what the steps without Kafka leave."""
    bundle = load_bundle(folder / "models" / "fraud" / "2.0.0")
    manifest = bundle.manifest
    champion = json.loads((folder / "models/fraud/1.0.1/manifest.json").read_text())
    assert [each["name"] for each in manifest.features] == [
        each["name"] for each in champion["features"]
    ]
    assert manifest.origin is not None
    assert (manifest.origin.library, manifest.origin.file) == ("lightgbm", "original.txt")
    assert (folder / "models/fraud/2.0.0/original.txt").read_bytes() == (
        folder / "model.txt"
    ).read_bytes()
    assert manifest.training.validation.auc > 0.55
    rows = pq.read_metadata(folder / "payments.parquet").num_rows
    decisions = pq.read_table(folder / "decisions.parquet", columns=["score", "model_version"])
    assert decisions.num_rows == rows
    assert set(decisions["model_version"].to_pylist()) == {"2.0.0"}


def test_the_page_works_as_written_in_ten_minutes(tmp_path: Path) -> None:
    blocks = commands_of(PAGE, SECTION)
    assert len(blocks) == 8
    ran = run_commands(blocks, tmp_path, MOST_SECONDS)
    assert ran.code == 0, ran.output
    assert ran.seconds < MOST_SECONDS
    check_files(ran.folder)
    # The shadow was compared with the champion.
    assert re.search(r"candidate\W+fraud:2\.0\.0\W+shadow", ran.output)
    assert "alerts_control" in ran.output
    # Then it decided.
    decided = re.findall(r"fraud:(\S+)  \d+:\d+$", ran.output, re.MULTILINE)
    assert decided[-5:] == ["2.0.0"] * 5
    assert re.search(r"promote\W+candidate", ran.output)
