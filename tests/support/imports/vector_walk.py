"""Margins of a ScoringModel with numpy, all rows at a time: an oracle for kernels, and quick."""

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.predictors.parts import Part, ScoringModel
from stream_scorer.models.predictors.trees import TreeEnsemble

Float64 = NDArray[np.float64]


def _left(trees: TreeEnsemble, node: NDArray[np.int64], value: Float64) -> NDArray[np.bool_]:
    """Return bool[n]: whether each value goes left at its node."""
    low, past = trees.first_cut[node].copy(), trees.first_cut[node + 1].copy()
    first = low.copy()
    cuts = np.append(trees.cuts, np.inf)
    # Find the first cut that is not below the value; all searches at the same time.
    while (low < past).any():
        middle = (low + past) // 2
        below = (cuts[middle] < value) & (low < past)
        low = np.where(below, middle + 1, low)
        past = np.where(below, past, np.minimum(past, middle))
    even = (low - first) % 2 == 0
    return np.where(np.isnan(value), trees.missing_left[node], even == trees.starts_left[node])


def tree_sums(trees: TreeEnsemble, rows: Float64) -> Float64:
    """Return float64[n]: the baseline plus the leaves' values, in the order of the trees."""
    kind = np.dtype(np.float32 if trees.single else np.float64)
    total = np.full(len(rows), trees.baseline, kind)
    for root in trees.roots:
        node = np.full(len(rows), root, np.int64)
        active = np.arange(len(rows)) if trees.feature[root] >= 0 else np.empty(0, np.int64)
        while len(active):
            at = node[active]
            left = _left(trees, at, rows[active, trees.feature[at]])
            node[active] = np.where(left, trees.left[at], trees.right[at])
            active = active[trees.feature[node[active]] >= 0]
        total = total + trees.value[node].astype(kind)
    return total.astype(np.float64)


def _margins(part: Part, rows: Float64) -> Float64:
    assert isinstance(part.body, TreeEnsemble)
    assert not part.before
    margins = tree_sums(part.body, rows)
    if part.divisor != 1:
        margins /= part.divisor
    if (part.scale, part.bias) != (1.0, 0.0):
        margins = margins * part.scale + part.bias
    return margins


def margins(model: ScoringModel, rows: Float64) -> Float64:
    """Return float64[n]: the margins of a model of one part that has no steps before its trees."""
    (part,) = model.parts
    return _margins(part, rows)
