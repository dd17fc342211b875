"""Imported models have the library's margins, bit for bit, and its probabilities within 2 ulp."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions
from stream_scorer.models.importing.xgboost.read import read_xgboost
from stream_scorer.models.predictors.parts import MissingValue
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.trees import TreeEnsemble
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
COLUMNS: Final = (
    "feature", "cuts", "first_cut", "starts_left", "left", "right", "missing_left", "value",
    "cover", "baseline", "roots",
)  # fmt: skip


def chosen(*, quick: bool) -> Iterator[Any]:
    """Yield the configurations of the quick tier, or all others."""
    for configuration in configurations():
        if (configuration.name in QUICK) == quick:
            yield pytest.param(configuration, id=configuration.name)


def assert_same_scores(example: Example) -> None:
    """Assert that both of a model's files give the library's margins and probabilities."""
    options = ImportOptions(rounds=example.choice, missing=example.missing)
    model = read_xgboost(example.json, options)
    assert_same_columns(model, read_xgboost(example.ubj, options))
    predictor = ScoringPredictor(model.model)
    found = predictor.raw(example.rows).astype(np.float32)
    same = found.view(np.int32) == example.margins.view(np.int32)
    assert same.all(), f"{(~same).sum()} of {len(same)} rows, first {np.argmin(same)}"
    scores = predictor.scores(example.rows).astype(np.float32)
    # Probabilities are positive, so their bits are in their order.
    apart = scores.view(np.int32).astype(np.int64) - example.probabilities.view(np.int32)
    assert np.abs(apart).max() <= 2


def assert_same_columns(first: ImportedModel, second: ImportedModel) -> None:
    """Assert that two models are the same, apart from the arrays' memory."""
    assert (first.parameters, first.kind) == (second.parameters, second.kind)
    assert columns(first).keys() == columns(second).keys()
    for name, column in columns(first).items():
        np.testing.assert_array_equal(column, columns(second)[name])


@pytest.mark.parametrize("configuration", list(chosen(quick=True)))
def test_the_scores_are_the_library_s(configuration: Configuration) -> None:
    assert_same_scores(train(configuration))


@pytest.mark.thorough
@pytest.mark.parametrize("configuration", list(chosen(quick=False)))
def test_the_scores_of_every_configuration(configuration: Configuration) -> None:
    assert_same_scores(train(configuration))


def test_there_are_more_configurations_than_promised() -> None:
    names = [configuration.name for configuration in configurations()]
    assert len(set(names)) == len(names) >= 79
    assert set(QUICK) < set(names)


def imported(file: Any, **options: Any) -> ImportedModel:
    """Return an imported document, the same from JSON and UBJ."""
    written = read_xgboost(to_json(file), ImportOptions(**options))
    binary = read_xgboost(to_ubj(file), ImportOptions(**options))
    assert_same_columns(written, binary)
    return written


def columns(model: ImportedModel) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model's trees."""
    body = model.model.parts[0].body
    assert isinstance(body, TreeEnsemble)
    return {name: np.asarray(getattr(body, name)) for name in COLUMNS}


def sums(model: ImportedModel, rows: list[list[float]]) -> list[float]:
    """Return the sums of rows."""
    return ScoringPredictor(model.model).raw(np.array(rows)).tolist()


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


def test_categories_of_a_data_frame_may_be_their_positions() -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"amount": random.normal(size=300), "kind": random.integers(0, 6, 300)})
    frame["kind"] = frame["kind"].astype("category")
    model = xgboost.XGBClassifier(n_estimators=4, enable_categorical=True, n_jobs=1)
    model.fit(frame, np.isin(frame["kind"], (1, 2, 5)) ^ (frame["amount"] > 1))
    file = bytes(model.get_booster().save_raw("json"))
    assert b'"values":[0,1,2,3,4,5]' in file
    found = ScoringPredictor(read_xgboost(file, PLAIN).model).raw(frame.to_numpy(np.float64))
    expected = model.get_booster().inplace_predict(frame, predict_type="margin")
    assert found.astype(np.float32).tobytes() == expected.tobytes()


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
