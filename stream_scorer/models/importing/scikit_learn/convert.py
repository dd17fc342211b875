"""From a fitted classifier of scikit-learn to a model as data.

Trees, and the sums and means of trees, have scikit-learn's bits. Linear weights do not: it
multiplies with BLAS, whose order of addition depends on the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn.arrays import fitted, refused
from stream_scorer.models.importing.scikit_learn.guard import refused_as
from stream_scorer.models.importing.scikit_learn.preprocessing import steps_of
from stream_scorer.models.importing.scikit_learn.steps import first_of, steps_in
from stream_scorer.models.importing.scikit_learn.trees import (
    from_decision_trees,
    from_gradient_boosting,
    from_hist_gradient_boosting,
)
from stream_scorer.models.predictors.parts import (
    After,
    Before,
    LinearWeights,
    Part,
    Platt,
    ScoringModel,
    Sigmoid,
    Table,
)
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.rows import feature_count_of

KNOWN = (
    "HistGradientBoostingClassifier",
    "GradientBoostingClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "DecisionTreeClassifier",
    "LogisticRegression",
    "CalibratedClassifierCV of these",
    "a Pipeline of scalers, SimpleImputer and one of these",
)


@dataclass(frozen=True, slots=True)
class _Context:
    """What is known about an estimator inside others.

    Attributes:
        fraud_class: The label of the fraud class; None for the label 1.
        scaler: The transformer directly before it, if any.
    """

    fraud_class: str | None
    scaler: Any = None


def predictor_for(model: object) -> ScoringPredictor:
    """Return the predictor of a fitted binary classifier whose class 1 is fraud.

    Raises:
        ModelError: As for :func:`scoring_model`.
    """
    return ScoringPredictor(scoring_model(model))


def scoring_model(model: object, fraud_class: str | None = None) -> ScoringModel:
    """Return a fitted classifier as data.

    A model that was loaded from a file may be of a known type and still contain anything.

    Args:
        model: One of :data:`KNOWN`.
        fraud_class: The label of the fraud class; None for the label 1 of 0 and 1.

    Raises:
        ModelError: It is of another kind, not fitted, has other classes or settings than are
            supported, or other arrays than a fitted one. For another kind the fix names the known
            ones.
    """
    with refused_as(
        f"model: this {type(model).__name__} does not hold what a fitted one does",
        "train the model again",
    ):
        parts = _parts(model, _Context(fraud_class))
        return ScoringModel(parts, feature_count_of(first_of(model)))


def _parts(model: Any, context: _Context) -> tuple[Part, ...]:
    """Return the parts of a classifier on rows as it receives them."""
    if type(model) in {Pipeline, FrozenEstimator}:
        return _pipeline(model, context)
    if type(model) is CalibratedClassifierCV:
        return _calibrated(model, context)
    convert = _CONVERSIONS.get(type(model))
    if convert is None:
        raise refused(type(model).__name__, f"known are {'; '.join(KNOWN)}")
    return (convert(model, _fraud_number(model, context.fraud_class), context),)


def _fraud_number(model: Any, fraud_class: str | None) -> int:
    """Return the number of the fraud class among a classifier's classes.

    Raises:
        ModelError: It is not fitted, has other classes than 0 and 1 although no class is named, or
            it does not have the named one.
    """
    name = type(model).__name__
    if not hasattr(model, "classes_"):
        raise ModelError(f"model: this {name} is not fitted", "fit it before it is saved")
    if isinstance(model.classes_, list):
        raise refused(f"{name} with several outputs")
    classes = np.asarray(model.classes_)
    if classes.ndim != 1 or len(classes) < 2:  # noqa: PLR2004 fraud and not
        raise ModelError(f"model: this {name} knows one class", "train it on both classes")
    if fraud_class is None:
        if not np.array_equal(classes, [0, 1]):
            shown = ", ".join(str(label) for label in classes[:5].tolist())
            raise ModelError(
                f"model: its classes are {shown}, not the labels 0 and 1",
                "train on labels 0 and 1, 1 being fraud, or name the class with --fraud-class",
            )
        return 1
    numbers = [at for at, label in enumerate(classes.tolist()) if str(label) == fraud_class]
    if len(numbers) != 1:
        raise ModelError(f"model: it has no class {fraud_class!r}", "name one of its classes")
    return numbers[0]


def _refuse_other_class(model: Any, fraud: int) -> None:
    """Refuse classes of a model that computes the probability of its second class only."""
    if len(model.classes_) != 2:  # noqa: PLR2004 fraud and not
        raise refused(f"{type(model).__name__} with {len(model.classes_)} classes")
    if fraud != 1:
        raise refused(
            f"{type(model).__name__} whose first class is fraud",
            "train it on labels 0 and 1, 1 being fraud",
        )


def _boosted(model: Any, fraud: int, _: _Context) -> Part:
    _refuse_other_class(model, fraud)
    return Part((), from_hist_gradient_boosting(model), after=(Sigmoid(),))


def _gradient_boosted(model: Any, fraud: int, _: _Context) -> Part:
    _refuse_other_class(model, fraud)
    if model.loss not in ("log_loss", "exponential"):
        raise refused(f"GradientBoostingClassifier with the loss {model.loss!r}")
    slope = 1.0 if model.loss == "log_loss" else 2.0
    baseline = 0.0
    if not (isinstance(model.init_, str) and model.init_ == "zero"):
        if type(model.init_) is not DummyClassifier or model.init_.strategy != "prior":
            raise refused("GradientBoostingClassifier with an estimator as init")
        share = float(fitted("class_prior_", model.init_.class_prior_, (2,))[1])
        # Versions of scikit-learn limit a share outside of this range differently.
        rarest = float(np.finfo(np.float32).eps)
        if not rarest <= share <= 1 - rarest:
            raise refused(f"GradientBoostingClassifier with the share {share} of fraud")
        baseline = float(logit(share)) / slope
    return Part((), from_gradient_boosting(model, baseline), after=(Sigmoid(slope),))


def _forest(model: Any, fraud: int, _: _Context) -> Part:
    trees = from_decision_trees(model.estimators_, fraud)
    return Part((), trees, divisor=float(len(trees.roots)))


def _decision_tree(model: Any, fraud: int, _: _Context) -> Part:
    return Part((), from_decision_trees([model], fraud))


def _logistic(model: Any, fraud: int, context: _Context) -> Part:
    _refuse_other_class(model, fraud)
    count = feature_count_of(model)
    mean = np.zeros(count)
    scaler = context.scaler
    if type(scaler) is StandardScaler and scaler.mean_ is not None and not scaler.with_mean:
        # The mean row, as the weights receive it.
        mean = fitted("mean_", scaler.mean_, (count,))
        if scaler.scale_ is not None:
            mean = mean / fitted("scale_", scaler.scale_, (count,))
    weights = LinearWeights(
        fitted("coef_", model.coef_, (1, count))[0],
        float(fitted("intercept_", model.intercept_, (1,))[0]),
        mean,
    )
    return Part((), weights, after=(Sigmoid(),))


_CONVERSIONS: dict[type, Callable[[Any, int, _Context], Part]] = {
    HistGradientBoostingClassifier: _boosted,
    GradientBoostingClassifier: _gradient_boosted,
    RandomForestClassifier: _forest,
    ExtraTreesClassifier: _forest,
    DecisionTreeClassifier: _decision_tree,
    LogisticRegression: _logistic,
}


def _pipeline(model: Any, context: _Context) -> tuple[Part, ...]:
    *transformers, estimator = steps_in(model)
    before: list[Before] = []
    scaler = context.scaler
    for transformer in transformers:
        width = feature_count_of(transformer) if hasattr(transformer, "n_features_in_") else 0
        steps = steps_of(transformer, width)
        before += steps
        scaler = transformer if steps else scaler
    parts = _parts(estimator, replace(context, scaler=scaler))
    return tuple(replace(part, before=(*before, *part.before)) for part in parts)


def _calibrated(model: Any, context: _Context) -> tuple[Part, ...]:
    if not hasattr(model, "calibrated_classifiers_"):
        raise ModelError(
            "model: this CalibratedClassifierCV is not fitted", "fit it before it is saved"
        )
    _refuse_other_class(model, _fraud_number(model, context.fraud_class))
    parts: list[Part] = []
    for calibrated in model.calibrated_classifiers_:
        inner = _parts(calibrated.estimator, context)
        if len(inner) != 1:
            raise refused("CalibratedClassifierCV inside CalibratedClassifierCV")
        if len(calibrated.calibrators) != 1:
            raise refused("CalibratedClassifierCV with several calibrators")
        after = _calibrator(calibrated.method, calibrated.calibrators[0])
        parts.append(replace(inner[0], after=(after,)))
    return tuple(parts)


def _calibrator(method: Any, calibrator: Any) -> After:
    if method == "sigmoid":
        return Platt(float(calibrator.a_), float(calibrator.b_))
    if method == "isotonic":
        if calibrator.out_of_bounds != "clip":
            raise refused("isotonic calibration that is not limited to its range")
        x = np.asarray(calibrator.X_thresholds_)
        if x.ndim != 1 or x.dtype != np.float64:
            raise refused(f"isotonic calibration of {x.dtype} scores")
        y = fitted("y_thresholds_", calibrator.y_thresholds_, x.shape)
        return Table(fitted("X_thresholds_", x, x.shape), y)
    raise refused(f"CalibratedClassifierCV with the method {str(method)[:20]!r}")
