"""Models of LightGBM that cannot be imported, and what the refusal must name."""

import pickle
from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np

from bench.imports_steps.example import Example
from bench.imports_steps.unsupported.rows import AMOUNTS, CLASSES, FRAUD, ROWS

_VERSION = tuple(int(part) for part in lightgbm.__version__.split(".")[:2])
_OBJECTIVES = {
    "regression": AMOUNTS, "regression_l1": AMOUNTS, "huber": AMOUNTS, "poisson": AMOUNTS,
    "quantile": AMOUNTS, "gamma": AMOUNTS, "tweedie": AMOUNTS, "cross_entropy_lambda": FRAUD,
    "multiclass": CLASSES, "lambdarank": FRAUD,
}  # fmt: skip


def _trained(labels: Any, rounds: int = 4, **options: Any) -> Any:
    settings = {"verbose": -1, "num_threads": 1, "num_leaves": 7, **options}
    groups = [len(ROWS)] if settings["objective"] == "lambdarank" else None
    data = lightgbm.Dataset(ROWS, labels, group=groups, free_raw_data=False)
    return lightgbm.train(settings, data, rounds)


def _custom() -> Any:
    data = lightgbm.Dataset(ROWS, FRAUD, free_raw_data=False)
    booster = lightgbm.Booster({"verbose": -1, "num_threads": 1, "objective": "none"}, data)
    for _ in range(3):
        booster.update(fobj=lambda sums, seen: (sums - seen.get_label(), np.ones(len(sums))))
    return booster


def _models() -> Iterator[tuple[str, bytes, str, dict[str, Any]]]:
    for objective, labels in _OBJECTIVES.items():
        more = {"num_class": 3} if objective == "multiclass" else {}
        model = _trained(labels, objective=objective, **more)
        yield objective, _saved(model), objective, {}
    yield "custom objective", _saved(_custom()), "custom", {}
    binary = _trained(FRAUD, objective="binary")
    if _VERSION >= (3, 2):
        linear = _trained(FRAUD, objective="binary", linear_tree=True)
        yield "linear trees", _saved(linear), "linear", {}
    classes = _trained(CLASSES, objective="multiclassova", num_class=3)
    yield "one of several classes, not named", _saved(classes), "class", {}
    yield "best round, which is not in the file", _saved(binary), "best round", {"rounds": "best"}
    yield "pickle", pickle.dumps(binary, 4), "pickle", {}
    # As LightGBM writes it for a table of pandas, which is not installed with each version.
    start = _saved(binary).partition(b"\npandas_categorical:")[0]
    of_pandas = start + b'\npandas_categorical:[["pos", "web"]]\n'
    yield "categories of a data frame", of_pandas, "categories|categorical", {}


def _saved(model: Any) -> bytes:
    text: str = model.model_to_string()
    return text.encode()


def examples() -> Iterator[Example]:
    """Yield the models."""
    for name, file, refusal, options in _models():
        yield Example(name, lightgbm.__version__, file, refusal=refusal, **options)
