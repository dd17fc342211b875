"""Text models of LightGBM that must be refused: what is wrong, the file, and the reason."""

import re
from collections.abc import Callable
from typing import Final

from stream_scorer.models.importing.imported import ImportOptions

TREE: Final = """Tree={number}
num_leaves=4
num_cat=1
split_feature=0 1 2
split_gain=9 8 7
threshold=0.5 -1.25 0
decision_type=10 8 1
left_child=1 -1 -2
right_child=2 -3 -4
leaf_value=0.25 -0.125 0.0625 1e-3
leaf_weight=1 1 1 1
leaf_count=10 20 30 40
internal_value=0 0 0
internal_weight=4 2 2
internal_count=100 40 60
cat_boundaries=0 2
cat_threshold=5 2147483649
is_linear=0
shrinkage=0.1


"""

MODEL: Final = (
    """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=2
objective=binary sigmoid:1
feature_names=amount hour größe
feature_infos=[0:1] [0:23] 0:2:63
tree_sizes=0 0

"""
    + TREE.format(number=0)
    + TREE.format(number=1)
    + """end of trees

feature_importances:
amount=2

parameters:
[boosting: gbdt]
[learning_rate: 0.1]
end of parameters

pandas_categorical:null
"""
)
"""A model of two trees; ``sized`` fills in its tree sizes."""


def sized(text: str) -> bytes:
    """Return a model whose tree sizes are right."""
    trees = re.findall(r"Tree=.*?\n(?=Tree=|end of trees)", text, re.DOTALL)
    sizes = " ".join(str(len(tree.encode())) for tree in trees)
    return re.sub(r"(?m)^tree_sizes=0 0$", f"tree_sizes={sizes}", text).encode()


Case = tuple[str, Callable[[], bytes], str]


def _with(old: str, new: str, *, count: int = 1) -> Callable[[], bytes]:
    """Replace a text; the tree sizes are right afterwards."""
    assert old in MODEL, old
    return lambda: sized(MODEL.replace(old, new, count))


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: change(sized(MODEL))


def _cut_before(mark: bytes, after: int = 0) -> Callable[[], bytes]:
    return _bytes(lambda data: data[: data.index(mark) + after])


def _many_trees() -> bytes:
    return sized(MODEL).replace(b"tree_sizes=", b"tree_sizes=" + b"1 " * 100_000)


def _many_runs() -> bytes:
    words = 1 << 19
    text = MODEL.replace("cat_boundaries=0 2", f"cat_boundaries=0 {words}")
    return sized(
        text.replace("cat_threshold=5 2147483649", "cat_threshold=" + "1431655765 " * words)
        .replace("1431655765 \n", "1431655765\n")
    )  # fmt: skip


def _many_nodes() -> bytes:
    return sized(MODEL.replace("num_leaves=4", "num_leaves=2097153", 1))


