"""Compute expressions over columns: a program for a stack machine, run over several rows at a time.

A step is a row of int64: its code, and for a leaf the number of its constant, field or feature.
Each step takes its operands from the stack and leaves one result there. A result that is not
finite becomes the same NaN, so that every target gives the same bits.
"""

from typing import Final

import numpy as np

from stream_scorer.core.arithmetic.logarithm_kernels import log
from stream_scorer.core.kernels.compiled import numeric

CONSTANT, FIELD, FEATURE, NEGATE, ABSOLUTE, LOGARITHM = range(6)
ADD, SUBTRACT, MULTIPLY, DIVIDE, LEAST, MOST, COALESCE = range(6, 13)
LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL, UNEQUAL = range(13, 19)

STEP_WIDTH = 2

ROWS: Final = 128
"""Number of rows that are computed together."""


@numeric
def finite(value):
    """Return a number, or NaN if it is not finite."""
    return value if value - value == 0.0 else np.nan


@numeric
def unary(code, stack, top, rows):
    """Replace the top of the stack by the result of an operation of one operand."""
    for c in range(np.uint64(rows)):
        value = stack[top, c]
        if code == NEGATE:
            value = -value
        elif code == ABSOLUTE:
            value = abs(value)
        else:
            value = log(value)
        stack[top, c] = finite(value)


@numeric
def binary(code, stack, top, rows):  # noqa: C901, PLR0912 one line per code
    """Replace row ``top`` of the stack by the result of an operation over it and the row above."""
    for c in range(np.uint64(rows)):
        left = stack[top, c]
        right = stack[top + 1, c]
        if code == ADD:
            value = left + right
        elif code == SUBTRACT:
            value = left - right
        elif code == MULTIPLY:
            value = left * right
        elif code == DIVIDE:
            value = left / right
        elif code == LEAST:
            value = right if right < left else left  # noqa: FURB136 the left one if they are equal
        elif code == MOST:
            value = right if right > left else left  # noqa: FURB136 the same
        elif code == COALESCE:
            value = right if np.isnan(left) else left
        elif code == LESS:
            value = np.float64(left < right)
        elif code == LESS_EQUAL:
            value = np.float64(left <= right)
        elif code == GREATER:
            value = np.float64(left > right)
        elif code == GREATER_EQUAL:
            value = np.float64(left >= right)
        elif code == EQUAL:
            value = np.float64(left == right)
        else:
            value = np.float64(left != right)
        known = code == COALESCE or not (np.isnan(left) or np.isnan(right))
        stack[top, c] = finite(value) if known else np.nan


@numeric
def evaluate(program, constants, fields, out, column, stack):
    """Write an expression's value of each row to a column of ``out``.

    Args:
        program: int64[p, STEP_WIDTH].
        constants: float64[k].
        fields: float64[f, n].
        out: float64[n, m]; features are read from it, and the value is written to it.
        column: The column to write.
        stack: float64[d, ROWS], as deep as the program needs.
    """
    for first in range(0, len(out), ROWS):
        rows = min(ROWS, len(out) - first)
        top = np.int64(-1)
        for p in range(len(program)):
            code = program[p, 0]
            at = program[p, 1]
            if code <= FEATURE:
                top += 1
                for c in range(rows):
                    if code == CONSTANT:
                        value = constants[at]
                    elif code == FIELD:
                        value = fields[at, first + c]
                    else:
                        value = out[first + c, at]
                    stack[top, c] = finite(value)
            elif code <= LOGARITHM:
                unary(code, stack, top, rows)
            else:
                top -= 1
                binary(code, stack, top, rows)
        for c in range(rows):
            out[first + c, column] = stack[0, c]
