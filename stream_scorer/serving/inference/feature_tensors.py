"""The tensors that a model takes: one of all features, or one for each feature."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.refusals import invalid, shown

Float64 = NDArray[np.float64]

FEATURES: Final = "features"
"""Name of the input that has all features: shape [n, m], columns in manifest order."""


class InputTensor(NamedTuple):
    """An input whose shape was checked.

    Attributes:
        name: ``features``, or a feature's name.
        rows: n.
        values: float64[n * m] in row-major order, or float64[n] of one feature; NaN: missing.
    """

    name: str
    rows: int
    values: Float64


class FeatureTensors:
    """The inputs of a model with m features.

    Args:
        names: The features' names in manifest order.
        rows_most: Maximum rows of a request.

    Attributes:
        names: As given, like the other.
        rows_most: Maximum rows.
    """

    def __init__(self, names: tuple[str, ...], rows_most: int) -> None:
        self.names = names
        self._columns = {name: column for column, name in enumerate(names)}
        self.rows_most = rows_most

    def rows_of(self, name: str, shape: Sequence[int], inputs: int) -> tuple[int, int]:
        """Return the rows of an input, and the number of its elements.

        This is before any data is read, so that a shape claims no memory.

        Args:
            name: The input's name.
            shape: As sent; any integers.
            inputs: Number of inputs in the request.

        Raises:
            InferenceRefused: The model has no such input, or it has another shape.
        """
        if name == FEATURES and (inputs == 1 or name not in self._columns):
            width = len(self.names)
            if len(shape) != 2 or shape[1] != width:  # noqa: PLR2004 rows and columns
                raise invalid(f"input {FEATURES}: its shape is [rows, {width}]")
        elif name in self._columns:
            width = 1
            if len(shape) not in {1, 2} or tuple(shape[1:]) not in {(), (1,)}:
                raise invalid(f"input {shown(name)}: its shape is [rows] or [rows, 1]")
        else:
            raise invalid(
                f"unknown input {shown(name)}: send {FEATURES}, or one input for each feature"
            )
        if not 1 <= shape[0] <= self.rows_most:
            raise invalid(f"input {shown(name)}: a request has 1 to {self.rows_most} rows")
        return shape[0], shape[0] * width

    def order_of(self, names: Sequence[str]) -> list[int] | None:
        """Return the column of each input if there is one for each feature; else None."""
        if len(names) != len(self.names):
            return None
        columns = [self._columns.get(name, -1) for name in names]
        return None if -1 in columns or len(set(columns)) < len(columns) else columns

    def joined(self, tensors: Sequence[InputTensor]) -> Float64:
        """Return float64[n, m] of the inputs of a request.

        Args:
            tensors: Inputs that :meth:`rows_of` accepts.

        Raises:
            InferenceRefused: One is duplicate or missing, or they differ in rows.
        """
        if len(tensors) == 1 and tensors[0].name == FEATURES:
            only = tensors[0]
            return only.values.reshape(only.rows, len(self.names))
        given = {tensor.name: tensor for tensor in tensors}
        if len(given) != len(tensors):
            raise invalid("two inputs have the same name")
        missing = next((name for name in self.names if name not in given), None)
        if missing is not None:
            raise invalid(f"input {shown(missing)} is missing")
        if len(given) > len(self.names):
            raise invalid(f"input {FEATURES} is sent alone, or not at all")
        rows = tensors[0].rows
        if any(tensor.rows != rows for tensor in tensors):
            raise invalid("the inputs differ in their number of rows")
        out = np.empty((rows, len(self.names)), np.float64)
        for name, tensor in given.items():
            out[:, self._columns[name]] = tensor.values
        return out
