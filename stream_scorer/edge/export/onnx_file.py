"""A model as an ONNX file, to hand it to other programs.

ONNX is for interchange: a runtime adds the trees' values in its own order, its operator for trees
returns float32, and its sigmoid is its own. So scores are near to the stream's, and the difference
is measured with ONNX Runtime when the file is written. Trees have float64 cuts and values
(``TreeEnsembleRegressor`` of ai.onnx.ml 3). Not every model can be written: one part, trees whose
nodes have one cut, or weights behind scalers, and one sigmoid at the end.
"""

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.models.importing.onnx.wire import length_delimited, varint
from stream_scorer.models.predictors.parts import (
    Affine,
    LinearWeights,
    Part,
    Platt,
    ScoringModel,
    Sigmoid,
    SingleSigmoid,
)
from stream_scorer.models.predictors.trees import TreeEnsemble

Float64 = NDArray[np.float64]

_FLOAT, _DOUBLE = 1, 11
_IR_VERSION, _OPSET, _TREES_OPSET = 8, 18, 3
_INPUT, _MARGIN, _SCORE = "features", "margin", "score"


def onnx_file(model: ScoringModel) -> bytes:
    """Return a model as an ONNX file: float64[n, m] ``features`` to ``margin`` and ``score``.

    Args:
        model: The model.

    Raises:
        EdgeError: It cannot be expressed.
    """
    if len(model.parts) > 1:
        raise _refusal(f"it is the mean of {len(model.parts)} models")
    graph = _Graph()
    part = model.parts[0]
    name = _body(graph, part)
    if part.divisor != 1.0:
        name = graph.constant_operation("Div", name, part.divisor)
    if part.scale != 1.0 or part.bias != 0.0:
        name = graph.constant_operation("Mul", name, part.scale)
        name = graph.constant_operation("Add", name, part.bias)
    graph.operation("Identity", [name], _MARGIN)
    _finish(graph, part)
    inner = graph.encoded(model.feature_count)
    opsets = (("", _OPSET), ("ai.onnx.ml", _TREES_OPSET))
    return (
        _number(1, _IR_VERSION)
        + b"".join(length_delimited(8, _text(1, d) + _number(2, v)) for d, v in opsets)
        + _text(2, "stream-scorer")
        + length_delimited(7, inner)
    )


def _refusal(what: str) -> EdgeError:
    return EdgeError(f"target onnx: the model cannot be expressed: {what}", "use another target")


def _body(graph: "_Graph", part: Part) -> str:
    """Add the body of a part; return the name of its sums, double[n, 1]."""
    name = _INPUT
    for step in part.before:
        if not isinstance(step, Affine):
            raise _refusal(f"it has the step {type(step).__name__}")
        name = graph.constant_operation("Sub", name, step.shift)
        name = graph.constant_operation("Div", name, step.scale)
    if isinstance(part.body, LinearWeights):
        name = graph.constant_operation("MatMul", name, part.body.weight[:, None])
        return graph.constant_operation("Add", name, part.body.intercept)
    if not (part.body.cut_counts()[part.body.feature >= 0] == 1).all():
        raise _refusal("a split is on categories")
    found = graph.operation(
        "TreeEnsembleRegressor", [name], domain="ai.onnx.ml", attributes=_trees(part.body)
    )
    return graph.operation("Cast", [found], attributes=[_attribute("to", _DOUBLE)])


def _finish(graph: "_Graph", part: Part) -> None:
    """Add the steps from the margin to the score."""
    match part.after:
        case ():
            name = _MARGIN
        case (SingleSigmoid(),):
            name = graph.operation("Sigmoid", [_MARGIN])
        case (Sigmoid(a, b),):
            name = graph.constant_operation("Mul", _MARGIN, a)
            name = graph.operation("Sigmoid", [graph.constant_operation("Add", name, b)])
        case (Platt(a, b),):
            name = graph.constant_operation("Mul", _MARGIN, -a)
            name = graph.operation("Sigmoid", [graph.constant_operation("Add", name, -b)])
        case _:
            raise _refusal("its score is not one sigmoid of the margin")
    graph.operation("Identity", [name], _SCORE)


