"""Compiles every kernel of the predictors for every type of model, by scoring small ones."""

import numpy as np

from stream_scorer.models.predictors.parts import (
    Affine,
    LinearWeights,
    Part,
    ScoringModel,
    Sigmoid,
    SingleSigmoid,
    Table,
)
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.trees import TreeColumns, TreeEnsemble, assemble

_LEAVES = (2, 40, 70)
"""Trees in tables of 32 bits and of 64 bits, and trees that are walked."""


def compile_all() -> None:
    """Score one row and several rows with a model of each type."""
    numbers = np.arange(1.0, 3.0)
    weights = LinearWeights(np.ones(1), 0.0, np.zeros(1))
    parts = [Part((Affine(np.zeros(1), np.ones(1)),), weights, after=(Sigmoid(),))]
    for leaves in _LEAVES:
        for single in (False, True):
            for cuts in (1, 2):
                trees = _chain(leaves, cuts, single=single)
                parts.append(Part((), trees, after=(SingleSigmoid(), Table(numbers, numbers / 2))))
    for own in (False, True):
        predictor = ScoringPredictor(ScoringModel(tuple(parts), 1), own_exponential=own)
        for count in (1, 9):
            predictor.scores(np.zeros((count, 1)))
    predictor.attributions(np.zeros((1, 1)))


def _chain(leaves: int, cuts: int, *, single: bool) -> TreeEnsemble:
    """Return a tree whose inner nodes, with so many cuts each, follow one another."""
    inner = leaves - 1
    nodes = 2 * inner + 1
    feature = np.where(np.arange(nodes) % 2 == 0, 0, -1)
    feature[-1] = -1
    counts = np.where(feature == 0, cuts, 0)
    tree = TreeColumns(
        feature=feature,
        first_cut=np.concatenate([[0], np.cumsum(counts)]),
        cuts=np.tile(np.arange(float(cuts)), inner),
        starts_left=np.ones(nodes, np.bool_),
        left=np.arange(nodes) + 1,
        right=np.arange(nodes) + 2,
        missing_left=np.zeros(nodes, np.bool_),
        value=np.zeros(nodes),
        cover=np.ones(nodes),
    )
    return assemble([tree], baseline=0.0, feature_count=1, single=single)
