"""Each hostile or unsupported file is refused in one line that names its cause."""

import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.xgboost import booster, values
from stream_scorer.models.importing.xgboost.read import read_xgboost
from tests.support.imports.xgboost_files import (
    changed,
    dart_document,
    document,
    to_json,
    to_ubj,
)

SECONDS_MOST = 10
BYTES_MOST = 32 * 1024 * 1024
"""Memory for a refusal, in addition to the file."""
LENGTH = b"L\x00\x00\x00\x00\x00\x00\x00"
PLAIN = ImportOptions()

FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "neither JSON nor UBJ"),
    "old-binary": (b"binf\x00\x00\x00?" * 40, "neither JSON nor UBJ"),
    "pickle": (b"\x80\x04\x95" + b"x" * 40, "a pickle file, which is never loaded"),
    "dump": (b'[{"nodeid": 0, "leaf": 1.0}]', "a dump of trees, not a model"),
    "state": (b'{"Model": {}, "Config": {}}', "internal state of a Booster"),
    "too-large": (bytes(values.BYTES_MOST + 1), "268,435,457 bytes, more than 268,435,456"),
    "more-json": (to_json(document()) + b" {}", "more text after the JSON document"),
    "more-ubj": (to_ubj(document()) + b"Z", "more bytes after the UBJ document"),
    "name-twice": (b'{"version": 1, "version": 2}', "'version' occurs twice"),
    "name-twice-ubj": (b"{" + (LENGTH + b"\x01aZ") * 2 + b"}", "'a' occurs twice"),
    "deep-json": (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper than 32"),
    "deep-lists": (b'{"a":' + b"[" * 100_000, "nested deeper than 32"),
    "deep-ubj": ((b"{" + LENGTH + b"\x01a") * 40, "nested deeper than 32"),
    "long-text": (b'{"a":"' + b"x" * (1 << 21) + b'"}', "longer than 1,048,576 bytes"),
    "long-text-ubj": (b"{L\0\0\0\0\0\x20\0\0" + b"x" * (1 << 21), "longer than 1,048,576 bytes"),
    "not-utf8": (b'{"\xff": 1}', "not JSON at byte 1"),
    "not-utf8-ubj": (b"{" + LENGTH + b"\x01\xffZ}", "a text is not UTF-8"),
    "escape": (b'{"\\x": 1}', "not JSON at byte 1"),
    "surrogate": (b'{"\\ud800": 1}', "not JSON at byte 1"),
    "long-number": (b'{"version": ' + b"9" * 100_000 + b"}", "not JSON at byte 12"),
    "comment": (b'{"a": 1 /* */}', "not JSON at byte 8"),
    "negative-length": (b"{L\xff\xff\xff\xff\xff\xff\xff\xff", "a length of -1"),
    "huge-length": (b"{L\x40\0\0\0\0\0\0\0", "a length of 4611686018427387904"),
    "huge-list": (b"{" + LENGTH + b"\x01a[#L\x7f\0\0\0\0\0\0\0", "does not fit the file"),
    "huge-array": (b"{" + LENGTH + b"\x01a[$L#L\x1f\0\0\0\0\0\0\0", "does not fit the file"),
    "unknown-marker": (b"{" + LENGTH + b"\x01aH}", "not XGBoost's UBJ at byte 11"),
    "unknown-array": (b"{" + LENGTH + b"\x01a[$C#" + LENGTH + b"\0}", "not XGBoost's UBJ"),
    "short-length": (b"{" + LENGTH + b"\x01aSi\x05hello}", "not XGBoost's UBJ"),
}

