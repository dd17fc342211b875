"""``models import``: a model file, features and labelled data in, a bundle of format 2 out."""

import hashlib
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
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.commands import import_model as module
from stream_scorer.models.commands.import_model import ImportJob, import_model, read_thresholds
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.mlflow_registry.reference import read_reference
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.simulator.files import write_table
from stream_scorer.training.data import take
from stream_scorer.training.days import Days
from stream_scorer.training.features import read_features
from stream_scorer.training.labelled import LabelledData
from tests.support.mlflow.fake_mlflow import Registry, mlmodel

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


def test_the_engine_is_that_of_the_plan_or_the_chosen_one(job: ImportJob) -> None:
    policy = plan_from({"label_policy": {"unlabelled": "genuine"}})
    found = {}
    asked: list[dict[str, Any]] = [{}, {"engine": 3}, {"plan": policy}]
    for number, changes in enumerate(asked):
        directory, manifest = import_model(changed(job, version=f"1.0.{number}", **changes))
        assert f"## Features (engine {manifest.engine})" in (directory / "card.md").read_text()
        found[manifest.engine] = load_bundle(directory).predictor
    assert list(found) == [1, 3, 2]
    own = [isinstance(each, ScoringPredictor) and each.own_exponential for each in found.values()]
    assert own == [False, True, False]


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


def test_names_like_numbers_are_compared_if_declared(
    job: ImportJob, taken: LabelledData, tmp_path: Path
) -> None:
    path = tmp_path / "other.skops"
    path.write_bytes(skops.io.dumps(fitted(taken, ["x1", "x2", "x3"])))
    other = tmp_path / "other.toml"
    text = job.features.read_text()
    for name, number in (("AMOUNT", "x2"), ("LARGEST", "x1"), ("RISK", "x3")):
        assert f'"{name}"' in text
        text = text.replace(f'"{name}"', f'"{number}"')
    other.write_text(text)
    with pytest.raises(ModelError, match=r"its feature 1 is 'x1', .* declares 'x2' there"):
        import_model(changed(job, file=path, features=other))


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


CHAMPION = "mlflow:models:/fraud@champion"


def registered(job: ImportJob, **changes: Any) -> ImportJob:
    reference = read_reference(CHAMPION)
    return changed(job, file=Path(CHAMPION), registered=reference, **changes)


def test_a_registered_model_decides_as_its_file_with_a_lineage(
    job: ImportJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "MLmodel": mlmodel("sklearn", pickled_model="model.skops"),
        "model.skops": job.file.read_bytes(),
    }
    author = "<img src=x> `]|[a](b)"
    registry = Registry(files=files)
    assert registry.run is not None
    registry.run["data"]["tags"].append({"key": "mlflow.user", "value": author})
    monkeypatch.setattr(module, "open_server", lambda _: registry.server())
    made = registered(job, plan_text="revision = 1\n", mapping_text="[record]\n")
    directory, manifest = import_model(made)
    _, plain = import_model(changed(job, version="1.0.1"))
    assert manifest.content_hash == plain.content_hash
    assert plain.lineage is None
    found = manifest.lineage
    assert found is not None
    assert found.parent_version == "fraud/3"
    assert found.author == author
    assert found.plan_sha256 == hashlib.sha256(b"revision = 1\n").hexdigest()
    assert found.mapping_sha256 == hashlib.sha256(b"[record]\n").hexdigest()
    assert [(each.name, each.digest) for each in found.data_sets] == [("march", "d41d8c")]
    assert load_bundle(directory).manifest.lineage == found
    card = (directory / "card.md").read_text()
    assert "| registered version | `fraud/3` |" in card
    assert "| git commit | `0a1b2c3d` |" in card
    assert "| author | `<img src=x> ']/[a](b)` |" in card
    assert "## Lineage" not in (directory.parent / "1.0.1" / "card.md").read_text()


def test_a_registered_file_of_another_library_is_refused(
    job: ImportJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"MLmodel": mlmodel("xgboost", data="m.ubj"), "m.ubj": job.file.read_bytes()}
    monkeypatch.setattr(module, "open_server", lambda _: Registry(files=files).server())
    with pytest.raises(ModelError) as refused:
        import_model(registered(job))
    assert str(refused.value) == (
        f"model {CHAMPION} (m.ubj): is a file of scikit_learn, and MLmodel states xgboost — log it "
        "again"
    )
    pickled = {"MLmodel": mlmodel("xgboost", data="m.ubj"), "m.ubj": b"\x80\x04N."}
    monkeypatch.setattr(module, "open_server", lambda _: Registry(files=pickled).server())
    with pytest.raises(ModelError, match=r"\(m.ubj\): a pickle or joblib file is not supported"):
        import_model(registered(job))


def test_a_malformed_reference_ends_the_command_with_code_2(
    job: ImportJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "models", "import", "mlflow:models:/fraud", "--features", job.features, "--validation",
        job.validation, "--version", "2.0.0", "--out", job.store,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "write mlflow:models:/NAME@ALIAS or mlflow:models:/NAME/VERSION" in told[0]
