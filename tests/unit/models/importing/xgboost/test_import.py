"""Imported models have the library's margins, bit for bit, and its probabilities within 2 ulp."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions
from stream_scorer.models.importing.xgboost.read import read_xgboost
from stream_scorer.models.predictors.parts import MissingValue, SingleSigmoid
from stream_scorer.models.predictors.trees import TreeEnsemble
from tests.support.imports.ensemble_sums import part_sums
from tests.support.imports.xgboost_files import (
    changed,
    dart_document,
    document,
    to_json,
    to_ubj,
)
from tests.support.imports.xgboost_models import Configuration, Example, configurations, train

QUICK: Final = (
    "binary_logistic-depth3-categories-missing",
    "binary_logistic-dart",
    "early-forest-best",
    "exact-pruned",
    "missing-not-a-float32",
    "raw-base-score-0.1",
    "tiny-values",
)
PLAIN: Final = ImportOptions()


def chosen(*, quick: bool) -> Iterator[Any]:
    """Yield the configurations of the quick tier, or all others."""
    for configuration in configurations():
        if (configuration.name in QUICK) == quick:
            yield pytest.param(configuration, id=configuration.name)


def assert_same_sums(example: Example) -> None:
    """Assert that both of a model's files give the library's margins."""
    options = ImportOptions(rounds=example.choice, missing=example.missing)
    for file in (example.json, example.ubj):
        (part,) = read_xgboost(file, options).model.parts
        assert part.after == (SingleSigmoid(),)
        found = part_sums(part, example.rows)
        same = found.astype(np.float32).view(np.int32) == example.margins.view(np.int32)
        assert same.all(), f"{(~same).sum()} of {len(same)} rows, first {np.argmin(same)}"


@pytest.mark.parametrize("configuration", list(chosen(quick=True)))
def test_the_sums_have_the_library_s_bits(configuration: Configuration) -> None:
    assert_same_sums(train(configuration))


@pytest.mark.thorough
@pytest.mark.parametrize("configuration", list(chosen(quick=False)))
def test_the_sums_of_every_configuration(configuration: Configuration) -> None:
    assert_same_sums(train(configuration))


def test_there_are_more_configurations_than_promised() -> None:
    names = [configuration.name for configuration in configurations()]
    assert len(set(names)) == len(names) >= 79
    assert set(QUICK) < set(names)


def imported(file: Any, **options: Any) -> ImportedModel:
    """Return an imported document, the same from JSON and UBJ."""
    written = read_xgboost(to_json(file), ImportOptions(**options))
    binary = read_xgboost(to_ubj(file), ImportOptions(**options))
    assert (written.parameters, written.kind) == (binary.parameters, binary.kind)
    assert columns(written).keys() == columns(binary).keys()
    for name, column in columns(written).items():
        np.testing.assert_array_equal(column, columns(binary)[name])
    return written


def columns(model: ImportedModel) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model's trees."""
    body = model.model.parts[0].body
    assert isinstance(body, TreeEnsemble)
    return {
        name: np.asarray(getattr(body, name))
        for name in ("feature", "cuts", "first_cut", "left", "right", "value", "baseline", "roots")
    }


def sums(model: ImportedModel, rows: list[list[float]]) -> list[float]:
    """Return the sums of rows."""
    return part_sums(model.model.parts[0], np.array(rows)).tolist()


def test_facts_and_names_come_from_the_file() -> None:
    model = imported(document())
    assert (model.library, model.library_version) == ("xgboost", "3.2.0")
    assert model.kind == "gradient_boosted_trees"
    assert model.feature_names == ("amount", "hour", "channel")
    assert model.model.feature_count == 3
    assert model.parameters == {
        "objective": "binary:logistic",
        "booster": "gbtree",
        "rounds": 3,
        "rounds_in_file": 3,
        "trees": 3,
    }
    assert imported(changed("learner.feature_names", [])).feature_names is None


def test_trees_of_one_round_are_a_forest() -> None:
    forest = changed("model.iteration_indptr", [0, 3])
    assert imported(forest).kind == "random_forest"
    assert imported(changed("model.iteration_indptr", [0, 1], document(1))).kind == (
        "gradient_boosted_trees"
    )


def test_a_row_is_added_up_by_hand() -> None:
    # -log(1 / 0.25 - 1), then one leaf of each of the three trees.
    start = np.float32(-1.0986123)
    model = imported(document())
    for row, leaves in (
        ([0.0, -2.0, 0.0], [-0.75] * 3),
        ([0.0, -1.25, 0.0], [0.125] * 3),  # not less than the threshold
        ([0.5, 0.0, 0.0], [0.25, 1.25, 2.25]),  # category 0 is not in the list: left
        ([0.5, 0.0, 5.0], [1.5] * 3),
        ([0.5, 0.0, 3.0], [0.25, 1.25, 2.25]),
        ([0.5, 0.0, 2.9], [1.5] * 3),  # truncated to 2
        ([0.5, 0.0, -1.0], [0.25, 1.25, 2.25]),
        ([0.5, 0.0, 1e30], [0.25, 1.25, 2.25]),
        ([float("nan"), float("nan"), 1.0], [0.125] * 3),
        ([7.0, 0.0, float("nan")], [0.25, 1.25, 2.25]),
    ):
        total = start
        for value in leaves:
            total = np.float32(total + np.float32(value))
        assert sums(model, [row]) == [float(total)], row


