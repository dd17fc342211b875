"""Names what an import does not support in a skops file with unknown types."""

from collections.abc import Collection, Iterator
from typing import Any, Final

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn import preprocessing
from stream_scorer.models.importing.scikit_learn.arrays import refused
from stream_scorer.models.importing.scikit_learn.convert import KNOWN
from stream_scorer.models.importing.scikit_learn.schema import objects_in

FIX: Final = "save the model again with skops.io.dump, or export it as ONNX"
"""What to do about a file that skops would not write."""

_SUPPORTED: Final = frozenset(
    {
        *(name for name in KNOWN if name.isidentifier()),
        *preprocessing.KNOWN,
        "CalibratedClassifierCV",
        "DecisionTreeRegressor",
        "DummyClassifier",
        "ExtraTreeClassifier",
        "FrozenEstimator",
        "IsotonicRegression",
        "LabelEncoder",
        "Pipeline",
        "_BinMapper",
        "_SigmoidCalibration",
    }
)
"""Estimators in models of the known kinds."""
_BOOSTING: Final = "HistGradientBoostingClassifier"
_STATE: Final = "_sklearn_version"
"""An attribute of every saved estimator."""
_SHOWN_MOST: Final = 5
_NAME_LONGEST: Final = 100


def unsupported(schema: Any, unknown: Collection[str]) -> ModelError:
    """Return the refusal of a file that contains types that no supported model has.

    Args:
        schema: The parsed schema.
        unknown: The types' full names.
    """
    for name, state in _estimators(schema):
        if name == _BOOSTING and _is_set(state.get("_preprocessor")):
            return refused(
                f"{_BOOSTING} with categorical features",
                "train it on numeric features, or use LightGBM, XGBoost or CatBoost",
            )
        if name == "_TemperatureScaling":
            return refused(
                "CalibratedClassifierCV with the method 'temperature'",
                "calibrate with the method sigmoid or isotonic",
            )
        if name not in _SUPPORTED:
            return refused(name, f"known are {'; '.join(KNOWN)}")
    return ModelError(
        f"model: it holds a type that no supported model has: {shown(unknown)}",
        f"known are {'; '.join(KNOWN)}, without functions of your own",
    )


def shown(types: Collection[str]) -> str:
    """Return the names of types in one line, the first five of them."""
    names = [" ".join(name.split())[:_NAME_LONGEST] for name in sorted(types)]
    more = f", and {len(names) - _SHOWN_MOST} more" if len(names) > _SHOWN_MOST else ""
    return ", ".join(names[:_SHOWN_MOST]) + more


def _estimators(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the attributes of each estimator, from the outermost inwards."""
    for each in objects_in(schema):
        if not isinstance(each, dict):
            continue
        name, attributes = each.get("__class__"), each.get("content")
        state = attributes.get("content") if isinstance(attributes, dict) else None
        if isinstance(state, dict) and _STATE in state and str(name).isidentifier():
            yield str(name)[:_NAME_LONGEST], state


def _is_set(attribute: Any) -> bool:
    return isinstance(attribute, dict) and attribute.get("__loader__") != "JsonNode"
