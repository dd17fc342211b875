"""The steps of a Pipeline: those of Pipelines inside it too, and without those that do nothing."""

from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from stream_scorer.errors import ModelError


def steps_in(model: Any) -> list[Any]:
    """Return the steps of an estimator, the estimator itself last.

    Args:
        model: A Pipeline, a FrozenEstimator, or another estimator, which is its only step.

    Raises:
        ModelError: It has no step.
    """
    found = _flat(model)
    if not found:
        raise ModelError("model: its Pipeline has no estimator", "add a classifier as last step")
    return found


def first_of(model: Any) -> Any:
    """Return the step that receives the rows: it knows the number and names of the features.

    Raises:
        ModelError: As for :func:`steps_in`.
    """
    first = steps_in(model)[0]
    # Without these numbers if the first step of the calibrated Pipeline does nothing.
    if type(first) is CalibratedClassifierCV and not hasattr(first, "n_features_in_"):
        return first_of(first.calibrated_classifiers_[0].estimator)
    return first


def _flat(model: Any) -> list[Any]:
    if model is None or (isinstance(model, str) and model == "passthrough"):
        return []
    if type(model) is FrozenEstimator:
        return _flat(model.estimator)
    if type(model) is Pipeline:
        return [step for _, each in model.steps for step in _flat(each)]
    return [model]
