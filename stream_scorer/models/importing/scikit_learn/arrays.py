"""Fitted arrays and numbers of an estimator, whose sizes and values come from a file."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError

Float64 = NDArray[np.float64]


def fitted(name: str, values: Any, shape: tuple[int, ...], *, missing: bool = False) -> Float64:
    """Return a fitted array as float64.

    Args:
        name: Its name in the estimator.
        values: The array.
        shape: The required shape.
        missing: Whether it may have missing values.

    Raises:
        ModelError: It has another shape, or a value that is not finite.
    """
    if np.shape(values) != shape:
        raise ModelError(
            f"model: its {name} has the shape {np.shape(values)}, not {shape}",
            "train the model again",
        )
    found = np.array(values, np.float64, order="C")
    if not (np.isfinite(found) | (missing & np.isnan(found))).all():
        raise ModelError(f"model: its {name} holds no number", "train the model again")
    return found


def refused(what: str, fix: str = "train another model, or export it as ONNX") -> ModelError:
    """Return the error for something that is not supported.

    Args:
        what: Its name.
        fix: What to do.
    """
    return ModelError(f"model: {what} is not supported", fix)
