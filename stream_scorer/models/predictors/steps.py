"""The steps of a part on the rows and on the margins, as functions over columns."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from stream_scorer.core.arithmetic.exponential import expit_all, single_sigmoid_all
from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.parts import (
    Affine,
    After,
    Before,
    Clip,
    Impute,
    Integers,
    MissingValue,
    Multiply,
    Platt,
    Select,
    Sigmoid,
    SingleSigmoid,
    Table,
)

Float64 = NDArray[np.float64]
Sigmoids = Callable[[Float64], None]
"""Replaces margins by their probabilities."""

_ONE = np.float32(1)
_EPSILON = np.float32(1e-16)
_EXPONENT_MOST = np.float32(88.7)


@numeric
def _single_sigmoid(margins):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 numba types them
    """Replace the margins, which are float32 numbers, by XGBoost's sigmoid.

    The power is computed in float64 and rounded, so it does not depend on a library's float32
    ``exp``.
    """
    for row in range(len(margins)):
        exponent = min(-np.float32(margins[row]), _EXPONENT_MOST)
        power = np.float32(math.exp(np.float64(exponent)))
        margins[row] = _ONE / (power + _ONE + _EPSILON)


@numeric
def _interpolate(margins, x, y):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 numba types them
    """Replace the margins by the values of a table, as ``numpy.interp`` computes them."""
    last = len(x) - 1
    for row in range(len(margins)):
        value = margins[row]
        if value <= x[0]:
            margins[row] = y[0]
        elif value >= x[last]:
            margins[row] = y[last]
        elif value == value:  # noqa: PLR0124 the test for NaN
            low = 0
            high = last
            while high - low > 1:
                middle = (low + high) >> 1
                if x[middle] <= value:
                    low = middle
                else:
                    high = middle
            slope = (y[low + 1] - y[low]) / (x[low + 1] - x[low])
            margins[row] = y[low]
            if value != x[low]:
                margins[row] = min(max(slope * (value - x[low]) + y[low], 0.0), 1.0)


def applied(step: Before, rows: Float64) -> Float64:
    """Return new rows: what a step makes of the given ones.

    Args:
        step: The step.
        rows: float64[n, m].

    Raises:
        ModelError: A row has a value that the step refuses.
    """
    match step:
        case Impute(values, missing):
            found = np.isnan(rows) if math.isnan(missing) else rows == missing
            return np.where(found, values, rows)
        case Affine(shift, scale):
            moved = rows - shift
            moved /= scale
            return moved
        case Multiply(scale, offset):
            moved = rows * scale
            moved += offset
            return moved
        case Clip(low, high):
            rows = np.clip(rows, low, high)
        case Select(columns):
            return np.ascontiguousarray(rows[:, columns])
        case MissingValue(value, single):
            with np.errstate(over="ignore"):
                found = rows.astype(np.float32).astype(np.float64) if single else rows
            return np.where(found == value, np.nan, rows)
        case Integers(columns, most):
            _refuse_others(rows[:, columns], columns, most)
    return rows


def _refuse_others(values: Float64, columns: NDArray[np.int64], most: float) -> None:
    """Refuse rows with a value that is not an integer of at most ``most`` in size."""
    usable = ((np.abs(values) <= most) & (np.rint(values) == values)).all(axis=0)
    if not usable.all():
        raise ModelError(
            f"feature {columns[~usable][0]} is a category: an integer of at most {most:.0f}",
            "give the feature such a value for what is missing or unknown",
        )


def finisher(step: After, *, own_exponential: bool) -> Sigmoids:
    """Return the function that replaces margins, float64[n], by what a step makes of them.

    Args:
        step: The step.
        own_exponential: Whether the sigmoids are those of ``core.arithmetic``, with the same bits
            on every machine; otherwise those of the C library.
    """
    expit: Sigmoids = expit_all if own_exponential else _expit
    match step:
        case Sigmoid(slope, intercept):
            return expit if (slope, intercept) == (1.0, 0.0) else _sigmoid(slope, intercept, expit)
        case Platt(a, b):
            return _platt(a, b, expit)
        case SingleSigmoid():
            return single_sigmoid_all if own_exponential else _single_sigmoid
        case Table(x, y):
            return lambda margins: _interpolate(margins, x, y)


def _expit(margins: Float64) -> None:
    special.expit(margins, out=margins)


def _sigmoid(slope: float, intercept: float, expit: Sigmoids) -> Sigmoids:
    def finish(margins: Float64) -> None:
        margins *= slope
        margins += intercept
        expit(margins)

    return finish


def _platt(a: float, b: float, expit: Sigmoids) -> Sigmoids:
    def finish(margins: Float64) -> None:
        margins *= a
        margins += b
        np.negative(margins, out=margins)
        expit(margins)

    return finish
