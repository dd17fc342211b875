"""``models reference``: a new version with the same decisions, and a reference from data."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.commands.reference import BundleReferenceJob, add_reference
from stream_scorer.models.commands.report import as_rows, compared, shown
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.models.reference.format import read_reference
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from stream_scorer.training.days import Days
from tests.support.models.referenced import LABEL, referenced_bundle

PLAN = MODELS_DIRECTORY / "fraud" / "plan.toml"
TRAIN, HELD = Days.parse("2018-04-20:2018-05-05"), Days.parse("2018-05-06:2018-05-22")


def settings(store: Path) -> Settings:
    return Settings(models=Models(directory=store))


def of_shipped(
    data: Path, out: Path, version: str = "9.0.0", **changes: object
) -> dict[str, object]:
    job = BundleReferenceJob(
        model="fraud:1.0.0", data=data, version=version, out=out, train=TRAIN, held=HELD
    )
    for name, value in changes.items():
        object.__setattr__(job, name, value)
    return add_reference(settings(MODELS_DIRECTORY), job)


def test_an_old_version_gets_a_reference_and_decides_the_same(data: Path, tmp_path: Path) -> None:
    told = of_shipped(data, tmp_path)
    directory = tmp_path / "fraud" / "9.0.0"
    old, new = load_bundle(MODELS_DIRECTORY / "fraud" / "1.0.0"), load_bundle(directory)
    assert (told["old"], told["new"]) == ("fraud:1.0.0", "fraud:9.0.0")
    assert told["content_hash"] == new.manifest.content_hash == old.manifest.content_hash
    assert new.reference is not None
    assert told["reference_digest"] == new.reference.digest
    assert told["streams"] == len(new.reference.streams) > 50
    assert told["left_out"] == []
    for name in old.manifest.files:
        if name != "card.md":
            assert (directory / name).read_bytes() == (
                MODELS_DIRECTORY / "fraud" / "1.0.0" / name
            ).read_bytes()


def test_the_digest_is_the_same_in_each_run(data: Path, tmp_path: Path) -> None:
    first = of_shipped(data, tmp_path / "a")
    second = of_shipped(data, tmp_path / "b")
    assert first["reference_digest"] == second["reference_digest"]


def test_what_cannot_be_used_is_refused(data: Path, tmp_path: Path) -> None:
    of_shipped(data, tmp_path)
    with pytest.raises(ModelError, match="exists already"):
        of_shipped(data, tmp_path)
    with pytest.raises(SettingsError, match="the model was fitted on 2018-04-20:2018-05-05, so"):
        of_shipped(data, tmp_path, "9.0.1", held=Days.parse("2018-05-05:2018-05-22"))
    with pytest.raises(SettingsError, match="no transaction on 2019-01-01:2019-01-02"):
        of_shipped(data, tmp_path, "9.0.1", held=Days.parse("2019-01-01:2019-01-02"))
    with pytest.raises(
        SettingsError, match=r"reference of fraud:9\.0\.1: .* rows for 'score' have"
    ):
        of_shipped(
            data, tmp_path, "9.0.1", train=Days.parse("2018-05-10:2018-05-22"),
            held=Days.parse("2018-04-05:2018-04-09"),
        )  # fmt: skip
    assert not (tmp_path / "fraud" / "9.0.1").exists()


def test_the_command_reports_days_and_prints_json(data: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["models", "reference", "fraud:1.0.0", "--data", str(data), "--version", "9.0.0", "--out",
         str(tmp_path), "--train", str(TRAIN), "--held", str(HELD), "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[0] == "counted 2018-04-01"
    assert set(json.loads(done.stdout)) == {
        "old", "new", "directory", "content_hash", "reference_digest", "fields", "streams",
        "segments", "weeks", "rows_features", "rows_scores", "pooled", "left_out",
    }  # fmt: skip


def test_a_trained_bundle_has_a_reference_with_segments(tmp_path: Path) -> None:
    assert referenced_bundle(tmp_path) == LABEL
    document = shown(settings(tmp_path), LABEL)
    watched = document["drift_reference"]
    assert watched["segments"] == 4
    assert watched["fields"][:4] == ["score", "outcome", "amount", "currency"]
    loaded = load_bundle(tmp_path / "fraud" / "1.0.0").reference
    assert loaded is not None
    assert loaded.plan_segments == ("amount<20", "amount<100", "amount>=100")
    assert watched["digest"] == loaded.digest
    rows = dict(as_rows(document))
    assert rows["drift_reference.streams"] == len(loaded.streams)
    # What an operator writes into a grant for retraining.
    assert rows["feature_set"] == read_manifest(tmp_path / "fraud" / "1.0.0").feature_set


def test_models_show_refuses_an_altered_reference(tmp_path: Path) -> None:
    referenced_bundle(tmp_path)
    path = tmp_path / "fraud" / "1.0.0" / "reference.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match=r"reference\.json is not the file"):
        shown(settings(tmp_path), LABEL)


def test_an_upgrade_keeps_the_reference(data: Path, tmp_path: Path) -> None:
    of_shipped(data, tmp_path)
    upgrade(settings(tmp_path), "fraud:9.0.0", "9.0.1", None)
    old, new = (
        read_reference((tmp_path / "fraud" / v / "reference.json").read_bytes(), f"fraud:{v}")
        for v in ("9.0.0", "9.0.1")
    )
    assert [each.mean for each in old.streams] == [each.mean for each in new.streams]
    assert new.version == "9.0.1"
    differences = compared(settings(tmp_path), "fraud:9.0.0", "fraud:9.0.1")["bundle"]
    assert differences["drift_reference"] == [old.digest, new.digest]
    assert load_bundle(tmp_path / "fraud" / "9.0.1").reference is not None
