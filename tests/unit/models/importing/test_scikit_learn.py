"""Estimators of scikit-learn, fitted or from skops files, keep its bits as models of data."""

import warnings
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions
from stream_scorer.models.importing.scikit_learn.convert import scoring_model
from stream_scorer.models.importing.scikit_learn.read import read_scikit_learn
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.models.reference_model import reference_scores
from tests.support.models.skops_schema import with_schema

Float64 = NDArray[np.float64]
NONE = ImportOptions()


def trees(**options: Any) -> Any:
    return RandomForestClassifier(n_estimators=9, max_depth=6, random_state=0, **options)


def boosted() -> Any:
    return HistGradientBoostingClassifier(max_iter=8, random_state=0)


EXACT: dict[str, Any] = {
    "extra trees": ExtraTreesClassifier(n_estimators=11, random_state=0),
    "weighted extra trees": ExtraTreesClassifier(
        n_estimators=7, max_depth=5, class_weight="balanced", bootstrap=True, random_state=0
    ),
    "gradient boosting": GradientBoostingClassifier(n_estimators=20, random_state=0),
    "exponential loss": GradientBoostingClassifier(
        n_estimators=9, loss="exponential", random_state=0
    ),
    "from zero": GradientBoostingClassifier(n_estimators=9, init="zero", random_state=0),
    "sampled": GradientBoostingClassifier(
        n_estimators=9, subsample=0.5, max_leaf_nodes=40, max_depth=None, random_state=0
    ),
    "scaled boosting": make_pipeline(StandardScaler(), boosted()),
    "centred boosting": make_pipeline(StandardScaler(with_std=False), boosted()),
    "scaled forest": make_pipeline(RobustScaler(), trees()),
    "ranged": make_pipeline(MinMaxScaler((-1, 3)), GradientBoostingClassifier(n_estimators=5)),
    "clipped": make_pipeline(MinMaxScaler(clip=True), trees()),
    "robust without centre": make_pipeline(RobustScaler(with_centering=False), trees()),
    "robust without scale": make_pipeline(RobustScaler(with_scaling=False), trees()),
    "imputed": make_pipeline(SimpleImputer(strategy="median"), trees()),
    "imputed numbers": make_pipeline(
        SimpleImputer(missing_values=1.0, strategy="constant", fill_value=-7.5), trees()
    ),
    "imputed and scaled": make_pipeline(
        SimpleImputer(), StandardScaler(), "passthrough", boosted()
    ),
    "calibrated sigmoid": CalibratedClassifierCV(boosted(), method="sigmoid", cv=3),
    "calibrated isotonic": CalibratedClassifierCV(boosted(), method="isotonic", cv=3),
    "one calibration": CalibratedClassifierCV(trees(), ensemble=False, cv=3),
    "calibrated forest": CalibratedClassifierCV(trees(), method="isotonic", cv=2),
    "calibrated pipeline": CalibratedClassifierCV(make_pipeline(StandardScaler(), trees()), cv=2),
    "calibrated afterwards": CalibratedClassifierCV(
        FrozenEstimator(
            boosted().fit(np.random.default_rng(1).normal(40, 40, (300, 4)), [0, 1, 1] * 100)
        )
    ),
    "pipeline in a pipeline": make_pipeline(
        SimpleImputer(), make_pipeline("passthrough", StandardScaler(), boosted())
    ),
    "pipeline of scalers": make_pipeline(make_pipeline(StandardScaler(), MinMaxScaler()), trees()),
    "passthrough first": make_pipeline("passthrough", None, StandardScaler(), boosted()),
    "calibrated passthrough": CalibratedClassifierCV(make_pipeline("passthrough", boosted()), cv=2),
    "frozen": FrozenEstimator(
        boosted().fit(np.random.default_rng(1).normal(40, 40, (300, 4)), [0, 1, 1] * 100)
    ),
    "frozen scaler": make_pipeline(
        FrozenEstimator(MinMaxScaler().fit(np.random.default_rng(1).normal(40, 40, (300, 4)))),
        trees(),
    ),
    "pipeline of calibration": make_pipeline(
        StandardScaler(), CalibratedClassifierCV(GradientBoostingClassifier(n_estimators=5), cv=2)
    ),
}
CLOSE: dict[str, Any] = {
    "ranged regression": make_pipeline(MinMaxScaler(), LogisticRegression()),
    "imputed regression": make_pipeline(SimpleImputer(), RobustScaler(), LogisticRegression()),
    "scaled twice": make_pipeline(
        RobustScaler(), StandardScaler(with_mean=False), LogisticRegression()
    ),
    "regression in a pipeline": make_pipeline(
        StandardScaler(with_mean=False), make_pipeline("passthrough", LogisticRegression())
    ),
    "calibrated regression": CalibratedClassifierCV(LogisticRegression(), cv=3),
    "calibrated isotonic regression": CalibratedClassifierCV(
        make_pipeline(StandardScaler(), LogisticRegression()), method="isotonic", cv=3
    ),
}


