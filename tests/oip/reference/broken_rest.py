"""The broken variants of REST, by name.

A variant whose name begins with "accepts" is not here: the name is at the check that such a server
leaves out (``RefusedRequestError.variant``).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.oip.reference.exchange import RestCall, RestReply

Change = Callable[[RestReply], None]


def part(name: str, value: Any) -> Change:
    """Return a change that sets a field of the reply's object."""
    return lambda reply: (reply.document or {}).update({name: value})


def missing(name: str) -> Change:
    """Return a change that removes a field of the reply's object."""
    return lambda reply: (reply.document or {}).pop(name, None)


def status(code: int) -> Change:
    """Return a change of the status."""
    return lambda reply: setattr(reply, "status", code)


def header(name: str, value: str | None) -> Change:
    """Return a change of a header; None removes it."""
    return lambda reply: reply.headers.update({name: value})


def each(key: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    """Return a change of each tensor in a list of the reply's object."""

    def changed(reply: RestReply) -> None:
        for tensor in (reply.document or {}).get(key, []):
            change(tensor)

    return changed


def _identifier(change: Callable[[str], Any]) -> Change:
    def changed(reply: RestReply) -> None:
        if reply.document and "id" in reply.document:
            reply.document["id"] = change(reply.document["id"])

    return changed


def _first_only(reply: RestReply) -> None:
    if reply.document and not reply.call.outputs:
        del reply.document["outputs"][1:]


def _wrong_length(reply: RestReply) -> None:
    length = reply.written()[1]["content-length"]
    if reply.blobs:
        reply.headers["inference-header-content-length"] = length


def _if_binary(change: Change) -> Change:
    return lambda reply: change(reply) if reply.blobs else None


def _big_endian(reply: RestReply) -> None:
    # All data types of the reference model have eight bytes.
    reply.blobs = [np.frombuffer(blob, "<i8").astype(">i8").tobytes() for blob in reply.blobs]


def _also_as_json(reply: RestReply) -> None:
    for output in (reply.document or {})["outputs"]:
        output["data"] = reply.values[output["name"]].ravel().tolist()


def _sizes_in_elements(output: dict[str, Any]) -> None:
    if "parameters" in output:
        output["parameters"]["binary_data_size"] //= 8


def _error_of_binary(reply: RestReply) -> None:
    if reply.call.tail:
        reply.document = {"detail": "refused"}


def _metadata_error(reply: RestReply) -> None:
    if reply.call.endpoint == "model":
        reply.document = {"detail": "Not Found"}


def _variable_as_one(tensor: dict[str, Any]) -> None:
    tensor["shape"][0] = 1


def _tensors(change: Callable[[dict[str, Any]], Any]) -> Change:
    first, second = each("inputs", change), each("outputs", change)
    return lambda reply: (first(reply), second(reply))[0]


AFTER: dict[str, tuple[set[str], Change]] = {
    "not live": ({"live"}, status(400)),
    "live without a body": ({"live"}, lambda reply: setattr(reply, "document", None)),
    "not ready": ({"ready"}, status(400)),
    "ready without live": ({"ready"}, missing("live")),
    "model not ready": ({"model_ready"}, status(400)),
    "ready without the name": ({"model_ready"}, missing("name")),
    "ready as text": ({"model_ready"}, part("ready", "true")),
    "server metadata with 202": ({"server"}, status(202)),
    "server without a name": ({"server"}, missing("name")),
    "server version as a number": ({"server"}, part("version", 1.0)),
    "server without extensions": ({"server"}, missing("extensions")),
    "does not list the extension": ({"server"}, part("extensions", [])),
    "model metadata with 202": ({"model"}, status(202)),
    "another model's name": ({"model"}, part("name", "model")),
    "a version missing in versions": ({"model"}, part("versions", ["2"])),
    "a version in versions that is not served": ({"model"}, part("versions", ["1", "2", "3"])),
    "no platform": ({"model"}, missing("platform")),
    "no inputs": ({"model"}, part("inputs", [])),
    "no outputs": ({"model"}, part("outputs", [])),
    "tensor metadata without a name": ({"model"}, _tensors(lambda one: one.pop("name"))),
    "a datatype of numpy in the metadata": (
        {"model"}, _tensors(lambda one: one.update(datatype="float64")),
    ),
    "a shape with null in the metadata": (
        {"model"}, _tensors(lambda one: one.update(shape=[None])),
    ),
    "a variable dimension as 1": ({"model"}, _tensors(_variable_as_one)),
    "a metadata error without an object": ({"error"}, _metadata_error),
    "inference with 201": ({"infer"}, status(201)),
    "JSON as plain text": ({"infer"}, header("content-type", "text/plain")),
    "no content length": ({"infer"}, header("content-length", None)),
    "answer without the model's name": ({"infer"}, missing("model_name")),
    "answer without the model's version": ({"infer"}, missing("model_version")),
    "another version than asked for": ({"infer"}, part("model_version", "2")),
    "ignores the id": ({"infer"}, missing("id")),
    "an id of digits as a number": (
        {"infer"}, _identifier(lambda one: int(one) if one.isdigit() else one),
    ),
    "the id's other letters replaced": (
        {"infer"}, _identifier(lambda one: one.encode("ascii", "replace").decode()),
    ),
    "the first output only": ({"infer"}, _first_only),
    "outputs without names": ({"infer"}, each("outputs", lambda one: one.pop("name"))),
    "an output's dimensions as floats": (
        {"infer"}, each("outputs", lambda one: one.update(shape=[float(n) for n in one["shape"]])),
    ),
    "an output's datatype of numpy": (
        {"infer"}, each("outputs", lambda one: one.update(datatype="float64")),
    ),
    "a datatype that the metadata do not name": (
        {"infer"}, each("outputs", lambda one: one.update(datatype="FP32")),
    ),
    "an element too few": ({"infer"}, each("outputs", lambda one: one["data"].pop())),
    "numbers as text": (
        {"infer"}, each("outputs", lambda one: one.update(data=[str(n) for n in one["data"]])),
    ),
    "the shape of one row": (
        {"infer"}, each("outputs", lambda one: one.update(shape=[1, *one["shape"][1:]])),
    ),
    "an object as a parameter": ({"infer"}, part("parameters", {"a": {}})),
    "errors with 200": ({"error"}, status(200)),
    "errors without an object": ({"error"}, lambda reply: setattr(reply, "document", None)),
    "binary errors without an object": ({"error"}, _error_of_binary),
    "no model name before binary data": ({"infer"}, _if_binary(missing("model_name"))),
    "binary outputs without their header": (
        {"infer"}, header("inference-header-content-length", None),
    ),
    "the header with the body's length": ({"infer"}, _wrong_length),
    "padding after the binary data": (
        {"infer"}, _if_binary(lambda reply: reply.blobs.append(b"\0" * 8)),
    ),
    "binary outputs as JSON's content type": (
        {"infer"}, header("content-type", "application/json"),
    ),
    "binary sizes in elements": ({"infer"}, each("outputs", _sizes_in_elements)),
    "binary outputs also as JSON": ({"infer"}, _also_as_json),
    "writes binary outputs as big-endian": ({"infer"}, _big_endian),
    "binary data in the opposite order": ({"infer"}, lambda reply: reply.blobs.reverse()),
}  # fmt: skip
"""What such a server changes in its answers, and at which endpoints."""


def _transposed(call: RestCall) -> None:
    for tensor in call.inputs:
        if "data" in tensor and not isinstance(tensor["data"][0], list):
            tensor["data"] = np.reshape(tensor["data"], tensor["shape"]).T.ravel().tolist()


def _read_big_endian(call: RestCall) -> None:
    call.tail = np.frombuffer(call.tail, ">f8").astype("<f8").tobytes()


def _all_if_binary_input(call: RestCall) -> None:
    if call.tail:
        call.document["parameters"] = {"binary_data_output": True}


def _json_if_binary_input(call: RestCall) -> None:
    if call.tail:
        call.document.pop("outputs", None)


def _json_if_raw(call: RestCall) -> None:
    if call.raw:
        del call.document["parameters"]


def _of_outputs(change: Callable[[dict[str, Any]], Any]) -> Callable[[RestCall], None]:
    def changed(call: RestCall) -> None:
        for output in call.outputs:
            if "binary_data" in output.get("parameters", {}):
                change(output["parameters"])

    return changed


def _of_request(change: Callable[[dict[str, Any]], Any]) -> Callable[[RestCall], None]:
    def changed(call: RestCall) -> None:
        if "binary_data_output" in call.document.get("parameters", {}):
            change(call.document["parameters"])

    return changed


def _all_if_one(call: RestCall) -> None:
    if any(output.get("parameters", {}).get("binary_data") for output in call.outputs):
        for output in call.outputs:
            output["parameters"] = {"binary_data": True}


def _only_without_names(call: RestCall) -> None:
    if call.outputs:
        call.document.pop("parameters", None)


def _no_override(overriding: bool) -> Callable[[RestCall], None]:  # noqa: FBT001 the value ignored
    def changed(parameters: dict[str, Any]) -> None:
        if parameters["binary_data"] is overriding:
            del parameters["binary_data"]

    return _of_outputs(changed)


BEFORE: dict[str, Callable[[RestCall], None]] = {
    "all outputs where one is asked for": lambda call: call.document.update(outputs=[]),
    "columns before rows": _transposed,
    "reads binary inputs as big-endian": _read_big_endian,
    "binary outputs for binary inputs": _all_if_binary_input,
    "JSON outputs for binary inputs": _json_if_binary_input,
    "JSON outputs for raw requests": _json_if_raw,
    "ignores binary_data": _of_outputs(lambda one: one.pop("binary_data")),
    "takes binary_data for true": _of_outputs(lambda one: one.update(binary_data=True)),
    "all outputs binary where one is wanted": _all_if_one,
    "ignores binary_data_output": _of_request(lambda one: one.pop("binary_data_output")),
    "takes binary_data_output for true": _of_request(
        lambda one: one.update(binary_data_output=True)
    ),
    "binary_data_output only without named outputs": _only_without_names,
    "binary_data false does not override": _no_override(False),
    "binary_data true does not override": _no_override(True),
}
"""What such a server understands in place of a request."""


def _parameters_of(tensors: list[dict[str, Any]]) -> bool:
    return any(tensor.get("parameters") for tensor in tensors)


def _nested(call: RestCall) -> list[bool]:
    return [isinstance(one["data"][0], list) for one in call.inputs if one.get("data")]


REFUSED: dict[str, Callable[[RestCall], bool]] = {
    "no readiness of a version": lambda call: bool(call.endpoint == "model_ready" and call.version),
    "no metadata of a version": lambda call: bool(call.endpoint == "model" and call.version),
    "no inference by a version": lambda call: bool(call.endpoint == "infer" and call.version),
    "requires an id": lambda call: call.endpoint == "infer" and "id" not in call.document,
    "refuses to be asked for outputs": lambda call: bool(call.outputs),
    "refuses nested data": lambda call: any(_nested(call)),
    "refuses flat data": lambda call: not all(_nested(call)),
    "refuses empty parameters": lambda call: call.document.get("parameters") == {},
    "refuses parameters of a request": lambda call: bool(call.document.get("parameters")),
    "refuses parameters of an input": lambda call: _parameters_of(call.inputs),
    "refuses parameters of an output": lambda call: _parameters_of(call.outputs),
    "refuses raw requests": lambda call: call.raw,
    "refuses binary inputs": lambda call: bool(call.tail),
}
"""Which valid requests such a server refuses."""
