"""The protocol's data types, and their conversion to features: to float64 without loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.refusals import InferenceRefused, invalid, shown

Float64 = NDArray[np.float64]
Kind = Literal["float", "integer", "boolean"]
_BFLOAT16_SHIFT: Final = 16


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type of which a tensor of features may be.

    Attributes:
        name: As the protocol writes it.
        stored: How an element is stored in binary data, little-endian.
        kind: What an element is in JSON. Only a float may be ``null`` there: a missing value.
    """

    name: str
    stored: np.dtype[Any]
    kind: Kind

    def from_json(self, values: Sequence[Any]) -> Float64:
        """Return float64[k] of k JSON values, or of rows of them, that have this type's kind.

        Args:
            values: Numbers or truth values, flat or as rows of equal length. A number with a
                fraction is rounded to the nearest value of the data type.

        Raises:
            InferenceRefused: A value is out of the data type's range, is an integer that float64
                does not have, or the rows differ in length.
        """
        try:
            if self.kind == "float":
                given = np.array(values, np.float64).ravel()
                return given if self.stored.itemsize == given.itemsize else self._narrow(given)
            return self.widened(np.array(values, self.stored).ravel())
        except OverflowError:
            raise invalid(f"a value is out of the range of {self.name}") from None
        except (TypeError, ValueError):
            raise invalid("data: the rows differ in length") from None

    def from_typed(self, values: Sequence[Any]) -> Float64:
        """Return float64[k] of k flat values of this type's kind, NaN and infinities included.

        Raises:
            InferenceRefused: As for :meth:`from_json`.
        """
        try:
            return self.widened(np.array(values, self.stored))
        except OverflowError:
            raise invalid(f"a value is out of the range of {self.name}") from None

    def from_binary(self, data: memoryview | bytes) -> Float64:
        """Return float64[k] of k elements in binary data.

        Args:
            data: k elements without padding; the caller has compared its length with the shape.

        Raises:
            InferenceRefused: A BOOL is not 0 or 1, or an integer is not a number of float64.
        """
        return self.widened(np.frombuffer(data, self.stored))

    def widened(self, stored: NDArray[Any]) -> Float64:
        """Return float64[k] of k elements as this type stores them.

        Raises:
            InferenceRefused: As for :meth:`from_binary`.
        """
        if self.kind == "float":
            if self.name == "BF16":
                stored = (stored.astype(np.uint32) << _BFLOAT16_SHIFT).view(np.float32)
            return stored.astype(np.float64, copy=False)
        if self.kind == "boolean":
            if bool((stored > 1).any()):
                raise invalid("a BOOL is neither 0 nor 1")
            return stored.astype(np.float64)
        wide = stored.astype(np.float64)
        if self.stored.itemsize == wide.itemsize:
            self._refuse_rounded(stored, wide)
        return wide

    def _narrow(self, given: Float64) -> Float64:
        """Round JSON numbers to the data type, as a client that sends binary data has done."""
        if self.name == "BF16":
            raise invalid("datatype BF16: JSON has no form of it; send binary data")
        with np.errstate(over="ignore"):
            rounded = given.astype(self.stored).astype(np.float64)
        if bool(np.isinf(rounded).any()):
            raise OverflowError
        return rounded

    def _refuse_rounded(self, stored: NDArray[Any], wide: Float64) -> None:
        """Refuse integers of 64 bits that float64 does not have."""
        # The largest integers round up to a float that the type does not have.
        inside = wide < float(np.iinfo(self.stored).max)
        back = np.where(inside, wide, 0.0).astype(self.stored)
        if not bool((inside & (back == stored)).all()):
            raise invalid(f"an {self.name} has no equal float64: 2**53 is exceeded")


_STORED: Final[dict[Kind, dict[str, str]]] = {
    "boolean": {"BOOL": "|u1"},
    "integer": {
        "UINT8": "|u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
        "INT8": "|i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    },
    "float": {"FP16": "<f2", "BF16": "<u2", "FP32": "<f4", "FP64": "<f8"},
}  # fmt: skip
DATA_TYPES: Final = {
    name: DataType(name, np.dtype(stored), kind)
    for kind, types in _STORED.items()
    for name, stored in types.items()
}
"""By name. BYTES is not here: a text is not a number."""


def data_type(name: str) -> DataType:
    """Return the data type of a tensor of features.

    Raises:
        InferenceRefused: The protocol does not have it, or it is BYTES.
    """
    found = DATA_TYPES.get(name)
    if found is None:
        raise _not_a_number(name)
    return found


def _not_a_number(name: str) -> InferenceRefused:
    if name == "BYTES":
        return invalid("datatype BYTES: a feature is a number")
    return invalid(f"unknown datatype {shown(name)}")
