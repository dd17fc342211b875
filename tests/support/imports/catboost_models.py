"""CatBoost models of many kinds, and CatBoost's own margins.

This module needs CatBoost and numpy only, so that it runs with each version of CatBoost in an
environment of its own. There it writes models, rows and margins to a folder::

    python -m tests.support.imports.catboost_models FOLDER

Then ``python -m tests.support.imports.catboost_files FOLDER`` compares them with our scores. The
oracle is the model in memory, not CatBoost's reader of JSON, which changes last bits.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import catboost
import numpy as np
from numpy.typing import NDArray

from tests.support.imports.catboost_rows import rows_for
from tests.support.imports.catboost_training import training_data

Float64 = NDArray[np.float64]

_POLICIES = ("SymmetricTree", "Depthwise", "Lossguide")


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: The model of CatBoost.
        text: The JSON file.
        fraud_class: The label to import it with; None if it needs none.
        column: Which of several margins is that of the fraud class; None if there is one.
        negated: Whether the margin is that of the other class.
        categorical: The columns of categories.
    """

    model: Any
    text: bytes
    fraud_class: "str | None" = None
    column: "int | None" = None
    negated: bool = False
    categorical: tuple[int, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """A way to train a model.

    Attributes:
        name: Its name, unique.
        data: Name of the training data.
        parameters: Parameters of CatBoost.
        change: Changes the trained model, which is returned.
        labels: The labels of the classes 0, 1, ...
        fraud_class: As in :class:`Trained`, like the others.
        column: Which margin is compared.
        negated: Whether its negative is compared.
        pool: Parameters of the training data, such as names of features.
        categorical: The columns of categories.
        described: Whether CatBoost writes the categories to the file, and not only their hashes.
        since: The first version of CatBoost that can train it.
    """

    name: str
    data: str
    parameters: dict[str, Any]
    change: "Callable[[Any], Any] | None" = None
    labels: "tuple[Any, ...] | None" = None
    fraud_class: "str | None" = None
    column: "int | None" = None
    negated: bool = False
    pool: dict[str, Any] = field(default_factory=dict)
    categorical: tuple[int, ...] = ()
    described: bool = False
    since: tuple[int, ...] = (1, 0)

    def train(self) -> Trained:
        """Return a trained model, the same one each time."""
        features, target = training_data(self.data)
        if self.labels is not None:
            target = np.array(self.labels)[target.astype(int)]
        settings = {
            "iterations": 30, "learning_rate": 0.2, "random_seed": 7, **self.parameters,
            "verbose": False, "thread_count": 1, "allow_writing_files": False,
        }  # fmt: skip
        half = len(features) // 2
        more = (
            {**self.pool, "cat_features": list(self.categorical)} if self.categorical else self.pool
        )
        learn, test = (
            catboost.Pool(typed(features[rows], self.categorical), target[rows], **more)
            for rows in (slice(half, None), slice(half))
        )
        model = catboost.CatBoost({"loss_function": "Logloss", **settings})
        model.fit(learn, eval_set=test)
        if self.change is not None:
            model = self.change(model)
        text = json_of(model, learn if self.described else None)
        return Trained(model, text, self.fraud_class, self.column, self.negated, self.categorical)


def typed(rows: Float64, categorical: tuple[int, ...]) -> Any:
    """Return rows as CatBoost takes them: categories as Python's integers, if there are any.

    Args:
        rows: float64[n, m] or float32[n, m].
        categorical: The columns of categories.
    """
    if not categorical:
        return rows
    columns = [
        [int(value) for value in column] if number in categorical else column.tolist()
        for number, column in enumerate(rows.T)
    ]
    found = np.empty(rows.shape, object)
    for number, column in enumerate(columns):
        found[:, number] = column
    return found


def json_of(model: Any, pool: Any = None) -> bytes:
    """Return the JSON file of a model.

    Args:
        model: The model.
        pool: Its training data, if their categories are to be in the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json", pool=pool)
        return path.read_bytes()


def margins(trained: Trained, rows: Float64) -> Float64:
    """Return float64[n]: CatBoost's margins of the fraud class.

    Args:
        trained: The model.
        rows: float64[n, m] or float32[n, m].
    """
    data = typed(rows, trained.categorical)
    found = trained.model.predict(data, prediction_type="RawFormulaVal", thread_count=1)
    found = np.asarray(found, np.float64)
    if trained.column is not None:
        found = found[:, trained.column]
    return np.ascontiguousarray(0.0 - found if trained.negated else found)


def probabilities(trained: Trained, rows: Float64) -> Float64:
    """Return float64[n]: CatBoost's probabilities of fraud.

    Args:
        trained: The model.
        rows: float64[n, m].
    """
    data = typed(rows, trained.categorical)
    found = trained.model.predict(data, prediction_type="Probability", thread_count=1)
    column = trained.column if trained.column is not None else int(not trained.negated)
    return np.ascontiguousarray(np.asarray(found, np.float64)[:, column])


def _grid() -> Iterator[Configuration]:
    """Yield each policy with each depth, treatment of missing values and kind of data."""
    for policy in _POLICIES:
        for depth in (1, 2, 4, 6, 8):
            for data in ("plain", "missing"):
                yield Configuration(
                    f"{policy}, depth {depth}, {data}", data,
                    {"grow_policy": policy, "depth": depth},
                )  # fmt: skip
        for depth in (3, 6):
            yield Configuration(
                f"{policy}, depth {depth}, missing is largest", "missing",
                {"grow_policy": policy, "depth": depth, "nan_mode": "Max"},
            )  # fmt: skip
        for data in (
            "few", "wide", "one", "tiny", "huge", "edge", "integers", "amounts",
            "neighbours", "zeros",
        ):  # fmt: skip
            yield Configuration(f"{policy}, {data}", data, {"grow_policy": policy, "depth": 5})
        yield Configuration(
            f"{policy}, cross-entropy", "shares",
            {"grow_policy": policy, "loss_function": "CrossEntropy"},
        )  # fmt: skip
        yield Configuration(
            f"{policy}, from the average", "missing",
            {"grow_policy": policy, "boost_from_average": True},
        )  # fmt: skip
        yield Configuration(
            f"{policy}, early stopping", "missing",
            {"grow_policy": policy, "iterations": 300, "use_best_model": True, "od_wait": 10,
             "od_type": "Iter"},
        )  # fmt: skip
        yield Configuration(
            f"{policy}, all rounds after the best", "missing",
            {"grow_policy": policy, "iterations": 150, "use_best_model": False},
        )  # fmt: skip
        yield Configuration(
            f"{policy}, 1,000 trees", "plain",
            {"grow_policy": policy, "iterations": 1000, "depth": 4, "learning_rate": 0.03},
        )  # fmt: skip
        for column, label in enumerate(("low", "middle", "top")):
            yield Configuration(
                f"{policy}, one versus all, class {label}", "classes",
                {"grow_policy": policy, "loss_function": "MultiClassOneVsAll", "depth": 4},
                labels=("low", "middle", "top"), fraud_class=label, column=column,
            )  # fmt: skip


def _categories() -> Iterator[Configuration]:
    """Yield models that compare categories one by one."""
    for policy in _POLICIES:
        for size, columns in ((2, (4,)), (10, (3, 4)), (255, (1, 3, 4))):
            for described in (False, True):
                yield Configuration(
                    f"{policy}, up to {size} categories{', described' if described else ''}",
                    "categories",
                    {"grow_policy": policy, "one_hot_max_size": size, "iterations": 60,
                     "max_ctr_complexity": 0},
                    categorical=columns,
                    described=described,
                )  # fmt: skip


def _scaled(model: Any) -> Any:
    model.set_scale_and_bias(0.37, -1.25)
    return model


def _shrunk(model: Any) -> Any:
    model.shrink(ntree_end=17, ntree_start=4)
    return model


def _two_thirds(model: Any) -> Any:
    return catboost.sum_models([model, model, model], weights=[0.3, -0.7, 1.1])


def _scaled_sum(model: Any) -> Any:
    other = model.copy()
    other.set_scale_and_bias(0.5, 0.3)
    return catboost.sum_models([model, other], weights=[0.5, 1.5])


def _singles() -> Iterator[Configuration]:
    """Yield configurations that differ from the default in one way."""
    for count in (1, 2, 254, 255, 256, 700):
        yield Configuration(
            f"{count} borders", "plain", {"border_count": count, "iterations": 200, "depth": 8}
        )
    for kind in ("Median", "Uniform", "UniformAndQuantiles", "MaxLogSum", "MinEntropy"):
        yield Configuration(f"borders by {kind}", "missing", {"feature_border_type": kind})
    for policy, depth, leaves in (
        ("SymmetricTree", 10, None), ("SymmetricTree", 12, None), ("SymmetricTree", 16, None),
        ("Depthwise", 16, None), ("Lossguide", 16, 64), ("Lossguide", 40, 200),
    ):  # fmt: skip
        more = {} if leaves is None else {"max_leaves": leaves}
        yield Configuration(
            f"{policy}, depth {depth}, leaves {leaves or 'all'}", "missing",
            {"grow_policy": policy, "depth": depth, "iterations": 4, **more},
        )  # fmt: skip
    yield Configuration("scale and bias", "plain", {}, _scaled)
    yield Configuration(
        "scale and bias, Depthwise", "missing", {"grow_policy": "Depthwise"}, _scaled
    )
    yield Configuration("a part of the trees", "plain", {}, _shrunk)
    yield Configuration("a sum of three", "missing", {}, _two_thirds)
    yield Configuration("a sum with scale and bias", "missing", {}, _scaled_sum)
    yield Configuration("3,000 trees", "missing", {"iterations": 3000, "depth": 3})
    yield Configuration("one tree", "plain", {"iterations": 1})
    yield Configuration("two, three or five trees at the end", "plain", {"iterations": 5})
    yield Configuration("large leaves", "plain", {"learning_rate": 1e6, "l2_leaf_reg": 0})
    yield Configuration("small leaves", "plain", {"learning_rate": 1e-6})
    yield Configuration(
        "focal loss", "plain", {"loss_function": "Focal:focal_alpha=0.25;focal_gamma=2"},
        since=(1, 2),
    )  # fmt: skip
    yield Configuration("weights of classes", "plain", {"class_weights": [1.0, 9.0]})
    yield Configuration("balanced classes", "plain", {"auto_class_weights": "Balanced"})
    yield Configuration("monotone", "plain", {"monotone_constraints": "(1,0,0,0,-1)"})
    yield Configuration("ordered boosting", "missing", {"boosting_type": "Ordered"})
    yield Configuration("Bernoulli bootstrap", "missing", {"bootstrap_type": "Bernoulli"})
    yield Configuration("MVS bootstrap", "missing", {"bootstrap_type": "MVS"})
    yield Configuration("half of the features at a level", "wide", {"rsm": 0.5})
    yield Configuration("Langevin", "plain", {"langevin": True})
    yield Configuration("posterior sampling", "plain", {"posterior_sampling": True})
    yield Configuration("trees that shrink", "plain", {"model_shrink_rate": 0.1})
    yield Configuration("score by L2", "plain", {"score_function": "L2"})
    yield Configuration("gradient leaves", "plain", {"leaf_estimation_method": "Gradient"})
    yield Configuration("ten steps for a leaf", "plain", {"leaf_estimation_iterations": 10})
    yield Configuration("unused features", "missing", {"ignored_features": [0, 3]})
    yield Configuration(
        "missing values by feature", "missing",
        {"per_float_feature_quantization": ["0:nan_mode=Max", "1:nan_mode=Min"]},
    )  # fmt: skip
    yield Configuration(
        "names", "plain", {}, pool={"feature_names": ["amount", 'a "b"', "[c]", "d, e", "ü"]}
    )
    yield Configuration("class 0 is fraud", "missing", {}, fraud_class="0", negated=True)
    yield Configuration(
        "class 0 is fraud, scale and bias", "missing", {"grow_policy": "Lossguide"}, _scaled,
        fraud_class="0", negated=True,
    )  # fmt: skip
    yield Configuration(
        "labels whose order is not that of the words", "plain", {}, labels=("genuine", "fraud"),
        fraud_class="fraud", negated=True,
    )  # fmt: skip
    yield Configuration("labels -1 and 1", "plain", {}, labels=(-1, 1))


def configurations(version: str = catboost.__version__) -> Iterator[Configuration]:
    """Yield the configurations that a version of CatBoost can train.

    Args:
        version: The version, for example ``1.2.10``.
    """
    parts = tuple(int(part) for part in version.split(".")[:2])
    for each in (*_grid(), *_singles(), *_categories()):
        if parts >= each.since:
            yield each


def record(trained: Trained, path: Path) -> None:
    """Write a model, its rows, and CatBoost's margins and probabilities to a file of numpy.

    Raises:
        RuntimeError: CatBoost's own margin of a row depends on its type, or on the rows with it.
    """
    rows = rows_for(trained.text)
    found = margins(trained, rows)
    with np.errstate(over="ignore"):
        single = margins(trained, rows.astype(np.float32))
    alone = np.concatenate([margins(trained, rows[at : at + 1]) for at in range(0, len(rows), 97)])
    if not (_same(found, single) and _same(found[::97], alone)):
        raise RuntimeError(f"{path.name}: CatBoost differs from itself")
    np.savez_compressed(
        path,
        text=np.frombuffer(trained.text, np.uint8),
        rows=rows,
        margins=found,
        probabilities=probabilities(trained, rows),
        fraud_class=np.array(trained.fraud_class or ""),
    )


def _same(one: Float64, other: Float64) -> bool:
    return bool(np.array_equal(one.view(np.int64), other.view(np.int64)))


def main(folder: Path) -> None:
    """Train each configuration and write it to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(configurations()):
        record(each.train(), folder / f"{number:03d} {each.name}.npz")
        sys.stdout.write(f"{number:03d} {each.name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
