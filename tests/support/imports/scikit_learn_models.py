"""Classifiers of scikit-learn of many kinds, and scikit-learn's own scores.

This module needs scikit-learn, skops and numpy only, so that it runs with each version of
scikit-learn in an environment of its own.

The oracle is ``decision_function`` for boosting, and ``predict_proba`` for what has no margin of
its own: forests, single trees and calibrated models. Linear models are not here: BLAS adds their
products in an order that depends on the batch, so they have no bits of their own.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tests.support.imports.xgboost_rows import around

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
ROWS, FEATURES = 900, 5
SPECIAL = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e-45, -1e-45, 1e-40, 1.0, -1.0,
    1e30, -1e30, 3.4028234663852886e38, 3.5e38, 1e300, -1e300,
)  # fmt: skip
"""Values that every feature takes once, if the model accepts them."""


@dataclass(frozen=True)
class Configuration:
    """A classifier and its training data.

    Attributes:
        name: Unique.
        make: Returns the classifier, not fitted.
        data: Of :func:`training_data`.
        fraud_class: The label of the fraud class; None for the label 1 of 0 and 1.
    """

    name: str
    make: Callable[[], Any]
    data: str = "plain"
    fraud_class: "str | None" = None


@dataclass(frozen=True)
class Example:
    """A fitted classifier and scikit-learn's scores.

    Attributes:
        file: The skops file.
        rows: float64[n, 5].
        sums: float64[n], ``decision_function``; None if there is none.
        probabilities: float64[n], of the fraud class.
    """

    file: bytes
    rows: Float64
    sums: "Float64 | None"
    probabilities: Float64


# --- configurations ---------------------------------------------------------------------------


def _hist(**options: Any) -> Callable[[], Any]:
    return lambda: HistGradientBoostingClassifier(**{"max_iter": 12, "random_state": 0, **options})


def _boosted(**options: Any) -> Callable[[], Any]:
    return lambda: GradientBoostingClassifier(**{"n_estimators": 15, "random_state": 0, **options})


def _forest(**options: Any) -> Callable[[], Any]:
    return lambda: RandomForestClassifier(**{"n_estimators": 12, "random_state": 0, **options})


def _extra(**options: Any) -> Callable[[], Any]:
    return lambda: ExtraTreesClassifier(**{"n_estimators": 12, "random_state": 0, **options})


def _tree(**options: Any) -> Callable[[], Any]:
    return lambda: DecisionTreeClassifier(**{"random_state": 0, **options})


def _grid() -> Iterator[Configuration]:
    """Yield each kind with each depth and treatment of missing values."""
    kinds: dict[str, Callable[..., Callable[[], Any]]] = {
        "hist boosting": _hist, "boosting": _boosted, "forest": _forest, "extra trees": _extra,
        "tree": _tree,
    }  # fmt: skip
    for kind, make in kinds.items():
        for depth in (1, 3, 6):
            for data in ("plain", "ties", "missing"):
                if data == "missing" and kind == "boosting":
                    continue  # it takes no missing values
                yield Configuration(f"{kind}, depth {depth}, {data}", make(max_depth=depth), data)
        for data in ("zeros", "tiny", "large"):
            yield Configuration(f"{kind}, {data}", make(max_depth=5), data)


def _singles() -> Iterator[Configuration]:
    """Yield configurations that differ from the default in one way."""
    yield Configuration(
        "hist boosting, early stopping",
        _hist(early_stopping=True, max_iter=200, n_iter_no_change=3, learning_rate=0.5), "missing",
    )  # fmt: skip
    for leaves in (2, 64, 65, 255):
        yield Configuration(
            f"hist boosting, {leaves} leaves", _hist(max_leaf_nodes=leaves, min_samples_leaf=1),
            "missing",
        )  # fmt: skip
    yield Configuration("hist boosting, few bins", _hist(max_bins=4), "missing")
    yield Configuration("hist boosting, balanced", _hist(class_weight="balanced"))
    yield Configuration("hist boosting, monotone", _hist(monotonic_cst=[1, -1, 0, 0, 0]))
    yield Configuration("hist boosting, interactions", _hist(interaction_cst="no_interactions"))
    yield Configuration("hist boosting, some features", _hist(max_features=0.5), "missing")
    yield Configuration("hist boosting, large steps", _hist(learning_rate=7.0, l2_regularization=2))
    yield Configuration("hist boosting, 150 trees", _hist(max_iter=150, max_depth=4), "missing")
    yield Configuration("hist boosting, labels", _hist(), "labels", "top")
    yield Configuration("boosting, exponential loss", _boosted(loss="exponential"))
    yield Configuration("boosting, from zero", _boosted(init="zero"))
    yield Configuration("boosting, sampled", _boosted(subsample=0.5))
    yield Configuration("boosting, 40 leaves", _boosted(max_leaf_nodes=40, max_depth=None))
    yield Configuration(
        "boosting, early stopping",
        _boosted(n_estimators=200, n_iter_no_change=3, learning_rate=0.5),
    )
    yield Configuration("boosting, squared error", _boosted(criterion="squared_error"), "ties")
    yield Configuration("boosting, pruned", _boosted(ccp_alpha=0.002))
    yield Configuration("boosting, 150 trees", _boosted(n_estimators=150))
    yield Configuration("boosting, labels", _boosted(), "labels", "top")
    for name, make in (("forest", _forest), ("extra trees", _extra)):
        yield Configuration(f"{name}, no limit", make(), "missing")
        yield Configuration(f"{name}, one tree", make(n_estimators=1))
        yield Configuration(f"{name}, 150 trees", make(n_estimators=150, max_depth=4))
        yield Configuration(f"{name}, balanced", make(class_weight="balanced", bootstrap=True))
        yield Configuration(f"{name}, entropy", make(criterion="entropy", max_features=None))
        yield Configuration(f"{name}, monotone", make(monotonic_cst=[1, 0, 0, -1, 0], max_depth=5))
        yield Configuration(f"{name}, 20 leaves", make(max_leaf_nodes=20, min_samples_leaf=3))
        for label in ("low", "middle", "top"):
            yield Configuration(
                f"{name}, class {label} of three", make(max_depth=5), "classes", label
            )
    yield Configuration("forest, no bootstrap", _forest(bootstrap=False, max_features=2))
    yield Configuration("forest, small samples", _forest(max_samples=0.2), "missing")
    yield Configuration("tree, no limit", _tree(), "missing")
    yield Configuration("tree, random splits", _tree(splitter="random"))
    yield Configuration("tree, pruned", _tree(ccp_alpha=0.003))
    yield Configuration("tree, class middle", _tree(max_depth=6), "classes", "middle")


def _pipeline(make: Callable[[], Any], *before: Any) -> Callable[[], Any]:
    return lambda: make_pipeline(*before, make())


def _calibrated(make: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    return lambda: CalibratedClassifierCV(make(), **{"cv": 3, **options})


def _composed() -> Iterator[Configuration]:
    """Yield pipelines and calibrated classifiers."""
    small = _forest(max_depth=5)
    for scaler in (
        StandardScaler(), StandardScaler(with_std=False), RobustScaler(),
        RobustScaler(with_centering=False), MinMaxScaler((-1, 3)), MinMaxScaler(clip=True),
    ):  # fmt: skip
        for name, make in (("hist boosting", _hist()), ("forest", small)):
            yield Configuration(f"{scaler}, {name}", _pipeline(make, scaler))
    for strategy in ("mean", "median", "most_frequent"):
        imputer = SimpleImputer(strategy=strategy)
        yield Configuration(f"imputed by {strategy}", _pipeline(_boosted(), imputer), "missing")
    steps = (SimpleImputer(), StandardScaler(), "passthrough")
    yield Configuration("imputed and scaled", _pipeline(_hist(), *steps), "missing")
    for method in ("sigmoid", "isotonic"):
        for name, make in (("hist boosting", _hist()), ("boosting", _boosted()), ("forest", small)):
            yield Configuration(f"calibrated {name}, {method}", _calibrated(make, method=method))
    yield Configuration("one calibration", _calibrated(small, ensemble=False))
    yield Configuration(
        "calibrated pipeline", _calibrated(_pipeline(_hist(), StandardScaler()), cv=2)
    )
    yield Configuration(
        "calibrated afterwards",
        _calibrated(lambda: FrozenEstimator(_hist()().fit(*training_data("plain"))), cv=None),
    )


def configurations() -> dict[str, Configuration]:
    """Return every configuration, by name."""
    found = [*_grid(), *_singles(), *_composed()]
    named = {each.name: each for each in found}
    assert len(named) == len(found), "two configurations have the same name"
    return named


def training_data(kind: str) -> "tuple[Float64, NDArray[Any]]":
    """Return float64[900, 5] and the labels: plain, ties, missing, zeros, tiny, large or labels."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(ROWS, FEATURES)) * [1.0, 100.0, 1e-3, 1.0, 10.0]
    signal = rows[:, 0] + rows[:, 1] / 100 * (rows[:, 3] > 0) - 1e3 * rows[:, 2]
    signal = signal + 0.5 * random.normal(size=ROWS)
    changes: dict[str, Callable[[Float64], Float64]] = {
        "ties": lambda found: np.round(found, 1),
        "missing": lambda found: np.where(random.random(found.shape) < 0.15, np.nan, found),
        "zeros": lambda found: np.where(random.random(found.shape) < 0.5, -0.0, np.abs(found)),
        "tiny": lambda found: found * 1e-40,
        "large": lambda found: found * 1e33,
    }
    if kind in changes:
        rows = changes[kind](rows)
    if kind in ("classes", "labels"):
        bounds = [0.5, 0.8] if kind == "classes" else [0.7]
        names = np.array(["low", "middle", "top"] if kind == "classes" else ["genuine", "top"])
        return rows, names[np.digitize(signal, np.quantile(signal, bounds))]
    return rows, (signal > np.quantile(signal, 0.7)).astype(np.int64)