PLACES: dict[str, tuple[str, Any, str]] = {
    "version-missing": ("version", ..., "version is missing"),
    "version-short": ("version", [3, 2], "version has 2 numbers, not 3"),
    "version-text": ("version", "3.2.0", "version is not a list of numbers"),
    "version-old": ("version", [1, 7, 2], "saved by XGBoost 1.7.2"),
    "version-new": ("version", [3, 5, 0], "saved by XGBoost 3.5.0"),
    "version-negative": ("version", [3, 2, -1], "saved by XGBoost 3.2.-1"),
    "learner-missing": ("learner", ..., "learner is missing"),
    "learner-list": ("learner", [], "learner is not an object"),
    "objective-custom": ("learner.objective.name", "my\n\x1bloss", r"'my\n\x1bloss' is unknown"),
    "objective-long": ("learner.objective.name", "x" * 9999, "is unknown or custom"),
    "objective-hinge": ("learner.objective.name", "binary:hinge", "0 or 1, not a probability"),
    "objective-classes": ("learner.objective.name", "multi:softprob", "one sum per class"),
    "objective-class": ("learner.objective.name", "multi:softmax", "predicts a class"),
    "objective-squares": ("learner.objective.name", "reg:squarederror", "custom objective"),
    "objective-gamma": ("learner.objective.name", "reg:gamma", "predicts no probability"),
    "objective-count": ("learner.objective.name", "count:poisson", "predicts a count"),
    "objective-rank": ("learner.objective.name", "rank:ndcg", "predicts an order"),
    "objective-survival": ("learner.objective.name", "survival:cox", "a survival time"),
    "objective-number": ("learner.objective.name", 3, "objective.name is not a text"),
    "classes": ("learner.learner_model_param.num_class", "3", "several classes"),
    "targets": ("learner.learner_model_param.num_target", "2", "several targets"),
    "features-none": ("learner.learner_model_param.num_feature", "0", "is '0', not a count"),
    "features-many": ("learner.learner_model_param.num_feature", "4294967295", "not a count"),
    "features-negative": ("learner.learner_model_param.num_feature", "-3", "is '-3', not a count"),
    "features-digits": ("learner.learner_model_param.num_feature", "٣", "not a count"),
    "score-nan": ("learner.learner_model_param.base_score", "NaN", "not one finite number"),
    "score-overflow": ("learner.learner_model_param.base_score", "[1e39]", "not one finite"),
    "scores": ("learner.learner_model_param.base_score", "[0.5,0.5]", "not one finite number"),
    "score-text": ("learner.learner_model_param.base_score", "half", "is 'half', not one"),
    "score-one": ("learner.learner_model_param.base_score", "[1]", "between 0 and 1"),
    "score-zero": ("learner.learner_model_param.base_score", "0", "between 0 and 1"),
    "names-few": ("learner.feature_names", ["a"], "1 feature names, but 3 features"),
    "names-twice": ("learner.feature_names", ["a", "b", "a"], "the feature name 'a' occurs twice"),
    "names-numbers": ("learner.feature_names", [1, 2, 3], "not a list of objects or texts"),
    "names-mixed": ("learner.feature_names", ["a", "b", None], "not a list of texts"),
    "names-long": ("learner.feature_names", ["a", "b", "c" * 500], "name that is too long"),
    "booster-linear": ("learner.gradient_booster.name", "gblinear", "its booster is gblinear"),
    "booster-unknown": ("learner.gradient_booster.name", "trees", "booster 'trees' is unknown"),
    "booster-missing": ("learner.gradient_booster", ..., "gradient_booster is missing"),
    "frame-texts": (
        "model.cats.enc",
        [{"offsets": [0, 1], "values": [120]}],
        "feature 1 has texts of a data frame as categories",
    ),
    "frame-numbers": (
        "model.cats.enc",
        [{"offsets": [], "values": []}, {"type": 15, "values": [10, 20]}],
        "feature 2 has numbers of a data frame as categories",
    ),
    "frame-null": ("model.cats.enc", [None], "model.cats.enc[0] is not an object"),
    "best-later": ("learner.attributes.best_iteration", "3", "is '3', but it has 3 rounds"),
    "best-text": ("learner.attributes.best_iteration", "last", "best_iteration is 'last'"),
    "best-earlier": ("learner.attributes.best_iteration", "1", "best of 3 rounds is number 2"),
    "rounds-many": ("model.iteration_indptr", [0, 1, 2, 4], "does not divide 3 trees"),
    "rounds-back": ("model.iteration_indptr", [0, 2, 1, 3], "does not divide 3 trees"),
    "rounds-none": ("model.iteration_indptr", [], "does not divide 3 trees"),
    "trees-none": ("model.gbtree_model_param.num_trees", "0", "it has no tree"),
    "trees-many": ("model.gbtree_model_param.num_trees", "99999999", "not a count"),
    "trees-more": ("model.gbtree_model_param.num_trees", "4", "does not divide 4 trees"),
    "trees-missing": ("model.trees", ..., "model.trees is missing"),
    "trees-numbers": ("model.trees", [1, 2, 3], "not a list of objects or texts"),
    "trees-fewer": ("model.trees", [], "trees has 0 trees, not 3"),
    "tree-null": ("model.trees.1", None, r"trees[1] is not an object"),
    "tree-classes": ("model.tree_info", [0, 1, 2], "trees of several classes"),
    "tree-order": ("tree.id", 1, "trees[0].id is not 0"),
    "leaf-lists": ("tree.tree_param.size_leaf_vector", "3", "3 numbers in each leaf"),
    "tree-features": ("tree.tree_param.num_feature", "9", "is 9, but the model's is 3"),
    "nodes-none": ("tree.tree_param.num_nodes", "0", "not a count from 1"),
    "nodes-many": ("tree.tree_param.num_nodes", "1048577", "not a count from 1"),
    "nodes-lie": ("tree.tree_param.num_nodes", "1048576", "7 numbers, not 1,048,576"),
    "nodes-short": ("tree.tree_param.num_nodes", "9", "left_children has 7 numbers, not 9"),
    "cycle": ("tree.left_children", [1, 0, 5, -1, -1, -1, -1], "children 0 and 4"),
    "child-twice": ("tree.left_children.2", 3, "the children 3 and 6"),
    "child-outside": ("tree.left_children.1", 6, "the children 6 and 4"),
    "child-huge": ("tree.left_children.1", 2147483647, "children 2,147,483,647 and 4"),
    "child-negative": ("tree.left_children.1", -2, "the children -2 and 4"),
    "child-alone": ("tree.left_children.1", -1, "node 1 with one child"),
    "children-apart": ("tree.right_children.1", 6, "the children 3 and 6"),
    "deleted-lie": ("tree.tree_param.num_deleted", "1", "nodes that no path reaches"),
    "feature-outside": ("tree.split_indices.1", 3, "a feature that the model does not have"),
    "feature-negative": ("tree.split_indices.1", -1, "a feature that the model does not have"),
    "threshold-nan": ("tree.split_conditions.1", float("nan"), "trees[0] splits at NaN"),
    "leaf-nan": ("tree.split_conditions.3", float("nan"), "a leaf without a finite number"),
    "leaf-infinite": ("tree.split_conditions.3", float("-inf"), "leaf without a finite number"),
    "leaf-text": ("tree.split_conditions.3", "0.5", "is not a list of numbers"),
    "default-two": ("tree.default_left.0", 2, "other numbers than 0 and 1"),
    "cover-negative": ("tree.sum_hessian.3", -1.0, "negative or not finite"),
    "cover-nan": ("tree.sum_hessian.3", float("nan"), "negative or not finite"),
    "list-short": ("tree.split_conditions", [0.5], "has 1 numbers, not 7"),
    "list-missing": ("tree.split_indices", ..., "split_indices is missing"),
    "weights-early": ("model.weight_drop", [1.0, 1.0, 0.5], "not read by its version of XGBoost"),
    "kind-unknown": ("tree.split_type.2", 2, "other numbers than 0 and 1"),
    "kind-lies": ("tree.split_type.1", 1, "categories_nodes does not fit split_type"),
    "categories-missing": ("tree.categories", ..., "categories is missing"),
    "categories-none": ("tree.categories_sizes.0", 0, "categories_sizes does not fit"),
    "categories-more": ("tree.categories_sizes.0", 4, "categories_sizes does not fit"),
    "categories-fewer": ("tree.categories_sizes.0", 2, "categories_segments does not fit"),
    "categories-start": ("tree.categories_segments.0", 1, "categories_segments does not fit"),
    "category-negative": ("tree.categories", [-1, 2, 5], "out of range 0 to 16,777,215"),
    "category-huge": ("tree.categories", [1, 2, 16777216], "out of range 0 to 16,777,215"),
    "category-order": ("tree.categories", [2, 1, 5], "not in ascending order"),
    "category-twice": ("tree.categories", [1, 1, 5], "not in ascending order"),
}

