"""``models import`` of an ONNX file: a bundle that states how the model is run, and why."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.cli.main import main
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.commands.import_model import ImportJob, import_model, report
from stream_scorer.models.commands.thresholds import ThresholdJob, choose_thresholds_by
from stream_scorer.models.importing.formats.known import OnnxSource
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors import onnx_session
from stream_scorer.settings import Models, Settings
from tests.support.imports.onnx_files import (
    FLOAT,
    classifier,
    graph,
    model,
    network,
    node,
    tensor,
    value,
)
from tests.support.models.onnx_bundles import mixing, of_amounts


@pytest.fixture
def job(data: Path, declared: Path, tmp_path: Path) -> ImportJob:
    file = tmp_path / "net.onnx"
    file.write_bytes(of_amounts(0.005, 0.002, 1.0))
    return ImportJob(file, declared, data, "1.0.0", store=tmp_path / "store", resamples=2)


def changed(job: ImportJob, data: bytes | None = None, **changes: Any) -> ImportJob:
    if data is not None:
        job.file.write_bytes(data)
    fields = {name: getattr(job, name) for name in ImportJob.__dataclass_fields__}
    return ImportJob(**{**fields, **changes})


def refusal(job: ImportJob) -> str:
    with pytest.raises(ModelError) as refused:
        import_model(job)
    message = str(refused.value)
    assert message.startswith(f"model {job.file}: ")
    assert message.isprintable()
    assert not (job.store / "fraud" / job.version).exists()
    return message.removeprefix(f"model {job.file}: ")


def test_the_command_reports_the_measured_blocks(
    job: ImportJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "models", "import", job.file, "--features", job.features, "--validation", job.validation,
        "--version", "2.0.0", "--out", job.store, "--resamples", 2, "--json",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["library"], told["kind"]) == ("onnx test 1.0", "onnx")
    assert (told["block_rows"], told["row_depends_on"]) == (64, None)
    directory = job.store / "fraud" / "2.0.0"
    assert {path.name for path in directory.iterdir()} == {
        "manifest.json", "model.onnx", "golden.json", "original.onnx", "card.md", "card.png",
    }  # fmt: skip
    assert (directory / "original.onnx").read_bytes() == job.file.read_bytes()
    card = (directory / "card.md").read_text()
    assert "A model (in ONNX format) that gives each card transaction" in card
    assert "trained by another library (exported by test 1.0), imported by" in card
    assert "ONNX Runtime scores it in blocks of 64 rows.\n" in card
    bundle = load_bundle(directory)
    assert bundle.manifest.content_hash == told["content_hash"]
    assert bundle.manifest.training.validation.auc == told["auc"] > 0.5
    found = choose_thresholds_by(
        Settings(models=Models(directory=job.store)),
        ThresholdJob("fraud:2.0.0", job.validation, job.store / "policy.toml", budget=12.0),
    )
    assert abs(found["reviews_per_day"] - 12) <= found["tied_per_day"]


def test_a_block_of_one_row_is_reported_with_its_reason(job: ImportJob) -> None:
    directory, manifest = import_model(changed(job, mixing()))
    told = report(directory, manifest)
    assert (told["block_rows"], told["row_depends_on"]) == (1, "its neighbours")
    card = (directory / "card.md").read_text()
    assert "in blocks of 1 row, because in a larger block a row's bits depend on its nei" in card
    bundle = load_bundle(directory)
    rows = np.random.default_rng(2).normal(size=(9, 3))
    alone = [bundle.predictor.scores(row[None])[0] for row in rows]
    assert bundle.predictor.scores(rows).tolist() == alone


def test_what_does_not_fit_is_refused_before_the_data_are_read(job: ImportJob) -> None:
    nowhere = changed(job, validation=Path("nowhere"))
    assert "option --rounds: an ONNX model does not have it" in refusal(
        changed(nowhere, options=ImportOptions(rounds="all"))
    )
    assert refusal(changed(nowhere, network(4, 4))).startswith("takes 4 features, ")
    assert refusal(changed(nowhere, network(3, 4)[:-1])).startswith("the model ends inside a field")
    assert refusal(changed(nowhere, classifier())).startswith("takes 2 features, ")


def test_what_only_a_run_shows_is_refused_in_one_line(job: ImportJob) -> None:
    copy = [node("Identity", ["x"], ["p"])]
    data = model(graph(copy, [value("x", FLOAT, ["N", 3])], [value("p", FLOAT, None)]))
    assert "its output has 3 columns whose classes are not 0 and 1" in refusal(changed(job, data))
    named = changed(job, options=ImportOptions(fraud_class="0"))
    assert refusal(named).startswith("its output is not a probability from 0 to 1")


def test_without_the_runtime_the_line_names_the_extra(
    job: ImportJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "_runtime", onnx_session._runtime.__wrapped__)
    modules: dict[str, Any] = sys.modules
    monkeypatch.setitem(modules, "onnxruntime", None)
    assert refusal(changed(job, validation=Path("nowhere"))) == (
        "onnxruntime is not installed — install stream-scorer with its extra `onnx`"
    )


def test_a_score_that_is_not_a_number_is_refused(job: ImportJob) -> None:
    # The logarithm of a negative number, for amounts below 20.
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Sub", ["a", "least"], ["b"]),
        node("Log", ["b"], ["c"]),
        node("Sigmoid", ["c"], ["p"]),
    ]
    weights = [
        tensor("w", np.array([[1], [0], [0]], np.float32)),
        tensor("least", np.array([20], np.float32)),
    ]
    inputs, outputs = [value("x", FLOAT, ["N", 3])], [value("p", FLOAT, None)]
    data = model(graph(nodes, inputs, outputs, weights))
    assert "transactions is not a number" in refusal(changed(job, data))


def test_engine_3_is_refused_before_the_model_is_measured(
    job: ImportJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxSource, "measured", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(ModelError, match="an ONNX model cannot have engine 3"):
        import_model(changed(job, engine=3))
