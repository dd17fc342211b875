"""The operators that a model may have: pure functions of tensors, the same for the same numbers."""

from typing import Final

CORE: Final = ""
"""The domain ``ai.onnx``, which is also written as an empty text."""

TRADITIONAL: Final = "ai.onnx.ml"
"""The domain of scalers, encoders and linear models."""

_CORE_NAMES: Final = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization Cast CastLike Ceil
Celu Clip Concat Constant ConstantOfShape Cos Cosh CumSum DequantizeLinear Div Dropout
DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements
GatherND Gelu Gemm Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax
Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax LpNormalization MatMul MatMulInteger Max Mean MeanVarianceNormalization Min Mish Mod
Mul Neg Not OneHot Or PRelu Pad Pow QLinearMatMul QuantizeLinear RMSNormalization Range
Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Selu Shape
Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Swish Tan
Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
_TRADITIONAL_NAMES: Final = """
ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LinearClassifier LinearRegressor
Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsembleClassifier
TreeEnsembleRegressor ZipMap
"""

KNOWN: Final = {
    CORE: frozenset(_CORE_NAMES.split()),
    TRADITIONAL: frozenset(_TRADITIONAL_NAMES.split()),
}
"""The operators that are accepted, by domain."""

ZIP_MAP: Final = "ZipMap"

_CONTROL: Final = frozenset({"If", "Loop", "Scan"})
_RANDOM_NAMES: Final = """
Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike
"""
_RANDOM: Final = frozenset(_RANDOM_NAMES.split())


def judge_operator(domain: str, operator: str) -> None:
    """Refuse an operator that is not among :data:`KNOWN`.

    Args:
        domain: Its domain; ``ai.onnx`` as an empty text.
        operator: Its name.

    Raises:
        ValueError: The message names the operator and the reason.
    """
    if domain not in KNOWN:
        raise ValueError(f"operator {operator!r} is of the custom domain {domain!r}")
    if operator in KNOWN[domain]:
        return
    if operator in _CONTROL:
        raise ValueError(f"operator {operator!r} is control flow")
    if operator in _RANDOM:
        raise ValueError(f"operator {operator!r} is random")
    if operator.startswith(("Sequence", "Optional", "ConcatFromSequence", "SplitToSequence")):
        raise ValueError(f"operator {operator!r} makes sequences")
    raise ValueError(f"operator {operator!r} is not supported")
