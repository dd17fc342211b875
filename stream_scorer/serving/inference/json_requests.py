"""The inference request of the REST binding: a JSON object, binary data after it, or raw data."""

import re
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.binary_data import binary_values, split_body
from stream_scorer.serving.inference.data_types import DataType, Kind, data_type
from stream_scorer.serving.inference.feature_tensors import FEATURES, FeatureTensors, InputTensor
from stream_scorer.serving.inference.refusals import invalid, shown
from stream_scorer.serving.inference.results import OUTPUTS, REASONS, check_outputs

Float64 = NDArray[np.float64]
Parameters = dict[str, str | int | float | bool]

UNSUPPORTED: Final = frozenset(
    {"classification", "sequence_end", "sequence_id", "sequence_start", "shared_memory_region"}
)
"""Parameters of other servers' extensions that would change the answer. All others are ignored."""


class JsonInferInput(msgspec.Struct, frozen=True):
    """A tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class JsonInferRequestedOutput(msgspec.Struct, frozen=True):
    """An output that a request asks for."""

    name: str
    parameters: Parameters = {}


class JsonInferRequest(msgspec.Struct, frozen=True):
    """An inference request."""

    inputs: list[JsonInferInput]
    id: str | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters = {}
    outputs: list[JsonInferRequestedOutput] = []


PLAIN_OUTPUTS: Final = [(name, False) for name in OUTPUTS]
"""The outputs of a request that asks for none, and for no binary data."""
_FP64: Final = data_type("FP64")
_DECODER: Final = msgspec.json.Decoder(JsonInferRequest)
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


class RestRequest(msgspec.Struct, frozen=True):
    """A valid request.

    Attributes:
        id: As sent; UNSET without one.
        rows: float64[n, m], columns in manifest order.
        outputs: The requested outputs, each with whether it is returned as binary data.
    """

    id: str | msgspec.UnsetType
    rows: Float64
    outputs: list[tuple[str, bool]]

    @property
    def explain(self) -> bool:
        """Whether the reasons are requested."""
        return self.outputs is not PLAIN_OUTPUTS and any(
            name == REASONS for name, _ in self.outputs
        )


def read_request(body: bytes, header: str | None, model: FeatureTensors) -> RestRequest:
    """Read the body of an inference request.

    Args:
        body: Complete.
        header: Value of ``Inference-Header-Content-Length``; None: all of the body is JSON.
        model: The inputs of the model.

    Raises:
        InferenceRefused: The body contradicts the protocol or the model.
    """
    text, rest = split_body(body, header)
    if header is not None and not text:
        return _raw_request(rest, model)
    try:
        request = _DECODER.decode(text)
    except msgspec.MsgspecError as error:
        raise invalid(f"the request is not valid: {error}") from None
    except UnicodeDecodeError:
        raise invalid("the request is not valid: not UTF-8") from None
    except RecursionError:
        raise invalid("the request is not valid: nested too deeply") from None
    refuse_unsupported(request.parameters)
    try:
        return RestRequest(request.id, _rows(request, rest, model), _outputs(request))
    except RecursionError:
        raise invalid("data: nested too deeply") from None


def _raw_request(data: memoryview, model: FeatureTensors) -> RestRequest:
    """Return a raw binary request: all features as FP64, as many rows as there are bytes for.

    All of its outputs are binary.

    Raises:
        InferenceRefused: The bytes are not complete rows, or too many.
    """
    width = len(model.names)
    row_bytes = width * _FP64.stored.itemsize
    rows, beyond = divmod(len(data), row_bytes)
    if beyond:
        raise invalid(f"{len(data)} bytes are not rows of {width} FP64 values")
    _, count = model.rows_of(FEATURES, (rows, width), 1)
    values = binary_values(data, _FP64, count).reshape(rows, width)
    return RestRequest(msgspec.UNSET, values, [(name, True) for name in OUTPUTS])


def refuse_unsupported(parameters: Any) -> None:
    """Refuse parameters of extensions that this server does not have.

    Args:
        parameters: A mapping, or another collection of names.

    Raises:
        InferenceRefused: The message names the parameter.
    """
    if parameters:
        found = sorted(UNSUPPORTED.intersection(parameters))
        if found:
            raise invalid(f"the parameter {found[0]} is not supported")


def _rows(request: JsonInferRequest, rest: memoryview, model: FeatureTensors) -> Float64:
    tensors: list[InputTensor] = []
    used = 0
    if not request.inputs:
        raise invalid("the request has no inputs")
    if not rest:
        plain = _plain_features if len(request.inputs) == 1 else _plain_columns
        found = plain(request.inputs, model)
        if found is not None:
            return found
    for each in request.inputs:
        rows, count = model.rows_of(each.name, each.shape, len(request.inputs))
        values, size = _values(each, count, rest[used:])
        used += size
        tensors.append(InputTensor(each.name, rows, values))
    if used != len(rest):
        raise invalid(f"{len(rest) - used} bytes after the data of the last input")
    return model.joined(tensors)


def _values(tensor: JsonInferInput, count: int, rest: memoryview) -> tuple[Float64, int]:
    """Return float64[count] of an input, and how many bytes of the rest are its data."""
    kind = data_type(tensor.datatype)
    size = None
    if tensor.parameters:
        refuse_unsupported(tensor.parameters)
        size = tensor.parameters.get("binary_data_size")
    if size is None:
        if tensor.data is msgspec.UNSET:
            raise invalid(f"input {shown(tensor.name)}: data is missing")
        return _json_values(tensor.data, kind, tensor.shape, count), 0
    if tensor.data is not msgspec.UNSET:
        raise invalid(f"input {shown(tensor.name)}: both data and binary_data_size")
    # A truth value is an integer for `isinstance`.
    if type(size) is not int or not 0 <= size <= len(rest):
        raise invalid(f"input {shown(tensor.name)}: binary_data_size is beyond the body")
    return binary_values(rest[:size], kind, count), size


def _plain_features(inputs: list[JsonInferInput], model: FeatureTensors) -> Float64 | None:
    """Return float64[n, m] of one flat FP64 tensor of all features; None for another input.

    It is the most frequent request. Whatever is wrong with its data is found, and named, by the way
    for all inputs.
    """
    (only,) = inputs
    if only.name != FEATURES or only.datatype != "FP64" or only.parameters or not only.data:
        return None
    rows, count = model.rows_of(FEATURES, only.shape, 1)
    try:
        values = _FLAT["float"].decode(only.data)
    except msgspec.MsgspecError:
        return None
    if len(values) != count:
        return None
    return np.array(values, np.float64).reshape(rows, -1)


def _plain_columns(inputs: list[JsonInferInput], model: FeatureTensors) -> Float64 | None:
    """Return float64[n, m] of one vector for each feature, all FP64; None for other inputs.

    All vectors are read together, since reading them one by one takes three times as long. Whatever
    is wrong with them is found, and named, by the way for all inputs.
    """
    shape = inputs[0].shape
    order = model.order_of([each.name for each in inputs])
    if order is None or len(shape) != 1 or not 1 <= shape[0] <= model.rows_most:
        return None
    for each in inputs:
        if each.datatype != "FP64" or each.shape != shape or each.parameters or not each.data:
            return None
    # Each is one JSON value, so together they are one array of them.
    text = b"[%b]" % b",".join([each.data for each in inputs])  # type: ignore[misc]
    try:
        values = np.array(_ROWS["float"].decode(text), np.float64)
    except (msgspec.MsgspecError, ValueError):
        return None
    if values.shape != (len(inputs), shape[0]):
        return None
    out = np.empty((shape[0], len(inputs)), np.float64)
    out[:, order] = values.T
    return out


def _outputs(request: JsonInferRequest) -> list[tuple[str, bool]]:
    given = request.parameters
    binary = bool(given) and _truth(given, "binary_data_output", otherwise=False)
    if not request.outputs:
        return [(name, True) for name in OUTPUTS] if binary else PLAIN_OUTPUTS
    check_outputs([each.name for each in request.outputs])
    for each in request.outputs:
        refuse_unsupported(each.parameters)
    return [
        (each.name, _truth(each.parameters, "binary_data", otherwise=binary))
        for each in request.outputs
    ]


def _truth(parameters: Parameters, name: str, *, otherwise: bool) -> bool:
    value = parameters.get(name, otherwise)
    if not isinstance(value, bool):
        raise invalid(f"the parameter {name} is true or false")
    return value


def _json_values(data: msgspec.Raw, kind: DataType, shape: list[int], count: int) -> Float64:
    """Return float64[count] of a tensor's ``data``.

    Args:
        data: The JSON value.
        kind: Its data type. ``null`` in a floating-point tensor is a missing value (NaN).
        shape: The tensor's shape, one or two dimensions.
        count: Number of elements of the shape.

    Raises:
        InferenceRefused: It is not an array of the data type's values, or does not fit the shape.
    """
    as_rows = len(shape) == 2 and _BEGINS_WITH_ROW.match(data) is not None  # noqa: PLR2004 rows and columns
    values = _decoded(data, kind.kind, as_rows=as_rows)
    if as_rows and len(values) != shape[0]:
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
