"""The estimators that can be trained, and their parameters."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.errors import SettingsError

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ESTIMATORS: dict[str, Callable[[], Any]] = {
    # Early stopping would end before 100 iterations; the default enables it by training size.
    "hist_gradient_boosting": lambda: HistGradientBoostingClassifier(
        early_stopping=False, random_state=0
    ),
    "random_forest": lambda: RandomForestClassifier(random_state=0),
    "decision_tree": lambda: DecisionTreeClassifier(random_state=0),
    "logistic_regression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(random_state=0)
    ),
}


def read_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Return parameters by name.

    Args:
        texts: Each ``NAME=VALUE``, the value in JSON, or a bare text.

    Raises:
        SettingsError: One has another form, is not finite, or occurs twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise SettingsError(f"parameter {text!r}: not understood", "write NAME=VALUE")
        if name in found:
            raise SettingsError(f"parameter {name}: given twice", "leave one out")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
        if isinstance(found[name], float) and not math.isfinite(found[name]):
            # A manifest is JSON, which cannot represent it.
            raise SettingsError(f"parameter {text!r}: not a finite number", "write another")
    return found


def fit(model: Any, features: Float64, fraud: Int64, weight: Float64 | None) -> None:
    """Fit an estimator.

    Args:
        model: From :func:`make_model`.
        features: float64[n, m], C-contiguous.
        fraud: int64[n], 1 for fraud.
        weight: float64[n], how often each row counts; None: once.

    Raises:
        ValueError: The estimator refuses its parameters or the features.
    """
    if weight is None:
        model.fit(features, fraud)
        return
    of_step = f"{model.steps[-1][0]}__" if isinstance(model, Pipeline) else ""
    model.fit(features, fraud, **{f"{of_step}sample_weight": weight})


def make_model(kind: str, parameters: Mapping[str, Any]) -> Any:
    """Return an unfitted estimator.

    Args:
        kind: A key of :data:`ESTIMATORS`.
        parameters: Differences from the defaults; scikit-learn checks the values when it fits.

    Raises:
        SettingsError: Unknown kind or parameter.
    """
    if kind not in ESTIMATORS:
        raise SettingsError(f"model {kind!r}: unknown kind", f"known are {', '.join(ESTIMATORS)}")
    model = ESTIMATORS[kind]()
    estimator = model.steps[-1][1] if isinstance(model, Pipeline) else model
    known = sorted(estimator.get_params(deep=False))
    for name in parameters:
        if name not in known:
            raise SettingsError(
                f"parameter {name}: {kind} has none of this name", f"it has {', '.join(known)}"
            )
    estimator.set_params(**parameters)
    return model
