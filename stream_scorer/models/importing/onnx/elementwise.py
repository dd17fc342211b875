"""Operators whose output has the shape of their inputs."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from stream_scorer.models.importing.onnx.call import (
    FUNCTION,
    MOVED,
    Call,
    NodeResult,
    Rule,
    broadcast,
    exact,
    is_integer,
    short,
)
from stream_scorer.models.importing.onnx.graph import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    UINT8,
    WIDTHS,
    Int64,
    Tensor,
)

_COPIES: Final = 8
"""Copies of its input that a normalisation has in memory; some are made of simpler operators."""

_FOLDED: Final[Mapping[str, Callable[[Int64, Int64], Int64]]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply,
    "Div": lambda a, b: np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)),
    "Max": np.maximum, "Min": np.minimum,
    "Equal": lambda a, b: (a == b).astype(np.int64), "Less": lambda a, b: (a < b).astype(np.int64),
    "Greater": lambda a, b: (a > b).astype(np.int64),
}  # fmt: skip


def _every(call: Call) -> bool:
    return all(each is None or each.constant for each in call.inputs)


def same(kind: int | None = None, operations: int = MOVED, copies: int = 0) -> Rule:
    """Return the rule of an operator whose output has the shape of its first input.

    Args:
        kind: The data type of the output; None for that of the input.
        operations: For each element.
        copies: Copies of the input that it has in memory.
    """

    def rule(call: Call) -> NodeResult:
        first = call.input(0)
        out = Tensor(first.kind if kind is None else kind, first.shape, None, _every(call))
        memory = copies * first.elements * WIDTHS.get(first.kind, 0)
        return NodeResult((out,), operations * first.elements, memory)

    return rule


def _identity(call: Call) -> NodeResult:
    first = call.input(0)
    return NodeResult((first,), MOVED * first.elements)


def _cast(call: Call) -> NodeResult:
    first = call.input(0)
    kind = call.integer("to", 0) if call.node.operator == "Cast" else call.input(1).kind
    if kind not in WIDTHS:
        raise ValueError(f"the data type {kind} is not supported")
    whole = {first.kind, kind} <= {INT32, INT64}
    values = first.values if whole and (kind >= first.kind or exact(first.values)) else None
    return NodeResult(
        (Tensor(kind, first.shape, values, first.constant),), FUNCTION * first.elements
    )


def _dropout(call: Call) -> NodeResult:
    first = call.input(0)
    return NodeResult((first, Tensor(BOOL, first.shape)), MOVED * first.elements)


def _layer_normalization(call: Call) -> NodeResult:
    first = call.input(0)
    axis = call.axis(-1, len(first.shape))
    shape = tuple(size if at < axis else 1 for at, size in enumerate(first.shape))
    out = Tensor(first.kind, first.shape), Tensor(FLOAT, shape), Tensor(FLOAT, shape)
    memory = _COPIES * first.elements * WIDTHS[FLOAT]
    return NodeResult(out, FUNCTION * first.elements, memory)


def _group_normalization(call: Call) -> NodeResult:
    first = call.input(0)
    if len(first.shape) < 2 or not 0 < call.integer("num_groups", 0) <= first.shape[1]:  # noqa: PLR2004 rows and channels
        raise ValueError("its number of groups does not fit")
    return same(None, FUNCTION, _COPIES)(call)


def _quantized(call: Call) -> NodeResult:
    """QuantizeLinear and DequantizeLinear, without blocks."""
    first, second, third = call.input(0), call.input(1), call.optional(2)
    if call.integer("block_size", 0) or call.integer("output_dtype", 0):
        raise ValueError("blocks and a chosen data type are not supported")
    if call.node.operator == "DequantizeLinear":
        kind = second.kind
    else:
        kind = UINT8 if third is None else third.kind
    return NodeResult((Tensor(kind, first.shape, None, _every(call)),), FUNCTION * first.elements)


def _dynamically_quantized(call: Call) -> NodeResult:
    first = call.input(0)
    out = Tensor(UINT8, first.shape), Tensor(FLOAT, ()), Tensor(UINT8, ())
    return NodeResult(out, FUNCTION * first.elements)


def of_several(kind: int | None = None, operations: int = MOVED) -> Rule:
    """Return the rule of an operator whose inputs are broadcast to one shape.

    Args:
        kind: The data type of the output; None for that of the first input.
        operations: For each element of the output and each input.
    """

    def rule(call: Call) -> NodeResult:
        given = call.given()
        if call.node.operator in {"Div", "Mod"} and is_integer(given[0]):
            _judge_divisor(call)
        shape = broadcast(given)
        values = None
        folded = _FOLDED.get(call.node.operator)
        folds = folded is not None and len(given) == 2 and short(shape)  # noqa: PLR2004 two operands
        if folded is not None and folds and exact(*(each.values for each in given)):
            operands = [each.values for each in given if each.values is not None]
            found = folded(operands[0], operands[1])
            # 32 bits overflow where 64 do not.
            values = found if given[0].kind == INT64 or exact(found) else None
        out = Tensor(given[0].kind if kind is None else kind, shape, values, _every(call))
        return NodeResult((out,), operations * len(given) * max(out.elements, 1))

    return rule


def _judge_divisor(call: Call) -> None:
    """Refuse a division of integers that can end the process.

    The smallest integer divided by -1 is a trap of the processor, not an error of ONNX Runtime.
    """
    values = call.input(1).values
    if values is None or bool(np.isin(values, (0, -1)).any()):
        raise ValueError("it divides integers by what is not a constant other than 0 and -1")


def _pow(call: Call) -> NodeResult:
    if is_integer(call.input(0)):
        raise ValueError("powers of integers are not supported")
    return of_several(None, FUNCTION)(call)


def _prelu(call: Call) -> NodeResult:
    if broadcast(call.given()) != call.input(0).shape:
        raise ValueError("its slopes do not fit")
    return same()(call)


def _where(call: Call) -> NodeResult:
    condition, first, second = call.input(0), call.input(1), call.input(2)
    shape = broadcast((condition, first, second))
    values = None
    known = [each.values for each in (condition, first, second) if each.values is not None]
    if len(known) == 3 and short(shape):  # noqa: PLR2004 all inputs
        values = np.where(known[0] != 0, known[1], known[2])
    out = Tensor(first.kind, shape, values, _every(call))
    return NodeResult((out,), 3 * MOVED * out.elements)


def _cum_sum(call: Call) -> NodeResult:
    axes = call.known(1, "axis")
    if axes.size != 1:
        raise ValueError("its axis is not one number")
    return same()(call)


def _trilu(call: Call) -> NodeResult:
    if call.optional(1) is not None:
        call.known(1, "diagonal")
    return same()(call)


_MOVING = "Abs Ceil Clip Floor LeakyRelu Neg Not Relu Round Sign ThresholdedRelu"
_ARITHMETIC = "Add Div Max Mean Min Mod Mul Sub Sum"
_COMPARISONS = "And Equal Greater GreaterOrEqual Less LessOrEqual Or Xor"
_FUNCTIONS = """
Acos Acosh Asin Asinh Atan Atanh Celu Cos Cosh Elu Erf Exp Gelu HardSigmoid HardSwish Log Mish
Reciprocal Selu Sigmoid Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh
"""
_NORMALIZATIONS = """
BatchNormalization Hardmax InstanceNormalization LogSoftmax LpNormalization
MeanVarianceNormalization RMSNormalization Softmax
"""

RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_MOVING.split(), same()),
    **dict.fromkeys(_FUNCTIONS.split(), same(None, FUNCTION, 4)),
    **dict.fromkeys(_NORMALIZATIONS.split(), same(None, FUNCTION, _COPIES)),
    **dict.fromkeys(("IsInf", "IsNaN"), same(BOOL)),
    **dict.fromkeys(_ARITHMETIC.split(), of_several()),
    **dict.fromkeys(_COMPARISONS.split(), of_several(BOOL)),
    "Cast": _cast,
    "CastLike": _cast,
    "CumSum": _cum_sum,
    "DequantizeLinear": _quantized,
    "Dropout": _dropout,
    "DynamicQuantizeLinear": _dynamically_quantized,
    "GroupNormalization": _group_normalization,
    "Identity": _identity,
    "LayerNormalization": _layer_normalization,
    "PRelu": _prelu,
    "Pow": _pow,
    "QuantizeLinear": _quantized,
    "Trilu": _trilu,
    "Where": _where,
}
"""The rules by operator."""
