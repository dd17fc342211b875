"""``models import``: a model file, features and labelled data in, a bundle of format 2 out."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from sklearn.ensemble import ExtraTreesClassifier

from stream_scorer.cli.main import main
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.commands.import_model import ImportJob, import_model, read_thresholds
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import LabelledData, take
from stream_scorer.training.days import Days
from stream_scorer.training.features import read_features

NAMES = ["AMOUNT", "LARGEST", "RISK"]


@pytest.fixture(scope="module")
def taken(data: Path, declared: Path) -> LabelledData:
    features = read_features(declared, Plan())[1]
    return take(data, features, Plan(), sort=False, most_rejected=0.01)


def fitted(taken: LabelledData, names: list[str] | None = None, **options: Any) -> Any:
    fraud = taken.table["is_fraud"].to_numpy().astype(np.int64)
    rows = taken.features if names is None else pd.DataFrame(taken.features, columns=names)
    model = ExtraTreesClassifier(n_estimators=8, max_depth=5, random_state=0, **options)
    return model.fit(rows, fraud)


@pytest.fixture(scope="module")
def model(taken: LabelledData) -> Any:
    return fitted(taken, NAMES)


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.skops"
    path.write_bytes(skops.io.dumps(model))
    return path


@pytest.fixture
def job(file: Path, declared: Path, data: Path, tmp_path: Path) -> ImportJob:
    return ImportJob(file, declared, data, "1.0.0", store=tmp_path / "store", resamples=5)


def changed(job: ImportJob, **changes: Any) -> ImportJob:
    fields = {name: getattr(job, name) for name in ImportJob.__dataclass_fields__}
    return ImportJob(**{**fields, **changes})


def test_the_command_writes_a_bundle_that_scores_as_the_library(
    job: ImportJob, model: Any, taken: LabelledData,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [
        "models", "import", job.file, "--features", job.features, "--validation", job.validation,
        "--version", "2.0.0", "--name", "cards", "--out", job.store, "--resamples", 5, "--json",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    told = json.loads(capsys.readouterr().out)
    directory = job.store / "cards" / "2.0.0"
    assert (told["bundle"], told["directory"]) == ("cards:2.0.0", str(directory))
    assert told["library"].startswith("scikit_learn 1.")
    assert (told["kind"], told["features"]) == ("extra_trees", 3)
    assert {path.name for path in directory.iterdir()} == {
        "manifest.json", "model.safetensors", "golden.json", "original.skops", "card.md",
        "card.png",
    }  # fmt: skip
    assert (directory / "original.skops").read_bytes() == job.file.read_bytes()
    assert (directory.parent / "plan.toml").is_file()
    bundle = load_bundle(directory)
    expected = np.ascontiguousarray(
        model.predict_proba(pd.DataFrame(taken.features, columns=NAMES))
    )
    assert bundle.predictor.scores(taken.features).tobytes() == expected[:, 1].tobytes()
    manifest = bundle.manifest
    assert (manifest.format, manifest.content_hash) == (2, told["content_hash"])
    assert (manifest.training.train, manifest.training.test) == (None, None)
    assert manifest.training.validation.auc == told["auc"] > 0.6
    assert manifest.parameters["n_estimators"] == 8
    card = (directory / "card.md").read_text()
    assert "trained by scikit_learn 1." in card
    assert "| train |" not in card


def test_thresholds_are_the_cheapest_or_given(job: ImportJob) -> None:
    _, manifest = import_model(job)
    assert 0 < manifest.thresholds.review <= manifest.thresholds.block <= 1
    assert "cost least" in manifest.thresholds.rule
    _, manifest = import_model(changed(job, version="1.0.1", thresholds=(0.25, 0.5)))
    assert (manifest.thresholds.review, manifest.thresholds.block) == (0.25, 0.5)
    assert manifest.thresholds.rule == "they were given"
    assert manifest.training.validation.block_rate < manifest.training.validation.auc


def test_days_with_a_complete_history_are_used(job: ImportJob, taken: LabelledData) -> None:
    day = taken.time // 86_400_000
    _, manifest = import_model(job)
    period = manifest.training.validation.period
    assert 0 < period.rows < len(day)
    asked = Days.parse("2018-05-06:2018-05-08")
    _, manifest = import_model(changed(job, version="1.0.1", days=asked))
    period = manifest.training.validation.period
    assert period.rows == int(asked.holds(day).sum())
    assert f"{period.first_day}:{period.last_day}" == "2018-05-06:2018-05-08"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["AMOUNT", "RISK", "LARGEST"], "its feature 2 is 'RISK', .* declares 'LARGEST' there"),
        (["AMOUNT", "LARGEST", "Risk"], "its feature 3 is 'Risk'"),
    ],
)
def test_features_in_another_order_are_refused(
    job: ImportJob, taken: LabelledData, tmp_path: Path, names: list[str], message: str
) -> None:
    path = tmp_path / "other.skops"
    path.write_bytes(skops.io.dumps(fitted(taken, names)))
    with pytest.raises(ModelError, match=message):
        import_model(changed(job, file=path))
    assert not (job.store / "fraud" / "1.0.0").exists()


@pytest.mark.parametrize("names", [None, ["f0", "f1", "f2"], ["0", "1", "2"]])
def test_numbered_columns_are_in_the_declared_order(
    job: ImportJob, taken: LabelledData, tmp_path: Path, names: list[str] | None
) -> None:
    path = tmp_path / "other.skops"
    path.write_bytes(skops.io.dumps(fitted(taken, names)))
    assert import_model(changed(job, file=path))[1].kind == "extra_trees"


def test_another_number_of_features_is_refused(job: ImportJob, tmp_path: Path) -> None:
    two = tmp_path / "two.toml"
    two.write_text("\n[[features]]".join(job.features.read_text().split("[[features]]")[:3]))
    with pytest.raises(ModelError, match=r"takes 3 features, .*two\.toml declares 2"):
        import_model(changed(job, features=two))


def test_data_need_frauds_and_genuine_transactions(
    job: ImportJob, labelled: pa.Table, tmp_path: Path
) -> None:
    at = labelled.schema.get_field_index("is_fraud")
    none = labelled.set_column(at, "is_fraud", pa.array(np.zeros(len(labelled), np.bool_)))
    path = tmp_path / "genuine.parquet"
    write_table(none, path)
    with pytest.raises(SettingsError, match="0 frauds on the chosen days; both kinds are needed"):
        import_model(changed(job, validation=path))
    with pytest.raises(SettingsError, match="none of 2030-01-01:2030-01-02 is left"):
        import_model(changed(job, days=Days.parse("2030-01-01:2030-01-02")))


def test_an_existing_version_is_refused_before_anything_is_read(job: ImportJob) -> None:
    (job.store / "fraud" / "1.0.0").mkdir(parents=True)
    with pytest.raises(ModelError, match="versions never change"):
        import_model(changed(job, file=Path("nowhere")))


def test_options_without_a_meaning_are_refused(job: ImportJob) -> None:
    with pytest.raises(ModelError, match="option --rounds: this model has no early stopping"):
        import_model(changed(job, options=ImportOptions(rounds="all")))


@pytest.mark.parametrize("text", ["0.5", "0.5:0.4", "0:0.5", "0.5:1.1", "a:b", "nan:nan", "1:2:3"])
def test_malformed_thresholds_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--thresholds"):
        read_thresholds(text)
    assert read_thresholds("0.5:0.9") == (0.5, 0.9)