def _trees(trees: TreeEnsemble) -> list[bytes]:
    """Return the attributes of the operator for trees. All nodes keep their order."""
    count = len(trees.feature)
    tree = np.searchsorted(trees.roots, np.arange(count), side="right") - 1
    number = np.arange(count) - trees.roots[tree]
    leaf = trees.feature < 0
    # A node that starts right sends small values to its right child.
    true = np.where(trees.starts_left, trees.left, trees.right) - trees.roots[tree]
    false = np.where(trees.starts_left, trees.right, trees.left) - trees.roots[tree]
    cut = np.zeros(count)
    cut[~leaf] = trees.cuts
    tracks = (trees.missing_left == trees.starts_left) & ~leaf
    leaves = np.flatnonzero(leaf)
    return [
        _attribute("n_targets", 1),
        _attribute("nodes_treeids", tree.tolist()),
        _attribute("nodes_nodeids", number.tolist()),
        _attribute("nodes_featureids", np.where(leaf, 0, trees.feature).tolist()),
        _attribute("nodes_modes", ["LEAF" if each else "BRANCH_LEQ" for each in leaf]),
        _attribute("nodes_truenodeids", np.where(leaf, 0, true).tolist()),
        _attribute("nodes_falsenodeids", np.where(leaf, 0, false).tolist()),
        _attribute("nodes_missing_value_tracks_true", tracks.astype(np.int64).tolist()),
        _attribute("nodes_values_as_tensor", cut),
        _attribute("target_treeids", tree[leaves].tolist()),
        _attribute("target_nodeids", number[leaves].tolist()),
        _attribute("target_ids", [0] * len(leaves)),
        _attribute("target_weights_as_tensor", trees.value[leaves]),
        _attribute("base_values_as_tensor", np.array([trees.baseline])),
    ]


class _Graph:
    """Nodes and constants of a graph."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def operation(
        self, operator: str, inputs: Sequence[str], output: str = "", *, domain: str = "",
        attributes: Sequence[bytes] = (),
    ) -> str:  # fmt: skip
        """Add a node; return the name of its output."""
        output = output or f"value_{len(self._nodes)}"
        node = b"".join(_text(1, each) for each in inputs) + _text(2, output) + _text(4, operator)
        node += _text(7, domain) if domain else b""
        node += b"".join(length_delimited(5, each) for each in attributes)
        self._nodes.append(length_delimited(1, node))
        return output

    def constant_operation(self, operator: str, name: str, value: float | Float64) -> str:
        """Add a node whose second input is a constant; return the name of its output."""
        constant = f"constant_{len(self._constants)}"
        self._constants.append(length_delimited(5, _tensor(np.asarray(value), constant)))
        return self.operation(operator, [name, constant])

    def encoded(self, features: int) -> bytes:
        """Return the graph."""
        outputs = b"".join(length_delimited(12, _value(name, 1)) for name in (_MARGIN, _SCORE))
        inputs = length_delimited(11, _value(_INPUT, features))
        parts = (*self._nodes, _text(2, "model"), *self._constants, inputs, outputs)
        return b"".join(parts)


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value % (1 << 64))


def _text(field: int, value: str) -> bytes:
    return length_delimited(field, value.encode())


def _tensor(values: Float64, name: str = "") -> bytes:
    dims = b"".join(_number(1, size) for size in values.shape)
    data = length_delimited(9, values.astype("<f8").tobytes())
    return dims + _number(2, _DOUBLE) + _text(8, name) + data


def _attribute(name: str, value: int | list[int] | list[str] | Float64) -> bytes:
    out = _text(1, name)
    if isinstance(value, int):
        return out + _number(3, value) + _number(20, 2)
    if isinstance(value, np.ndarray):
        return out + length_delimited(5, _tensor(value)) + _number(20, 4)
    if value and isinstance(value[0], str):
        return out + b"".join(_text(9, str(each)) for each in value) + _number(20, 8)
    return out + b"".join(_number(8, int(each)) for each in value) + _number(20, 7)


def _value(name: str, columns: int) -> bytes:
    """Return the type double[n, columns] of an input or output."""
    rows = length_delimited(1, _text(2, "n"))
    shape = length_delimited(2, rows + length_delimited(1, _number(1, columns)))
    return _text(1, name) + length_delimited(2, length_delimited(1, _number(1, _DOUBLE) + shape))


def differences(data: bytes, rows: Float64, margin: Float64, score: Float64) -> tuple[float, float]:
    """Return the largest differences of margin and score between ONNX Runtime and the stream.

    Margins are compared relative to the largest one, scores as they are. Rows that the stream's
    model does not take are left out.

    Args:
        data: The ONNX file.
        rows: float64[n, m].
        margin: float64[n], the stream's; NaN where the model failed.
        score: float64[n], likewise.

    Raises:
        SettingsError: ONNX Runtime is not installed.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError:
        raise SettingsError(
            "target onnx: onnxruntime is not installed, so the difference cannot be measured",
            "install stream-scorer with its extra `onnx`",
        ) from None
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found_margin, found_score = session.run([_MARGIN, _SCORE], {_INPUT: rows})
    good = np.isfinite(score)
    scale = max(float(np.abs(margin[good]).max(initial=0.0)), math.ulp(1.0))
    apart = np.abs(found_margin[good, 0] - margin[good]).max(initial=0.0) / scale
    return float(apart), float(np.abs(found_score[good, 0] - score[good]).max(initial=0.0))
