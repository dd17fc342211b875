"""Models of XGBoost that cannot be imported, and what the refusal must name."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import xgboost

from bench.imports_steps.example import Example
from bench.imports_steps.unsupported.rows import AMOUNTS, CLASSES, FRAUD, ROWS

_VERSION = tuple(int(part) for part in xgboost.__version__.split(".")[:2])
_OBJECTIVES = {
    "binary:hinge": FRAUD, "reg:squarederror": AMOUNTS, "reg:gamma": AMOUNTS,
    "reg:tweedie": AMOUNTS, "reg:pseudohubererror": AMOUNTS, "count:poisson": AMOUNTS,
    "survival:cox": AMOUNTS, "rank:pairwise": FRAUD,
    "multi:softmax": CLASSES, "multi:softprob": CLASSES,
}  # fmt: skip


def _trained(labels: Any, rounds: int = 4, **options: Any) -> Any:
    more = {name: options.pop(name) for name in ("obj", "early") if name in options}
    settings = {"nthread": 1, "verbosity": 0, "max_depth": 3, **options}
    data = xgboost.DMatrix(ROWS, labels)
    if settings.get("objective", "").startswith("rank"):
        data.set_group([len(ROWS)])
    stop: dict[str, Any] = {}
    if more.pop("early", False):
        other = xgboost.DMatrix(ROWS[:100], 1 - labels[:100])
        stop = {"evals": [(other, "other")], "early_stopping_rounds": 2}
    return xgboost.train(settings, data, rounds, verbose_eval=False, **stop, **more)


def _squares(sums: Any, data: Any) -> tuple[Any, Any]:
    return sums - data.get_label(), np.ones(len(sums))


def _models() -> Iterator[tuple[str, bytes, str]]:
    for objective, labels in _OBJECTIVES.items():
        more = {"num_class": 3} if objective.startswith("multi") else {}
        model = _trained(labels, objective=objective, **more)
        yield objective, bytes(model.save_raw("json")), objective
    binary: dict[str, Any] = {"objective": "binary:logistic"}
    yield "custom objective", _saved(_trained(FRAUD, obj=_squares)), "reg:squarederror"
    yield "linear booster", _saved(_trained(FRAUD, booster="gblinear", **binary)), "gblinear"
    two = np.stack([FRAUD, 1 - FRAUD], axis=1)
    yield "two targets", _saved(_trained(two, tree_method="hist", **binary)), "target"
    if _VERSION >= (2, 0):
        model = _trained(two, tree_method="hist", multi_strategy="multi_output_tree", **binary)
        yield "vector leaves", _saved(model), "target|multi_output_tree"
    early = _trained(FRAUD, 30, early=True, **binary)
    yield "early stopping without a choice", _saved(early), "--rounds"
    yield "early stopping without a choice, UBJ", bytes(early.save_raw("ubj")), "--rounds"
    yield "pickle", pickle.dumps(_trained(FRAUD, **binary), 4), "pickle"


def _saved(model: Any) -> bytes:
    return bytes(model.save_raw("json"))


def examples() -> Iterator[Example]:
    """Yield the models."""
    for name, file, refusal in _models():
        yield Example(name, xgboost.__version__, file, refusal=refusal)
