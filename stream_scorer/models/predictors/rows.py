"""The rows that kernels take: float64, C-contiguous, as wide as the model."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError

FEATURES_MOST: Final = np.iinfo(np.int16).max
"""A tree's node names its feature by 16 bits."""


def feature_count_of(model: Any) -> int:
    """Return how many features a fitted model takes.

    Raises:
        ModelError: None, or more than a kernel can name.
    """
    count = int(model.n_features_in_)
    if not 0 < count <= FEATURES_MOST:
        raise ModelError(
            f"model: takes {count} features, not 1 to {FEATURES_MOST}", "train the model again"
        )
    return count


def checked(features: NDArray[np.float64], feature_count: int) -> NDArray[np.float64]:
    """Return the rows as the kernels were compiled for; a copy only where it must be.

    Args:
        features: float64[n, m].
        feature_count: What m must be.

    Raises:
        ModelError: Not two-dimensional, or of another width.
    """
    if features.ndim != 2 or features.shape[1] != feature_count:  # noqa: PLR2004 rows and columns
        raise ModelError(
            f"features: the model takes rows of {feature_count}, not shape {features.shape}",
            "compute them with this bundle's manifest",
        )
    if features.dtype != np.float64 or not features.flags.carray:
        return np.array(features, np.float64, order="C")
    return features
