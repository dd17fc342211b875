"""Checks of the rows for kernels: float64, C-contiguous, with the model's number of features."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError

FEATURES_MOST: Final = np.iinfo(np.int16).max
"""Maximum number of features: a tree's node has 16 bits for its feature."""
_FLOAT64: Final = np.dtype(np.float64)
"""Compared with a type, each call would make this again."""


def feature_count_of(model: Any) -> int:
    """Return the number of features of a fitted model.

    Raises:
        ModelError: It is 0, or more than a kernel supports.
    """
    count = int(model.n_features_in_)
    if not 0 < count <= FEATURES_MOST:
        raise ModelError(
            f"model: takes {count} features, not 1 to {FEATURES_MOST}", "train the model again"
        )
    return count


def checked(features: NDArray[np.float64], feature_count: int) -> NDArray[np.float64]:
    """Return the rows in the form for which the kernels were compiled, copied only if necessary.

    Args:
        features: float64[n, m].
        feature_count: The required m.

    Raises:
        ModelError: They are not two-dimensional, or m differs.
    """
    if features.ndim != 2 or features.shape[1] != feature_count:  # noqa: PLR2004 rows and columns
        raise ModelError(
            f"features: the model takes rows of {feature_count}, not shape {features.shape}",
            "compute them with this bundle's manifest",
        )
    if features.dtype != _FLOAT64 or not features.flags.carray:
        return np.array(features, np.float64, order="C")
    return features