LAYOUT: Final[tuple[Case, ...]] = (
    ("an empty file", lambda: b"", "its first line is not 'tree'"),
    ("a model in JSON", lambda: b'{"name":"tree","version":"v4"}', "its first line is not 'tree'"),
    ("a pickle", lambda: b"\x80\x04\x95tree\n", "its first line is not 'tree'"),
    ("a file of more than 256 MiB", lambda: bytes((256 << 20) + 1), "larger than 256 MiB"),
    (
        "Windows line ends",
        _bytes(lambda data: data.replace(b"\n", b"\r\n")),
        "line ends of Windows",
    ),
    ("a header that ends in a line", _cut_before(b"feature_infos", 4), "ends in its header"),
    ("a header that ends after a line", _cut_before(b"feature_infos"), "ends in its header"),
    ("a tree that ends in a line", _cut_before(b"decision_type", 9), "where tree_sizes states"),
    ("no end of trees", _cut_before(b"end of trees"), "where tree_sizes states"),
    ("a format of LightGBM 2", _with("version=v4", "version=v2"), "version is 'v2'"),
    ("a format of the future", _with("version=v4", "version=v5"), "version is 'v5'"),
    ("no version", _with("version=v4\n", ""), "version is ''"),
    (
        "an unknown line in the header",
        _with("label_index", "kernel=rbf\nlabel_index"),
        "the header has an unknown line 'kernel=rbf'",
    ),
    (
        "a line of escape codes",
        _with("label_index", "\x1b[2J=\x1b\nlabel_index"),
        "unknown line '\\x1b[2J=\\x1b'",
    ),
    (
        "a line of 1 MiB in the header",
        _with("label_index", "k" * (1 << 20) + "\nlabel_index"),
        "unknown line 'kkk",
    ),
    (
        "the feature names twice",
        _with("feature_infos", "feature_names=hour amount größe\nfeature_infos"),
        "two lines of feature_names",
    ),
    (
        "a header of a million lines",
        _with("\n\nTree=0", "\nlabel_index=0" * 1_000_000 + "\n\nTree=0"),
        "two lines of label_index",
    ),
    ("no feature infos", _with("feature_infos=[0:1] [0:23] 0:2:63\n", ""), "no feature_infos"),
    ("no trees", _with("tree_sizes=0 0", "tree_sizes="), "it has no trees"),
    ("100,000 trees", _many_trees, "100002 trees, more than 65536"),
    (
        "tree sizes that are wrong by a byte",
        _bytes(lambda data: re.sub(rb"(tree_sizes=)\d+", lambda m: m[1] + b"415", data)),
        "where tree_sizes states",
    ),
    (
        "a tree of 10**30 bytes",
        _bytes(lambda data: data.replace(b"tree_sizes=", b"tree_sizes=1" + b"0" * 30 + b" ")),
        "tree_sizes holds 1000000000000000000000000000000, not 1 to",
    ),
    (
        "a tree of -1 bytes",
        _bytes(lambda data: data.replace(b"tree_sizes=", b"tree_sizes=-1 ")),
        "tree_sizes holds -1",
    ),
    ("trees in another order", _with("Tree=1", "Tree=2"), "tree 1 does not begin and end"),
    (
        "a tree of 10,000 lines",
        _with("shrinkage=0.1\n", "shrinkage=0.1\n" * 10_000),
        "tree 0 has more than 32 lines",
    ),
    (
        "an unknown line in a tree",
        _with("shrinkage=0.1", "leaf_function=tanh"),
        "tree 0 has an unknown line 'leaf_function=tanh'",
    ),
    (
        "the leaf values twice",
        _with("leaf_weight", "leaf_value=9 9 9 9\nleaf_weight"),
        "tree 0 has two lines of leaf_value",
    ),
    ("no leaf values", _with("leaf_value=0.25 -0.125 0.0625 1e-3\n", ""), "tree 0 has no leaf_val"),
    (
        "an empty line in a tree",
        _with("leaf_weight", "\nleaf_weight"),
        "tree 0 has an unknown line ''",
    ),
    (
        "parameters without an end",
        _with("end of parameters", ""),
        "the parameters do not end",
    ),
)

NUMBERS: Final[tuple[Case, ...]] = (
    ("2**31 leaves", _with("num_leaves=4", "num_leaves=2147483648"), "num_leaves of tree 0 holds"),
    ("no leaves", _with("num_leaves=4", "num_leaves=0"), "num_leaves of tree 0 holds 0"),
    ("4.0 leaves", _with("num_leaves=4", "num_leaves=4.0"), "a text that is not a finite number"),
    ("more leaves than values", _many_nodes, "num_leaves of tree 0 holds 2097153, not 1 to"),
    ("5 leaves of 4", _with("num_leaves=4", "num_leaves=5"), "leaf_value of tree 0 has 4 numbers"),
    ("3 leaves of 4", _with("num_leaves=4", "num_leaves=3"), "leaf_value of tree 0 has 4 numbers"),
    ("a threshold NaN", _with("=0.5 ", "=nan "), "threshold of tree 0 holds a text"),
    ("a leaf value infinity", _with("=0.25 ", "=inf "), "leaf_value of tree 0 holds a text"),
    ("a threshold fin", _with("=0.5 ", "=fin "), "threshold of tree 0 holds a text"),
    ("a threshold 1e999", _with("=0.5 ", "=1e999 "), "threshold of tree 0 holds a number that is"),
    ("a leaf value -1e999", _with("=0.25 ", "=-1e999 "), "leaf_value of tree 0 holds a number"),
    ("a leaf value 1e200", _with("=0.25 ", "=1e200 "), "a leaf without a number"),
    ("a leaf value NaN", _with("=0.25 ", "=nan "), "leaf_value of tree 0 holds a text"),
    ("a leaf value 0x1p3", _with("=0.25 ", "=0x1p3 "), "leaf_value of tree 0 holds a text"),
    ("a leaf value 1_0", _with("=0.25 ", "=1_0 "), "leaf_value of tree 0 holds a text"),
    ("a leaf value 1,5", _with("=0.25 ", "=1,5 "), "leaf_value of tree 0 holds a text"),
    ("a leaf value 1-2", _with("=0.25 ", "=1-2 "), "leaf_value of tree 0 holds a text"),
    (
        "a leaf value of Arabic digits",
        _with("=0.25 ", "=\u0661 "),
        "leaf_value of tree 0 holds a text",
    ),
    (
        "a leaf value of 1 MiB",
        _with("=0.25 ", "=" + "1" * (1 << 20) + " "),
        "a number of more than 40 characters",
    ),
    (
        "a child of 100,000 digits",
        _with("left_child=1", "left_child=" + "1" * 100_000),
        "a number of more than 40 characters",
    ),
    ("two blanks", _with("=0.25 -0.125 ", "=0.25  "), "leaf_value of tree 0 holds a text"),
    ("a blank at the end", _with(" 1e-3", " "), "leaf_value of tree 0 holds a text"),
    ("a tab", _with("=0.25 ", "=\t0.25 "), "leaf_value of tree 0 holds a text"),
)

