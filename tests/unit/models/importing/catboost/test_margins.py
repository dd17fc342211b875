"""Margins and probabilities of imported models compared with CatBoost's own, bit for bit."""

import catboost
import numpy as np
import pytest

from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.imports.catboost_files import bits
from tests.support.imports.catboost_models import (
    Configuration,
    configurations,
    json_of,
    margins,
    probabilities,
)
from tests.support.imports.catboost_rows import around, rows_for
from tests.support.imports.catboost_training import SAME_HASH, training_data
from tests.support.models.reference_model import reference_raw, reference_scores

ALL = {each.name: each for each in configurations()}
QUICK = (
    "SymmetricTree, depth 4, missing",
    "Depthwise, depth 3, missing is largest",
    "Lossguide, tiny",
    "SymmetricTree, edge",
    "class 0 is fraud, scale and bias",
    "Depthwise, one versus all, class middle",
    "SymmetricTree, up to 255 categories",
    "Lossguide, up to 10 categories, described",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_set_scores_as_catboost_does(name: str) -> None:
    _assert_equal(ALL[name], 100)
    trained = ALL[name].train()
    read = read_catboost(trained.text, ImportOptions(fraud_class=trained.fraud_class))
    rows = rows_for(trained.text, 20)[::29]
    assert (bits(reference_raw(read.model, rows)) == bits(margins(trained, rows))).all()
    wide = np.abs(reference_scores(read.model, rows) - probabilities(trained, rows))
    assert wide.max() <= 4 * np.finfo(np.float64).eps


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in ALL if name not in QUICK])
def test_each_configuration_scores_as_catboost_does(name: str) -> None:
    _assert_equal(ALL[name], 500)


def _assert_equal(configuration: Configuration, random_rows: int) -> None:
    trained = configuration.train()
    read = read_catboost(trained.text, ImportOptions(fraud_class=trained.fraud_class))
    rows = rows_for(trained.text, random_rows)
    predictor = ScoringPredictor(read.model)
    found, expected = predictor.raw(rows), margins(trained, rows)
    assert int((bits(found) != bits(expected)).sum()) == 0
    with np.errstate(over="ignore"):
        single = margins(trained, rows.astype(np.float32))
    assert (bits(expected) == bits(single)).all()
    units = np.abs(bits(predictor.scores(rows)) - bits(probabilities(trained, rows)))
    assert int(units.max()) <= 4


@pytest.mark.thorough
def test_each_integer_goes_where_catboost_sends_it() -> None:
    seen = np.array([SAME_HASH[0], 0, -7, 999_999])
    learn = np.random.default_rng(5).choice(seen, 2_000)[:, None]
    model = catboost.CatBoost({
        "loss_function": "Logloss", "iterations": 5, "depth": 4, "one_hot_max_size": 10,
        "verbose": False, "thread_count": 1, "allow_writing_files": False,
    })  # fmt: skip
    pool = catboost.Pool(learn, (learn[:, 0] == SAME_HASH[0]).astype(int), cat_features=[0])
    model.fit(pool)
    every = np.arange(-999_999, 1_000_000)[:, None]
    read = read_catboost(json_of(model), ImportOptions())
    found = ScoringPredictor(read.model).raw(every.astype(np.float64))
    expected = model.predict(
        catboost.Pool(every, cat_features=[0]), prediction_type="RawFormulaVal", thread_count=1
    )
    assert (bits(found) == bits(expected)).all()
    usual = found[every[:, 0] == 5]
    # The integers of the splits, and those with the hash of one of them.
    other = set(every[found != usual, 0].tolist())
    assert set(SAME_HASH) <= other <= {*SAME_HASH, 0, -7, 999_999}


def test_there_are_enough_configurations() -> None:
    assert len(ALL) == len(list(configurations())) >= 100
    assert len(list(configurations("1.0.6"))) >= 100


def test_the_rows_of_a_border_are_on_both_of_its_sides() -> None:
    border = np.array([0.1, -3.5e-40])
    tried = around(border).reshape(12, 2)
    with np.errstate(over="ignore"):
        single = tried.astype(np.float32)
    for column, number in enumerate(border.astype(np.float32)):
        above = single[:, column] > number
        assert 3 <= above.sum() <= 9
        # The last number at the border and the first one above it are neighbours in float64.
        last = tried[~above, column].max()
        assert np.nextafter(last, np.inf) == tried[above, column].min()


def test_training_data_are_of_the_kind_that_they_are_named_after() -> None:
    assert np.isnan(training_data("missing")[0]).any()
    assert not np.isnan(training_data("plain")[0]).any()
    assert 0 < np.abs(training_data("tiny")[0]).max() < np.finfo(np.float32).tiny
    assert set(np.unique(training_data("classes")[1])) == {0, 1, 2}
    assert len(np.unique(training_data("neighbours")[0].astype(np.float32))) == 40
