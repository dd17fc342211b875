"""Requests and answers of the REST binding."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.oip.registry import expect
from tests.oip.target import DATATYPES, DTYPES, OipTarget

SECONDS = 10
HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP response.

    Attributes:
        status: HTTP status.
        headers: Values by lower-case name.
        body: Complete.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the body, without binary tensors after it."""
        length = self.headers.get(HEADER_LENGTH)
        try:
            found = json.loads(self.body if length is None else self.body[: int(length)])
        except ValueError:
            found = None
        expect(isinstance(found, dict), f"the body is not a JSON object: {self.body[:80]!r}")
        return dict(found)


@dataclass(frozen=True, slots=True)
class OutputValues:
    """One output of an inference, in whatever form it came.

    Attributes:
        datatype: Of the protocol.
        shape: As reported.
        values: Flat; strings where they are bytes.
    """

    datatype: str
    shape: tuple[int, ...]
    values: tuple[Any, ...]


def send(
    target: OipTarget, method: str, path: str, body: bytes = b"", **headers: str
) -> HttpAnswer:
    """Send one request on a connection of its own.

    Args:
        target: The server.
        method: HTTP method.
        path: Absolute path.
        body: Complete.
        headers: Further headers; ``_`` in a name means ``-``.
    """
    address = urlsplit(target.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=SECONDS)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body or None, {**target.headers, **named})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return HttpAnswer(response.status, found, response.read())
    finally:
        connection.close()


def get(target: OipTarget, path: str) -> HttpAnswer:
    """Send a GET."""
    return send(target, "GET", path)


def infer(target: OipTarget, document: Any, path: str = "") -> HttpAnswer:
    """Send an inference request as JSON.

    Args:
        target: The server.
        document: Body before encoding; bytes are sent as they are.
        path: Another one than the model's without a version.
    """
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    path = path or target.path("/infer")
    return send(target, "POST", path, body, content_type="application/json")


def infer_binary(
    target: OipTarget, document: Any, tail: bytes, **headers: str | None
) -> HttpAnswer:
    """Send an inference request with binary tensors after the JSON object.

    Args:
        target: The server.
        document: The JSON object.
        tail: The binary tensors.
        headers: In place of the right ones; None leaves one out.
    """
    head = json.dumps(document).encode()
    right = {
        "content_type": "application/octet-stream",
        "inference_header_content_length": str(len(head)),
    }
    given = {name: value for name, value in {**right, **headers}.items() if value is not None}
    return send(target, "POST", target.path("/infer"), head + tail, **given)


def infer_raw(target: OipTarget, body: bytes | None = None) -> HttpAnswer:
    """Send a raw binary request, whose body is one row of the input and nothing else.

    Args:
        target: The server.
        body: Other bytes than the first row of its sample.
    """
    headers = {
        "content_type": "application/octet-stream",
        "inference_header_content_length": "0",
    }
    row = target.input.raw(1) if body is None else body
    return send(target, "POST", target.path("/infer"), row, **headers)


def request_of(target: OipTarget, rows: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a valid inference request.

    Args:
        target: The server.
        rows: The first ones of its sample.
        fields: Further fields of the request.
    """
    return {"inputs": [input_of(target, rows)], **fields}


def input_of(target: OipTarget, rows: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a valid input tensor with flat data; ``fields`` replace or add to its own."""
    data = [value for row in target.input.rows[:rows] for value in row]
    shape = [rows, target.input.width]
    tensor = {"name": target.input.name, "shape": shape, "datatype": target.input.datatype}
    return {**tensor, "data": data, **fields}


def binary_input(target: OipTarget, rows: int = 1) -> tuple[dict[str, Any], bytes]:
    """Return a valid input tensor whose data follow the JSON object, and the data."""
    raw = target.input.raw(rows)
    tensor = input_of(target, rows, parameters={"binary_data_size": len(raw)})
    del tensor["data"]
    return tensor, raw


def accepted(answer: HttpAnswer) -> dict[str, Any]:
    """Return the JSON object of a successful answer."""
    expect(answer.status == 200, f"status {answer.status}: {answer.body[:120]!r}")
    return answer.document()


def refused(answer: HttpAnswer) -> None:
    """Check that an answer is an error as the specification defines it."""
    expect(400 <= answer.status < 600, f"status {answer.status} where an error is due")
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    expect(isinstance(error, str) and error, f"no error object in {answer.body[:120]!r}")


def outputs_of(answer: HttpAnswer) -> dict[str, OutputValues]:
    """Return the outputs of a successful inference by name, binary ones decoded."""
    document = accepted(answer)
    place = int(answer.headers.get(HEADER_LENGTH, len(answer.body)))
    found = {}
    for output in document["outputs"]:
        size = parameters_of(output).get("binary_data_size")
        if size is None:
            values = typed(output["datatype"], flat(output["data"]))
        else:
            values = decoded(output["datatype"], answer.body[place : place + size])
            place += size
        found[output["name"]] = OutputValues(output["datatype"], tuple(output["shape"]), values)
    return found


def parameters_of(output: dict[str, Any]) -> dict[str, Any]:
    """Return an output's parameters; null, which a case of its own forbids, counts as none."""
    return dict(output.get("parameters") or {})


def flat(data: Any) -> list[Any]:
    """Return the elements of nested lists in row-major order."""
    if not isinstance(data, list):
        return [data]
    return [element for part in data for element in flat(part)]


def typed(datatype: str, values: list[Any]) -> tuple[Any, ...]:
    """Return values with exactly the data type's precision."""
    expect(datatype in DATATYPES, f"unknown datatype {datatype!r}")
    if datatype == "BYTES":
        return tuple(values)
    return tuple(np.asarray(values, DTYPES[datatype]).tolist())


def decoded(datatype: str, raw: bytes) -> tuple[Any, ...]:
    """Return the elements of a binary tensor."""
    expect(datatype in DATATYPES, f"unknown datatype {datatype!r}")
    if datatype != "BYTES":
        return tuple(np.frombuffer(raw, DTYPES[datatype]).tolist())
    values, place = [], 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        values.append(raw[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return tuple(values)


def elements(shape: Any) -> int:
    """Return the number of elements of a shape."""
    return int(np.prod(np.asarray(shape, np.int64), dtype=np.int64))