DART: dict[str, tuple[str, Any, str]] = {
    "weights-missing": ("learner.gradient_booster.weight_drop", ..., "weight_drop is missing"),
    "weights-few": ("learner.gradient_booster.weight_drop", [1.0], "1 numbers, not 2"),
    "weight-nan": ("learner.gradient_booster.weight_drop.0", float("nan"), "not finite"),
    "weights-twice": ("model.weight_drop", [1.0, 1.0], "weight_drop in two places"),
    "weight-overflow": (
        "learner.gradient_booster.weight_drop.0", 3.4028234663852886e38, "without a finite number",
    ),
}  # fmt: skip

# Values that only JSON can have, because a list in UBJ has one type.
ONLY_JSON = {
    "version-negative", "names-mixed", "names-numbers", "trees-numbers", "leaf-text",
    "objective-number", "child-fraction",
}  # fmt: skip

TEXTS: dict[str, tuple[str, str, str]] = {
    "leaf-overflow": ("-0.75", "-1e39", "a leaf without a finite number"),
    "leaf-exponent": ("-0.75", "-1e99999", "split_conditions is not a list of numbers"),
    "leaf-digits": ("-0.75", "-0." + "7" * 5000, "split_conditions is not a list of numbers"),
    "leaf-word": ("-0.75", "nan", "split_conditions is not a list of numbers"),
    "child-fraction": ('"left_children": [1,', '"left_children": [1.5,', "not a list of integers"),
    "child-digits": ('"left_children": [1,', f'"left_children": [{10**30},', "of integers"),
    "child-true": ('"left_children": [1,', '"left_children": [true,', "not a list of integers"),
    "list-in-list": ('"left_children": [1,', '"left_children": [[1],', "not a list of integers"),
    "list-comma": ('"left_children": [1,', '"left_children": [1,,', "has 8 numbers, not 7"),
    "list-end": ("[2.5E-1]", "[2.5E-1", "not one finite number"),
}


