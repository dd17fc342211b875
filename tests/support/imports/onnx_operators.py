# ruff: noqa: E501 a line for each case
"""A small graph for each operator that an ONNX file may have, some with several."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stream_scorer.models.importing.onnx.wire import length_delimited
from tests.support.imports.onnx_files import (
    BOOL,
    FLOAT,
    INT32,
    UINT8,
    attribute,
    integers,
    node,
    number,
    tensor,
    text,
)

ROWS, COLUMNS = 4, 6

Case = tuple[list[bytes], list[bytes]]
"""Nodes, which read ``x`` [4, 6], and initialisers."""

_ML: Final = "ai.onnx.ml"
_SAME: Final = """
Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish
Hardmax Identity IsInf IsNaN LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization
Mish Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan
Tanh ThresholdedRelu Dropout Clip Trilu Shape Size Flatten Transpose ArgMax
ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare
"""
_PAIRS: Final = (
    "Add Div Max Mean Min Mul Sub Sum Equal Greater GreaterOrEqual Less LessOrEqual Pow PRelu"
)


def one(
    operator: str,
    inputs: Sequence[str],
    *attributes: bytes,
    domain: str = "",
    outputs: Sequence[str] = ("c",),
    **constants: Any,
) -> Case:
    """Return a case of one node; constants are tensors of float or of int64."""
    tensors = [
        tensor(name, values) if values.dtype == np.float32 else integers(name, values)
        for name, values in ((each, np.asarray(found)) for each, found in constants.items())
    ]
    return [node(operator, inputs, outputs, domain, attributes)], tensors


def floats(*shape: int) -> Any:
    """Return float32[shape], all 0.5."""
    return np.full(shape, 0.5, np.float32)


def cast(to: int, source: str = "x", target: str = "i") -> bytes:
    """Return a cast of the features."""
    return node("Cast", [source], [target], attributes=[attribute("to", to)])


def texts(name: str, *values: str) -> bytes:
    """Return an attribute of texts."""
    return text(1, name) + b"".join(text(9, each) for each in values) + number(20, 8)


def held(name: str, values: bytes) -> bytes:
    """Return an attribute that is a tensor."""
    return text(1, name) + length_delimited(5, values) + number(20, 4)


_TREE: Final = (
    attribute("nodes_treeids", [0, 0, 0]), attribute("nodes_nodeids", [0, 1, 2]),
    attribute("nodes_featureids", [5, 0, 0]), attribute("nodes_values", [0.5, 0.0, 0.0]),
    texts("nodes_modes", "BRANCH_LEQ", "LEAF", "LEAF"),
    attribute("nodes_truenodeids", [1, 0, 0]), attribute("nodes_falsenodeids", [2, 0, 0]),
)  # fmt: skip
_OF_CLASSES: Final = (
    attribute("class_treeids", [0, 0]), attribute("class_nodeids", [1, 2]),
    attribute("class_ids", [1, 1]), attribute("class_weights", [0.25, 0.75]),
    attribute("classlabels_int64s", [0, 1]),
)  # fmt: skip
_VECTORS: Final = (
    attribute("coefficients", [1.0, -1.0]), attribute("support_vectors", [0.5] * 12),
    attribute("rho", [0.1]), attribute("kernel_params", [1.0, 0.0, 3.0]),
    attribute("kernel_type", "RBF"),
)  # fmt: skip

CASES: Final[dict[str, Case]] = {
    **{each: one(each, ["x"]) for each in _SAME.split()},
    **{each: one(each, ["x", "a"], a=floats(6)) for each in _PAIRS.split()},
    **{
        each: ([node("IsNaN", ["x"], ["b"]), node(each, ["b", "b"], ["c"])], [])
        for each in ("And", "Or", "Xor")
    },
    "Not": ([node("IsNaN", ["x"], ["b"]), node("Not", ["b"], ["c"])], []),
    "Add-grows": one("Add", ["x", "a"], a=floats(3, 1, 6)),
    "Transpose-3": (
        [node("Unsqueeze", ["x", "a"], ["b"]), node("Transpose", ["b"], ["c"], attributes=[attribute("perm", [2, 0, 1])])],
        [integers("a", [1])],
    ),
    "ArgMax-flat": one("ArgMax", ["x"], attribute("axis", 1), attribute("keepdims", 0)),
    "ReduceMean-axes": one("ReduceMean", ["x"], attribute("axes", [-1]), attribute("keepdims", 0)),
    "ReduceMax-2": one("ReduceMax", ["x"], attribute("axes", [0]), attribute("keepdims", 2)),
    "ArgMin-2": one("ArgMin", ["x"], attribute("keepdims", 2)),
    "ReduceSum-axes": one("ReduceSum", ["x", "a"], attribute("keepdims", 0), a=[0]),
    "Shape-part": one("Shape", ["x"], attribute("start", -1)),
    "Flatten-0": one("Flatten", ["x"], attribute("axis", 0)),
    "BatchNormalization": one("BatchNormalization", ["x", "a", "a", "a", "a"], a=floats(6)),
    "InstanceNormalization": (
        [node("Unsqueeze", ["x", "a"], ["b"]), node("InstanceNormalization", ["b", "s", "s"], ["c"])],
        [integers("a", [2]), tensor("s", floats(6))],
    ),
    "GroupNormalization": one("GroupNormalization", ["x", "s", "s"], attribute("num_groups", 2), s=floats(6)),
    "LayerNormalization": one("LayerNormalization", ["x", "s"], outputs=("c", "d", "e"), s=floats(6)),
    "RMSNormalization": one("RMSNormalization", ["x", "s"], s=floats(6)),
    "Cast": ([cast(7)], []),
    "CastLike": one("CastLike", ["x", "a"], a=[1]),
    "CumSum": one("CumSum", ["x", "a"], a=1),
    "Mod": ([cast(7), node("Mod", ["i", "a"], ["c"])], [integers("a", 24)]),
    "Div-whole": ([cast(7), node("Div", ["i", "a"], ["c"])], [integers("a", [1, 2, 3, -2, 5, 6])]),
    "DynamicQuantizeLinear": one("DynamicQuantizeLinear", ["x"], outputs=("c", "d", "e")),
    "QuantizeLinear": one("QuantizeLinear", ["x", "s"], s=floats()),
    "DequantizeLinear": (
        [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["c"])],
        [tensor("s", floats())],
    ),
    "Where": ([node("IsNaN", ["x"], ["b"]), node("Where", ["b", "a", "x"], ["c"])], [tensor("a", floats(6))]),
    "MatMul": one("MatMul", ["x", "w"], w=floats(6, 3)),
    "MatMul-vector": one("MatMul", ["x", "w"], w=floats(6)),
    "MatMul-stack": one("MatMul", ["x", "w"], w=floats(2, 1, 6, 3)),
    "MatMulInteger": ([cast(UINT8), node("MatMulInteger", ["i", "w"], ["c"])], [integers("w", np.ones((6, 3)), UINT8)]),
    "QLinearMatMul": (
        [cast(UINT8), node("QLinearMatMul", ["i", "s", "z", "w", "s", "z", "s", "z"], ["c"])],
        [integers("w", np.ones((6, 3)), UINT8), tensor("s", floats()), integers("z", 0, UINT8)],
    ),
    "Gemm": one("Gemm", ["x", "w", "b"], attribute("transB", 1), w=floats(3, 6), b=floats(3)),
    "Einsum": one("Einsum", ["x", "w"], attribute("equation", "ij,jk->ki"), w=floats(6, 3)),
    "Concat": one("Concat", ["x", "x", "w"], attribute("axis", 1), w=floats(4, 2)),
    "Constant": one("Constant", [], held("value", tensor("", floats(2, 2)))),
    "Constant-integers": one("Constant", [], attribute("value_ints", [3, 4])),
    "ConstantOfShape": one("ConstantOfShape", ["a"], held("value", integers("", [7])), a=[2, 3]),
    "Expand": one("Expand", ["x", "a"], a=[2, 4, 1]),
    "Gather": one("Gather", ["x", "a"], attribute("axis", 1), a=[[0, 5], [-1, 2]]),
    "Gather-embedding": ([cast(7), node("Gather", ["w", "i"], ["c"])], [tensor("w", floats(24, 3))]),
    "GatherElements": one("GatherElements", ["x", "a"], attribute("axis", 1), a=[[0], [1], [2], [3]]),
    "GatherND": one("GatherND", ["x", "a"], a=[[[0, 1]], [[3, 5]]]),
    "GatherND-batch": one("GatherND", ["x", "a"], attribute("batch_dims", 1), a=[[0], [1], [2], [3]]),
    "OneHot": ([cast(7), node("OneHot", ["i", "d", "v"], ["c"])], [integers("d", 5), tensor("v", floats(2))]),
    "OneHot-0": one("OneHot", ["a", "d", "v"], attribute("axis", 0), a=[1, 2], d=3, v=floats(2)),
    "Pad": one("Pad", ["x", "a"], a=[0, 1, 2, 3]),
    "Range": one("Range", ["a", "b", "d"], a=9, b=0, d=-2),
    "Reshape": one("Reshape", ["x", "a"], a=[0, -1, 2]),
    "ScatterElements": one("ScatterElements", ["x", "a", "u"], a=[[1], [0]], u=floats(2, 1)),
    "ScatterND": one("ScatterND", ["x", "a", "u"], a=[[1], [0]], u=floats(2, 6)),
    "Slice": one("Slice", ["x", "s", "e", "a", "t"], s=[-1, 1], e=[-(1 << 63), (1 << 63) - 1], a=[1, 0], t=[-2, 1]),
    "Split": one("Split", ["x", "a"], attribute("axis", 1), outputs=("c", "d"), a=[1, 5]),
    "Split-equal": one("Split", ["x"], attribute("axis", 1), attribute("num_outputs", 2), outputs=("c", "d")),
    "Squeeze": one("Squeeze", ["w"], w=floats(1, 4, 1)),
    "Squeeze-axes": one("Squeeze", ["w", "a"], a=[-1], w=floats(1, 4, 1)),
    "Unsqueeze": one("Unsqueeze", ["x", "a"], a=[0, -1]),
    "Tile": one("Tile", ["x", "a"], a=[2, 3]),
    "TopK": one("TopK", ["x", "a"], outputs=("c", "d"), a=[2]),
    "ArrayFeatureExtractor": one("ArrayFeatureExtractor", ["x", "a"], domain=_ML, a=[[0, 5]]),
    "ArrayFeatureExtractor-class": (
        [node("ArgMax", ["x"], ["i"], attributes=[attribute("axis", 1)]), node("ArrayFeatureExtractor", ["w", "i"], ["c"], _ML)],
        [tensor("w", floats(6))],
    ),
    "Binarizer": one("Binarizer", ["x"], domain=_ML),
    "FeatureVectorizer": one("FeatureVectorizer", ["x", "x"], attribute("inputdimensions", [6, 6]), domain=_ML),
    "Imputer": one("Imputer", ["x"], attribute("imputed_value_floats", [1.0] * 6), attribute("replaced_value_float", 0.0), domain=_ML),
    "LinearClassifier": one(
        "LinearClassifier", ["x"], attribute("coefficients", [1.0] * 18), attribute("intercepts", [0.0] * 3),
        texts("classlabels_strings", "a", "b", "c"), domain=_ML, outputs=("l", "c"),
    ),
    "LinearClassifier-one": one(
        "LinearClassifier", ["x"], attribute("coefficients", [1.0] * 6), attribute("intercepts", [0.0]),
        attribute("classlabels_ints", [0, 1]), domain=_ML, outputs=("l", "c"),
    ),
    "LinearRegressor": one("LinearRegressor", ["x"], attribute("coefficients", [1.0] * 12), attribute("targets", 2), domain=_ML),
    "Normalizer": one("Normalizer", ["x"], domain=_ML),
    "OneHotEncoder": one("OneHotEncoder", ["x"], attribute("cats_int64s", [1, 2, 3]), domain=_ML),
    "SVMClassifier": one(
        "SVMClassifier", ["x"], *_VECTORS, attribute("vectors_per_class", [1, 1]), attribute("classlabels_ints", [0, 1]),
        domain=_ML, outputs=("l", "c"),
    ),
    "SVMClassifier-probability": one(
        "SVMClassifier", ["x"], *_VECTORS, attribute("vectors_per_class", [1, 1]), attribute("classlabels_ints", [0, 1]),
        attribute("prob_a", [1.0]), attribute("prob_b", [1.0]), domain=_ML, outputs=("l", "c"),
    ),
    "SVMRegressor": one("SVMRegressor", ["x"], *_VECTORS, attribute("n_supports", 2), domain=_ML),
    "Scaler": one("Scaler", ["x"], attribute("offset", [1.0]), attribute("scale", [2.0]), domain=_ML),
    "TreeEnsembleClassifier": one("TreeEnsembleClassifier", ["x"], *_TREE, *_OF_CLASSES, domain=_ML, outputs=("l", "c")),
    "TreeEnsembleRegressor": one(
        "TreeEnsembleRegressor", ["x"], *_TREE, attribute("target_treeids", [0, 0]), attribute("target_nodeids", [1, 2]),
        attribute("target_ids", [0, 1]), attribute("target_weights", [0.5, 0.7]), attribute("n_targets", 3), domain=_ML,
    ),
    "shapes": (
        # The shape [rows, 2, -1], computed as exporters do, and a division of it.
        [
            node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"]), node("Gather", ["s", "one"], ["m"]),
            node("Div", ["m", "two"], ["h"]), node("Mul", ["n", "two"], ["g"]), node("Sub", ["g", "n"], ["same"]),
            node("Unsqueeze", ["same", "axes"], ["n1"]), node("Unsqueeze", ["h", "axes"], ["h1"]),
            node("Concat", ["n1", "list", "h1"], ["to"], attributes=[attribute("axis", 0)]),
            node("Equal", ["to", "two"], ["is"]), node("Where", ["is", "minus", "to"], ["open"]),
            node("Slice", ["open", "axes", "list"], ["part"]), node("Squeeze", ["part"], ["flat"]),
            node("Reshape", ["x", "open"], ["c"]), node("ReduceProd", ["to"], ["all"], attributes=[attribute("keepdims", 0)]),
            node("Range", ["zero", "all", "two"], ["steps"]), cast(INT32, "to", "short"), cast(7, "short", "long"),
            node("Max", ["long", "list"], ["most"]), node("Min", ["long", "list"], ["least"]), node("Add", ["long", "list"], ["sum"]),
            node("Split", ["sum"], ["s1", "s2", "s3"]), node("ConstantOfShape", ["to"], ["zeros"]), node("Expand", ["list", "to"], ["wide"]),
        ],
        [integers("zero", 0), integers("one", 1), integers("two", 2), integers("minus", -1), integers("axes", [0]), integers("list", [2])],
    ),
}  # fmt: skip
"""By operator, with a suffix where it has several cases."""

KINDS: Final = {
    "float32": FLOAT, "float64": 11, "int64": 7, "int32": INT32, "bool": BOOL, "uint8": UINT8, "object": 8,
}  # fmt: skip
"""Data types of ``onnx.proto`` by their names in numpy."""
