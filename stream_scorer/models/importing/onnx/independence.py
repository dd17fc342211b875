"""Measures whether a row's bits depend on its place in a block, or on the other rows there."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.predictors.onnx_session import OnnxPredictor

Float64 = NDArray[np.float64]

SAMPLE_BLOCKS: Final = 4
"""Blocks of different rows that are compared."""

PERMUTATIONS: Final = 50
ROTATIONS_MOST: Final = 64
SEED: Final = 8121
_UNUSUAL: Final = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-310, 5e-324)


def dependence(predictor: OnnxPredictor, rows: Float64) -> str:
    """Return on what a row's bits depend, apart from the row; empty if on nothing.

    Each row is scored alone in a block of reference rows; then at each place of a block (at most
    :data:`ROTATIONS_MOST`), in random orders with others, and among unusual neighbours: missing,
    infinite, very large and very small numbers. All results must have the same bits.

    Args:
        predictor: Its block may have any size.
        rows: float64[n, m], rows of the training or validation data, at least one.

    Raises:
        ModelError: ONNX Runtime fails.
    """
    size = predictor.model.block_rows
    generator = np.random.default_rng(SEED)
    sample = _sample(rows, predictor.model.reference, SAMPLE_BLOCKS * size, generator)
    alone = predictor.model.reference[None].repeat(size, axis=0)
    expected = np.empty(len(sample))
    for number, row in enumerate(sample):
        alone[0] = row
        expected[number] = predictor.block_scores(alone)[0]
    if not _equal(predictor.scores(sample), expected):
        return "its neighbours"
    orders = [generator.permutation(len(sample)) for _ in range(PERMUTATIONS)]
    if not all(_equal(predictor.scores(sample[order]), expected[order]) for order in orders):
        return "its neighbours"
    for begin in range(0, len(sample), size):
        block, known = sample[begin : begin + size], expected[begin : begin + size]
        for shift in range(min(size, ROTATIONS_MOST)):
            found = predictor.block_scores(np.roll(block, shift, axis=0))
            if not _equal(found, np.roll(known, shift)):
                return "its place in the block"
    for value in _UNUSUAL:
        for place in range(min(size, ROTATIONS_MOST)):
            block = np.full((size, sample.shape[1]), value)
            number = int(generator.integers(len(sample)))
            block[place] = sample[number]
            if not _equal(predictor.block_scores(block)[place : place + 1], expected[number]):
                return "its neighbours"
    return ""


def _sample(
    rows: Float64, reference: Float64, count: int, generator: np.random.Generator
) -> Float64:
    """Return float64[count, m]: real rows, mixed ones, noise around them, and unusual ones."""
    picked = generator.integers(len(rows), size=(count, rows.shape[1]))
    mixed = rows[picked, np.arange(rows.shape[1])]
    quarter = max(1, count // 4)
    mixed[:quarter] = rows[picked[:quarter, 0]]
    noise = generator.normal(size=(quarter, rows.shape[1]))
    mixed[-quarter:] += noise * (np.abs(mixed[-quarter:]) + 1)
    # One unusual value in each of some rows.
    for number, value in enumerate(_UNUSUAL[: count // 2]):
        mixed[-1 - number, number % rows.shape[1]] = value
    mixed[0] = reference
    return np.ascontiguousarray(mixed)


def _equal(found: Float64, expected: Float64 | np.float64) -> bool:
    """Return whether numbers have the same bits; missing ones are equal."""
    expected = np.broadcast_to(expected, found.shape)
    same = found.view(np.int64) == np.ascontiguousarray(expected).view(np.int64)
    return bool((same | (np.isnan(found) & np.isnan(expected))).all())
