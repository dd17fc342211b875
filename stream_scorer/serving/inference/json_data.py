"""``data`` of a JSON tensor: flat or as rows, read by the element type of its data type."""

import re
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.data_types import DataType, Kind
from stream_scorer.serving.inference.refusals import invalid

Float64 = NDArray[np.float64]

_FLAT: Final[dict[Kind, Any]] = {
    "float": msgspec.json.Decoder(list[float]),
    "integer": msgspec.json.Decoder(list[int]),
    "boolean": msgspec.json.Decoder(list[bool]),
}
_ROWS: Final[dict[Kind, Any]] = {
    "float": msgspec.json.Decoder(list[list[float]]),
    "integer": msgspec.json.Decoder(list[list[int]]),
    "boolean": msgspec.json.Decoder(list[list[bool]]),
}
_FLAT_WITH_MISSING: Final = msgspec.json.Decoder(list[float | None])
_ROWS_WITH_MISSING: Final = msgspec.json.Decoder(list[list[float | None]])
_BEGINS_WITH_ROW: Final = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*\[")


def json_values(data: msgspec.Raw, kind: DataType, shape: list[int], count: int) -> Float64:
    """Return float64[count] of a tensor's ``data``.

    Args:
        data: The JSON value.
        kind: Its data type. ``null`` in a floating-point tensor is a missing value (NaN).
        shape: The tensor's shape, one or two dimensions.
        count: Number of elements of the shape.

    Raises:
        InferenceRefused: It is not an array of the data type's values, or does not fit the shape.
    """
    as_rows = _BEGINS_WITH_ROW.match(data) is not None  # type: ignore[call-overload]
    values = _decoded(data, kind.kind, as_rows=as_rows)
    if as_rows and (len(shape) != 2 or len(values) != shape[0]):  # noqa: PLR2004 rows and columns
        raise invalid("data does not have the dimensions of the shape")
    found = kind.from_json(values)
    if len(found) != count:
        raise invalid(f"data has {len(found)} elements, the shape {count}")
    return found


def _decoded(data: msgspec.Raw, kind: Kind, *, as_rows: bool) -> list[Any]:
    decoder = _ROWS[kind] if as_rows else _FLAT[kind]
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        if kind != "float":
            raise invalid(f"data: {error}") from None
    # Most tensors have no missing value, and reading a union takes longer.
    try:
        return (_ROWS_WITH_MISSING if as_rows else _FLAT_WITH_MISSING).decode(data)
    except msgspec.ValidationError as error:
        raise invalid(f"data: {error}") from None
