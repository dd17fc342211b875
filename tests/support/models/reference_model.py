"""A ScoringModel row by row in plain Python: slow, and written from its documentation alone."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.parts import (
    Affine,
    After,
    Before,
    Clip,
    Impute,
    Integers,
    LinearWeights,
    MissingValue,
    Multiply,
    Part,
    Platt,
    ScoringModel,
    Select,
    Sigmoid,
    SingleSigmoid,
    Table,
)
from stream_scorer.models.predictors.trees import TreeEnsemble

Float64 = NDArray[np.float64]
Row = list[float]


def goes_left(trees: TreeEnsemble, node: int, value: float) -> bool:
    """Return the side to which an inner node sends a value."""
    if math.isnan(value):
        return bool(trees.missing_left[node])
    cuts = trees.cuts[trees.first_cut[node] : trees.first_cut[node + 1]]
    below = sum(1 for cut in cuts if cut < value)
    return (below % 2 == 0) == bool(trees.starts_left[node])


def leaf(trees: TreeEnsemble, root: int, row: Row) -> int:
    """Return the leaf of a row in the tree of a root."""
    node = root
    while trees.feature[node] >= 0:
        left = goes_left(trees, node, row[trees.feature[node]])
        node = int(trees.left[node] if left else trees.right[node])
    return node


def tree_sum(trees: TreeEnsemble, row: Row) -> float:
    """Return the baseline plus the leaf values, added in the order of the trees."""
    total = trees.baseline
    for root in trees.roots:
        total += float(trees.value[leaf(trees, int(root), row)])
        # The float64 sum of two float32 numbers, rounded to float32, is their float32 sum.
        total = float(np.float32(total)) if trees.single else total
    return total


def linear_sum(weights: LinearWeights, row: Row) -> float:
    """Return the products, added in the order of the features, and then the intercept."""
    total = 0.0
    for weight, value in zip(weights.weight, row, strict=True):
        total += float(weight) * value
    return total + weights.intercept


def before(step: Before, row: Row) -> Row:
    """Apply a step to the values of a row."""
    match step:
        case Impute(values, missing):
            return [
                float(new) if (math.isnan(x) if math.isnan(missing) else x == missing) else x
                for x, new in zip(row, values, strict=True)
            ]
        case Affine(shift, scale):
            return [
                float((np.float64(x) - a) / b) for x, a, b in zip(row, shift, scale, strict=True)
            ]
        case Multiply(scale, offset):
            return [
                float(np.float64(x) * a + b) for x, a, b in zip(row, scale, offset, strict=True)
            ]
        case Clip(low, high):
            row = [x if math.isnan(x) else min(max(x, low), high) for x in row]
        case Select(columns):
            return [row[column] for column in columns]
        case MissingValue(value, single):
            found = [float(np.float32(x)) if single else x for x in row]
            return [math.nan if y == value else x for x, y in zip(row, found, strict=True)]
        case Integers(columns, most):
            for column in columns:
                if not row[column].is_integer() or abs(row[column]) > most:
                    raise ModelError(f"column {column} is {row[column]}")
    return row


def after(step: After, x: float) -> float:
    """Apply a step to a margin."""
    match step:
        case Sigmoid(slope, intercept):
            return float(expit(x if (slope, intercept) == (1.0, 0.0) else slope * x + intercept))
        case Platt(a, b):
            return float(expit(-(a * x + b)))
        case SingleSigmoid():
            power = np.float32(math.exp(min(float(np.float32(-x)), float(np.float32(88.7)))))
            return float(np.float32(1) / (power + np.float32(1) + np.float32(1e-16)))
        case Table(points, values):
            return interpolated(points, values, x)


def interpolated(points: Float64, values: Float64, x: float) -> float:
    """Return the value of a piecewise linear function that is constant outside of its points."""
    if math.isnan(x):
        return x
    if x <= points[0]:
        return float(values[0])
    if x >= points[-1]:
        return float(values[-1])
    at = max(i for i in range(len(points)) if points[i] <= x)
    slope = (values[at + 1] - values[at]) / (points[at + 1] - points[at])
    return min(max(float(slope * (x - points[at]) + values[at]), 0.0), 1.0)


def margin(part: Part, row: Row) -> float:
    """Return the margin of a part."""
    for step in part.before:
        row = before(step, row)
    body = part.body
    total = linear_sum(body, row) if isinstance(body, LinearWeights) else tree_sum(body, row)
    if part.divisor != 1.0:
        total /= part.divisor
    if (part.scale, part.bias) != (1.0, 0.0):
        total = total * part.scale + part.bias
    return total


def probability(part: Part, row: Row) -> float:
    """Return the probability of a part."""
    found = margin(part, row)
    for step in part.after:
        found = after(step, found)
    return found


def _mean(model: ScoringModel, rows: Float64, of_part: Callable[[Part, Row], float]) -> Float64:
    out = []
    with np.errstate(all="ignore"):
        for row in rows.tolist():
            found = [of_part(part, row) for part in model.parts]
            total = found[0]
            for other in found[1:]:
                total += other
            out.append(total / len(found) if len(found) > 1 else total)
    return np.array(out, np.float64)


def reference_raw(model: ScoringModel, rows: Float64) -> Float64:
    """Return float64[n]: the margin of the one part, or the mean of the parts' margins."""
    return _mean(model, rows, margin)


def reference_scores(model: ScoringModel, rows: Float64) -> Float64:
    """Return float64[n]: the mean of the parts' probabilities."""
    return _mean(model, rows, probability)