def cases() -> Iterator[Any]:
    """Yield (file, words of the refusal) for every cause, in each format that can have it."""
    for name, (data, words) in FILES.items():
        yield pytest.param(data, words, id=name)
    for base, places in ((document(), PLACES), (dart_document([0.5, 1.0]), DART)):
        for name, (path, value, words) in places.items():
            file = changed(path, value, base)
            yield pytest.param(to_json(file), words, id=f"{name}-json")
            if name not in ONLY_JSON:
                yield pytest.param(to_ubj(file), words, id=f"{name}-ubj")
    text = to_json(document()).decode()
    for name, (before, after, words) in TEXTS.items():
        assert before in text
        yield pytest.param(text.replace(before, after, 1).encode(), words, id=f"{name}-text")


def refusal(data: bytes, options: ImportOptions = PLAIN) -> str:
    """Return the error of a file that is refused."""
    with pytest.raises(ModelError) as caught:
        read_xgboost(data, options)
    return str(caught.value)


@pytest.mark.parametrize(("data", "words"), list(cases()))
def test_a_hostile_file_is_refused_in_one_line(data: bytes, words: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    line = refusal(data)
    seconds = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words in line
    assert line.isprintable()
    assert len(line) < 400
    assert seconds < SECONDS_MOST
    assert peak < BYTES_MOST + 4 * len(data)


VALUES = [b'{"a":[' + each * 1000 + b"1]}" for each in (b"null,", b"[],", b"{},", b'"",')]


@pytest.mark.parametrize("data", [*VALUES, to_ubj({"a": [None] * 1000})])
def test_many_small_values_are_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "VALUES_MOST", 1000)
    assert "it has more than 1,000 values outside lists of numbers" in refusal(data)


@pytest.mark.thorough
def test_a_file_of_small_values_is_refused_in_bounded_memory() -> None:
    data = b'{"a":[' + b"[]," * (values.BYTES_MOST // 3 - 10) + b"1]}"
    tracemalloc.start()
    assert "it has more than 1,048,576 values" in refusal(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * 1024 * 1024


def test_there_are_at_least_40_different_causes() -> None:
    assert len({words for _, _, words in (*PLACES.values(), *DART.values(), *TEXTS.values())}) > 70
    assert len({words for _, words in FILES.values()}) >= 18


def test_a_model_of_too_many_nodes_is_refused_by_its_counts() -> None:
    file = document(5)
    for tree in file["learner"]["gradient_booster"]["model"]["trees"]:
        tree["tree_param"]["num_nodes"] = str(1 << 20)
    assert "5,242,880 nodes, more than 4,194,304" in refusal(to_json(file))


def test_categories_are_counted_before_they_are_read() -> None:
    text = to_json(document()).replace(b"[1, 2, 5]", b"[" + b"7," * (1 << 20) + b"8]", 1)
    assert "has 1,048,577 numbers, more than 1,048,576" in refusal(text)


def test_the_cuts_of_all_trees_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each tree has two splits at numbers, and four cuts around two runs of categories.
    monkeypatch.setattr(booster, "CUTS_MOST", 18)
    assert read_xgboost(to_json(document(3)), PLAIN).parameters["trees"] == 3
    assert "more than 18 cuts" in refusal(to_json(document(4)))


def test_a_sum_that_may_overflow_is_refused() -> None:
    file = changed("model.trees.1.split_conditions.3", 2e38)
    assert read_xgboost(to_json(file), PLAIN).model.feature_count == 3
    assert "too large for float32" in refusal(
        to_json(changed("tree.split_conditions.3", -2e38, file))
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ImportOptions(fraud_class="1"), "has no classes to name"),
        (ImportOptions(rounds="best"), "has no best_iteration"),
        (ImportOptions(missing=1e300), "the missing value 1e+300 is not a float32 number"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: ImportOptions, words: str) -> None:
    assert words in refusal(to_json(document()), options)


def test_old_files_need_as_many_trees_as_rounds_have() -> None:
    file = changed("model.iteration_indptr", ...)
    file["learner"]["gradient_booster"]["model"]["gbtree_model_param"]["num_parallel_tree"] = "2"
    assert "3 trees, which are not rounds of 2" in refusal(to_json(file))


def test_a_node_is_reached_on_one_path_only() -> None:
    file = changed("tree.left_children", [1, 3, 3, -1, -1, -1, -1])
    file = changed("tree.right_children", [2, 4, 4, -1, -1, -1, -1], file)
    assert "reaches node 3 on two paths" in refusal(to_json(file))
    file = changed("tree.left_children", [1, 1, 5, -1, -1, -1, -1])
    file = changed("tree.right_children", [2, 2, 6, -1, -1, -1, -1], file)
    assert "reaches node 1 on two paths" in refusal(to_json(file))
