"""The demo with a LightGBM model of its own: trained, imported, and named to each process."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.demo import processes
from stream_scorer.demo.input import Traffic, traffic
from stream_scorer.demo.lightgbm_model import write_lightgbm_model
from stream_scorer.demo.precision import precisions
from stream_scorer.demo.run import QUICK, Size
from stream_scorer.demo.verdict import Scores
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.settings import Models, Settings
from stream_scorer.training.fold import fold


def test_without_lightgbm_one_line_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(SettingsError) as missing:
        write_lightgbm_model(tmp_path)
    assert str(missing.value) == (
        "demo: --model lightgbm needs LightGBM, which is not installed — pip install lightgbm"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", [None, Path("/somewhere/models")])
def test_processes_run_the_model_of_the_demos_store(
    store: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def start(command: list[str], _: Path, environment: dict[str, str]) -> Any:
        started.append((command, environment))
        raise InterruptedError

    monkeypatch.setattr(processes, "start", start)
    settings = Settings(models=Models(url="s3://bank/models"))
    with pytest.raises(InterruptedError):
        processes.DemoProcess("run", settings, tmp_path, None, "demo:1.0.0", store)
    ((command, environment),) = started
    assert command[command.index("--model") + 1] == "demo:1.0.0"
    own = {name: value for name, value in environment.items() if "MODELS__" in name}
    named = {
        "STREAM_SCORER_MODELS__DIRECTORY": "/somewhere/models", "STREAM_SCORER_MODELS__URL": "",
    }  # fmt: skip
    assert own == ({} if store is None else named)


@pytest.mark.thorough
def test_the_imported_model_ranks_the_demos_frauds(tmp_path: Path) -> None:
    label = write_lightgbm_model(tmp_path / "models")
    assert label == "demo:1.0.1"
    settings = Settings(models=Models(directory=tmp_path / "models"))
    model, plan = load_model(settings, Deployment(label))

    def reached(sent: Traffic, fraud: Any) -> float:
        rows = fold(sent.rows, model.features, plan, fraud)
        scores = model.predictor.scores(np.ascontiguousarray(rows.features))
        ids = sent.rows["transaction_id"].combine_chunks()
        value = precisions(Scores(ids, scores), sent)[0].value
        assert value is not None
        return value

    for size in (QUICK, Size()):
        sent = traffic(size.days)
        fraud = sent.rows["is_fraud"].to_numpy()
        assert reached(sent, fraud) > size.least_precision
    assert reached(sent, np.zeros(len(fraud), bool)) < Size().least_precision