@cache
def training() -> tuple[Float64, NDArray[np.int64]]:
    numbers = np.random.default_rng(7)
    rows = np.column_stack(
        [
            numbers.gamma(2.0, 40.0, 1_200).round(2),
            numbers.integers(0, 2, 1_200),
            numbers.normal(0, 1, 1_200),
            numbers.normal(0, 1e-3, 1_200),
        ]
    )
    fraud = (rows[:, 0] + 30 * rows[:, 2] + numbers.normal(0, 30, 1_200) > 150).astype(np.int64)
    return rows, fraud


@cache
def imported(name: str) -> tuple[Any, ImportedModel]:
    model = (EXACT | CLOSE)[name].fit(*training())
    return model, read_scikit_learn(skops.io.dumps(model), NONE)


def probes(model: Any) -> Float64:
    """Rows of the data, and rows at and next to every threshold, in both precisions."""
    rows = training()[0][:300]
    stages = getattr(model, "estimators_", [])
    found = [rows]
    for stage in np.ravel(stages):
        tree = stage.tree_
        inner = tree.feature >= 0
        at, feature = tree.threshold[inner], tree.feature[inner]
        single = at.astype(np.float32)
        for values in (
            at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf),
            *(np.nextafter(single, np.float32(d)).astype(np.float64) for d in (-1e30, 1e30)),
            (single.astype(np.float64) + np.nextafter(single, np.float32(1e30))) / 2,
        ):  # fmt: skip
            block = rows[np.arange(len(at)) % len(rows)].copy()
            block[np.arange(len(at)), feature] = values
            found.append(block)
    return np.concatenate(found)[:20_000]


@pytest.mark.parametrize("name", EXACT)
def test_trees_keep_every_bit(name: str) -> None:
    model, found = imported(name)
    rows = probes(model)
    if "imputed" in name and "numbers" not in name:
        rows = rows.copy()
        rows[::7, 0] = rows[::5, 2] = np.nan
    expected = np.ascontiguousarray(model.predict_proba(rows)[:, 1])
    assert ScoringPredictor(found.model).scores(rows).tobytes() == expected.tobytes()
    few = rows[:40]
    assert reference_scores(found.model, few).tobytes() == expected[:40].tobytes()


@pytest.mark.parametrize("name", CLOSE)
def test_linear_models_are_within_1e12(name: str) -> None:
    model, found = imported(name)
    rows = training()[0]
    got = ScoringPredictor(found.model).scores(rows)
    assert np.abs(got - model.predict_proba(rows)[:, 1]).max() <= 1e-12