NODES: Final[tuple[Case, ...]] = (
    ("a node that is its own child", _with("left_child=1 -1", "left_child=0 -1"), "back to an ear"),
    ("a cycle", _with("right_child=2 -3 -4", "right_child=2 -3 1"), "leads back to an earlier"),
    ("a child outside of its tree", _with("left_child=1", "left_child=3"), "holds 3, not -4 to 2"),
    (
        "a leaf outside of its tree",
        _with("left_child=1 -1", "left_child=1 -5"),
        "holds -5, not -4 to 2",
    ),
    ("a child 2**63", _with("left_child=1", "left_child=9223372036854775808"), "not -4 to 2"),
    ("a leaf with two parents", _with("-3 -4", "-3 -3"), "a node without just one parent"),
    ("a node with two parents", _with("right_child=2", "right_child=1"), "without just one parent"),
    ("a feature -1", _with("split_feature=0", "split_feature=-1"), "holds -1, not 0 to 2"),
    ("a feature outside", _with("split_feature=0", "split_feature=3"), "holds 3, not 0 to 2"),
    ("an unknown missing type", _with("decision_type=10", "decision_type=14"), "holds 14, not 0"),
    ("a decision type -1", _with("decision_type=10", "decision_type=-1"), "holds -1, not 0"),
    ("a leaf of -1 rows", _with("leaf_count=10", "leaf_count=-1"), "leaf_count of tree 0 holds"),
    (
        "linear models in the leaves",
        _with("is_linear=0", "is_linear=1"),
        "tree 0 has linear models in its leaves",
    ),
)

CATEGORIES: Final[tuple[Case, ...]] = (
    ("no set", _with("num_cat=1", "num_cat=0"), "one set of categories for each split"),
    ("two sets for a split", _with("num_cat=1", "num_cat=2"), "one set of categories for each"),
    ("another set's number", _with("-1.25 0", "-1.25 1"), "one set of categories for each split"),
    (
        "one set for two splits",
        _with("decision_type=10 8", "decision_type=10 1"),
        "one set of categories for each split",
    ),
    ("bounds that descend", _with("cat_boundaries=0 2", "cat_boundaries=2 0"), "not ascend from 0"),
    ("bounds not from 0", _with("cat_boundaries=0 2", "cat_boundaries=1 2"), "not ascend from 0"),
    (
        "2**40 words",
        _with("cat_boundaries=0 2", "cat_boundaries=0 1099511627776"),
        "cat_boundaries of tree 0 holds 1099511627776",
    ),
    (
        "more words than listed",
        _with("cat_boundaries=0 2", "cat_boundaries=0 8000000"),
        "cat_threshold of tree 0 has 2 numbers, not 8000000",
    ),
    ("a word 2**32", _with("=5 2147483649", "=5 4294967296"), "cat_threshold of tree 0 holds 4294"),
    ("a word -1", _with("=5 2147483649", "=5 -1"), "cat_threshold of tree 0 holds -1"),
    ("no words", _with("cat_threshold=5 2147483649\n", ""), "tree 0 has no cat_threshold"),
    ("eight million runs of categories", _many_runs, "more than 8388608"),
)

