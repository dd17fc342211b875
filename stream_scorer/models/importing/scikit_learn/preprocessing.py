"""The transformers before an estimator in a Pipeline, as steps."""

from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn.arrays import fitted, refused
from stream_scorer.models.predictors.parts import Affine, Before, Clip, Impute, Multiply, Select

KNOWN = ("MinMaxScaler", "RobustScaler", "SimpleImputer", "StandardScaler")


def steps_of(transformer: Any, width: int) -> list[Before]:
    """Return the steps that do what a fitted transformer does.

    Args:
        transformer: One of :data:`KNOWN`.
        width: Number of columns of its rows.

    Raises:
        ModelError: It is of another kind, or has a setting that is not supported.
    """
    kind = type(transformer)
    if kind is StandardScaler:
        return _standard(transformer, width)
    if kind is RobustScaler:
        return _robust(transformer, width)
    if kind is MinMaxScaler:
        return _min_max(transformer, width)
    if kind is SimpleImputer:
        return _imputer(transformer, width)
    raise ModelError(
        f"model: a Pipeline with {kind.__name__} is not supported",
        f"known are {', '.join(KNOWN)} before an estimator",
    )


def _affine(shift: Any, scale: Any) -> list[Before]:
    if not (scale != 0).all():
        raise ModelError("model: its scale_ holds a zero", "train the model again")
    return [Affine(shift, scale)]


def _standard(scaler: Any, width: int) -> list[Before]:
    shift, scale = np.zeros(width), np.ones(width)
    if scaler.with_mean:
        shift = fitted("mean_", scaler.mean_, (width,))
    if scaler.scale_ is not None:
        scale = fitted("scale_", scaler.scale_, (width,))
    return _affine(shift, scale)


def _robust(scaler: Any, width: int) -> list[Before]:
    shift, scale = np.zeros(width), np.ones(width)
    if scaler.with_centering:
        shift = fitted("center_", scaler.center_, (width,))
    if scaler.with_scaling:
        scale = fitted("scale_", scaler.scale_, (width,))
    return _affine(shift, scale)


def _min_max(scaler: Any, width: int) -> list[Before]:
    scale = fitted("scale_", scaler.scale_, (width,))
    steps: list[Before] = [Multiply(scale, fitted("min_", scaler.min_, (width,)))]
    if scaler.clip:
        low, high = fitted("feature_range", scaler.feature_range, (2,)).tolist()
        steps.append(Clip(low, high))
    return steps


def _imputer(imputer: Any, width: int) -> list[Before]:
    if imputer.add_indicator:
        raise refused("SimpleImputer with add_indicator")
    missing = imputer.missing_values
    if isinstance(missing, bool) or not isinstance(missing, int | float | np.number):
        raise refused(f"SimpleImputer for missing values that are {type(missing).__name__}")
    values = fitted("statistics_", imputer.statistics_, (width,), missing=True)
    kept = np.flatnonzero(~np.isnan(values))
    if imputer.keep_empty_features or len(kept) == width:
        return [Impute(values, float(missing))]
    # It drops the columns without any value in training.
    return [Select(kept.astype(np.int64)), Impute(values[kept], float(missing))]
