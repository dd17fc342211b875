"""From a model as data to the predictor that the stream, files and requests share.

The same code scores one row or a batch, and a row has the same bits in both. The leaves' values are
added in the order of the trees, starting at the baseline, as the model's own library adds them.

docs/adr/0083-models-as-data.md has measured times.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors import leaf_kernels, leaf_masks, tree_walk, walk_kernels
from stream_scorer.models.predictors.linear import LinearBody
from stream_scorer.models.predictors.onnx_session import OnnxModel, OnnxPredictor
from stream_scorer.models.predictors.parts import (
    Affine,
    LinearWeights,
    Part,
    ScoringModel,
    Select,
)
from stream_scorer.models.predictors.rows import checked
from stream_scorer.models.predictors.steps import applied, finisher
from stream_scorer.models.predictors.trees import TreeEnsemble

Float64 = NDArray[np.float64]


_LOOKUPS_MOST = 3
"""Lookups in the tables for each tree, above which a single row is faster if it walks."""


class TreeBody:
    """The trees of a part.

    If no tree has more than 64 leaves and the tables are not too large, leaf masks are used;
    otherwise the trees are walked. A single row also walks where it would need many lookups.

    Args:
        trees: The ensemble.
    """

    def __init__(self, trees: TreeEnsemble) -> None:
        masks = leaf_masks.build(trees)
        self._tables = None if masks is None else masks.arguments()
        self._trees, self._nodes, self._depths = tree_walk.lay_out(trees)
        inner = self._trees.feature >= 0
        self._one_cut = bool((self._trees.cut_counts()[inner] == 1).all())
        many = masks is not None and len(masks.used) > _LOOKUPS_MOST * len(trees.roots)
        self._walks_alone = many and self._one_cut
        self._number: Any = np.float32 if trees.single else np.float64
        self._value = self._trees.value.astype(self._number)
        self._baseline = self._number(trees.baseline)
        self.base = trees.baseline + float(self._trees.value[self._trees.roots].sum())
        if not inner.any():
            self.base = float(self.sums(np.zeros((1, trees.feature_count)))[0])

    def sums(self, rows: Float64) -> Float64:
        """Return float64[n]: the baseline plus the leaf values, in the order of the trees."""
        trees, tables = self._trees, self._tables
        out = np.empty(len(rows), self._number)
        if tables is not None and not (self._walks_alone and len(rows) == 1):
            leaf_kernels.sums(rows, *tables, out)
        elif self._one_cut:
            walk_kernels.sums(
                rows, self._nodes, self._value, trees.roots, self._depths, self._baseline, out
            )
        else:
            walk_kernels.sums_by_cuts(
                rows, self._nodes, trees.first_cut, trees.cuts, self._value, trees.roots,
                self._baseline, out,
            )  # fmt: skip
        return out.astype(np.float64) if trees.single else out

    def attributions(self, rows: Float64) -> Float64:
        """Return float64[n, m]: path attributions; a row's and the base add up to its sum.

        On the way down a tree, each change of the node's value is attributed to the split's
        feature. The value of an inner node is the mean of its leaves, weighted by training rows.
        The rounding of a float32 sum is attributed to the feature with the largest attribution.
        """
        trees = self._trees
        out = np.zeros(rows.shape)
        walk_kernels.attribute(
            rows, self._nodes, trees.first_cut, trees.cuts, trees.value, trees.roots, out
        )
        if trees.single:
            each = np.arange(len(out))
            largest = np.abs(out).argmax(axis=1)
            out[each, largest] += self.sums(rows) - (out.sum(axis=1) + self.base)
        return out


class _PartPredictor:
    """One part: its steps, its body, and what turns the sum into a probability."""

    def __init__(self, part: Part, *, own_exponential: bool) -> None:
        self._part = part
        self._before = part.before
        self._finishers = [finisher(step, own_exponential=own_exponential) for step in part.after]
        self._columns = [step.columns for step in part.before if isinstance(step, Select)]
        self._body: TreeBody | LinearBody
        if isinstance(part.body, LinearWeights):
            last = part.before[-1] if part.before else None
            scaler = last if isinstance(last, Affine) else None
            self._before = part.before[:-1] if scaler else part.before
            self._body = LinearBody(part.body, scaler)
        else:
            self._body = TreeBody(part.body)
        self.base = float(self._scaled(np.array([self._body.base]))[0])

    def _scaled(self, sums: Float64) -> Float64:
        """Return the margins of sums, in their place."""
        part = self._part
        if part.divisor != 1.0:
            sums /= part.divisor
        if part.scale != 1.0 or part.bias != 0.0:
            sums *= part.scale
            sums += part.bias
        return sums

    def _prepared(self, rows: Float64) -> Float64:
        with np.errstate(all="ignore"):
            for step in self._before:
                rows = applied(step, rows)
        return rows

    def margins(self, rows: Float64) -> Float64:
        """Return float64[n]: the margins of rows with all features."""
        if self._before:
            rows = self._prepared(rows)
        return self._scaled(self._body.sums(rows))

    def scores(self, rows: Float64) -> Float64:
        """Return float64[n]: the probabilities of rows with all features."""
        out = self.margins(rows)
        for finish in self._finishers:
            finish(out)
        return out

    def attributions(self, rows: Float64) -> Float64:
        """Return float64[n, m] for rows with all m features: the attributions of the margin."""
        found = self._body.attributions(self._prepared(rows) if self._before else rows)
        if self._part.divisor != 1.0:
            found /= self._part.divisor
        if self._part.scale != 1.0:
            found *= self._part.scale
        if not self._columns:
            return found
        columns = self._columns[0]
        for selected in self._columns[1:]:
            columns = columns[selected]
        out = np.zeros(rows.shape)
        # A column may have been selected twice.
        for number, column in enumerate(columns.tolist()):
            out[:, column] += found[:, number]
        return out


class ScoringPredictor:
    """The predictor of a model.

    Args:
        model: The model.
        own_exponential: Whether probabilities have the same bits on every machine, as the engine of
            the bundle states; otherwise they depend on the C library's ``exp``.
    """

    def __init__(self, model: ScoringModel, *, own_exponential: bool = False) -> None:
        self.model = model
        self.own_exponential = own_exponential
        self.feature_count = model.feature_count
        self._parts = [
            _PartPredictor(part, own_exponential=own_exponential) for part in model.parts
        ]

    def scores(self, features: Float64) -> Float64:
        """Return float64[n]: the probability of fraud.

        For trees, it has the bits of the library's, if the C library's ``exp`` is used.

        Args:
            features: float64[n, m].

        Raises:
            ModelError: The rows do not fit the model, or a linear one receives a missing or
                infinite value.
        """
        rows = checked(features, self.feature_count)
        if len(self._parts) == 1:
            return self._parts[0].scores(rows)
        return self._mean([part.scores(rows) for part in self._parts])

    def raw(self, features: Float64) -> Float64:
        """Return float64[n]: the margin, e.g. log-odds; of several parts the mean of their margins.

        Args:
            features: float64[n, m].

        Raises:
            ModelError: As for :meth:`scores`.
        """
        rows = checked(features, self.feature_count)
        return self._mean([part.margins(rows) for part in self._parts])

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        """Return (float64[n, m], base): a row's attributions and the base add up to its raw score.

        For trees these are path attributions, for linear weights the products. They are scaled as
        the sums are, and averaged over the parts.

        Args:
            features: float64[n, m].

        Raises:
            ModelError: The rows do not fit the model.
        """
        rows = checked(features, self.feature_count)
        found = self._mean([part.attributions(rows) for part in self._parts])
        return found, sum(part.base for part in self._parts) / len(self._parts)

    @staticmethod
    def _mean(found: list[Float64]) -> Float64:
        """Return the mean of arrays, added in their order; of one array, the array itself."""
        total = found[0]
        if len(found) > 1:
            for other in found[1:]:
                total += other
            total /= len(found)
        return total


def predictor_of(
    model: ScoringModel | OnnxModel, *, own_exponential: bool = False
) -> ScoringPredictor | OnnxPredictor:
    """Return the predictor of a model: our kernels, or a session of ONNX Runtime.

    Args:
        model: The model.
        own_exponential: As of :class:`ScoringPredictor`.

    Raises:
        ModelError: ONNX Runtime is not installed, refuses the model, or would have to compute
            probabilities with our exponential.
    """
    if not isinstance(model, OnnxModel):
        return ScoringPredictor(model, own_exponential=own_exponential)
    if own_exponential:
        raise ModelError(
            "an ONNX model cannot have engine 3, or another with our arithmetic: ONNX Runtime "
            "computes its probabilities",
            "leave --engine out",
        )
    return OnnxPredictor(model)
