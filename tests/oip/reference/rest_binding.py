"""REST of the reference server: correct, except for the one variant that it is told to be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.oip.reference.broken_rest import AFTER, BEFORE, REFUSED
from tests.oip.reference.exchange import RestCall, RestReply
from tests.oip.reference.model import (
    DATATYPE,
    FEATURES,
    MODEL,
    OUTPUTS,
    WIDTH,
    ModelTensor,
    RefusedRequestError,
    checked_datatype,
    checked_name,
    checked_shape,
    chosen,
    inferred,
    model_metadata,
)
from tests.oip.target import DTYPES

VALID = {
    "inputs": [{"name": FEATURES, "shape": [1, WIDTH], "datatype": "FP64", "data": [0.0] * WIDTH}]
}
"""What a broken server takes an invalid request for."""


def answered(
    method: str, path: str, headers: Mapping[str, str], body: bytes, broken: str
) -> RestReply:
    """Answer one request.

    Args:
        method: HTTP method.
        path: Decoded.
        headers: By lower-case name.
        body: Complete.
        broken: Name of the variant; empty for the correct server.
    """
    call = RestCall(method, headers)
    try:
        reply = _tried(call, path, body, broken)
    except RefusedRequestError as error:
        if error.variant == broken:
            call.document, call.tail, call.model, call.version = dict(VALID), b"", MODEL, ""
            call.endpoint = call.endpoint or "infer"
            reply = _handled(call)
        else:
            reply = RestReply("error", call, error.status, {"error": str(error)})
    if broken in AFTER:
        endpoints, change = AFTER[broken]
        if reply.endpoint in endpoints:
            change(reply)
    return reply


def _tried(call: RestCall, path: str, body: bytes, broken: str) -> RestReply:
    _route(call, path)
    if call.endpoint == "infer":
        if call.method != "POST":
            raise RefusedRequestError("infers on GET", "use POST", 405)
        _read(call, body)
    if broken in BEFORE:
        BEFORE[broken](call)
    if broken in REFUSED and REFUSED[broken](call):
        raise RefusedRequestError("", f"{broken}")
    return _handled(call)


def _route(call: RestCall, path: str) -> None:
    fixed = {"/v2": "server", "/v2/health/live": "live", "/v2/health/ready": "ready"}
    parts = path.split("/")[1:]
    if path in fixed:
        call.endpoint = fixed[path]
    elif parts[:2] == ["v2", "models"] and len(parts) > 2:
        call.model, rest = parts[2], parts[3:]
        if rest[:1] == ["versions"] and len(rest) > 1:
            call.version, rest = rest[1], rest[2:]
        call.endpoint = {"": "model", "ready": "model_ready", "infer": "infer"}.get(
            "/".join(rest), ""
        )
    if not call.endpoint:
        raise RefusedRequestError("", f"no such path: {path}", 404)


def _read(call: RestCall, body: bytes) -> None:
    if not body:
        raise RefusedRequestError("accepts an empty body", "the body is empty")
    head = body
    length = call.headers.get("inference-header-content-length")
    if length is not None:
        head, call.tail = _split(body, length)
        if not head:
            call.document, call.raw = _raw_document(call.tail), True
            return
    try:
        document = json.loads(head)
    except ValueError as error:
        variant = "accepts a header inside of the JSON object"
        if length is None:
            variant = "accepts binary data without the header"
        raise RefusedRequestError(variant, "the body is not JSON") from error
    if not isinstance(document, dict):
        raise RefusedRequestError("accepts an array as a request", "not a JSON object")
    call.document = document


def _raw_document(row: bytes) -> dict[str, Any]:
    if len(row) != WIDTH * DTYPES[DATATYPE].itemsize:
        raise RefusedRequestError("accepts a truncated raw request", f"{len(row)} bytes are no row")
    parameters = {"binary_data_size": len(row)}
    tensor = {"name": FEATURES, "shape": [1, WIDTH], "datatype": DATATYPE, "parameters": parameters}
    return {"inputs": [tensor], "parameters": {"binary_data_output": True}}


def _split(body: bytes, length: str) -> tuple[bytes, bytes]:
    name = "Inference-Header-Content-Length"
    if length.startswith("-"):
        raise RefusedRequestError("accepts a negative header", f"{name} is negative")
    if not (length.isascii() and length.isdigit()):
        raise RefusedRequestError("accepts a header that is not a number", f"{name} is no number")
    if int(length) > len(body):
        raise RefusedRequestError("accepts a header past the body", f"{name} is past the body")
    return body[: int(length)], body[int(length) :]


def _handled(call: RestCall) -> RestReply:
    reply = RestReply(call.endpoint, call, 200, {})
    if call.endpoint == "server":
        reply.document = {
            "name": "reference",
            "version": "1.0",
            "extensions": ["binary_tensor_data"],
        }
    elif call.endpoint in {"live", "ready"}:
        reply.document = {"live": True, "ready": True}
    else:
        version = chosen(call.endpoint, call.model, call.version)
        if call.endpoint == "model":
            reply.document = model_metadata()
        elif call.endpoint == "model_ready":
            reply.document = {"name": MODEL, "ready": True}
        else:
            _infer(reply, version)
    return reply


def _infer(reply: RestReply, version: str) -> None:
    call = reply.call
    if "inputs" not in call.document:
        raise RefusedRequestError("accepts a request without inputs", "inputs is missing")
    tail = _Tail(call.tail)
    inputs = [_input(tensor, tail) for tensor in call.document["inputs"]]
    if tail.left:
        raise RefusedRequestError("accepts bytes after the last tensor", "bytes after the tensors")
    wanted = call.document.get("outputs", [])
    outputs = inferred(inputs, [output["name"] for output in wanted])
    reply.document = {"model_name": MODEL, "model_version": version, "outputs": []}
    if "id" in call.document:
        reply.document["id"] = call.document["id"]
    all_binary = call.document.get("parameters", {}).get("binary_data_output", False)
    binary = {
        output["name"]: output.get("parameters", {}).get("binary_data", all_binary)
        for output in wanted
    }
    for output in outputs:
        datatype = OUTPUTS[output.name][0]
        part: dict[str, Any] = {
            "name": output.name,
            "datatype": datatype,
            "shape": list(output.values.shape),
        }
        if binary.get(output.name, all_binary):
            reply.blobs.append(output.values.tobytes())
            part["parameters"] = {"binary_data_size": output.values.nbytes}
        else:
            part["data"] = output.values.ravel().tolist()
        reply.document["outputs"].append(part)
        reply.values[output.name] = output.values


@dataclass(slots=True)
class _Tail:
    """The binary tensors that no input has taken yet."""

    left: bytes = field(default=b"")

    def take(self, size: Any, due: int) -> bytes:
        if type(size) is not int:
            raise RefusedRequestError("accepts a size as text", "binary_data_size is not a number")
        if size < 0:
            raise RefusedRequestError("accepts a negative size", "binary_data_size is negative")
        if size > len(self.left):
            raise RefusedRequestError("accepts a truncated body", "the body ends in a tensor")
        if size != due:
            which = "short" if size < due else "long"
            variant = f"accepts a binary tensor that is too {which}"
            raise RefusedRequestError(variant, f"{size} bytes where {due} are due")
        taken, self.left = self.left[:size], self.left[size:]
        return taken


def _input(tensor: dict[str, Any], tail: _Tail) -> ModelTensor:
    size = tensor.get("parameters", {}).get("binary_data_size")
    needed = (
        ("name", "shape", "datatype") if size is not None else ("name", "shape", "datatype", "data")
    )
    for name in needed:
        if name not in tensor:
            variant = {"data": "accepts an input without data"}.get(
                name, f"accepts an input without a {name}"
            )
            raise RefusedRequestError(variant, f"{name} is missing")
    shape, dtype = tensor["shape"], checked_datatype(tensor["datatype"])
    for dimension in shape:
        _dimension(dimension)
    checked_name(tensor["name"])
    if size is not None:
        raw = tail.take(size, int(np.prod(shape)) * dtype.itemsize)
        return ModelTensor(tensor["name"], np.frombuffer(raw, dtype).reshape(shape))
    values = _numbers(tensor["data"])
    checked_shape(shape, len(values))
    return ModelTensor(tensor["name"], np.array(values, dtype).reshape(shape))


def _dimension(dimension: Any) -> None:
    if isinstance(dimension, str):
        raise RefusedRequestError("accepts a text as a dimension", "a dimension is a text")
    if type(dimension) is not int:
        raise RefusedRequestError("accepts a fraction as a dimension", "a dimension is a fraction")
    if dimension >= 2**64:
        raise RefusedRequestError("accepts a dimension of 65 bits", "a dimension is too large")


def _numbers(data: Any) -> list[float]:
    rows = data if data and isinstance(data[0], list) else [data]
    if len({len(row) for row in rows}) > 1:
        raise RefusedRequestError("accepts rows of unequal length", "rows of unequal length")
    values = [value for row in rows for value in row]
    if not all(isinstance(value, int | float) for value in values):
        raise RefusedRequestError("accepts a word as a number", "an element is not a number")
    return values
