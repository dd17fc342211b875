"""Nodes of imported trees, compared with what CatBoost's format means."""

import numpy as np
import pytest

from stream_scorer.core.decision.decide import model_scores
from stream_scorer.errors import ModelError
from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.catboost.integer_hashes import _hashes, _texts, integers_with
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.trees import TreeEnsemble
from tests.support.imports.catboost_hostile import (
    HASH_OF_3,
    HASH_OF_WEB,
    Document,
    categorical,
    encoded,
    other,
    symmetric,
)
from tests.support.models.reference_model import reference_raw

LARGEST = float(np.finfo(np.float32).max)


def raw(document: Document, *rows: tuple[float, float]) -> list[float]:
    read = read_catboost(encoded(document), ImportOptions())
    return reference_raw(read.model, np.array(rows)).tolist()


def ensemble(document: Document) -> TreeEnsemble:
    body = read_catboost(encoded(document), ImportOptions()).model.parts[0].body
    assert isinstance(body, TreeEnsemble)
    return body


def with_feature(make: Document, number: int, **changes: object) -> Document:
    make["features_info"]["float_features"][number] |= changes
    return make


def test_a_split_is_a_bit_of_a_symmetric_trees_leaf() -> None:
    # The first split is the lowest bit: feature 0 above 0.5; the second one feature 1 above -1.5.
    found = raw(symmetric(), (0.0, -2.0), (1.0, -2.0), (0.0, 0.0), (1.0, 0.0))
    assert found == [0.75, 0.0, 0.375, 1.25]


def test_a_node_that_is_not_symmetric_sends_larger_values_right() -> None:
    assert raw(other(), (2.0, 0.0), (1.5, 0.0), (1.5, -1.5)) == [2.0, -0.25, 0.5]


def test_the_left_half_of_a_symmetric_tree_is_its_last_split() -> None:
    trees = ensemble(symmetric())
    assert trees.feature.tolist() == [1, 0, 0, -1, -1, -1, -1, -1]
    assert trees.cover.tolist()[3:] == [4, 3, 2, 1, 10]
    # Means of the leaves, weighted by their rows.
    assert trees.value.tolist()[1:3] == [1.25 / 7, 1.25 / 3]


def test_weights_may_be_missing() -> None:
    document = symmetric()
    del document["oblivious_trees"][0]["leaf_weights"]
    assert ensemble(document).value.tolist()[0] == (0.5 - 0.25 + 0.125 + 1) / 4
    document = other()
    for leaf in ("left", "right"):
        del document["trees"][0]["left"][leaf]["weight"]
    assert ensemble(document).cover.tolist()[2:4] == [1, 1]


@pytest.mark.parametrize(
    ("treatment", "expected"), [("AsIs", -0.25), ("AsFalse", -0.25), ("AsTrue", 2.0)]
)
def test_where_a_missing_value_goes(treatment: str, expected: float) -> None:
    document = with_feature(other(), 0, has_nans=True, nan_value_treatment=treatment)
    assert raw(document, (np.nan, 0.0)) == [expected]
    # Without missing values in the training data, it is above no border.
    document = with_feature(other(), 0, has_nans=False, nan_value_treatment=treatment)
    assert raw(document, (np.nan, 0.0)) == [-0.25]


@pytest.mark.parametrize("border", [0.5, 1 / 3, 1e-45, 0.0, -1e-45, -0.1, 1e38, LARGEST, -LARGEST])
def test_a_value_is_rounded_to_float32_before_it_is_compared(border: float) -> None:
    document = with_feature(other(), 0, borders=[border])
    document["trees"] = [{
        "left": {"value": 0}, "right": {"value": 1},
        "split": {"border": border, "float_feature_index": 0, "split_index": 0,
                  "split_type": "FloatFeature"},
    }]  # fmt: skip
    single = np.float32(border)
    with np.errstate(all="ignore"):
        near = np.array([single, np.nextafter(single, np.float32(np.inf))], np.float64)
        middle = (near[0] + min(near[1], 2.0**128)) / 2
        values = np.array([middle, *near, border, np.inf, -np.inf, 1e39, -1e39])
        values = np.concatenate([values, np.nextafter(values, 1), np.nextafter(values, -np.inf)])
        expected = (values.astype(np.float32) > single).astype(np.float64)
    assert raw(document, *((value, 0.0) for value in values.tolist())) == expected.tolist()


