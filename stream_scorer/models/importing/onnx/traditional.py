"""Operators of ``ai.onnx.ml``: ONNX Runtime compares their lists of numbers with each other."""

from collections.abc import Mapping
from typing import Final

from stream_scorer.models.importing.onnx.call import (
    FUNCTION,
    MOVED,
    PRODUCT,
    Call,
    NodeResult,
    Rule,
)
from stream_scorer.models.importing.onnx.elementwise import same
from stream_scorer.models.importing.onnx.graph import FLOAT, INT64, STRING, Tensor

_TWO = 2


def _rows(call: Call) -> int:
    """Return the number of rows of the input."""
    shape = call.input(0).shape
    if len(shape) != _TWO:
        raise ValueError("its input is not a matrix")
    return shape[0]


def _extracted(call: Call) -> NodeResult:
    """An index from the features is compared with the range by ONNX Runtime: the row fails."""
    first, indices = call.input(0), call.input(1)
    if not first.shape:
        raise ValueError("its input is a single number")
    shape = first.shape[:-1] if len(first.shape) > 1 else (1,)
    out = Tensor(first.kind, (*shape, indices.elements))
    return NodeResult((out,), MOVED * out.elements)


def _vectorized(call: Call) -> NodeResult:
    widths = call.attribute("inputdimensions").integers
    if len(widths) != len(call.given()) or min(widths) < 0:
        raise ValueError("it does not have one width for each input")
    out = Tensor(FLOAT, (_rows(call), sum(widths)))
    return NodeResult((out,), MOVED * out.elements)


def _encoded(call: Call) -> NodeResult:
    first = call.input(0)
    found = call.attribute("cats_int64s").integers, call.attribute("cats_strings").texts
    if len([each for each in found if each]) != 1:
        raise ValueError("it does not have one list of categories")
    out = Tensor(FLOAT, (*first.shape, max(map(len, found))))
    return NodeResult((out,), MOVED * out.elements + FUNCTION * first.elements)


def _classes(call: Call) -> tuple[int, int]:
    """Return the data type and the number of the class labels."""
    for name, each in call.node.attributes.items():
        if name.startswith("classlabels") and (each.texts or each.integers):
            return (STRING, len(each.texts)) if each.texts else (INT64, len(each.integers))
    raise ValueError("it has no class labels")


def _classified(call: Call, columns: int, operations: int) -> NodeResult:
    rows, (kind, _) = _rows(call), _classes(call)
    out = Tensor(kind, (rows,)), Tensor(FLOAT, (rows, columns))
    return NodeResult(out, rows * (operations + FUNCTION * columns))


def _linear_classifier(call: Call) -> NodeResult:
    columns = max(_classes(call)[1], call.attribute("intercepts").floats)
    return _classified(call, columns, PRODUCT * call.attribute("coefficients").floats)


def _linear_regressor(call: Call) -> NodeResult:
    targets = call.integer("targets", 1)
    if targets < 1:
        raise ValueError("it has no targets")
    out = Tensor(FLOAT, (_rows(call), targets))
    operations = PRODUCT * call.attribute("coefficients").floats + FUNCTION * targets
    return NodeResult((out,), out.shape[0] * operations)


def _vectors(call: Call) -> int:
    """Return the operations of a row: each support vector has a function of a product."""
    products = PRODUCT * call.attribute("support_vectors").floats
    return products + FUNCTION * call.attribute("coefficients").floats


def _svm_classifier(call: Call) -> NodeResult:
    classes = _classes(call)[1]
    if classes != _TWO:
        raise ValueError("only two classes are supported")
    return _classified(call, classes, _vectors(call))


def _svm_regressor(call: Call) -> NodeResult:
    rows = _rows(call)
    return NodeResult((Tensor(FLOAT, (rows, 1)),), rows * _vectors(call))


def _nodes(call: Call) -> int:
    """Return the operations of a row: on its way it passes no node twice."""
    return MOVED + max((len(each.integers) for each in call.node.attributes.values()), default=0)


def _tree_classifier(call: Call) -> NodeResult:
    return _classified(call, max(_TWO, _classes(call)[1]), _nodes(call))


def _tree_regressor(call: Call) -> NodeResult:
    targets = call.integer("n_targets", 1)
    if targets < 1:
        raise ValueError("it has no targets")
    out = Tensor(FLOAT, (_rows(call), targets))
    return NodeResult((out,), out.shape[0] * (_nodes(call) + FUNCTION * targets))


def _zip_map(call: Call) -> NodeResult:
    """It is removed before the model is run."""
    return NodeResult((call.input(0),), 0)


RULES: Final[Mapping[str, Rule]] = {
    "ArrayFeatureExtractor": _extracted,
    "Binarizer": same(),
    "FeatureVectorizer": _vectorized,
    "Imputer": same(),
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Normalizer": same(FLOAT, FUNCTION),
    "OneHotEncoder": _encoded,
    "SVMClassifier": _svm_classifier,
    "SVMRegressor": _svm_regressor,
    "Scaler": same(FLOAT),
    "TreeEnsembleClassifier": _tree_classifier,
    "TreeEnsembleRegressor": _tree_regressor,
    "ZipMap": _zip_map,
}
"""The rules by operator."""
