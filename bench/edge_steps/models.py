"""The models that are compared and timed, and rows near everything that may change a result."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xgboost
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.imports_steps.model_files import read_scoring_model
from stream_scorer.edge.export.golden_rows import probes
from stream_scorer.models.files.model_file import read_model, write_model
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.scikit_learn.source import source_of
from stream_scorer.models.predictors.parts import ScoringModel

Float64 = NDArray[np.float64]

FEATURES = 21
TRAINING_ROWS = 20_000
BOOSTING, LARGE = "boosting 100 x 31", "boosting 1,000 x 31"
_ODD = (np.nan, 0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1e-310, 1e300)
_ODD_SHARE = 0.02


class BenchModel(NamedTuple):
    """A model and rows like those that it was fitted on."""

    model: ScoringModel
    base: Float64


def training() -> tuple[Float64, NDArray[np.int64]]:
    """Return rows like the features of the fraud handbook (amounts, counts, means), and frauds."""
    numbers = np.random.default_rng(21)
    amounts = numbers.gamma(2.0, 40.0, (TRAINING_ROWS, 7)).round(2)
    counts = numbers.poisson(4.0, (TRAINING_ROWS, 7)).astype(np.float64)
    means = numbers.normal(50.0, 15.0, (TRAINING_ROWS, 7))
    rows = np.concatenate([amounts, counts, means], axis=1)
    signal = amounts[:, 0] + 10 * np.sin(counts[:, :3]).sum(axis=1) + np.abs(means[:, 2] - 50)
    signal += numbers.normal(0, 30, TRAINING_ROWS)
    return rows, (signal > np.quantile(signal, 0.9)).astype(np.int64)


def _boosting(trees: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=trees, max_leaf_nodes=31, min_samples_leaf=5, learning_rate=0.02,
        early_stopping=False, random_state=0,
    )  # fmt: skip


def _xgboost(rows: Float64, fraud: NDArray[np.int64], trees: int) -> ScoringModel:
    booster = xgboost.train(
        {"objective": "binary:logistic", "eta": 0.05, "max_depth": 6, "nthread": 1, "seed": 1},
        xgboost.DMatrix(rows, fraud), trees,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        booster.save_model(path)
        return read_scoring_model(path, ImportOptions())


def models(*, quick: bool) -> Iterator[tuple[str, BenchModel]]:
    """Yield the models by name; with ``quick``, without the large one."""
    rows, fraud = training()
    filled: Mapping[str, Any] = {
        BOOSTING: _boosting(100),
        "forest, walked": RandomForestClassifier(n_estimators=30, random_state=0),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "calibrated by a table": CalibratedClassifierCV(_boosting(20), method="isotonic", cv=3),
        "calibrated by a sigmoid": CalibratedClassifierCV(_boosting(20), method="sigmoid", cv=3),
        **({} if quick else {LARGE: _boosting(1_000)}),
    }
    base = rows[:2_000]
    for name, estimator in filled.items():
        imported: Any = source_of(estimator.fit(rows, fraud)).imported
        yield name, BenchModel(imported.model, base)
    yield "XGBoost, float32", BenchModel(_xgboost(rows, fraud, 20 if quick else 200), base)


def save(folder: Path, cases: Mapping[str, BenchModel]) -> None:
    """Write models and their rows to a folder, for :func:`saved`."""
    for number, (name, case) in enumerate(cases.items()):
        (folder / f"{number}.name").write_text(name)
        (folder / f"{number}.safetensors").write_bytes(write_model(case.model))
        np.save(folder / f"{number}.npy", case.base)


def saved(folder: Path) -> dict[str, BenchModel]:
    """Return the models that :func:`save` wrote.

    A process on another C library could not train them again: its last bits differ.
    """
    found = {}
    for number in range(len(list(folder.glob("*.name")))):
        name = (folder / f"{number}.name").read_text()
        data = (folder / f"{number}.safetensors").read_bytes()
        base: Float64 = np.load(folder / f"{number}.npy")
        found[name] = BenchModel(read_model(data, name), base)
    return found


def rows_of(case: BenchModel, count: int) -> Float64:
    """Return ``count`` rows: on every cut and next to it, with odd numbers, and jittered ones.

    Args:
        case: The model; if its cuts and odd numbers need more rows, there are more.
        count: Number of rows.
    """
    near = probes(case.model, case.base, most=1 << 30)
    numbers = np.random.default_rng(4)
    left = max(count - len(near), 0)
    jittered = case.base[numbers.integers(0, len(case.base), left)]
    jittered *= numbers.normal(1.0, 1e-3, jittered.shape)
    few = numbers.random(left) < _ODD_SHARE
    some = jittered[few]
    odd = numbers.random(some.shape) < 0.2
    some[odd] = numbers.choice(_ODD, int(odd.sum()))
    jittered[few] = some
    return np.concatenate([near, jittered])
