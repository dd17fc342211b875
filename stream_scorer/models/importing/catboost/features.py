"""The features of a CatBoost model: their columns in a row, their borders and their categories.

Two kinds of features are supported: numbers ("float features"), and categories that are integers
and that CatBoost compares one by one ("one-hot"). Each kind has numbers of its own, from 0.
"""

import re
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
from stream_scorer.models.importing.catboost.integer_hashes import INTEGER_MOST, integers_with
from stream_scorer.models.importing.imported.model import TEXT_LONGEST
from stream_scorer.models.predictors.rows import FEATURES_MOST

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_KINDS: Final = frozenset({"cat_features_hash", "categorical_features", "ctrs", "float_features"})
_COMMON: Final = frozenset({"feature_id", "feature_index", "feature_name", "flat_feature_index"})
_FLOAT_KEYS: Final = _COMMON | {"borders", "has_nans", "nan_value_treatment"}
_CATEGORY_KEYS: Final = _COMMON | {"values"}
_TREATMENTS: Final = ("AsIs", "AsFalse", "AsTrue")
_NAME_KEYS: Final = ("feature_id", "feature_name")
_NUMERIC: Final = "train it on numeric features"
_INTEGERS: Final = f"use integers of at most {INTEGER_MOST} as categories"
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class FloatFeature:
    """A feature of numbers.

    Attributes:
        column: Its column in a row.
        borders: float64[b], ascending float32 numbers.
        missing_right: Whether a missing value is above each border. CatBoost replaces it by
            infinity (``AsTrue``, nan_mode Max), by minus infinity, or compares NaN itself. Without
            missing values in the training data, it always compares NaN.
    """

    column: int
    borders: Float64
    missing_right: bool


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """A feature of categories.

    Attributes:
        column: Its column in a row.
        hashes: int64[v], the hashes that are compared, in their order.
        integers: For each of the hashes, all integers of at most ``INTEGER_MOST`` in size with it.
    """

    column: int
    hashes: Int64
    integers: tuple[Int64, ...]


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a model.

    Attributes:
        names: Names of the columns of a row; None if the file has none.
        count: Number of columns of a row.
        floats: The features of numbers.
        categories: The features of categories.
    """

    names: tuple[str, ...] | None
    count: int
    floats: tuple[FloatFeature, ...]
    categories: tuple[CategoricalFeature, ...]


def read_features(document: dict[str, Any]) -> Features:
    """Return the features that a model file describes.

    Raises:
        ModelError: There are features of another kind, or the description is malformed.
    """
    info = entry(document, "features_info", dict, "the file")
    known_keys(info, _KINDS, "features_info")
    if info.get("ctrs") or document.get("ctr_data"):
        refuse("it has statistics of categories (CTR)", _NUMERIC)
    floats = _described(info, "float_features", "float feature", _FLOAT_KEYS)
    categories = _described(info, "categorical_features", "categorical feature", _CATEGORY_KEYS)
    count = len(floats) + len(categories)
    if not 0 < count <= FEATURES_MOST:
        refuse(f"has {count} features, not 1 to {FEATURES_MOST}", _NUMERIC)
    columns = {
        entry(feature, "flat_feature_index", int, where): _name(feature, where)
        for where, feature in (*floats, *categories)
    }
    if sorted(columns) != list(range(count)):
        refuse(f"the features are not the columns 0 to {count - 1} of a row", _NUMERIC)
    return Features(
        names=_names([columns[column] for column in range(count)]),
        count=count,
        floats=tuple(
            FloatFeature(
                feature["flat_feature_index"],
                _borders(feature, where),
                _missing_right(feature, where),
            )
            for where, feature in floats
        ),
        categories=_categories(info, categories),
    )


def _described(
    info: dict[str, Any], key: str, kind: str, known: frozenset[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Return the descriptions of the features of a kind, each with what it is in a message."""
    found = []
    for number, feature in enumerate(entries(info, key, "features_info") if key in info else []):
        where = f"{kind} {number}"
        if not isinstance(feature, dict):
            refuse(f"{where} is {quoted(feature)}, not an object")
        known_keys(feature, known, where)
        if entry(feature, "feature_index", int, where) != number:
            refuse(f"{where} has another number, {feature['feature_index']}")
        found.append((where, feature))
    return found


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


def _categories(
    info: dict[str, Any], described: list[tuple[str, dict[str, Any]]]
) -> tuple[CategoricalFeature, ...]:
    """Return the categorical features; one that no split uses has no values."""
    hashes = [_hashes(feature, where) for where, feature in described]
    everything = np.concatenate([np.zeros(0, np.int64), *hashes])
    integers = integers_with(everything) if len(everything) else {}
    texts = _texts(info)
    found = []
    for (where, feature), own in zip(described, hashes, strict=True):
        for key in own.tolist():
            _refuse_unknown(key, texts.get(key), integers.get(key), where)
        each = tuple(integers[key] for key in own.tolist())
        found.append(CategoricalFeature(feature["flat_feature_index"], own, each))
    return tuple(found)


def _hashes(feature: dict[str, Any], where: str) -> Int64:
    given = entries(feature, "values", where) if "values" in feature else []
    for value in given:
        if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
            refuse(f"the values of {where} hold {quoted(value)}, not a 32-bit integer")
    if len(set(given)) < len(given):
        refuse(f"the values of {where} hold a value twice")
    return np.array(given, np.int64)


def _texts(info: dict[str, Any]) -> dict[int, str]:
    """Return the categories by hash, which CatBoost writes if it is given the training data."""
    given = info.get("cat_features_hash") and entries(info, "cat_features_hash", "features_info")
    texts: dict[int, str] = {}
    for item in given or []:
        if not isinstance(item, dict):
            refuse(f"cat_features_hash has {quoted(item)}, not an object")
        key = entry(item, "hash", int, "an item of cat_features_hash")
        if not 0 <= key < 1 << 32:
            refuse(f"cat_features_hash has the hash {key}, which has no 32 bits")
        signed = key - (1 << 32) if key >= 1 << 31 else key
        texts[signed] = entry(item, "value", str, "an item of cat_features_hash")
    return texts


def _refuse_unknown(key: int, text: str | None, integers: Int64 | None, where: str) -> None:
    """Refuse a hash that is not that of an integer, or that is of another text."""
    if integers is None:
        shown = (
            f"the category with the hash {key}" if text is None else f"the category {quoted(text)}"
        )
        refuse(f"{shown} of {where} is not an integer of at most {INTEGER_MOST}", _INTEGERS)
    if text is not None and not (_INTEGER.fullmatch(text) and int(text) in integers):
        refuse(f"the category {quoted(text)} of {where} does not have the hash {key}", _INTEGERS)
