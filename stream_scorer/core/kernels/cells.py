"""A ring's cells as bits: which are in use, and which have an old time, 64 at a time.

In a ring of a few hundred cells all cells are compared, and the results of unused cells are masked.
A loop over the used cells alone would begin and end in the middle of a vector, which costs more
than everything else.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stream_scorer.core.kernels.compiled import inlined

MOST_CELLS = 256
"""Rings with more cells use a binary search instead."""

_WORD = 64

_LINE = 64
"""Number of bytes that are compared together; the smallest block is longer."""


@intrinsic
def _aged(_, times, at, newest, first, second, third, fourth):  # noqa: ARG001
    """Return, for each of four ages, bits of the cells from ``times[at]`` on that are as old."""

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
        word = ir.IntType(64)
        found = [
            builder.zext(
                builder.bitcast(
                    builder.icmp_unsigned(">=", ages, everywhere(age)), ir.IntType(lanes)
                ),
                word,
            )
            for age in arguments[3:]
        ]
        return context.make_tuple(builder, signature.return_type, found)

    number = types.int64
    signature = types.UniTuple(types.uint64, 4)(
        times, number, number, number, number, number, number
    )
    return signature, generate


@intrinsic
def _lanes(_, times):
    """Return the number of cells that ``_aged`` compares."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        width = context.get_value_type(signature.args[0].dtype)
        return ir.Constant(ir.IntType(64), _LINE * 8 // width.width)

    return types.int64(times), generate


@intrinsic
def _ones(_, word):
    """Return the number of bits that are set."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001 numba's protocol
        return builder.ctpop(arguments[0])

    return types.int64(word), generate


@inlined
def mark_used(used, head, count, capacity):
    """Write bits of the cells that hold events, 64 cells in a word; at most MOST_CELLS cells."""
    straight = min(head + count, capacity)
    behind = head + count - straight
    for first in range(0, capacity, _WORD):
        used[first >> 6] = (_below(straight - first) & ~_below(head - first)) | _below(
            behind - first
        )


@inlined
def _below(cells):
    """Return bits of the cells before a place, which may be outside of the word."""
    some = min(max(cells, np.int64(0)), np.int64(_WORD))
    # Shifting by the length of the word is undefined, so it is done in two steps.
    return (np.uint64(1) << np.uint64(some >> 1) << np.uint64(some - (some >> 1))) - np.uint64(1)


@inlined
def count_aged(times, base, capacity, used, newest, ages, found):
    """Write, for each age, the number of used cells whose time is at least that much older.

    Ages are relative to the newest event. Their number is a multiple of four, and each fits into
    the type of the times.
    """
    lanes = _lanes(times)
    for group in range(0, len(ages), 4):
        first, second = ages[group], ages[group + 1]
        third, fourth = ages[group + 2], ages[group + 3]
        of_first = of_second = of_third = of_fourth = np.int64(0)
        for c in range(0, capacity, lanes):
            live = used[c >> 6] >> np.uint64(c & 63)
            bits = _aged(times, base + c, newest, first, second, third, fourth)
            of_first += _ones(bits[0] & live)
            of_second += _ones(bits[1] & live)
            of_third += _ones(bits[2] & live)
            of_fourth += _ones(bits[3] & live)
        found[group] = of_first
        found[group + 1] = of_second
        found[group + 2] = of_third
        found[group + 3] = of_fourth
