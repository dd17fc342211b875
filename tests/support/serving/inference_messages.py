"""Inference requests as each binding writes them, and the scores in its answers."""

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.binary_data import HEADER
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages
from stream_scorer.serving.web.messages import Response

Float64 = NDArray[np.float64]


def binary_request(
    tensors: dict[str, NDArray[Any]], types: dict[str, str], **members: Any
) -> tuple[bytes, str]:
    """Return the body of a request with binary data, and the value of its header."""
    inputs = [
        {
            "name": name,
            "shape": list(data.shape),
            "datatype": types[name],
            "parameters": {"binary_data_size": data.nbytes},
        }
        for name, data in tensors.items()
    ]
    text = json.dumps({"inputs": inputs, **members}).encode()
    return text + b"".join(data.tobytes() for data in tensors.values()), str(len(text))


def binary_outputs(response: Response) -> dict[str, Any]:
    """Return the outputs of an answer that has binary data: float64, or a list of texts."""
    length = int(dict(response.headers)[HEADER])
    answer, rest = json.loads(response.body[:length]), response.body[length:]
    found: dict[str, Any] = {}
    for each in answer["outputs"]:
        size = each.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[each["name"]] = each["data"]
            continue
        data, rest = rest[:size], rest[size:]
        assert len(data) == size
        found[each["name"]] = (
            np.frombuffer(data, "<f8") if each["datatype"] == "FP64" else binary_elements(data)
        )
    assert rest == b""
    return found


def binary_elements(data: bytes) -> list[str]:
    """Return the elements of the binary data of a BYTES tensor."""
    found = []
    while data:
        (length,) = struct.unpack("<I", data[:4])
        assert len(data) >= 4 + length
        found.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return found


def grpc_request(rows: Float64, *, raw: bool, **fields: Any) -> messages.ModelInferRequest:
    """Return a request with one input ``features``, FP64."""
    request = messages.ModelInferRequest(**{"model_name": "fraud", **fields})
    tensor = request.inputs.add(name="features", datatype="FP64", shape=rows.shape)
    if raw:
        request.raw_input_contents.append(rows.astype("<f8").tobytes())
    else:
        tensor.contents.fp64_contents.extend(rows.ravel().tolist())
    return request


def grpc_outputs(response: messages.ModelInferResponse) -> dict[str, Any]:
    """Return the outputs of an answer: float64, or a list of texts."""
    raw = response.raw_output_contents
    assert len(raw) in {0, len(response.outputs)}
    found: dict[str, Any] = {}
    for number, each in enumerate(response.outputs):
        if each.datatype == "FP64":
            found[each.name] = (
                np.frombuffer(raw[number], "<f8")
                if raw
                else np.array(each.contents.fp64_contents, np.float64)
            )
        elif raw:
            found[each.name] = binary_elements(raw[number])
        else:
            found[each.name] = [text.decode() for text in each.contents.bytes_contents]
    return found
