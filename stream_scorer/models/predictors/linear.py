"""Logistic regression with its own dot product: a row has the same bits in a batch of any size.

scikit-learn multiplies with BLAS, whose order of addition depends on the batch: for 30 to 50 % of
single rows the last bits of the score differ from those in a batch of 5,000. Here a row's products
are added in the order of the features.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stream_scorer.core.kernels.compiled import numeric
from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.rows import checked, feature_count_of

Float64 = NDArray[np.float64]


@numeric
def _log_odds(rows, shift, scale, weight, intercept, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 numba types them
    """Write the intercept plus the sum of weight * (row - shift) / scale to ``out``, by feature."""
    for row in range(rows.shape[0]):
        total = 0.0
        for k in range(rows.shape[1]):
            total += weight[k] * ((rows[row, k] - shift[k]) / scale[k])
        out[row] = total + intercept


def _fitted(name: str, values: Any, shape: tuple[int, ...]) -> Float64:
    """Return a fitted array for the kernel, which reads as many values as there are features.

    Raises:
        ModelError: It has another shape, or a value that is not finite.
    """
    if np.shape(values) != shape:
        raise ModelError(
            f"model: its {name} has the shape {np.shape(values)}, not {shape}",
            "train the model again",
        )
    found = np.array(values, np.float64, order="C")
    if not np.isfinite(found).all():
        raise ModelError(f"model: its {name} holds no number", "train the model again")
    return found


class LinearPredictor:
    """Logistic regression, with or without a standard scaler before it.

    Attributions are coefficient * (x - mean) / scale, with the scaler's mean and scale. Without a
    scaler the mean is 0 and the scale is 1.

    Args:
        model: Fitted binary ``LogisticRegression``.
        scaler: The fitted ``StandardScaler`` before it, if any.

    Raises:
        ModelError: An array does not fit the number of features, a value in it is not finite, or a
            scale is 0.
    """

    def __init__(self, model: Any, scaler: Any = None) -> None:
        self.feature_count = count = feature_count_of(model)
        zeros, ones = np.zeros(count), np.ones(count)
        self._weight = _fitted("coef_", model.coef_, (1, count))[0]
        self._intercept = float(_fitted("intercept_", model.intercept_, (1,))[0])
        self._shift, self._scale, self._mean = zeros, ones, zeros
        if scaler is not None:
            if scaler.with_mean:
                self._shift = _fitted("mean_", scaler.mean_, (count,))
            if scaler.scale_ is not None:
                self._scale = _fitted("scale_", scaler.scale_, (count,))
            if scaler.mean_ is not None:
                self._mean = _fitted("mean_", scaler.mean_, (count,))
        if not (self._scale != 0).all():
            raise ModelError("model: its scale_ holds a zero", "train the model again")

    def scores(self, features: Float64) -> Float64:
        """Return float64[n]: the probability of fraud, within 1e-12 of scikit-learn's.

        Raises:
            ModelError: A value is missing or infinite.
        """
        raw = self.raw(features)
        expit(raw, out=raw)
        return raw

    def raw(self, features: Float64) -> Float64:
        """Return float64[n]: the log-odds.

        Raises:
            ModelError: A value is missing or infinite.
        """
        rows = checked(features, self.feature_count)
        out = np.empty(len(rows))
        _log_odds(rows, self._shift, self._scale, self._weight, self._intercept, out)
        if not np.isfinite(out).all():
            raise ModelError(
                "logistic regression: a feature is missing or infinite",
                "give the feature a `missing` value in the manifest, or deploy trees",
            )
        return out

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        """Return (float64[n, m], base): the attributions, and the log-odds of the mean row.

        The attributions of a row and the base add up to its log-odds.

        Raises:
            ModelError: The rows do not fit the model.
        """
        rows = checked(features, self.feature_count)
        base = float(self.raw(self._mean.reshape(1, -1))[0])
        return self._weight * ((rows - self._mean) / self._scale), base

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that a score or an attribution depends on."""
        return {
            "weight": self._weight,
            "intercept": np.array([self._intercept]),
            "shift": self._shift,
            "scale": self._scale,
            "mean": self._mean,
        }
