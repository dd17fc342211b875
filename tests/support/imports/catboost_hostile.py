"""CatBoost files that must be refused: what is wrong, the file, and the cause that is reported."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stream_scorer.models.importing.imported import ImportOptions

Document = dict[str, Any]

_NOTHING = ImportOptions()

HASH_OF_3 = 593_172_586
"""The hash of the category 3, as CatBoost writes it."""

HASH_OF_WEB = 1_109_684_552
"""The hash of the category "web"."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A file that must be refused.

    Attributes:
        what: What is wrong with it.
        data: Makes the file.
        cause: A part of the refusal.
        options: The options of the import.
    """

    what: str
    data: Callable[[], bytes]
    cause: str
    options: ImportOptions = _NOTHING


def symmetric() -> Document:
    """Return a valid file of two symmetric trees on two features."""
    document = _described()
    document["oblivious_trees"] = [
        {
            "leaf_values": [0.5, -0.25, 0.125, 1],
            "leaf_weights": [4, 3, 2, 1],
            "splits": [split(0, 0.5, 0), split(1, -1.5, 2)],
        },
        {"leaf_values": [0.25], "leaf_weights": [10], "splits": None},
    ]
    return document


def other() -> Document:
    """Return a valid file of one tree that is not symmetric."""
    document = _described()
    inner = {"split": split(1, -1.5, 2), "left": _leaf(0.5), "right": _leaf(-0.25)}
    document["trees"] = [{"split": split(0, 1.5, 1), "left": inner, "right": _leaf(2)}]
    return document


def categorical() -> Document:
    """Return a valid file of two symmetric trees; a split is on the category 3 of feature 2."""
    document = symmetric()
    document["features_info"]["categorical_features"] = [
        {"feature_id": "kind", "feature_index": 0, "flat_feature_index": 2, "values": [HASH_OF_3]}
    ]
    document["oblivious_trees"][0]["splits"][1] = {
        "cat_feature_index": 0, "split_index": 3, "split_type": "OneHotFeature", "value": HASH_OF_3,
    }  # fmt: skip
    return document


def split(feature: int, border: float, number: int) -> Document:
    """Return a split at a border of a float feature."""
    return {
        "border": border, "float_feature_index": feature, "split_index": number,
        "split_type": "FloatFeature",
    }  # fmt: skip


def encoded(document: Any) -> bytes:
    """Return a document as JSON."""
    return json.dumps(document).encode()


def _leaf(value: Any) -> Document:
    return {"value": value, "weight": 1}


def _described() -> Document:
    return {
        "features_info": {"float_features": [_feature(0, [0.5, 1.5]), _feature(1, [-1.5])]},
        "model_info": {
            "catboost_version_info": "Branch: tags/v1.2.10",
            "class_params": {"class_names": [0, 1], "class_to_label": [0, 1]},
            "params": {"loss_function": {"type": "Logloss", "params": {}}},
        },
        "scale_and_bias": [1, [0]],
    }


def _feature(number: int, borders: list[float]) -> Document:
    return {
        "borders": borders, "feature_id": f"column {number}", "feature_index": number,
        "flat_feature_index": number, "has_nans": False, "nan_value_treatment": "AsIs",
    }  # fmt: skip


def _edited(make: Callable[[], Document], path: str, value: Any) -> Callable[[], bytes]:
    """Return a maker of a valid file with another value at a path; ``...`` removes the key."""

    def data() -> bytes:
        document = make()
        at: Any = document
        *before, last = [int(key) if key.lstrip("-").isdigit() else key for key in path.split("/")]
        for key in before:
            at = at[key]
        if value is ...:
            del at[last]
        else:
            at[last] = value
        return encoded(document)

    return data


def _set(path: str, value: Any) -> Callable[[], bytes]:
    return _edited(symmetric, path, value)


def _set_other(path: str, value: Any) -> Callable[[], bytes]:
    return _edited(other, path, value)


def _set_category(path: str, value: Any) -> Callable[[], bytes]:
    place = "features_info/categorical_features"
    return _edited(categorical, f"{place}/{path}" if path else place, value)


def _named(text: object, key: int) -> Callable[[], bytes]:
    """Return a maker of a valid file that also names the category of a hash."""

    def data() -> bytes:
        document = categorical()
        info = document["features_info"]
        if key > 0:
            info["categorical_features"][0]["values"] = [key]
        info["cat_features_hash"] = [{"hash": key, "value": text}]
        return encoded(document)

    return data


def _many_features() -> bytes:
    document = symmetric()
    document["features_info"]["float_features"] = [_feature(at, []) for at in range(32_768)]
    return encoded(document)


def _text(old: bytes, new: bytes) -> Callable[[], bytes]:
    """Return a maker of a valid file with another text in one place."""

    def data() -> bytes:
        text = encoded(symmetric())
        assert text.count(old) == 1
        return text.replace(old, new)

    return data


def _many_nodes() -> bytes:
    document = symmetric()
    levels = [split(0, 0.5, 0)] * 16
    tree = {"leaf_values": [0] * (1 << 16), "splits": levels}
    document["oblivious_trees"] = [tree] * 33
    return encoded(document)


def _deep_loss() -> bytes:
    document = symmetric()
    document["model_info"] = {"loss_function": "[" * 5_000}
    return encoded(document)


_FEATURE = "features_info/float_features/1"
_TREE = "oblivious_trees/0"
_SPLIT = "oblivious_trees/0/splits/1"
_CATEGORY_SPLIT = "oblivious_trees/0/splits/1"
_INFO = "model_info"
_LOSS = "model_info/params/loss_function"
_NAMES = "model_info/class_params/class_names"

TEXTS: tuple[Hostile, ...] = (
    Hostile("an empty file", lambda: b"", "is not JSON"),
    Hostile("a byte that is not UTF-8", lambda: b'{"a": "\xff"}', "is not UTF-8"),
    Hostile("a file that is cut off", lambda: encoded(symmetric())[:-20], "is not JSON"),
    Hostile("a binary model", lambda: b"CBM1\x10\x00\x00", "is not JSON: Expecting value"),
    Hostile("a second document", lambda: encoded(symmetric()) + b"{}", "Extra data"),
    Hostile("a list", lambda: b"[]", "is not a JSON object"),
    Hostile("NaN as a leaf", _text(b"-0.25", b"NaN"), "has NaN in the place of a number"),
    Hostile("an infinite leaf", _text(b"-0.25", b"-Infinity"), "has -Infinity in the place"),
    Hostile("a leaf over float64", _text(b"-0.25", b"1e999"), "the number 1e999 is too large"),
    Hostile(
        "a number of a million digits", _text(b"-0.25", b"9" * 1_000_000), "1000000 characters"
    ),
    Hostile("a key twice", _text(b'"scale_and_bias"', b'"model_info": 1, "scale_and_bias"'),
            "the key 'model_info' is there twice"),
    Hostile("lists in lists", lambda: b"[" * 100_000, "nested deeper than 512 levels"),
    Hostile("objects in objects", lambda: b'{"left":' * 513 + b"1" + b"}" * 513, "nested deeper"),
    Hostile("too many bytes", lambda: bytes((256 << 20) + 1), "268435457 bytes"),
    Hostile("too many objects", lambda: b"{}," * ((2 << 20) + 1), "2097152 objects"),
    Hostile("too many lists", lambda: b"[]," * ((1 << 20) + 1), "1048576 lists"),
    Hostile("too many values", lambda: b"[" + b"0," * ((8 << 20) + 1), "8388608 values"),
    Hostile("too many texts", lambda: b'""' * ((4 << 20) + 1), "8388608 quotation marks"),
)  # fmt: skip
"""Files that are refused before anything in them is used."""

DESCRIPTIONS: tuple[Hostile, ...] = (
    Hostile("an unknown section", _set("linear_leaves", []), "the unknown key 'linear_leaves'"),
    Hostile("no model_info", _set(_INFO, ...), "the file has no model_info"),
    Hostile("model_info as a text", _set(_INFO, "Logloss"), "is 'Logloss', not an object"),
    Hostile("no loss", _set(_LOSS, ...), "does not state the loss function"),
    Hostile("a loss without a type", _set(_LOSS, {}), "does not state the loss function"),
    Hostile("a loss whose type is a list", _set(_LOSS, {"type": []}), "type is [], not a text"),
    Hostile("a nested loss in a text", _deep_loss, "does not state the loss function"),
    Hostile("a regression", _set(f"{_LOSS}/type", "RMSE"), "the loss 'RMSE' is not supported"),
    Hostile("a ranking", _set(f"{_LOSS}/type", "YetiRank"), "'YetiRank' is not supported"),
    Hostile("a custom loss", _set(f"{_LOSS}/type", "PythonUserDefinedPerObject"),
            "the loss 'PythonUserDefinedPerObject' is not supported"),
    Hostile("several classes", _set(f"{_LOSS}/type", "MultiClass"), "MultiClass is not supported"),
    Hostile("several labels", _set(f"{_LOSS}/type", "MultiLogloss"), "'MultiLogloss' is not"),
    Hostile("one versus all without a name", _set(f"{_LOSS}/type", "MultiClassOneVsAll"),
            "has the classes ['0', '1'] — name the fraud class"),
    Hostile("class_params as a list", _set("model_info/class_params", []), "is [], not an object"),
    Hostile("class names as a text", _set(_NAMES, "01"), "is '01', not a list of labels"),
    Hostile("a class that is a list", _set(_NAMES, [0, []]), "not a list of labels"),
    Hostile("three classes", _set_other("model_info/class_params", {
        "class_names": [0, 1, 2], "class_to_label": [0, 1, 2]}), "and the file names 3"),
    Hostile("a class twice", _set(_NAMES, [1, "1"]), "class_names has a label twice"),
    Hostile("a long class name", _set(_NAMES, [0, "1" * 201]), "more than 200 characters"),
    Hostile("classes in another order", _set("model_info/class_params/class_to_label", [1, 0]),
            "class_to_label is [1, 0], not 0, 1, 2, ..."),
    Hostile("class 0 in the place of class 1", _set(_NAMES, [1, 0]), "['1', '0'] — name the fraud"),
    Hostile("classes without a known order", _set(_NAMES, ["fraud", "genuine"]),
            "its classes are ['fraud', 'genuine'] — name the fraud class"),
    Hostile("an unknown fraud class", lambda: encoded(symmetric()), "'2' is not one of them",
            ImportOptions(fraud_class="2")),
    Hostile("a fraud class, and no classes", _set("model_info/class_params", ...),
            "the file names no classes, and '1' is not", ImportOptions(fraud_class="1")),
    Hostile("the best round", lambda: encoded(symmetric()), "the best round is not known",
            ImportOptions(rounds="best")),
    Hostile("a nested text of options", _set("model_info/output_options", "[" * 9_000),
            "the best round is not known", ImportOptions(rounds="best")),
    Hostile("a missing number", lambda: encoded(symmetric()), "only NaN can be missing",
            ImportOptions(missing=-999.0)),
    Hostile("no scale", _set("scale_and_bias", ...), "the file has no scale_and_bias"),
    Hostile("three scales", _set("scale_and_bias", [1, 0, 0]), "has 3 items, not 2"),
    Hostile("a scale that is a text", _set("scale_and_bias/0", "1"), "the scale is '1'"),
    Hostile("two biases", _set("scale_and_bias/1", [0, 0]), "has 2 biases, not 1"),
    Hostile("a bias that is true", _set("scale_and_bias/1", [True]), "hold True, not a number"),
    Hostile("a huge scale", _set("scale_and_bias/0", 1e200), "scale or bias that is not a usable"),
)  # fmt: skip
"""Files whose description of the model is refused."""

FEATURES: tuple[Hostile, ...] = (
    Hostile("no features_info", _set("features_info", ...), "the file has no features_info"),
    Hostile("text features", _set("features_info/text_features", []), "key 'text_features'"),
    Hostile("embeddings", _set("features_info/embedding_features", []), "'embedding_features'"),
    Hostile("estimated features", _set("features_info/estimated_features", [1]), "'estimated_fea"),
    Hostile("statistics of categories", _set("ctr_data", {"a": 1}), "statistics of categories"),
    Hostile("features of statistics", _set("features_info/ctrs", [1]), "statistics of categories"),
    Hostile("no feature", _set("features_info/float_features", []), "has 0 features"),
    Hostile("too many features", _many_features, "has 32768 features"),
    Hostile("a feature that is a number", _set(_FEATURE, 7), "float feature 1 is 7, not an object"),
    Hostile("an unknown key of a feature", _set(f"{_FEATURE}/scale", 2), "unknown key 'scale'"),
    Hostile("a feature's number", _set(f"{_FEATURE}/feature_index", 0), "has another number, 0"),
    Hostile("a column twice", _set(f"{_FEATURE}/flat_feature_index", 0), "the columns 0 to 1"),
    Hostile("a column over int64", _set(f"{_FEATURE}/flat_feature_index", 10**30), "not an int"),
    Hostile("a far column", _set(f"{_FEATURE}/flat_feature_index", 10**17), "the columns 0 to 1"),
    Hostile("NaNs as a number", _set(f"{_FEATURE}/has_nans", 1), "is 1, not true or false"),
    Hostile("another treatment of NaN", _set(f"{_FEATURE}/nan_value_treatment", "AsMean"),
            "the unknown nan_value_treatment 'AsMean'"),
    Hostile("no borders", _set(f"{_FEATURE}/borders", ...), "float feature 1 has no borders"),
    Hostile("borders as a number", _set(f"{_FEATURE}/borders", 1), "borders is 1, not a list"),
    Hostile("a border that is a text", _set(f"{_FEATURE}/borders/0", "0"), "hold '0', not a num"),
    Hostile("a border over float32", _set(f"{_FEATURE}/borders/0", 1e39), "too large for float32"),
    Hostile("borders that descend", _set(f"{_FEATURE}/borders", [-1.5, -2]), "do not ascend"),
    Hostile("borders that are equal in float32", _set(f"{_FEATURE}/borders", [-1.5, -1.5 + 1e-12]),
            "float feature 1 has borders that do not ascend"),
    Hostile("a long name", _set(f"{_FEATURE}/feature_id", "n" * 201), "more than 200 characters"),
    Hostile("two names", _set(f"{_FEATURE}/feature_name", "b"), "two names, 'column 1' and 'b'"),
    Hostile("a name that is a number", _set(f"{_FEATURE}/feature_id", 7), "is 7, not a text"),
    Hostile("half a character", _set(f"{_FEATURE}/feature_id", "\ud800"), "is not Unicode text"),
)  # fmt: skip
"""Files whose features are refused."""

TREES: tuple[Hostile, ...] = (
    Hostile("no trees", _set("oblivious_trees", ...), "the file has no trees"),
    Hostile("no tree", _set("oblivious_trees", None), "has 0 trees"),
    Hostile("too many trees", _set("oblivious_trees", [0] * 131_073), "has 131073 trees"),
    Hostile("both kinds of trees", _set("trees", []), "has both oblivious_trees and trees"),
    Hostile("a tree that is a list", _set(_TREE, []), "tree 0 is [], not an object"),
    Hostile("an unknown key of a tree", _set(f"{_TREE}/coefficients", []), "'coefficients'"),
    Hostile("17 levels", _set(f"{_TREE}/splits", [split(0, 0.5, 0)] * 17), "has 17 levels"),
    Hostile("a leaf too few", _set(f"{_TREE}/leaf_values", [1, 2, 3]), "3 leaf_values, not 4"),
    Hostile("no leaves", _set(f"{_TREE}/leaf_values", ...), "tree 0 has no leaf_values"),
    Hostile("leaves as a number", _set(f"{_TREE}/leaf_values", 1), "leaf_values is 1, not a list"),
    Hostile("a leaf that is a text", _set(f"{_TREE}/leaf_values/1", "0"), "hold '0', not a number"),
    Hostile("a huge leaf", _set(f"{_TREE}/leaf_values/1", 1e151), "a leaf without a number"),
    Hostile("a weight too many", _set(f"{_TREE}/leaf_weights", [1] * 5), "5 leaf_weights, not 4"),
    Hostile("a negative weight", _set(f"{_TREE}/leaf_weights/0", -1), "not a number of rows"),
    Hostile("too many nodes", _many_nodes, "more than 4194304 nodes"),
    Hostile("a split that is a number", _set(_SPLIT, 1), "tree 0 has the split 1, not an object"),
    Hostile("a split without a type", _set(f"{_SPLIT}/split_type", ...), "has no split_type"),
    Hostile("a split on statistics", _set(f"{_SPLIT}/split_type", "OnlineCtr"), "'OnlineCtr'"),
    Hostile("a split on pairs", _set(f"{_SPLIT}/split_type", "Pairwise"), "unknown type 'Pairw"),
    Hostile("an unknown key of a split", _set(f"{_SPLIT}/missing", 1), "unknown key 'missing'"),
    Hostile("a feature that is not there", _set(f"{_SPLIT}/float_feature_index", 2),
            "the split 2 on another feature"),
    Hostile("a negative feature", _set(f"{_SPLIT}/float_feature_index", -1), "another feature"),
    Hostile("a split of another feature", _set(f"{_SPLIT}/split_index", 1), "the split 1 on anoth"),
    Hostile("a split past all borders", _set(f"{_SPLIT}/split_index", 3), "the split 3, which"),
    Hostile("a negative split", _set(f"{_SPLIT}/split_index", -1), "the split -1, which"),
    Hostile("a split past int64", _set(f"{_SPLIT}/split_index", 10**18), "not an integer"),
    Hostile("a split that is true", _set(f"{_SPLIT}/split_index", True), "is True, not an integer"),
    Hostile("a split at another border", _set(f"{_SPLIT}/border", -1.25), "at another border"),
    Hostile("a split over float32", _set(f"{_SPLIT}/border", 1e300), "at another border"),
    Hostile("a split without a border", _set(f"{_SPLIT}/border", None), "is None, not a number"),
    Hostile("a node that is a list", _set_other("trees/0/left", []), "has the node [], not an"),
    Hostile("a node without a child", _set_other("trees/0/left/right", ...), "no right child"),
    Hostile("a leaf without a value", _set_other("trees/0/right", {"weight": 1}),
            "has neither a split nor a value"),
    Hostile("a leaf with children", _set_other("trees/0/right/left", {}), "the unknown key 'left'"),
    Hostile("a node with a value", _set_other("trees/0/value", 1), "the unknown key 'value'"),
    Hostile("a leaf of two values", _set_other("trees/0/right/value", [1, 2]), "2 values, not 1"),
    Hostile("a leaf that is true", _set_other("trees/0/right/value", True), "hold True, not a num"),
    Hostile("a weight that is a text", _set_other("trees/0/right/weight", "1"), "weight is '1'"),
)  # fmt: skip
"""Files whose trees are refused."""

CATEGORIES: tuple[Hostile, ...] = (
    Hostile("categories as an object", _set_category("", {"a": 1}), "is {'a': 1}, not a list"),
    Hostile("a categorical feature as a number", _set_category("0", 7), "feature 0 is 7, not"),
    Hostile("an unknown key of a categorical feature", _set_category("0/string_values", ["3"]),
            "the unknown key 'string_values'"),
    Hostile("a category that is a text", _set_category("0/values/0", "3"), "not a 32-bit integer"),
    Hostile("a category over 32 bits", _set_category("0/values/0", 1 << 31), "not a 32-bit"),
    Hostile("a category twice", _set_category("0/values", [HASH_OF_3] * 2), "hold a value twice"),
    Hostile("a category that is no integer", _set_category("0/values/0", HASH_OF_WEB),
            f"the hash {HASH_OF_WEB} of categorical feature 0 is not an integer of at most 999999"),
    Hostile("a category that is named", _named("web", HASH_OF_WEB), "the category 'web' of"),
    Hostile("a category by another name", _named("4", HASH_OF_3), "the category '4' of"),
    Hostile("a category that is a decimal", _named("3.0", HASH_OF_3), "the category '3.0' of"),
    Hostile("a category in another notation", _named("+3", HASH_OF_3), "the category '+3' of"),
    Hostile("a name that is no text", _named(3, HASH_OF_3), "value is 3, not a text"),
    Hostile("a hash that is negative", _named("3", HASH_OF_3 - (1 << 32)), "which has no 32 bits"),
    Hostile("a name in a list", _edited(categorical, "features_info/cat_features_hash", [["3"]]),
            "cat_features_hash has ['3'], not an object"),
    Hostile("a border as a category", _edited(categorical, f"{_CATEGORY_SPLIT}/split_index", 0),
            "the split 0 on another feature"),
    Hostile("a split at another category", _edited(categorical, f"{_CATEGORY_SPLIT}/value", 1),
            "another border or value"),
    Hostile("a category at a border", _edited(categorical, f"{_CATEGORY_SPLIT}/border", 0.5),
            "the unknown key 'border'"),
    Hostile("a split on half a category", _edited(categorical, f"{_CATEGORY_SPLIT}/value", 0.5),
            "value is 0.5, not an integer"),
    Hostile("a categorical feature that is not there",
            _edited(categorical, f"{_CATEGORY_SPLIT}/cat_feature_index", 1), "on another feature"),
)  # fmt: skip
"""Files whose categories are refused."""

HOSTILE: tuple[Hostile, ...] = (*TEXTS, *DESCRIPTIONS, *FEATURES, *CATEGORIES, *TREES)