HEADER: Final[tuple[Case, ...]] = (
    ("a name too few", _with("=amount hour größe", "=amount hour"), "feature_names has 2 entries"),
    ("a name twice", _with("amount hour", "amount amount"), "feature_names has two equal names"),
    ("an empty name", _with("amount hour größe", "amount  hour"), "a name of 0 or more than 200"),
    ("a name of 10,000 letters", _with("amount", "a" * 10_000), "a name of 0 or more than 200"),
    (
        "a name that is not UTF-8",
        _bytes(lambda data: data.replace("größe".encode(), "größe".encode("latin-1"))),
        "feature_names is not UTF-8",
    ),
    ("a name with a NUL", _with("amount", "am\0unt"), "a control character in feature_names"),
    ("10**9 features", _with("feature_idx=2", "feature_idx=999999999"), "max_feature_idx holds"),
    ("no feature", _with("feature_idx=2", "feature_idx=-1"), "max_feature_idx holds -1"),
    ("an info too many", _with("[0:1]", "[0:1] none"), "feature_infos has 4 entries"),
    (
        "no objective",
        _with("objective=binary sigmoid:1\n", ""),
        "the objective custom, whose funct",
    ),
    (
        "a custom objective",
        _with("binary sigmoid:1", "custom"),
        "the objective custom, whose funct",
    ),
    ("a regression", _with("binary sigmoid:1", "regression"), "regression, which gives a number"),
    (
        "a softmax",
        _with("binary sigmoid:1", "multiclass num_class:3"),
        "multiclass, whose classes share one softmax",
    ),
    ("a ranking", _with("binary sigmoid:1", "lambdarank"), "lambdarank, which ranks"),
    (
        "an intensity",
        _with("binary sigmoid:1", "cross_entropy_lambda"),
        "cross_entropy_lambda, which gives an intensity",
    ),
    (
        "an unknown objective",
        _with("binary sigmoid:1", "focal:2"),
        "objective 'focal:2' is unknown",
    ),
    ("an unknown setting", _with("sigmoid:1", "sigmoid:1 tau:2"), "'binary sigmoid:1 tau:2' is un"),
    ("a sigmoid 0", _with("sigmoid:1", "sigmoid:0"), "sigmoid of the objective is not greater"),
    ("a sigmoid -1", _with("sigmoid:1", "sigmoid:-1"), "sigmoid of the objective is not greater"),
    ("a sigmoid NaN", _with("sigmoid:1", "sigmoid:nan"), "sigmoid holds a text"),
    ("a sigmoid 1e400", _with("sigmoid:1", "sigmoid:1e400"), "sigmoid holds a number that is too"),
    (
        "a sigmoid of 17 digits",
        _with("sigmoid:1", "sigmoid:0.12345678901234567"),
        "sigmoid has more than 15 digits",
    ),
    (
        "two classes of one",
        _with("num_class=1", "num_class=2"),
        "2 classes, but 1 trees in a round",
    ),
    (
        "an average with a value",
        _with("label_index", "average_output=1\nlabel_index"),
        "unknown line 'average_output=1'",
    ),
    (
        "categories of pandas",
        _with("pandas_categorical:null", 'pandas_categorical:[["NL", "DE"]]'),
        "trained on categories of pandas",
    ),
    (
        "numbers of pandas that are not their codes",
        _with("pandas_categorical:null", "pandas_categorical:[[0, 1, 3]]"),
        "trained on categories of pandas",
    ),
    (
        "categories of pandas, nested 100,000 deep",
        _with("pandas_categorical:null", "pandas_categorical:" + "[" * 100_000),
        "trained on categories of pandas",
    ),
    (
        "5 MiB of categories",
        _with("pandas_categorical:null", "pandas_categorical:[[" + "0, " * (5 << 19) + "0]]"),
        "pandas_categorical is larger than 4 MiB",
    ),
)

OF_CLASSES: Final = sized(
    MODEL.replace("binary sigmoid:1", "multiclassova num_class:3 sigmoid:1")
    .replace("num_class=1", "num_class=3")
    .replace("num_tree_per_iteration=1", "num_tree_per_iteration=3")
)

OPTIONS: Final[tuple[tuple[str, bytes, ImportOptions, str], ...]] = (
    ("the best round", sized(MODEL), ImportOptions(rounds="best"), "does not record the best"),
    ("another missing value", sized(MODEL), ImportOptions(missing=-1.0), "its own rules"),
    ("class 0 of two", sized(MODEL), ImportOptions(fraud_class="0"), "probability of class 1 only"),
    ("no class of three", OF_CLASSES, ImportOptions(), "which of them is fraud is not in the file"),
    ("class 3 of three", OF_CLASSES, ImportOptions(fraud_class="3"), "has the classes 0 to 2"),
    ("class 01 of three", OF_CLASSES, ImportOptions(fraud_class="01"), "has the classes 0 to 2"),
    (
        "two trees of three classes",
        OF_CLASSES,
        ImportOptions(fraud_class="1"),
        "2 trees are not a multiple of 3 classes",
    ),
)

FILES: Final = (*LAYOUT, *NUMBERS, *NODES, *CATEGORIES, *HEADER)
