"""Models of scikit-learn that cannot be imported, and what the refusal must name."""

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from bench.imports_steps.example import Example
from bench.imports_steps.unsupported.rows import AMOUNTS, CLASSES, FRAUD, ROWS


def _models() -> Iterator[tuple[str, Any, Any, str]]:
    """Yield name, classifier, labels and what the refusal must name."""
    forest = RandomForestClassifier(n_estimators=3, max_depth=3)
    labels = FRAUD.astype(np.int64)
    for model in (
        AdaBoostClassifier(n_estimators=2), BaggingClassifier(n_estimators=2), SVC(),
        SGDClassifier(),
    ):  # fmt: skip
        yield type(model).__name__, model, labels, type(model).__name__
    # These are refused before they are read: the file has types that an import does not know.
    yield "neighbours", KNeighborsClassifier(), labels, "KNeighbors|sklearn.neighbors"
    yield "network", MLPClassifier(max_iter=5), labels, "MLP|sklearn.neural_network"
    yield "votes", VotingClassifier([("forest", forest)]), labels, "Voting|sklearn.utils._bunch"
    regressor = GradientBoostingRegressor(n_estimators=2)
    yield "regression", regressor, AMOUNTS, "GradientBoostingRegressor"
    yield "PCA", make_pipeline(PCA(2), forest), labels, "PCA"
    yield "power", make_pipeline(PowerTransformer(), forest), labels, "PowerTransformer"
    categorical = HistGradientBoostingClassifier(max_iter=2, categorical_features=[3], max_bins=20)
    yield "categories", categorical, labels, "categorical|functools.partial"
    for model in (HistGradientBoostingClassifier(max_iter=2), GradientBoostingClassifier()):
        yield f"{type(model).__name__}, three classes", model, CLASSES.astype(int), "classes"
    yield "three classes, none named", forest, CLASSES.astype(int), "classes"
    two = np.stack([labels, 1 - labels], axis=1)
    yield "two outputs", DecisionTreeClassifier(max_depth=2), two, "several outputs"
    boosting = GradientBoostingClassifier(n_estimators=2, init=LogisticRegression())
    yield "boosting from another model", boosting, labels, "init"
    inner = CalibratedClassifierCV(forest, cv=2)
    yield "calibrated twice", CalibratedClassifierCV(inner, cv=2), labels, "CalibratedClassifierCV"


def examples() -> Iterator[Example]:
    """Yield the models."""
    version = sklearn.__version__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model, labels, refusal in _models():
            rows = ROWS.copy()
            rows[:, 3] = np.abs(np.round(rows[:, 3] * 3))
            data = skops.io.dumps(model.fit(rows, labels))
            yield Example(name, version, data, refusal=refusal)
        tree = DecisionTreeClassifier(max_depth=2).fit(ROWS, FRAUD)
        yield Example("pickle", version, pickle.dumps(tree, 4), refusal="pickle")
        best = skops.io.dumps(tree)
        yield Example(
            "best round, which a tree does not have", version, best, rounds="best",
            refusal="--rounds",
        )  # fmt: skip
