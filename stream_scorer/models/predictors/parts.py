"""A model as data: steps on the rows, trees or linear weights, and steps to the probability.

The kernels do not know which library a model comes from. A :class:`ScoringModel` is the mean of its
parts. A part changes the features (``before``), computes a margin, and turns the margin into a
probability (``after``)::

    margin = (sum / divisor) * scale + bias
    score  = (probability of part 0 + ... + probability of part k - 1) / k

With one part nothing is added or divided. All numbers come from files. So each model is checked
when it is created.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.rows import FEATURES_MOST
from stream_scorer.models.predictors.trees import NUMBER_MOST, TreeEnsemble

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

PARTS_MOST: Final = 100
"""Maximum parts of a model."""

STEPS_MOST: Final = 16
"""Maximum steps of a part before its body, and maximum steps after it."""

POINTS_MOST: Final = 1 << 20
"""Maximum points of a table."""


@dataclass(frozen=True, slots=True)
class Impute:
    """Replace missing values.

    Attributes:
        values: float64[m], what a missing value of each column becomes; NaN stays missing.
        missing: The number that is missing; NaN for missing values themselves.
    """

    values: Float64
    missing: float = math.nan


@dataclass(frozen=True, slots=True)
class Affine:
    """``(x - shift) / scale``, rounded after each operation.

    Attributes:
        shift: float64[m].
        scale: float64[m], not 0.
    """

    shift: Float64
    scale: Float64


@dataclass(frozen=True, slots=True)
class Multiply:
    """``x * scale + offset``, rounded after each operation.

    Attributes:
        scale: float64[m].
        offset: float64[m].
    """

    scale: Float64
    offset: Float64


@dataclass(frozen=True, slots=True)
class Clip:
    """Limit every value to a range; a missing one stays missing.

    Attributes:
        low: The least value.
        high: The greatest value, not below the least.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Select:
    """Keep some columns.

    Attributes:
        columns: int64[q], the numbers of the columns that are kept, in their new order.
    """

    columns: Int64


@dataclass(frozen=True, slots=True)
class Integers:
    """Refuse a row whose value in one of the columns is not an integer, is missing or too large.

    Attributes:
        columns: int64[q], the numbers of the columns.
        most: The largest integer, and minus the smallest one.
    """

    columns: Int64
    most: float


@dataclass(frozen=True, slots=True)
class MissingValue:
    """A number that counts as missing, in every column.

    Attributes:
        value: The number.
        single: Whether a value is rounded to float32 before it is compared.
    """

    value: float
    single: bool = False


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """``expit(slope * x + intercept)`` in float64; with 1 and 0, nothing is multiplied or added.

    Attributes:
        slope: The slope.
        intercept: The intercept.
    """

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True)
class SingleSigmoid:
    """XGBoost's ``1 / (exp(min(-x, 88.7)) + 1 + 1e-16)`` in float32."""


@dataclass(frozen=True, slots=True)
class Table:
    """A piecewise linear function, constant left of its first point and right of its last.

    Attributes:
        x: float64[n], strictly ascending.
        y: float64[n], from 0 to 1.
    """

    x: Float64
    y: Float64


@dataclass(frozen=True, slots=True)
class Platt:
    """``expit(-(a * x + b))``.

    Attributes:
        a: The slope.
        b: The intercept.
    """

    a: float
    b: float


Before = Impute | Affine | Multiply | Clip | Select | Integers | MissingValue
After = Sigmoid | SingleSigmoid | Table | Platt


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """``weight[0] * x[0] + weight[1] * x[1] + ... + intercept``, added in this order from 0.

    Attributes:
        weight: float64[m].
        intercept: The intercept.
        mean: float64[m], the row from which attributions are counted, as the body receives it.
    """

    weight: Float64
    intercept: float
    mean: Float64