def test_rounds_must_be_chosen_if_training_was_stopped() -> None:
    stopped = changed("learner.attributes.best_iteration", "0")
    with pytest.raises(ModelError, match=r"best of 3 rounds is number 1 — give --rounds best"):
        read_xgboost(to_json(stopped), PLAIN)
    assert imported(stopped, rounds="best").parameters["trees"] == 1
    assert imported(stopped, rounds="all").parameters["trees"] == 3
    last = changed("learner.attributes.best_iteration", "2")
    for rounds in (None, "best", "all"):
        assert imported(last, rounds=rounds).parameters["trees"] == 3


def test_the_best_round_of_a_forest_has_all_its_trees() -> None:
    stopped = changed("learner.attributes.best_iteration", "0", document(4))
    stopped = changed("model.iteration_indptr", [0, 2, 4], stopped)
    facts = imported(stopped, rounds="best").parameters
    assert (facts["rounds"], facts["rounds_in_file"], facts["trees"]) == (1, 2, 2)
    old = changed("model.iteration_indptr", ..., stopped)
    old = changed("model.gbtree_model_param.num_parallel_tree", "2", old)
    assert imported(old, rounds="best").parameters == facts


@pytest.mark.parametrize(
    ("text", "start"),
    [("5E-1", 0.0), ("[5E-1]", 0.0), (" [ 5E-1 ] ", 0.0), ("(0.5)", 0.0), ("0.25", -1.0986123)],
)
def test_a_base_score_may_be_in_brackets(text: str, start: float) -> None:
    model = imported(changed("learner.learner_model_param.base_score", text))
    assert columns(model)["baseline"] == np.float32(start)


def test_the_base_score_of_a_raw_model_is_a_margin() -> None:
    raw = changed("learner.objective.name", "binary:logitraw")
    raw = changed("learner.learner_model_param.base_score", "-3.5", raw)
    assert columns(imported(raw))["baseline"] == -3.5


def test_dart_weights_are_multiplied_in_the_order_of_the_version() -> None:
    base = dart_document([0.1, 1.0])
    margin, leaf, weight = np.float32(-1.0986123), np.float32(0.125), np.float32(0.1)
    row = [[0.0, -1.25, 0.0]]
    for version, added in (
        ([3, 2, 0], [((leaf + margin) - margin) * weight, (leaf + margin) - margin]),
        ([3, 4, 1], [leaf * weight, leaf]),
    ):
        model = imported(changed("version", version, base))
        assert model.parameters["booster"] == "dart"
        assert sums(model, row) == [float(np.float32(margin + added[0]) + added[1])]


def test_dart_weights_may_be_beside_the_trees() -> None:
    # As version 3.3 and later write them.
    merged = changed("version", [3, 4, 1])
    merged = changed("model.weight_drop", [0.5, 1.0, 0.25], merged)
    outside = changed("version", [3, 4, 1], dart_document([0.5, 1.0, 0.25]))
    row = [[0.0, -2.0, 0.0]]
    assert sums(imported(merged), row) == sums(imported(outside), row)
    assert imported(merged).parameters["booster"] == "dart"


def test_a_missing_number_is_rounded_before_it_is_compared() -> None:
    model = imported(document(), missing=0.1)
    assert model.model.parts[0].before == (MissingValue(float(np.float32(0.1)), single=True),)
    assert model.parameters["missing"] == 0.1
    missing, near, other = sums(
        model, [[0.1, 0.0, 1.0], [0.10000000000001, 0.0, 1.0], [0.11, -2.0, 1.0]]
    )
    assert missing == near != other
    assert imported(document(), missing=float("nan")).model.parts[0].before == ()


def test_deleted_nodes_are_left_out() -> None:
    # As the pruner of the exact method leaves them: nodes that no node has as a child.
    tree = document(1)
    pruned = changed("tree.left_children", [1, -1, 5, -1, -1, -1, -1], tree)
    pruned = changed("tree.right_children", [2, -1, 6, -1, -1, -1, -1], pruned)
    pruned = changed("tree.tree_param.num_deleted", "2", pruned)
    assert len(columns(imported(pruned))["feature"]) == 5


def test_splits_at_infinity_and_at_zero_keep_their_sides() -> None:
    tiny = float(np.finfo(np.float64).smallest_subnormal)
    for threshold, rows in (
        (float("inf"), {1e38: True, 1e39: False, float("inf"): False, float("-inf"): True}),
        (float("-inf"), {-1e39: False, 0.0: False, float("-inf"): False}),
        (0.0, {-tiny: False, -0.0: False, -1e-46: False, -1e-45: True, tiny: False}),
    ):
        model = imported(changed("tree.split_conditions.1", threshold, document(1)))
        for value, left in rows.items():
            (found,) = sums(model, [[0.0, value, 0.0]])
            assert found == float(np.float32(-1.0986123) + np.float32(-0.75 if left else 0.125))
