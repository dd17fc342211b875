"""Measures whether a row's bits depend on its place in a block, or on the other rows there."""

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.onnx_session import OnnxPredictor

Float64 = NDArray[np.float64]

SAMPLE_ROWS: Final = 256
"""Different rows that are compared, if a block is not larger."""

SECONDS_MOST: Final = 10.0
"""Maximum processor time of all measurements of a file."""

SINGLE_ROWS: Final = 4
"""Different rows that are compared if a block has one row."""

PERMUTATIONS: Final = 50
ROTATIONS_MOST: Final = 64
SEED: Final = 8121
_UNUSUAL: Final = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-310, 5e-324)


class Measurement:
    """Compares the bits of rows within :data:`SECONDS_MOST`, which count from its creation."""

    def __init__(self) -> None:
        self._end = time.thread_time() + SECONDS_MOST

    def dependence(self, predictor: OnnxPredictor, rows: Float64) -> str:
        """Return on what a row's bits depend, apart from the row; empty if on nothing.

        Each row is scored alone in a block of reference rows; then at each place of a block (at
        most :data:`ROTATIONS_MOST`), in random orders with others, and among unusual neighbours:
        missing, infinite, very large and very small numbers. All results must have the same bits.
        Of a block with more than :data:`SAMPLE_ROWS` rows, so many rows are compared. If a row
        fails, no other row may fail with it.

        Args:
            predictor: Its block may have any size.
            rows: float64[n, m], rows of the training or validation data, at least one.

        Raises:
            ModelError: The time is over.
        """
        size = predictor.model.block_rows
        generator = np.random.default_rng(SEED)
        blocks = SINGLE_ROWS if size == 1 else max(1, SAMPLE_ROWS // size)
        sample = _sample(rows, predictor.model.reference, blocks * size, generator)
        known = np.sort(generator.permutation(len(sample))[:SAMPLE_ROWS])
        alone = predictor.model.reference[None].repeat(size, axis=0)
        expected = np.empty(len(known))
        for number, place in enumerate(known):
            alone[0] = sample[place]
            expected[number] = self._scores(predictor, alone)[0]
        if not _equal(self._scores(predictor, sample)[known], expected):
            return "its neighbours"
        for _ in range(PERMUTATIONS):
            order = generator.permutation(len(sample))
            ordered = np.empty(len(sample))
            ordered[order] = self._scores(predictor, sample[order])
            if not _equal(ordered[known], expected):
                return "its neighbours"
        for shift in range(min(size, ROTATIONS_MOST)):
            rolled = np.roll(sample.reshape(-1, size, sample.shape[1]), shift, axis=1)
            moved = self._scores(predictor, rolled.reshape(sample.shape)).reshape(-1, size)
            if not _equal(np.roll(moved, -shift, axis=1).reshape(-1)[known], expected):
                return "its place in the block"
        same = self._same_among_unusual(predictor, sample[known], expected, generator)
        return "" if same else "its neighbours"

    def _same_among_unusual(
        self,
        predictor: OnnxPredictor,
        sample: Float64,
        expected: Float64,
        generator: np.random.Generator,
    ) -> bool:
        """Return whether rows have the same bits among unusual neighbours, at each place."""
        size = predictor.model.block_rows
        for value in _UNUSUAL:
            for place in range(min(size, ROTATIONS_MOST)):
                block = np.full((size, sample.shape[1]), value)
                number = int(generator.integers(len(sample)))
                block[place] = sample[number]
                found = self._scores(predictor, block)
                if not _equal(found[place : place + 1], expected[number]):
                    return False
        return True

    def _scores(self, predictor: OnnxPredictor, rows: Float64) -> Float64:
        """Return float64[n]: scores of whole blocks, unless the time is over.

        A block that ONNX Runtime refuses, such as one with an index out of range, has NaN.
        """
        size = predictor.model.block_rows
        out = np.empty(len(rows))
        for begin in range(0, len(rows), size):
            if time.thread_time() > self._end:
                raise ModelError(
                    f"ONNX file: its scores take more than {SECONDS_MOST:g} s of processor time "
                    "to compare",
                    "import a smaller model",
                )
            try:
                out[begin : begin + size] = predictor.block_scores(rows[begin : begin + size])
            except ModelError:
                out[begin : begin + size] = np.nan
        return out


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
