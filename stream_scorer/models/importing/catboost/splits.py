"""The splits of a CatBoost model as cuts of a column, by their number.

CatBoost rounds a value to float32 and compares it with a border, which is a float32 number. A value
above the border goes right. A float32 comparison equals a float64 comparison with a shifted
threshold (:func:`double_thresholds`), so rows stay float64. A category goes right if it has the
hash of the split.

The splits are numbered: first the borders of float feature 0, then those of float feature 1, and so
on, then the values of each categorical feature. CatBoost itself uses the number alone. A split of a
tree also states its feature, and its border or hash. They must agree with the number.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.models.importing.catboost.document import entry, known_keys, number_of, refuse
from stream_scorer.models.importing.catboost.features import Features
from stream_scorer.models.predictors.trees import double_thresholds

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_FLOAT_KEYS: Final = frozenset({"border", "float_feature_index", "split_index", "split_type"})
_CATEGORY_KEYS: Final = frozenset({"cat_feature_index", "split_index", "split_type", "value"})


@dataclass(frozen=True, slots=True)
class StatedSplit:
    """What a split of a tree states.

    Attributes:
        number: Its number.
        categorical: Whether its feature is a categorical one.
        feature: The number of its feature, among those of the same kind.
        value: The border, or the hash.
    """

    number: int
    categorical: bool
    feature: int
    value: float


@dataclass(frozen=True, slots=True)
class Splits:
    """The s splits of a model.

    Attributes:
        categorical: bool[s], as in :class:`StatedSplit`, like the next two.
        feature: int64[s].
        value: float64[s].
        column: int64[s], the column of a row that is compared.
        first_cut: int64[s + 1]; the cuts of split i are ``cuts[first_cut[i]:first_cut[i + 1]]``.
        cuts: float64, as in ``TreeColumns``; a value that no cut is below goes left.
        missing_left: bool[s], whether a missing value goes left.
    """

    categorical: NDArray[np.bool_]
    feature: Int64
    value: Float64
    column: Int64
    first_cut: Int64
    cuts: Float64
    missing_left: NDArray[np.bool_]

    def numbers_of(self, stated: list[StatedSplit], where: str) -> Int64:
        """Return int64[k]: the numbers of k splits that a tree states.

        Args:
            stated: The splits.
            where: The tree, for the message.

        Raises:
            ModelError: There is no split of a number, or it is another one.
        """
        numbers = np.array([split.number for split in stated], np.int64)
        for split in stated:
            if not 0 <= split.number < len(self.feature):
                refuse(f"{where} has the split {split.number}, which does not exist")
        same = self.categorical[numbers] == [split.categorical for split in stated]
        same &= self.feature[numbers] == [split.feature for split in stated]
        if not same.all():
            number = numbers[~same][0]
            refuse(f"{where} has the split {number} on another feature than it is of")
        with np.errstate(over="ignore"):
            value = np.array([split.value for split in stated], np.float64)
            rounded = value.astype(np.float32).astype(np.float64)
        value = np.where(self.categorical[numbers], value, rounded)
        if (self.value[numbers] != value).any():
            refuse(f"{where} has a split at another border or value than its feature has")
        return numbers


def all_splits(features: Features) -> Splits:
    """Return the splits of the borders and categories of all features."""
    lengths = [len(feature.borders) for feature in features.floats]
    category_lengths = [len(feature.hashes) for feature in features.categories]
    borders = np.concatenate([np.zeros(0), *(feature.borders for feature in features.floats)])
    hashes = np.concatenate(
        [np.zeros(0, np.int64), *(feature.hashes for feature in features.categories)]
    )
    integers = [each for feature in features.categories for each in feature.integers]
    cut_counts = [1] * len(borders) + [2 * len(each) for each in integers]
    return Splits(
        categorical=np.arange(len(borders) + len(hashes)) >= len(borders),
        feature=np.concatenate(
            [np.repeat(np.arange(len(each)), each) for each in (lengths, category_lengths)]
        ).astype(np.int64),
        value=np.concatenate([borders, hashes]),
        column=np.concatenate(
            [
                np.repeat([feature.column for feature in features.floats], lengths),
                np.repeat([feature.column for feature in features.categories], category_lengths),
            ]
        ).astype(np.int64),
        first_cut=np.cumsum([0, *cut_counts]),
        cuts=np.concatenate(
            [double_thresholds(borders), *(_cuts_around(each) for each in integers)]
        ),
        missing_left=np.concatenate(
            [
                np.repeat([not feature.missing_right for feature in features.floats], lengths),
                np.ones(len(hashes)),
            ]
        ).astype(np.bool_),
    )


def _cuts_around(integers: Int64) -> Float64:
    """Return float64[2 k]: cuts between which is nothing but one of k ascending integers."""
    at = integers.astype(np.float64)
    return np.stack([np.nextafter(at, -np.inf), at], axis=1).ravel()


def stated_split(split: Any, where: str) -> StatedSplit:
    """Return what a split of a tree states.

    Args:
        split: Its description.
        where: The tree, for the message.

    Raises:
        ModelError: It is malformed, or on a feature of another kind.
    """
    if not isinstance(split, dict):
        refuse(f"{where} has the split {quoted(split)}, not an object")
    where = f"a split of {where}"
    kind = entry(split, "split_type", str, where)
    if kind == "FloatFeature":
        known_keys(split, _FLOAT_KEYS, where)
        return StatedSplit(
            entry(split, "split_index", int, where),
            categorical=False,
            feature=entry(split, "float_feature_index", int, where),
            value=number_of(split.get("border"), f"{where}: border"),
        )
    if kind != "OneHotFeature":
        refuse(f"{where} has the unknown type {quoted(kind)}", "train it on numeric features")
    known_keys(split, _CATEGORY_KEYS, where)
    return StatedSplit(
        entry(split, "split_index", int, where),
        categorical=True,
        feature=entry(split, "cat_feature_index", int, where),
        value=float(entry(split, "value", int, where)),
    )
