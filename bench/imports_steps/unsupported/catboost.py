"""Models of CatBoost that cannot be imported, and what the refusal must name."""

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catboost
import numpy as np

from bench.imports_steps.example import Example
from bench.imports_steps.unsupported.rows import AMOUNTS, CLASSES, CODES, FRAUD, ROWS

_LOSSES = {
    "RMSE": AMOUNTS, "MAE": AMOUNTS, "Quantile:alpha=0.9": AMOUNTS, "Poisson": AMOUNTS,
    "Tweedie:variance_power=1.5": AMOUNTS, "MultiClass": CLASSES, "QueryRMSE": FRAUD,
    "YetiRank": FRAUD,
}  # fmt: skip


def _trained(labels: Any, loss: str = "Logloss", rows: Any = ROWS, **options: Any) -> Any:
    categories = options.pop("cat_features", None)
    groups = np.arange(len(ROWS)) // 20 if loss.startswith(("Query", "Yeti")) else None
    pool = catboost.Pool(rows, labels, cat_features=categories, group_id=groups)
    settings = {
        "loss_function": loss, "iterations": 4, "depth": 3, "verbose": False, "thread_count": 1,
        "allow_writing_files": False, **options,
    }  # fmt: skip
    return catboost.CatBoost(settings).fit(pool)


def _saved(model: Any, form: str = "json") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        model.save_model(str(path), format=form)
        return path.read_bytes()


def _models() -> Iterator[tuple[str, bytes, str]]:
    for loss, labels in _LOSSES.items():
        name = loss.partition(":")[0]
        yield loss, _saved(_trained(labels, loss)), name
    codes = np.empty(ROWS.shape, object)
    codes[:] = ROWS
    codes[:, 3] = [str(int(code)) for code in CODES]
    statistics = _trained(FRAUD, rows=codes, cat_features=[3], one_hot_max_size=2)
    yield "statistics of categories", _saved(statistics), "statistics|CTR|ctr"
    named = np.where(FRAUD == 1, "fraud", "genuine")
    yield "classes with other names", _saved(_trained(named)), "class"
    one_of_three = _trained(CLASSES, "MultiClassOneVsAll")
    yield "one of several classes, not named", _saved(one_of_three), "class"
    binary = _trained(FRAUD)
    yield "binary format", _saved(binary, "cbm"), "binary format"
    yield "pickle", pickle.dumps(binary, 4), "pickle"


def examples() -> Iterator[Example]:
    """Yield the models."""
    for name, file, refusal in _models():
        yield Example(name, catboost.__version__, file, refusal=refusal)