# --- rows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tree:
    """The nodes of a tree: float64[k] thresholds, int64[k] others; a leaf's feature is -1."""

    feature: Int64
    threshold: Float64
    left: Int64
    right: Int64
    missing_left: NDArray[np.bool_]


def _trees(model: Any) -> Iterator[_Tree]:
    """Yield the trees of a classifier without parts."""
    if isinstance(model, HistGradientBoostingClassifier):
        for (predictor,) in model._predictors:
            nodes = predictor.nodes
            yield _Tree(
                np.where(nodes["is_leaf"] != 0, -1, nodes["feature_idx"].astype(np.int64)),
                nodes["num_threshold"], nodes["left"].astype(np.int64),
                nodes["right"].astype(np.int64), nodes["missing_go_to_left"] != 0,
            )  # fmt: skip
        return
    stages = [model] if isinstance(model, DecisionTreeClassifier) else np.ravel(model.estimators_)
    for stage in stages:
        tree = stage.tree_
        yield _Tree(
            np.where(tree.children_left < 0, -1, tree.feature), tree.threshold,
            tree.children_left, tree.children_right, tree.missing_go_to_left != 0,
        )  # fmt: skip


def _innermost(model: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield each classifier without parts, and the transformers before it."""
    if isinstance(model, Pipeline):
        steps = [step for _, step in model.steps[:-1] if step != "passthrough"]
        yield from _innermost(model.steps[-1][1], (*before, *steps))
    elif isinstance(model, CalibratedClassifierCV):
        for calibrated in model.calibrated_classifiers_:
            yield from _innermost(calibrated.estimator, before)
    elif isinstance(model, FrozenEstimator):
        yield from _innermost(model.estimator, before)
    else:
        yield model, before


def rows_for(model: Any, training: Float64) -> Float64:
    """Return rows at each threshold and next to it, special values, random rows, and training's.

    Args:
        model: The fitted classifier.
        training: float64[n, m], rows of the training.
    """
    random = np.random.default_rng(11)
    found = [training, training[random.permutation(len(training))] * random.normal(size=(1, 1))]
    for inner, before in _innermost(model):
        seen = training
        for step in before:
            seen = step.transform(seen)
        for tree in _trees(inner):
            found += _rows_at_splits(random, tree, training, seen, before)
    count = training.shape[1]
    values = [value for value in SPECIAL if _takes(model, training, value)]
    special = training[random.integers(0, len(training), count * len(values))]
    special[np.arange(len(special)), np.repeat(np.arange(count), len(values))] = values * count
    found += [special, random.choice(np.array(values), size=(300, count))]
    noise = random.normal(size=(300, count)) * 10.0 ** random.integers(-37, 9, size=(300, count))
    rows = np.concatenate([*found, noise])
    # A split between missing values and all numbers has an infinite threshold.
    largest = np.inf if _takes(model, training, 1e300) else float(np.finfo(np.float32).max)
    return rows[(np.isnan(rows) | (np.abs(rows) <= largest)).all(axis=1)]


def _takes(model: Any, training: Float64, value: float) -> bool:
    """Whether a model takes a value, in each column."""
    try:
        model.predict_proba(np.where(np.eye(training.shape[1]) > 0, value, training[:1]))
    except ValueError:
        return False
    return True


def _rows_at_splits(
    random: np.random.Generator, tree: _Tree, training: Float64, seen: Float64, before: Any
) -> list[Float64]:
    """Return rows that reach each split of a tree, with values at its threshold and next to it.

    Args:
        random: Chooses the rows.
        tree: The tree.
        training: float64[n, m].
        seen: float64[n, m], the same rows as the tree receives them.
        before: The transformers.
    """
    found, pending = [], [(0, np.arange(len(seen)))]
    while pending:
        node, reaching = pending.pop()
        feature = tree.feature[node]
        if feature < 0:
            continue
        threshold = tree.threshold[node]
        column = seen[reaching, feature]
        left = np.where(np.isnan(column), tree.missing_left[node], column <= threshold)
        pending += [(tree.left[node], reaching[left]), (tree.right[node], reaching[~left])]
        at = random.choice(reaching) if len(reaching) else 0
        values = around(_before(before, seen[at], feature, threshold))
        rows = np.repeat(training[at][None], len(values), axis=0)
        rows[:, feature] = values
        found.append(rows[np.isfinite(rows[:, feature])])
    return found


def _before(before: Any, row: Float64, feature: int, value: float) -> float:
    """Return the value that a feature had before the transformers, about."""
    changed = row[None].copy()
    changed[0, feature] = value
    for step in reversed(before):
        if not isinstance(step, SimpleImputer):
            changed = step.inverse_transform(changed)
    return float(changed[0, feature])


def example(configuration: Configuration) -> Example:
    """Train a classifier, and let scikit-learn score its rows."""
    rows, labels = training_data(configuration.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = configuration.make().fit(rows, labels)
        tested = rows_for(model, rows)
        column = list(model.classes_).index(configuration.fraud_class or 1)
        probabilities = model.predict_proba(tested)[:, column]
        sums = None
        last = model.steps[-1][1] if isinstance(model, Pipeline) else model
        if isinstance(last, GradientBoostingClassifier | HistGradientBoostingClassifier):
            sums = np.ascontiguousarray(model.decision_function(tested), np.float64)
        data = skops.io.dumps(model)
    return Example(data, tested, sums, np.ascontiguousarray(probabilities, np.float64))
