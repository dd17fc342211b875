"""From a skops file, or a fitted estimator, to an imported model."""

import inspect
import io
import json
import re
import warnings
import zipfile
from typing import Any, Final

import numpy as np

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions
from stream_scorer.models.importing.imported.model import PARAMETERS_MOST, TEXT_LONGEST, Parameter
from stream_scorer.models.importing.scikit_learn.convert import scoring_model
from stream_scorer.models.importing.scikit_learn.guard import refused_as
from stream_scorer.models.importing.scikit_learn.schema import SCHEMA
from stream_scorer.models.importing.scikit_learn.steps import first_of, steps_in
from stream_scorer.models.importing.scikit_learn.unpack import SkopsRules, unpack
from stream_scorer.models.importing.scikit_learn.unsupported import FIX, unsupported

TYPES: Final = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
    }
)
"""Types in the kinds that only an import knows, in addition to those in ``unpack``."""

_KINDS = {
    "CalibratedClassifierCV": "calibrated_classifier",
    "DecisionTreeClassifier": "decision_tree",
    "ExtraTreesClassifier": "extra_trees",
    "GradientBoostingClassifier": "gradient_boosting",
    "HistGradientBoostingClassifier": "hist_gradient_boosting",
    "LogisticRegression": "logistic_regression",
    "RandomForestClassifier": "random_forest",
}
LIBRARY: Final = "scikit_learn"
_NUMBER_MOST: Final = 2**63 - 1
"""Maximum of a parameter that is written as a number; a larger one is written as text."""
_VERSION: Final = re.compile(r'"_sklearn_version":\s*')


def read_scikit_learn(data: bytes, options: ImportOptions) -> ImportedModel:
    """Return the model in a skops file.

    Args:
        data: The file.
        options: Only ``fraud_class`` has a meaning for scikit-learn.

    Raises:
        ModelError: It is not a skops file of known types, the model is not supported, or an option
            has no meaning for it.
    """
    if options.rounds is not None:
        raise ModelError("option --rounds: this model has no early stopping", "leave it out")
    if options.missing is not None:
        raise ModelError("option --missing: for scikit-learn only NaN is missing", "leave it out")
    with warnings.catch_warnings():
        # Another version of scikit-learn: what the model holds is checked in any case.
        warnings.simplefilter("ignore")
        rules = SkopsRules(TYPES, FIX, unsupported)
        model = unpack(data, "model: the skops file", rules)
        with refused_as("model: the skops file holds what a fitted model does not", FIX):
            return imported(model, _version(data), options.fraud_class)


def imported(model: object, version: str, fraud_class: str | None = None) -> ImportedModel:
    """Return a fitted estimator as an imported model.

    Args:
        model: The estimator.
        version: The version of scikit-learn that fitted it; empty if it is not known.
        fraud_class: The label of the fraud class; None for the label 1 of 0 and 1.

    Raises:
        ModelError: It is not supported.
    """
    scoring = scoring_model(model, fraud_class)
    names = getattr(first_of(model), "feature_names_in_", None)
    if names is not None and np.ndim(names) != 1:
        raise ModelError("model: its feature_names_in_ is not a list", "train the model again")
    return ImportedModel(
        model=scoring,
        library=LIBRARY,
        library_version=version,
        kind=kind_of(model),
        parameters=_short(parameters_of(model)),
        feature_names=None if names is None else tuple(str(name) for name in names),
    )


def kind_of(model: Any) -> str:
    """Return the manifest's name for a fitted model's kind."""
    return _KINDS[type(steps_in(model)[-1]).__name__]


def parameters_of(model: Any) -> dict[str, Parameter]:
    """Return an estimator's parameters as plain JSON values; a pipeline's are its last step's."""
    return {
        name: value if isinstance(value, str | int | float | bool | None) else repr(value)
        for name, value in sorted(_parameters(steps_in(model)[-1]).items())
    }


def _parameters(estimator: Any) -> dict[str, Any]:
    """Return an estimator's parameters; what it does not have, as the file is older, by default."""
    # What get_params reads. Unlike it, this does not need all of them to be set.
    known = inspect.signature(type(estimator).__init__).parameters
    return {
        name: getattr(estimator, name, known[name].default)
        for name in type(estimator)._get_param_names()  # noqa: SLF001 get_params needs all
    }


def _short(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """Return as many parameters, and as much of their texts, as a manifest may have."""
    return {name: _short_value(value) for name, value in list(parameters.items())[:PARAMETERS_MOST]}


def _short_value(value: Parameter) -> Parameter:
    if isinstance(value, str):
        return value[:TEXT_LONGEST]
    if value is None or -_NUMBER_MOST <= value <= _NUMBER_MOST:
        return value
    return repr(value)[:TEXT_LONGEST]  # NaN too


def _version(data: bytes) -> str:
    """Return the version of scikit-learn that a checked skops file states; empty if it does not."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        text = archive.read(SCHEMA).decode()
    found = _VERSION.search(text)
    if found is None:
        return ""
    try:
        node, _ = json.JSONDecoder().raw_decode(text, found.end())
        return str(json.loads(node["content"]))[:TEXT_LONGEST]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
