"""Linear models with their own dot product: a row has the same bits in a batch of any size.

scikit-learn multiplies with BLAS, whose order of addition depends on the batch: for 30 to 50 % of
single rows the last bits of the score differ from those in a batch of 5,000. Here a row's products
are added in the order of the features.
"""

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.parts import Affine, LinearWeights

Float64 = NDArray[np.float64]


@numeric
def _weighted(rows, shift, scale, weight, intercept, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 numba types them
    """Write the intercept plus the sum of weight * (row - shift) / scale to ``out``, by feature."""
    for row in range(rows.shape[0]):
        total = 0.0
        for k in range(rows.shape[1]):
            total += weight[k] * ((rows[row, k] - shift[k]) / scale[k])
        out[row] = total + intercept


class LinearBody:
    """The weights of a part, and the scaler directly before them, if there is one.

    Args:
        weights: The weights.
        scaler: The last step before them, which is applied here; None for no scaler.
    """

    def __init__(self, weights: LinearWeights, scaler: Affine | None = None) -> None:
        count = len(weights.weight)
        self._weights = weights
        self._shift = np.zeros(count) if scaler is None else scaler.shift
        self._scale = np.ones(count) if scaler is None else scaler.scale
        mean = weights.mean.reshape(1, -1)
        self.base = float(self._sums(mean, np.zeros(count), np.ones(count))[0])

    def sums(self, rows: Float64) -> Float64:
        """Return float64[n]: the sums.

        Raises:
            ModelError: A value is missing or infinite.
        """
        return self._sums(rows, self._shift, self._scale)

    def _sums(self, rows: Float64, shift: Float64, scale: Float64) -> Float64:
        out = np.empty(len(rows))
        _weighted(rows, shift, scale, self._weights.weight, self._weights.intercept, out)
        if not np.isfinite(out).all():
            raise ModelError(
                "logistic regression: a feature is missing or infinite",
                "give the feature a `missing` value in the manifest, or deploy trees",
            )
        return out

    def attributions(self, rows: Float64) -> Float64:
        """Return float64[n, m]: each feature's distance from its mean, times its weight."""
        scaled = (rows - self._shift) / self._scale
        return self._weights.weight * (scaled - self._weights.mean)
