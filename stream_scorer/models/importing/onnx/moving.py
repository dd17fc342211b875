"""Operators that choose, repeat or rearrange elements: the shape must not depend on features."""

import math
from collections.abc import Mapping
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
    few,
    is_integer,
    moved,
    place,
    short,
)
from stream_scorer.models.importing.onnx.graph import (
    FLOAT,
    INT64,
    STRING,
    VALUES_MOST,
    Int64,
    Tensor,
)

_TWO = 2


def _concat(call: Call) -> NodeResult:
    given = call.given()
    axis = call.axis(1, len(given[0].shape))
    rest = {each.shape[:axis] + each.shape[axis + 1 :] for each in given}
    if len(rest) != 1 or any(len(each.shape) != len(given[0].shape) for each in given):
        raise ValueError("its inputs have different shapes")
    shape = list(given[0].shape)
    shape[axis] = sum(each.shape[axis] for each in given)
    known = [each.values for each in given if each.values is not None]
    known = known if short(shape) and len(known) == len(given) else []
    values = np.concatenate(known, axis=axis) if known else None
    return moved(call, shape, values)


def _constant(call: Call) -> NodeResult:
    if len(call.node.attributes) != 1:
        raise ValueError("it does not have one value")
    ((name, found),) = call.node.attributes.items()
    if name == "value" and found.tensor is not None:
        return NodeResult((found.tensor,), MOVED)
    kinds = {"value_int": INT64, "value_float": FLOAT, "value_string": STRING}
    if name in kinds:
        values = np.array(found.integer, np.int64) if name == "value_int" else None
        return NodeResult((Tensor(kinds[name], (), values, True),), MOVED)
    if name == "value_ints":
        numbers = np.array(found.integers, np.int64)
        return NodeResult((Tensor(INT64, (len(numbers),), few(numbers), True),), MOVED)
    if name == "value_floats":
        return NodeResult((Tensor(FLOAT, (found.floats,), None, True),), MOVED)
    if name == "value_strings":
        return NodeResult((Tensor(STRING, (len(found.texts),), None, True),), MOVED)
    raise ValueError(f"its value {name[:20]!r} is not supported")


def _sizes(numbers: Int64) -> list[int]:
    found = [int(each) for each in numbers.reshape(-1)]
    if any(each < 0 for each in found):
        raise ValueError("its shape has a negative number")
    return found


def _constant_of_shape(call: Call) -> NodeResult:
    shape = _sizes(call.known(0, "shape"))
    one = call.attribute("value").tensor or Tensor(FLOAT, (1,))
    elements = math.prod(shape)
    values = None
    if one.values is not None and one.values.size == 1 and short(shape):
        values = np.full(shape, one.values.reshape(-1)[0])
    return NodeResult((Tensor(one.kind, tuple(shape), values, True),), MOVED * max(elements, 1))


def _expand(call: Call) -> NodeResult:
    first = call.input(0)
    wanted = tuple(_sizes(call.known(1, "shape")))
    shape = broadcast((first, Tensor(INT64, wanted)))
    few_elements = first.values is not None and short(shape)
    values = (
        np.broadcast_to(first.values, shape) if few_elements and first.values is not None else None
    )
    return moved(call, shape, values)