@dataclass(frozen=True, slots=True)
class Part:
    """One of the models whose mean is the score.

    Attributes:
        before: Steps on the rows, in their order.
        body: Trees or linear weights.
        divisor: The sum is divided by it; 1 is no operation.
        scale: The quotient is multiplied by it; a scale of 1 and a bias of 0 are no operation.
        bias: It is added to the product.
        after: Steps from the margin to the probability; with none, the margin is the probability.
    """

    before: tuple[Before, ...]
    body: TreeEnsemble | LinearWeights
    divisor: float = 1.0
    scale: float = 1.0
    bias: float = 0.0
    after: tuple[After, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """A model of one or more parts.

    Attributes:
        parts: The parts.
        feature_count: Number of features of a row.

    Raises:
        ModelError: A number, a shape or a count is not one that a kernel can use.
    """

    parts: tuple[Part, ...]
    feature_count: int

    def __post_init__(self) -> None:
        _refuse_unless(0 < self.feature_count <= FEATURES_MOST, f"{self.feature_count} features")
        _refuse_unless(0 < len(self.parts) <= PARTS_MOST, f"{len(self.parts)} parts")
        for part in self.parts:
            _judge_part(part, self.feature_count)


def _refuse_unless(holds: bool, what: str) -> None:  # noqa: FBT001 it is the condition
    if not holds:
        raise ModelError(f"model: it holds {what}", "export the model again")


def _refuse_numbers(what: str, *numbers: float) -> None:
    for number in numbers:
        _refuse_unless(abs(number) <= NUMBER_MOST, f"{what} that is not a usable number")


def _refuse_columns(what: str, width: int, *columns: Float64) -> None:
    for column in columns:
        fits = column.shape == (width,) and column.dtype == np.float64
        _refuse_unless(fits, f"{what} for {column.shape} columns, not {width}")
        usable = bool((np.abs(column) <= NUMBER_MOST).all())
        _refuse_unless(usable, f"{what} with a number that is not usable")


def _refuse_unknown_columns(columns: Int64, width: int) -> None:
    known = columns.ndim == 1 and columns.dtype == np.int64
    known = known and 0 < len(columns) <= FEATURES_MOST
    known = known and bool(((columns >= 0) & (columns < width)).all())
    _refuse_unless(known, f"columns that are not among {width}")


def _judge_part(part: Part, width: int) -> None:
    """Follow a row of ``width`` columns through the steps, and refuse what does not fit."""
    _refuse_unless(len(part.before) <= STEPS_MOST, f"{len(part.before)} steps before a body")
    _refuse_unless(len(part.after) <= STEPS_MOST, f"{len(part.after)} steps after a body")
    for before in part.before:
        width = _width_after(before, width)
    body = part.body
    if isinstance(body, LinearWeights):
        _refuse_columns("weights", width, body.weight, body.mean)
        _refuse_numbers("an intercept", body.intercept)
    else:
        _refuse_unless(
            body.feature_count == width, f"trees for {body.feature_count} columns, not {width}"
        )
    _refuse_numbers("a divisor, scale or bias", part.divisor, part.scale, part.bias)
    _refuse_unless(part.divisor != 0, "a divisor of 0")
    for after in part.after:
        _judge_after(after)


def _width_after(step: Before, width: int) -> int:
    """Refuse a step that does not fit ``width`` columns; return how many there are after it."""
    match step:
        case Impute(values):
            _refuse_columns("imputed values", width, np.nan_to_num(values, posinf=np.inf))
        case Affine(shift, scale):
            _refuse_columns("a scaler", width, shift, scale)
            _refuse_unless(bool((scale != 0).all()), "a scale of 0")
        case Multiply(scale, offset):
            _refuse_columns("a scaler", width, scale, offset)
        case Clip(low, high):
            _refuse_numbers("a limit", low, high)
            _refuse_unless(low <= high, "a limit below another")
        case Select(columns):
            _refuse_unknown_columns(columns, width)
            return len(columns)
        case Integers(columns, most):
            _refuse_unknown_columns(columns, width)
            _refuse_numbers("a limit", most)
        case MissingValue():
            pass
    return width


def _judge_after(step: After) -> None:
    match step:
        case Sigmoid(slope, intercept):
            _refuse_numbers("a sigmoid", slope, intercept)
        case Platt(a, b):
            _refuse_numbers("a sigmoid", a, b)
        case Table(x, y):
            points = x.ndim == 1 and x.dtype == np.float64 and 0 < len(x) <= POINTS_MOST
            _refuse_unless(points, "a table without points, or with too many")
            _refuse_unless(y.shape == x.shape and y.dtype == np.float64, "half a table")
            usable = bool((np.abs(x) <= NUMBER_MOST).all() and ((y >= 0) & (y <= 1)).all())
            _refuse_unless(usable, "a table with a number that is not usable")
            _refuse_unless(bool((x[1:] > x[:-1]).all()), "a table whose points do not ascend")
        case SingleSigmoid():
            pass
