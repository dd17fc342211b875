"""A scorer loads a bundle of format 2 without scikit-learn, and a tree model without ONNX too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.models.bundles.writer import write_bundle
from tests.support.models import onnx_bundles
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS, candidate
from tests.support.models.format_1 import write_format_1

_PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
import stream_scorer.scoring.process
import stream_scorer.batch.run
import stream_scorer.reproduce.run
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.commands.report import verified

loaded = load_bundle(Path(sys.argv[1]))
loaded.predictor.scores(np.zeros((3, 3)))
loaded.predictor.attributions(np.zeros((3, 3)))
heavy = {"sklearn", "skops", "joblib", "matplotlib", "onnxruntime"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""


def loaded_with(bundle: Path) -> list[str]:
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", _PROGRAM, str(bundle)], capture_output=True, check=True, text=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_only_bundles_of_format_1_need_scikit_learn(tmp_path: Path) -> None:
    model = MODELS["hist_gradient_boosting"].fit(ROWS, FRAUD)
    assert loaded_with(write_bundle(tmp_path / "new", candidate(model), ROWS)) == []
    # Only a model of ONNX needs its runtime.
    assert loaded_with(onnx_bundles.write(tmp_path / "onnx")) == ["onnxruntime"]
    old = write_format_1(tmp_path / "old", MODELS["decision_tree"])
    assert {"skops", "sklearn"} <= set(loaded_with(old))


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_is_written_in_format_2(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind].fit(ROWS, FRAUD)
    directory = write_bundle(tmp_path, candidate(model), ROWS)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert "libraries" not in manifest
    assert manifest["origin"]["library"] == "scikit_learn"