def _flatten(call: Call) -> NodeResult:
    shape = call.input(0).shape
    axis = call.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"its axis {axis} is not one of {len(shape)} dimensions")
    axis = axis + len(shape) if axis < 0 else axis
    return moved(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _gather(call: Call) -> NodeResult:
    """An index from the features is compared with the range by ONNX Runtime: the row fails."""
    first, indices = call.input(0), call.input(1)
    axis = call.axis(0, len(first.shape))
    shape = first.shape[:axis] + indices.shape + first.shape[axis + 1 :]
    values = None
    if first.values is not None and indices.values is not None and short(shape):
        values = few(_taken(first.values, indices.values, axis))
    return moved(call, shape, values)


def _taken(values: Int64, indices: Int64, axis: int) -> Int64:
    size = values.shape[axis]
    if bool(((indices < -size) | (indices >= size)).any()):
        raise ValueError("an index is out of range")
    return np.asarray(np.take(values, indices, axis=axis))


def _gather_elements(call: Call) -> NodeResult:
    if len(call.input(1).shape) != len(call.input(0).shape):
        raise ValueError("its indices have another number of dimensions")
    return moved(call, call.input(1).shape)


def _gather_nd(call: Call) -> NodeResult:
    shape, indices = call.input(0).shape, call.input(1).shape
    batch = call.integer("batch_dims", 0)
    if not (indices and 0 <= batch < len(indices) and batch + indices[-1] <= len(shape)):
        raise ValueError("its indices do not fit")
    return moved(call, indices[:-1] + shape[batch + indices[-1] :])


def _one_hot(call: Call) -> NodeResult:
    first, depth = call.input(0), call.known(1, "depth")
    if depth.size != 1 or depth.reshape(-1)[0] < 1:
        raise ValueError("its depth is not one positive number")
    axis = place(call.integer("axis", -1), len(first.shape) + 1)
    shape = (*first.shape[:axis], int(depth.reshape(-1)[0]), *first.shape[axis:])
    out = Tensor(call.input(2).kind, shape)
    return NodeResult((out,), MOVED * out.elements)


def _pad(call: Call) -> NodeResult:
    shape = call.input(0).shape
    pads = call.listed(1, "pads")
    mode = call.attribute("mode").text or "constant"
    if pads is None or len(pads) != _TWO * len(shape) or call.optional(3) is not None:
        raise ValueError("its padding does not have two numbers for each dimension")
    if min(pads, default=0) < 0 or mode != "constant":
        raise ValueError("only padding with a constant is supported")
    ends = zip(pads[: len(shape)], pads[len(shape) :], strict=True)
    return moved(call, [size + sum(both) for size, both in zip(shape, ends, strict=True)])


def _range(call: Call) -> NodeResult:
    found = [call.known(number, "start, limit and step") for number in range(3)]
    if any(each.size != 1 for each in found) or not exact(*found):
        raise ValueError("its start, limit and step are not single numbers below 2147483648")
    start, limit, step = (int(each.reshape(-1)[0]) for each in found)
    if not step:
        raise ValueError("its step is 0")
    count = max(0, -((start - limit) // step))
    values = None
    if count <= VALUES_MOST:
        values = np.array([start + step * each for each in range(count)], np.int64)
    return NodeResult((Tensor(call.input(0).kind, (count,), values, True),), MOVED * max(count, 1))


def _reshape(call: Call) -> NodeResult:
    first = call.input(0)
    wanted = call.listed(1, "shape")
    if wanted is None or call.integer("allowzero", 0):
        raise ValueError("its shape is missing or has zeros")
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1 or len(wanted) > 8:  # noqa: PLR2004 dimensions, as everywhere
        raise ValueError("its shape is malformed")
    shape = [
        first.shape[at] if not size and at < len(first.shape) else size
        for at, size in enumerate(wanted)
    ]
    if -1 in shape:
        rest = math.prod(size for size in shape if size != -1)
        shape[shape.index(-1)] = first.elements // rest if rest else -1
    if math.prod(shape) != first.elements or min(shape, default=0) < 0:
        raise ValueError(f"its shape {wanted} does not fit {list(first.shape)}")
    values = None if first.values is None else first.values.reshape(shape)
    return moved(call, shape, values)


def _shape(call: Call) -> NodeResult:
    shape = call.input(0).shape
    bounds = slice(call.integer("start", 0), call.integer("end", len(shape)))
    values = np.array(shape[bounds], np.int64)
    return NodeResult((Tensor(INT64, values.shape, values, True),), MOVED)


def _size(call: Call) -> NodeResult:
    values = np.array(call.input(0).elements, np.int64)
    return NodeResult((Tensor(INT64, (), values, True),), MOVED)


def _slice(call: Call) -> NodeResult:
    first = call.input(0)
    starts, ends = call.listed(1, "starts"), call.listed(2, "ends")
    if starts is None or ends is None:
        raise ValueError("it has no starts or ends")
    axes = call.listed(3, "axes")
    axes = list(range(len(starts))) if axes is None else axes
    steps = call.listed(4, "steps")
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError("its starts, ends, axes and steps do not fit")
    cuts = [slice(None)] * len(first.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = place(axis, len(first.shape))
        if cuts[at] != slice(None):
            raise ValueError(f"its axis {axis} occurs twice")
        cuts[at] = slice(start, end, step)
    shape = [len(range(*cut.indices(size))) for cut, size in zip(cuts, first.shape, strict=True)]
    values = None if first.values is None else first.values[tuple(cuts)]
    return moved(call, shape, values)


def _split(call: Call) -> NodeResult:
    first = call.input(0)
    axis = call.axis(0, len(first.shape))
    size, parts = first.shape[axis], len(call.node.outputs)
    sizes = call.listed(1, "split")
    if sizes is None:
        each = -(-size // max(parts, 1))
        sizes = [max(0, min(each, size - each * number)) for number in range(parts)]
    if sum(sizes) != size or min(sizes, default=-1) < 0:
        raise ValueError(f"its parts do not add up to {size}")
    outputs, begin = [], 0
    for part in sizes:
        shape = (*first.shape[:axis], part, *first.shape[axis + 1 :])
        values = None
        if first.values is not None:
            values = np.take(first.values, np.arange(begin, begin + part), axis=axis)
        outputs.append(Tensor(first.kind, shape, values, first.constant))
        begin += part
    return NodeResult(tuple(outputs), MOVED * first.elements)


def _squeeze(call: Call) -> NodeResult:
    first = call.input(0)
    axes = call.listed(1, "axes")
    if axes is None:
        dropped = {at for at, size in enumerate(first.shape) if size == 1}
    else:
        dropped = {place(axis, len(first.shape)) for axis in axes}
    if any(first.shape[at] != 1 for at in dropped):
        raise ValueError("it drops a dimension that is not 1")
    shape = [size for at, size in enumerate(first.shape) if at not in dropped]
    return moved(call, shape, None if first.values is None else first.values.reshape(shape))


def _unsqueeze(call: Call) -> NodeResult:
    first = call.input(0)
    axes = call.listed(1, "axes")
    if axes is None:
        raise ValueError("it has no axes")
    rank = len(first.shape) + len(axes)
    added = {place(axis, rank) for axis in axes}
    if len(added) != len(axes):
        raise ValueError("an axis occurs twice")
    rest = iter(first.shape)
    shape = [1 if at in added else next(rest) for at in range(rank)]
    if rank > 8:  # noqa: PLR2004 dimensions, as everywhere
        raise ValueError("its output has more than 8 dimensions")
    return moved(call, shape, None if first.values is None else first.values.reshape(shape))


def _tile(call: Call) -> NodeResult:
    first = call.input(0)
    repeats = _sizes(call.known(1, "repeats"))
    if len(repeats) != len(first.shape):
        raise ValueError("it does not have one repeat for each dimension")
    return moved(call, [size * each for size, each in zip(first.shape, repeats, strict=True)])


def _top_k(call: Call) -> NodeResult:
    first = call.input(0)
    axis = call.axis(-1, len(first.shape))
    count = call.known(1, "number") if call.optional(1) is not None else None
    if count is None or count.size != 1:
        raise ValueError("it does not have one number of elements")
    most = int(count.reshape(-1)[0])
    if not 0 < most <= first.shape[axis]:
        raise ValueError("its number of elements is out of range")
    shape = (*first.shape[:axis], most, *first.shape[axis + 1 :])
    return NodeResult(
        (Tensor(first.kind, shape), Tensor(INT64, shape)), FUNCTION * first.elements,
        first.elements * 16,
    )  # fmt: skip


def _transpose(call: Call) -> NodeResult:
    first = call.input(0)
    order = list(call.attribute("perm").integers) or list(range(len(first.shape)))[::-1]
    if sorted(order) != list(range(len(first.shape))):
        raise ValueError("its order of dimensions is malformed")
    values = None if first.values is None else np.transpose(first.values, order)
    return moved(call, [first.shape[at] for at in order], values)


def _scatter(call: Call) -> NodeResult:
    first, indices, updates = call.input(0), call.input(1), call.input(2)
    if not indices.constant or not is_integer(indices):
        raise ValueError("its indices must be constants")
    out = Tensor(first.kind, first.shape)
    return NodeResult((out,), MOVED * (first.elements + indices.elements + updates.elements))


RULES: Final[Mapping[str, Rule]] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""The rules by operator."""
