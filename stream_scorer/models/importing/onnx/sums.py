"""Operators that add up: reductions and products of matrices."""

import math
import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from stream_scorer.models.importing.onnx.call import (
    FUNCTION,
    MOVED,
    PRODUCT,
    Call,
    NodeResult,
    Rule,
    broadcast,
    exact,
    place,
    weight,
)
from stream_scorer.models.importing.onnx.graph import INT32, INT64, WIDTHS, Tensor

_TWO = 2


def _reduced(call: Call) -> NodeResult:
    first = call.input(0)
    axes = call.listed(1, "axes")
    if not axes:
        if call.integer("noop_with_empty_axes", 0):
            raise ValueError("a reduction along no axis is not supported")
        axes = list(range(len(first.shape)))
    if not first.elements:
        raise ValueError("it reduces an empty tensor")
    gone = {place(axis, len(first.shape)) for axis in axes}
    keep = call.integer("keepdims", 1) == 1
    shape = _kept(first.shape, gone, keep=keep)
    values = None
    if call.node.operator == "ReduceProd" and first.values is not None and exact(first.values):
        product = math.prod(int(each) for each in first.values.reshape(-1))
        if len(gone) == len(first.shape) and abs(product) < 1 << 31:
            values = np.full(shape, product, np.int64)
    out = Tensor(first.kind, shape, values, first.constant)
    return NodeResult(
        (out,), FUNCTION * first.elements, 2 * first.elements * WIDTHS.get(first.kind, 0)
    )


def _kept(shape: tuple[int, ...], gone: set[int], *, keep: bool) -> tuple[int, ...]:
    if keep:
        return tuple(1 if at in gone else size for at, size in enumerate(shape))
    return tuple(size for at, size in enumerate(shape) if at not in gone)


def _position(call: Call) -> NodeResult:
    first = call.input(0)
    gone = {call.axis(0, len(first.shape))}
    out = Tensor(INT64, _kept(first.shape, gone, keep=call.integer("keepdims", 1) == 1))
    return NodeResult((out,), MOVED * first.elements, first.elements * WIDTHS.get(first.kind, 0))


def _product(first: Tensor, second: Tensor, kind: int, each: int) -> NodeResult:
    """The product of matrices, of vectors, or of stacks of matrices."""
    if not (first.shape and second.shape):
        raise ValueError("an input is a single number")
    left = first.shape if len(first.shape) > 1 else (1, *first.shape)
    right = second.shape if len(second.shape) > 1 else (*second.shape, 1)
    if left[-1] != right[-2]:
        raise ValueError(f"its shapes {list(first.shape)}, {list(second.shape)} do not fit")
    stack = broadcast((Tensor(kind, left[:-2]), Tensor(kind, right[:-2])))
    shape = stack
    if len(first.shape) > 1:
        shape = (*shape, left[-2])
    if len(second.shape) > 1:
        shape = (*shape, right[-1])
    operations = math.prod(stack) * left[-2] * left[-1] * right[-1] * each
    out = Tensor(kind, shape, None, first.constant and second.constant)
    moved = first.elements + second.elements + MOVED * out.elements
    memory = sum(one.elements * WIDTHS.get(one.kind, 0) for one in (first, second))
    return NodeResult((out,), operations + moved, memory)


def _mat_mul(call: Call) -> NodeResult:
    first, second = call.input(0), call.input(1)
    return _product(first, second, first.kind, weight(first, second))


def _mat_mul_integer(call: Call) -> NodeResult:
    return _product(call.input(0), call.input(1), INT32, PRODUCT)


def _quantized_mat_mul(call: Call) -> NodeResult:
    return _product(call.input(0), call.input(3), call.input(7).kind, PRODUCT)


def _gemm(call: Call) -> NodeResult:
    first, second, third = call.input(0), call.input(1), call.optional(2)
    if len(first.shape) != _TWO or len(second.shape) != _TWO:
        raise ValueError("its inputs are not matrices")
    if call.integer("transA", 0):
        first = Tensor(first.kind, first.shape[::-1])
    if call.integer("transB", 0):
        second = Tensor(second.kind, second.shape[::-1])
    found = _product(first, second, first.kind, weight(first, second))
    if third is not None and broadcast((found.outputs[0], third)) != found.outputs[0].shape:
        raise ValueError("what it adds does not fit")
    return found


def _einsum(call: Call) -> NodeResult:
    given = call.given()
    equation = call.attribute("equation").text.replace(" ", "")
    found = re.fullmatch(r"([A-Za-z,]+)->([A-Za-z]*)", equation)
    if found is None or len(given) > _TWO:
        raise ValueError("only equations of letters for one or two inputs are supported")
    terms = found[1].split(",")
    sizes: dict[str, int] = {}
    if [len(each) for each in terms] != [len(each.shape) for each in given]:
        raise ValueError("its equation does not fit the shapes")
    for term, tensor in zip(terms, given, strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            if sizes.setdefault(letter, size) != size or term.count(letter) > 1:
                raise ValueError("its equation does not fit the shapes")
    if len(set(found[2])) != len(found[2]) or not set(found[2]) <= set(sizes):
        raise ValueError("its equation does not fit the shapes")
    out = Tensor(given[0].kind, tuple(sizes[letter] for letter in found[2]))
    elements = sum(each.elements for each in given) + out.elements
    memory = 2 * elements * WIDTHS.get(out.kind, 0)
    return NodeResult((out,), PRODUCT * math.prod(sizes.values()) + FUNCTION * elements, memory)


_REDUCTIONS = """
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare
"""

RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_REDUCTIONS.split(), _reduced),
    "ArgMax": _position,
    "ArgMin": _position,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _mat_mul,
    "MatMulInteger": _mat_mul_integer,
    "QLinearMatMul": _quantized_mat_mul,
}
"""The rules by operator."""