def test_a_category_is_compared_with_all_integers_of_its_hash() -> None:
    document = categorical()
    key = int(_hashes(np.frombuffer(b"24525", np.uint8)[None])[0])
    document["features_info"]["categorical_features"][0]["values"] = [key]
    document["oblivious_trees"][0]["splits"][1]["value"] = key
    trees = ensemble(document)
    assert trees.feature[0] == 2
    low = np.nextafter([-80_119.0, 24_525.0], -np.inf)
    assert trees.cuts[:4].tolist() == [low[0], -80_119, low[1], 24_525]
    near = [24_525.0, -80_119.0, 24_524.0, -80_120.0, -0.0, 999_999.0]
    found = [raw_of_three(document, value) for value in near]
    assert found == [0.375, 0.375, 0.75, 0.75, 0.75, 0.75]


def test_a_model_may_have_categories_alone() -> None:
    document = categorical()
    document["features_info"].pop("float_features")
    document["features_info"]["categorical_features"][0]["flat_feature_index"] = 0
    split = document["oblivious_trees"][0]["splits"][1] | {"split_index": 0}
    document["oblivious_trees"] = [{"leaf_values": [1, 2], "splits": [split]}]
    read = read_catboost(encoded(document), ImportOptions())
    assert ScoringPredictor(read.model).raw(np.array([[3.0], [4.0]])).tolist() == [2, 1]


@pytest.mark.parametrize("value", [np.nan, 0.5, 1e6, -1e6, np.inf, -np.inf, 24_525 + 2**-20])
def test_a_category_that_is_no_integer_is_refused(value: float) -> None:
    with pytest.raises(ModelError, match="feature 2 is a category: an integer of at most 999999"):
        raw_of_three(categorical(), value)


def test_a_row_that_is_refused_fails_alone() -> None:
    read = read_catboost(encoded(categorical()), ImportOptions())
    rows = np.array([[0.0, 0.0, 3.0], [0.0, 0.0, 2.5], [0.0, 0.0, -7.0]])
    scores, failed, failure = model_scores(ScoringPredictor(read.model), rows)
    assert failed.tolist() == [False, True, False]
    assert np.isfinite(scores[[0, 2]]).all()
    assert "feature 2 is a category" in failure


def raw_of_three(document: Document, category: float) -> float:
    read = read_catboost(encoded(document), ImportOptions())
    rows = np.array([[0.0, 0.0, category]])
    (found,) = ScoringPredictor(read.model).raw(rows).tolist()
    assert reference_raw(read.model, rows).tolist() == [found]
    return float(found)


def test_the_hash_of_each_integer_is_found() -> None:
    texts = list(_texts())
    assert sum(len(text) for _, text in texts) == 2 * 999_999 + 1
    for first, text in texts:
        step = 1 if first >= 0 else -1
        for at in (0, len(text) // 3, len(text) - 1):
            integer = first + step * at
            assert text[at].tobytes() == str(integer).encode()
    assert integers_with(np.array([HASH_OF_WEB])) == {}
    assert integers_with(np.array([HASH_OF_3]))[HASH_OF_3].tolist() == [3]


def test_borders_may_be_written_with_nine_digits() -> None:
    document = with_feature(symmetric(), 0, borders=[0.5, 1.23456789])
    assert float(ensemble(document).cuts[0]) > -1.5
    single = float(np.float32(1.23456789))
    document["oblivious_trees"][0]["splits"][0] |= {"border": single, "split_index": 1}
    assert 1.0 in ensemble(document).value
