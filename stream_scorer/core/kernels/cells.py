"""A ring's cells as bits: which of them are in use, and which hold an old time, 64 at a time.

A ring of up to 64 cells is compared whole, and what its unused cells hold is masked away: a loop
over the used ones alone has a beginning and an end that no vector fits, and those cost more than
all the rest.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stream_scorer.core.kernels.compiled import inlined

MOST_BITS = 64
"""Rings with more cells are searched."""

_LINE = 64
"""Bytes that are compared at once: the smallest block is longer."""


@intrinsic
def _aged(_, times, at, newest, age):  # noqa: ARG001 the types alone matter here
    """Return bits of the cells from ``times[at]`` on whose time is ``age`` before the newest."""

    def generate(context, builder, signature, arguments):
        width = context.get_value_type(signature.args[0].dtype)
        lanes = _LINE * 8 // width.width
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        line = ir.VectorType(width, lanes)
        loaded = builder.load(builder.bitcast(place, line.as_pointer()), align=width.width // 8)

        def everywhere(value):
            if width.width < value.type.width:
                value = builder.trunc(value, width)
            nothing = ir.Constant(line, ir.Undefined)
            first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return builder.shuffle_vector(first, nothing, zeros)

        ages = builder.sub(everywhere(arguments[2]), loaded)
        old = builder.icmp_unsigned(">=", ages, everywhere(arguments[3]))
        return builder.zext(builder.bitcast(old, ir.IntType(lanes)), ir.IntType(64))

    return types.uint64(times, types.int64, types.int64, types.int64), generate


@intrinsic
def _lanes(_, times):
    """Return how many cells ``_aged`` compares."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        width = context.get_value_type(signature.args[0].dtype)
        return ir.Constant(ir.IntType(64), _LINE * 8 // width.width)

    return types.int64(times), generate


@intrinsic
def _ones(_, word):
    """Return how many bits of a uint64 are set."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        return builder.ctpop(arguments[0])

    return types.int64(word), generate


@inlined
def used_cells(head, count, capacity):
    """Return bits of the cells that hold events; at most MOST_BITS cells."""
    one = np.uint64(1)
    full = np.uint64(MOST_BITS)
    all_cells = ~np.uint64(0) >> (full - np.uint64(capacity))
    events = np.uint64(0)
    if count > 0:
        events = ~np.uint64(0) >> (full - np.uint64(count))
    behind = np.uint64(capacity - head) - one
    return ((events << np.uint64(head)) | ((events >> behind) >> one)) & all_cells


@inlined
def older_of(times, base, capacity, used, newest, age, most_age):
    """Return how many used cells hold a time at least ``age`` before the newest.

    ``most_age`` is the largest age that a cell can tell; none is as old.
    """
    age = min(max(age, np.int64(0)), most_age)
    bits = np.uint64(0)
    for c in range(0, capacity, _lanes(times)):
        bits |= _aged(times, base + c, newest, age) << np.uint64(c)
    return _ones(bits & used)
