"""Every kind of predictor has scikit-learn's bits, in any batch, and attributions that add up."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn.convert import predictor_for
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.trees import double_thresholds
from tests.support.effort import examples

Float64 = NDArray[np.float64]
WIDTH = 5
SINGLE = float(np.finfo(np.float32).max)

TREES: dict[str, Any] = {
    "boosting": HistGradientBoostingClassifier(random_state=0, max_iter=30, early_stopping=False),
    "boosting, 64-bit masks": HistGradientBoostingClassifier(
        random_state=0, max_iter=10, max_leaf_nodes=60, early_stopping=False
    ),
    "boosting, walked": HistGradientBoostingClassifier(
        random_state=0, max_iter=10, max_leaf_nodes=None, min_samples_leaf=4, early_stopping=False
    ),
    "forest": RandomForestClassifier(random_state=0, n_estimators=15),
    "shallow forest": RandomForestClassifier(random_state=0, n_estimators=20, max_depth=5),
    "weighted forest": RandomForestClassifier(
        random_state=0, n_estimators=10, class_weight="balanced"
    ),
    "tree": DecisionTreeClassifier(random_state=0),
    "tree of depth 2": DecisionTreeClassifier(random_state=0, max_depth=2),
    "stump that never splits": DecisionTreeClassifier(random_state=0, min_samples_leaf=0.6),
}
LINEAR: dict[str, Any] = {
    "logistic regression": LogisticRegression(),
    "scaled logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "centred only": make_pipeline(StandardScaler(with_std=False), LogisticRegression()),
    "scaled only": make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
}
KINDS = list(TREES) + list(LINEAR)


@cache
def training(*, missing: bool = False) -> tuple[Float64, NDArray[np.int64]]:
    numbers = np.random.default_rng(7)
    rows = np.column_stack(
        [
            numbers.gamma(2.0, 40.0, 4_000).round(2),
            numbers.integers(0, 2, 4_000),
            numbers.integers(1, 30, 4_000),
            numbers.normal(0, 1, 4_000),
            numbers.normal(0, 1e-3, 4_000),
        ]
    )
    fraud = (rows[:, 0] + 30 * rows[:, 3] + numbers.normal(0, 20, 4_000) > 160).astype(np.int64)
    if missing:
        rows[numbers.random(rows.shape) < 0.1] = np.nan
    return rows, fraud


@cache
def fitted(kind: str, *, missing: bool = False) -> tuple[Any, ScoringPredictor]:
    model = (TREES | LINEAR)[kind].fit(*training(missing=missing))
    return model, predictor_for(model)


def same_bits(a: Float64, b: Float64) -> bool:
    return a.tobytes() == b.tobytes()


def probes(kind: str, *, missing: bool) -> Float64:
    """Rows of the data, and rows at and near every threshold of the model."""
    rows = training(missing=missing)[0][:500]
    model = fitted(kind, missing=missing)[0]
    if isinstance(model, HistGradientBoostingClassifier):
        nodes = np.concatenate([tree.nodes for (tree,) in model._predictors])
        at, feature = nodes["num_threshold"], nodes["feature_idx"]
    else:
        estimators = getattr(model, "estimators_", [model])
        at = np.concatenate([e.tree_.threshold for e in estimators])
        feature = np.concatenate([e.tree_.feature for e in estimators])
    at, feature = at[feature >= 0][:3_000], feature[feature >= 0][:3_000]
    near = [at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf), at + 1e-9, at - 1e-9]
    near += [at.astype(np.float32).astype(np.float64)]
    out = [rows]
    for values in near:
        block = rows[np.arange(len(at)) % len(rows)].copy()
        block[np.arange(len(at)), feature.astype(np.int64)] = values
        out.append(block)
    together = np.concatenate(out)
    return together[~(np.abs(together) > 1e30).any(axis=1)]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", TREES)
def test_trees_give_the_bits_of_scikit_learn(kind: str, missing: bool) -> None:  # noqa: FBT001 a case
    model, predictor = fitted(kind, missing=missing)
    rows = probes(kind, missing=missing)
    if missing:
        rows[:, 0][::7] = np.nan
    assert same_bits(predictor.scores(rows), model.predict_proba(rows)[:, 1].copy())


def test_unseen_missing_values_follow_scikit_learns_branch() -> None:
    rows = training()[0][:200].copy()
    rows[::2, 3] = np.nan
    for kind in TREES:
        model, predictor = fitted(kind)
        assert same_bits(predictor.scores(rows), model.predict_proba(rows)[:, 1].copy()), kind


def test_boosting_takes_infinite_values_as_scikit_learn_does() -> None:
    rows = training()[0][:9].copy()
    rows[::2, 0], rows[1::2, 0] = np.inf, -np.inf
    model, predictor = fitted("boosting")
    assert same_bits(predictor.scores(rows), model.predict_proba(rows)[:, 1].copy())


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_models_are_within_1e12_of_scikit_learn(kind: str) -> None:
    model, predictor = fitted(kind)
    rows = training()[0]
    difference = np.abs(predictor.scores(rows) - model.predict_proba(rows)[:, 1])
    assert difference.max() <= 1e-12


ROWS = arrays(
    np.float64,
    st.tuples(st.integers(1, 40), st.just(WIDTH)),
    elements=st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1.0, 160.0, 1e-300]),
)


@pytest.mark.parametrize("kind", KINDS)
@given(rows=ROWS, cut=st.integers(0, 40))
@settings(max_examples=examples(40), deadline=None)
def test_a_row_scores_the_same_in_any_batch(kind: str, rows: Float64, cut: int) -> None:
    predictor = fitted(kind)[1]
    whole = predictor.scores(rows)
    alone = np.concatenate([predictor.scores(rows[i : i + 1]) for i in range(len(rows))])
    halves = np.concatenate([predictor.scores(rows[:cut]), predictor.scores(rows[cut:])])
    assert same_bits(whole, alone)
    assert same_bits(whole, halves)
    assert ((whole >= 0) & (whole <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
@given(rows=ROWS)
@settings(max_examples=examples(40), deadline=None)
def test_attributions_and_base_add_up_to_the_raw_score(kind: str, rows: Float64) -> None:
    predictor = fitted(kind)[1]
    contributions, base = predictor.attributions(rows)
    assert contributions.shape == rows.shape
    raw = predictor.raw(rows)
    assert np.abs(contributions.sum(axis=1) + base - raw).max() <= 1e-9 * max(1, np.abs(raw).max())


def test_a_tree_credits_the_feature_that_it_split_on() -> None:
    rows = np.array([[0.0, 0.0], [0.0, 1.0]] * 10)
    predictor = predictor_for(DecisionTreeClassifier().fit(rows, rows[:, 1].astype(int)))
    contributions, base = predictor.attributions(rows[:2])
    assert base == 0.5
    assert contributions.tolist() == [[0.0, -0.5], [0.0, 0.5]]


def test_a_scaled_linear_model_explains_deviations_from_the_mean() -> None:
    model, predictor = fitted("scaled logistic regression")
    rows = training()[0][:3]
    scaler, regression = model.steps[0][1], model.steps[1][1]
    expected = regression.coef_[0] * (rows - scaler.mean_) / scaler.scale_
    assert np.allclose(predictor.attributions(rows)[0], expected, rtol=1e-12)
    assert predictor.attributions(rows)[1] == regression.intercept_[0]


@given(
    threshold=st.floats(-SINGLE, SINGLE) | st.floats(-1e-44, 1e-44) | st.floats(width=32),
    value=st.floats(-1e39, 1e39),
    steps=st.integers(-3, 3),
)
@settings(max_examples=examples(500), deadline=None)
def test_double_thresholds_decide_as_single_precision_does(
    threshold: float, value: float, steps: int
) -> None:
    if not np.isfinite(threshold):
        threshold = 0.0
    doubled = float(double_thresholds(np.array([threshold]))[0])
    near = doubled
    for _ in range(abs(steps)):
        near = float(np.nextafter(near, np.copysign(np.inf, steps)))
    for x in (value, threshold, near):
        with np.errstate(over="ignore"):
            single = np.float32(x)
        assert (x <= doubled) == (np.float64(single) <= threshold)


def test_read_only_strided_and_single_precision_rows_are_valid() -> None:
    rows = training()[0][:6]
    predictor = fitted("boosting")[1]
    frozen = rows.copy()
    frozen.setflags(write=False)
    expected = predictor.scores(rows)
    assert same_bits(predictor.scores(frozen), expected)
    assert same_bits(predictor.scores(np.asfortranarray(rows)), expected)
    assert same_bits(predictor.scores(rows[::2]), expected[::2].copy())
    assert predictor.scores(rows[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(3, WIDTH + 1), (WIDTH,)])
def test_rows_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    for kind in ("boosting", "logistic regression"):
        with pytest.raises(ModelError, match=f"rows of {WIDTH}"):
            fitted(kind)[1].scores(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_linear_models_refuse_what_they_cannot_score(value: float) -> None:
    rows = training()[0][:2].copy()
    rows[1, 0] = value
    with pytest.raises(ModelError, match="missing or infinite"):
        fitted("logistic regression")[1].scores(rows)