def test_an_isotonic_calibration_multiplies_the_difference() -> None:
    """Nearly equal sums make it steep: its slope is the bound, not 1e-12 alone."""
    numbers = np.random.default_rng(0)
    rows = np.repeat(numbers.normal(size=(400, 8)), 5, axis=0) * [1, 1e3, 1, 1, 1e2, 1, 1, 1]
    rows[:, 0] += numbers.normal(0, 1e-9, len(rows))
    fraud = rows[:, 0] + numbers.normal(0, 0.5, len(rows)) > 0
    model = CalibratedClassifierCV(LogisticRegression(), method="isotonic", ensemble=False, cv=3)
    model.fit(rows, fraud.astype(np.int64))
    (calibrator,) = model.calibrated_classifiers_[0].calibrators
    slope = (np.diff(calibrator.y_thresholds_) / np.diff(calibrator.X_thresholds_)).max()
    assert slope > 1e3
    predictor = ScoringPredictor(read_scikit_learn(skops.io.dumps(model), NONE).model)
    difference = np.abs(predictor.scores(rows) - model.predict_proba(rows)[:, 1]).max()
    assert difference <= slope * 1e-12


def test_rows_that_scikit_learn_refuses_have_a_score() -> None:
    model, found = imported("gradient boosting")
    row = training()[0][:1].copy()
    row[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.predict_proba(row)
    largest = row.copy()
    largest[0, 0] = np.inf
    predictor = ScoringPredictor(found.model)
    # NaN goes right in each split, and so does an infinite value.
    assert predictor.scores(row) == predictor.scores(largest)
    assert np.isfinite(predictor.scores(row)).all()


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_attributions_and_base_add_up(name: str) -> None:
    predictor = ScoringPredictor(imported(name)[1].model)
    rows = training()[0][:50]
    found, base = predictor.attributions(rows)
    raw = predictor.raw(rows)
    scale = np.maximum(1, np.abs(raw))
    assert (np.abs(found.sum(axis=1) + base - raw) / scale).max() <= 1e-9


def test_a_column_without_a_value_in_training_is_dropped() -> None:
    rows, fraud = training()
    empty = np.column_stack([np.full(len(rows), np.nan), rows])
    for keep in (False, True):
        imputer = SimpleImputer(keep_empty_features=keep)
        model = make_pipeline(imputer, trees())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the empty column
            model.fit(empty, fraud)
            expected = np.ascontiguousarray(model.predict_proba(empty)[:, 1])
        predictor = ScoringPredictor(scoring_model(model))
        assert predictor.feature_count == 5
        assert predictor.scores(empty).tobytes() == expected.tobytes()
        found, _ = predictor.attributions(empty)
        assert (found[:, 0] == 0).all()
        assert (found[:, 1] != 0).any()


def test_facts_are_those_of_the_file() -> None:
    rows, fraud = training()
    frame = pd.DataFrame(rows, columns=["AMOUNT", "NIGHT", "COUNT", "RATIO"])
    model = GradientBoostingClassifier(n_estimators=3, learning_rate=0.25).fit(frame, fraud)
    found = read_scikit_learn(skops.io.dumps(model), NONE)
    assert found.library == "scikit_learn"
    assert found.library_version == sklearn.__version__
    assert found.kind == "gradient_boosting"
    assert found.parameters["learning_rate"] == 0.25
    assert found.feature_names == ("AMOUNT", "NIGHT", "COUNT", "RATIO")
    assert imported("ranged")[1].feature_names is None
    assert imported("ranged")[1].kind == "gradient_boosting"
    assert imported("calibrated sigmoid")[1].kind == "calibrated_classifier"
    assert imported("pipeline in a pipeline")[1].kind == "hist_gradient_boosting"
    assert imported("pipeline in a pipeline")[1].parameters["max_iter"] == 8
    assert imported("frozen")[1].kind == "hist_gradient_boosting"


def test_names_are_those_of_the_first_step_that_does_something() -> None:
    rows, fraud = training()
    frame = pd.DataFrame(rows, columns=["AMOUNT", "NIGHT", "COUNT", "RATIO"])
    for model in (
        make_pipeline("passthrough", StandardScaler(), trees()),
        CalibratedClassifierCV(make_pipeline("passthrough", trees()), cv=2),
        make_pipeline(FrozenEstimator(StandardScaler().fit(frame)), trees()),
    ):
        found = read_scikit_learn(skops.io.dumps(model.fit(frame, fraud)), NONE)
        assert found.feature_names == ("AMOUNT", "NIGHT", "COUNT", "RATIO")


def test_another_version_of_scikit_learn_is_read_quietly() -> None:
    data = skops.io.dumps(imported("extra trees")[0])
    version = f'"\\"{sklearn.__version__}\\""'.encode()
    other = with_schema(data, lambda old: old.replace(version, b'"\\"1.6.1\\""'))
    assert read_scikit_learn(other, NONE).library_version == "1.6.1"


def test_the_fraud_class_of_a_forest_is_named() -> None:
    rows, fraud = training()
    labels = np.where(fraud == 1, "fraud", np.where(rows[:, 1] > 0, "genuine", "test"))
    model = trees().fit(rows, labels)
    expected = np.ascontiguousarray(model.predict_proba(rows)[:, 0])
    found = ScoringPredictor(scoring_model(model, "fraud"))
    assert found.scores(rows).tobytes() == expected.tobytes()
    with pytest.raises(ModelError, match="its classes are fraud, genuine, test"):
        scoring_model(model)
    with pytest.raises(ModelError, match="it has no class 'Fraud'"):
        scoring_model(model, "Fraud")


def test_the_fraud_class_of_boosting_must_be_its_second() -> None:
    rows, fraud = training()
    model = boosted().fit(rows, np.where(fraud == 1, "yes", "no"))
    expected = np.ascontiguousarray(model.predict_proba(rows)[:, 1])
    assert (
        ScoringPredictor(scoring_model(model, "yes")).scores(rows).tobytes() == expected.tobytes()
    )
    with pytest.raises(ModelError, match="whose first class is fraud"):
        scoring_model(model, "no")
    model.fit(rows, np.where(rows[:, 0] > 100, "many", np.where(fraud == 1, "yes", "no")))
    with pytest.raises(ModelError, match="HistGradientBoostingClassifier with 3 classes"):
        scoring_model(model, "yes")


def fit(model: Any) -> Any:
    return model.fit(*training())


def changed(model: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(fit(model), name, value)
    return model


def changed_calibration(method: str, **attributes: Any) -> Any:
    """Return a calibrated model with other attributes of its only calibrator."""
    model = fit(CalibratedClassifierCV(trees(), method=method, ensemble=False, cv=2))
    (calibrator,) = model.calibrated_classifiers_[0].calibrators
    for name, value in attributes.items():
        setattr(calibrator, name, value)
    return model


def with_calibrators(count: int) -> Any:
    model = changed_calibration("sigmoid")
    (calibrated,) = model.calibrated_classifiers_
    calibrated.calibrators = calibrated.calibrators * count
    return model


def with_share(share: float) -> Any:
    model = fit(GradientBoostingClassifier(n_estimators=2))
    model.init_.class_prior_ = np.array([1 - share, share])
    return model


def with_nodes(count: int, capacity: int) -> Any:
    """Return a forest of a tree that states numbers of nodes."""
    return changed(
        trees(), estimators_=[SimpleNamespace(tree_=SimpleNamespace(
            node_count=count, capacity=capacity
        ))],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_nodes(4, 3), "its trees hold fewer nodes than they say"),
        (lambda: with_nodes(2**40, 2**39), "its trees hold fewer nodes than they say"),
        (lambda: with_nodes(0, 3), "its trees hold fewer nodes than they say"),
        (lambda: with_share(1e-7), "with the share 1e-07 of fraud"),
        (lambda: with_share(1 - 1e-8), "with the share 0.99999999 of fraud"),
        (
            lambda: changed_calibration("isotonic", out_of_bounds="nan"),
            "isotonic calibration that is not limited to its range",
        ),
        (
            lambda: changed_calibration("isotonic", X_thresholds_=np.zeros(3, np.float32)),
            "isotonic calibration of float32 scores",
        ),
        (
            lambda: changed_calibration("isotonic", X_thresholds_=np.zeros((3, 1))),
            "isotonic calibration of float64 scores",
        ),
        (lambda: with_calibrators(2), "CalibratedClassifierCV with several calibrators"),
        (lambda: with_calibrators(0), "CalibratedClassifierCV with several calibrators"),
        (lambda: Pipeline([("a", "passthrough")]), "its Pipeline has no estimator"),
        (lambda: fit(make_pipeline(StandardScaler())), "StandardScaler is not supported"),
        (lambda: fit(AdaBoostClassifier(n_estimators=2)), "AdaBoostClassifier is not supported"),
        (object, "object is not supported — known are HistGradientBoostingClassifier"),
        (lambda: fit(make_pipeline(SelectKBest(k=2), trees())), "with SelectKBest is not supp"),
        (RandomForestClassifier, "not fitted"),
        (lambda: CalibratedClassifierCV(trees()), "CalibratedClassifierCV is not fitted"),
        (
            lambda: DecisionTreeClassifier().fit([[0.0], [1.0], [2.0]], [0, 1, 2]),
            "labels 0 and 1",
        ),
        (lambda: DecisionTreeClassifier().fit([[0.0], [1.0]], [1, 1]), "knows one class"),
        (lambda: LogisticRegression().fit([[0.0], [1.0]], ["a", "b"]), "labels 0 and 1"),
        (lambda: trees().fit(training()[0], np.ones((1_200, 2))), "with several outputs"),
        (
            lambda: fit(HistGradientBoostingClassifier(max_iter=2, categorical_features=[1])),
            "categorical",
        ),
        (
            lambda: fit(GradientBoostingClassifier(n_estimators=2, init=LogisticRegression())),
            "with an estimator as init",
        ),
        (
            lambda: fit(make_pipeline(SimpleImputer(add_indicator=True), trees())),
            "SimpleImputer with add_indicator",
        ),
        (
            lambda: fit(CalibratedClassifierCV(boosted(), method="temperature", cv=2)),
            "with the method 'temperature'",
        ),
        (
            lambda: fit(CalibratedClassifierCV(CalibratedClassifierCV(trees(), cv=2), cv=2)),
            "CalibratedClassifierCV inside CalibratedClassifierCV",
        ),
        (
            lambda: changed(GradientBoostingClassifier(n_estimators=2), loss="other"),
            "with the loss 'other'",
        ),
        (
            lambda: changed(GradientBoostingClassifier(n_estimators=2), learning_rate=np.inf),
            "a leaf without a number",
        ),
        (lambda: changed(boosted(), _predictors=[]), "its trees hold no tree"),
        (lambda: changed(trees(), estimators_=[]), "its trees hold no tree"),
        (
            lambda: changed(boosted(), _baseline_prediction=np.array([[np.nan]])),
            "a baseline that is not a number",
        ),
        (lambda: changed(boosted(), _predictors=None), "does not hold what a fitted one does"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        scoring_model(make())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [(ImportOptions(rounds="best"), "--rounds"), (ImportOptions(missing=-1.0), "--missing")],
)
def test_options_without_a_meaning_are_refused(options: ImportOptions, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_scikit_learn(skops.io.dumps(imported("extra trees")[0]), options)


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"PK\x03\x04", b"{}"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="the skops file is not a skops file"):
        read_scikit_learn(data, NONE)


@pytest.mark.parametrize(
    "model", [GradientBoostingClassifier(n_estimators=5, random_state=0), boosted()]
)
def test_files_of_earlier_versions_name_their_modules_otherwise(model: Any) -> None:
    """Files of 1.6 and 1.7 have the compiled losses in the module ``_loss``."""
    rows = np.random.default_rng(4).normal(0, 1, (300, 3))
    data = skops.io.dumps(model.fit(rows, (rows[:, 0] > 0.3).astype(int)))

    def earlier(schema: bytes) -> bytes:
        assert b'"sklearn._loss._loss"' in schema
        return schema.replace(b'"sklearn._loss._loss"', b'"_loss"')

    found = ScoringPredictor(read_scikit_learn(with_schema(data, earlier), NONE).model)
    assert found.scores(rows).tobytes() == model.predict_proba(rows)[:, 1].tobytes()
