"""The features of a CatBoost model: their places in a row, their borders, and missing values.

CatBoost rounds a value to float32 and compares it with the borders of its feature, which are
float32 numbers. A value above the border goes right. A float32 comparison equals a float64
comparison with a shifted threshold (:func:`double_thresholds`), so rows stay float64.

A missing value is above no border, unless missing values were in the training data and the
feature's treatment is ``AsTrue`` (nan_mode Max): then it is above each border. CatBoost replaces it
by minus or plus infinity, and each border is finite.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.models.importing.catboost.document import (
    entries,
    entry,
    known_keys,
    numbers_of,
    refuse,
)
from stream_scorer.models.importing.imported.model import TEXT_LONGEST
from stream_scorer.models.predictors.rows import FEATURES_MOST
from stream_scorer.models.predictors.trees import double_thresholds

Float64 = NDArray[np.float64]

_KINDS: Final = frozenset({"float_features", "categorical_features", "cat_features_hash", "ctrs"})
_FLOAT_KEYS: Final = frozenset(
    {
        "borders", "feature_id", "feature_index", "feature_name", "flat_feature_index", "has_nans",
        "nan_value_treatment",
    }
)  # fmt: skip
_NAME_KEYS: Final = ("feature_id", "feature_name")
_TREATMENTS: Final = ("AsIs", "AsFalse", "AsTrue")
_NUMERIC: Final = "train it on numeric features"


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a model. Its f float features have b borders together.

    Attributes:
        names: Names of the columns of a row; None if the file has none.
        count: Number of columns of a row.
        columns: int64[f], the column of each float feature.
        first_border: int64[f + 1], where the borders of each float feature start.
        borders: float64[b], float32 numbers, ascending within each feature.
        cuts: float64[b], the largest float64 that is rounded to a float32 at or below the border.
        missing_right: bool[f], whether a missing value is above each border.
    """

    names: tuple[str, ...] | None
    count: int
    columns: NDArray[np.int64]
    first_border: NDArray[np.int64]
    borders: Float64
    cuts: Float64
    missing_right: NDArray[np.bool_]


def read_features(document: dict[str, Any]) -> Features:
    """Return the features that a model file describes.

    Raises:
        ModelError: There are features that are not numbers, or the description is malformed.
    """
    info = entry(document, "features_info", dict, "the file")
    known_keys(info, _KINDS, "features_info")
    if info.get("categorical_features"):
        _refuse_categories(info)
    features = entries(info, "float_features", "features_info")
    if not 0 < len(features) <= FEATURES_MOST:
        refuse(f"has {len(features)} features, not 1 to {FEATURES_MOST}", _NUMERIC)
    names, columns, missing_right, borders = [], [], [], []
    for number, feature in enumerate(features):
        where = f"float feature {number}"
        if not isinstance(feature, dict):
            refuse(f"{where} is {quoted(feature)}, not an object")
        known_keys(feature, _FLOAT_KEYS, where)
        if entry(feature, "feature_index", int, where) != number:
            refuse(f"{where} has another number, {feature['feature_index']}")
        names.append(_name(feature, where))
        columns.append(entry(feature, "flat_feature_index", int, where))
        missing_right.append(_missing_right(feature, where))
        borders.append(_borders(feature, where))
    if columns != list(range(len(features))):
        refuse("the float features are not the columns 0, 1, 2, ... of a row", _NUMERIC)
    joined = np.concatenate(borders)
    return Features(
        names=_names(names),
        count=len(features),
        columns=np.array(columns, np.int64),
        first_border=np.cumsum([0, *(len(each) for each in borders)]),
        borders=joined,
        cuts=double_thresholds(joined),
        missing_right=np.array(missing_right, np.bool_),
    )


def _refuse_categories(info: dict[str, Any]) -> None:
    feature = entries(info, "categorical_features", "features_info")[0]
    name = feature.get("feature_id") if isinstance(feature, dict) else None
    refuse(f"the feature {quoted(name)} is categorical", _NUMERIC)


def _name(feature: dict[str, Any], where: str) -> str:
    # CatBoost 1.0 writes no feature_id, and a feature_name only if it is given the training data.
    stated = [entry(feature, key, str, where) for key in _NAME_KEYS if key in feature]
    name = stated[0] if stated else ""
    if len(set(stated)) > 1:
        refuse(f"{where} has two names, {quoted(stated[0])} and {quoted(stated[-1])}")
    if len(name) > TEXT_LONGEST:
        refuse(f"{where} has a name of more than {TEXT_LONGEST} characters", "shorten the name")
    # A lone surrogate, which JSON may escape, cannot be written to any other file.
    if not name.isascii() and name.encode(errors="replace").decode() != name:
        refuse(f"{where} has a name that is not Unicode text", "rename the feature")
    return name


def _names(names: list[str]) -> tuple[str, ...] | None:
    """Return the names; None if they are those of a matrix without names."""
    unnamed = all(name in ("", str(number)) for number, name in enumerate(names))
    return None if unnamed else tuple(names)


def _missing_right(feature: dict[str, Any], where: str) -> bool:
    treatment = entry(feature, "nan_value_treatment", str, where)
    if treatment not in _TREATMENTS:
        refuse(f"{where} has the unknown nan_value_treatment {quoted(treatment)}")
    return entry(feature, "has_nans", bool, where) and treatment == "AsTrue"


def _borders(feature: dict[str, Any], where: str) -> Float64:
    given = numbers_of(entries(feature, "borders", where), f"the borders of {where}")
    with np.errstate(over="ignore"):
        borders = given.astype(np.float32).astype(np.float64)
    if not np.isfinite(borders).all():
        refuse(f"{where} has a border that is too large for float32")
    if not (borders[1:] > borders[:-1]).all():
        refuse(f"{where} has borders that do not ascend")
    return borders
