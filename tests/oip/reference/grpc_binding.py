"""gRPC of the reference server: correct, except for the one variant that it is told to be."""

from typing import Any

import numpy as np

from tests.oip.messages import new
from tests.oip.reference.broken_grpc import AFTER, BEFORE, REFUSED
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
from tests.oip.target import FIELDS


def answered_call(method: str, request: Any, broken: str) -> Any:
    """Answer one call.

    Args:
        method: Of the service.
        request: Its message.
        broken: Name of the variant; empty for the correct server.

    Raises:
        RefusedRequestError: The call fails.
    """
    try:
        if broken in BEFORE and method == "ModelInfer":
            BEFORE[broken](request)
        answer = _handled(method, request, broken)
    except RefusedRequestError as error:
        if error.variant != broken:
            raise
        answer = _handled(method, _valid(method), "")
    if broken in AFTER and AFTER[broken][0] == method:
        AFTER[broken][1](answer, request)
    return answer


def _valid(method: str) -> Any:
    """Return what a broken server takes an invalid request for."""
    if method != "ModelInfer":
        return new(f"{method}Request", name=MODEL)
    contents = {FIELDS[DATATYPE]: [0.0] * WIDTH}
    tensor = {"name": FEATURES, "datatype": DATATYPE, "shape": [1, WIDTH], "contents": contents}
    return new("ModelInferRequest", model_name=MODEL, inputs=[tensor])


def _handled(method: str, request: Any, broken: str) -> Any:
    if broken in REFUSED and REFUSED[broken](method, request):
        raise RefusedRequestError("", broken)
    if method == "ServerLive":
        return new("ServerLiveResponse", live=True)
    if method == "ServerReady":
        return new("ServerReadyResponse", ready=True)
    if method == "ServerMetadata":
        extensions = ["binary_tensor_data"]
        return new("ServerMetadataResponse", name="reference", version="1.0", extensions=extensions)
    if method == "ModelReady":
        chosen("model_ready", request.name, request.version)
        return new("ModelReadyResponse", ready=True)
    if method == "ModelMetadata":
        chosen("model", request.name, request.version)
        return new("ModelMetadataResponse", **model_metadata())
    return _infer(request)


def _infer(request: Any) -> Any:
    if not request.model_name:
        raise RefusedRequestError("accepts a request without a model", "no model is named")
    version = chosen("infer", request.model_name, request.model_version)
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        which = "more" if len(raw) > len(request.inputs) else "fewer"
        variant = f"accepts {which} raw contents than inputs"
        raise RefusedRequestError(variant, f"{len(raw)} raw contents")
    inputs = [
        _raw_input(tensor, raw[place]) if raw else _typed_input(tensor)
        for place, tensor in enumerate(request.inputs)
    ]
    outputs = inferred(inputs, [output.name for output in request.outputs])
    answer = new("ModelInferResponse", model_name=MODEL, model_version=version, id=request.id)
    for output in outputs:
        datatype = OUTPUTS[output.name][0]
        tensor = answer.outputs.add(name=output.name, datatype=datatype, shape=output.values.shape)
        if raw:
            answer.raw_output_contents.append(output.values.tobytes())
        else:
            getattr(tensor.contents, FIELDS[datatype]).extend(output.values.ravel().tolist())
    return answer


def _raw_input(tensor: Any, raw: bytes) -> ModelTensor:
    if tensor.HasField("contents"):
        raise RefusedRequestError("accepts raw and typed contents", "contents in both forms")
    dtype = checked_datatype(tensor.datatype)
    checked_name(tensor.name)
    due = int(np.prod(tensor.shape)) * dtype.itemsize
    if len(raw) != due:
        which = "short" if len(raw) < due else "long"
        variant = f"accepts raw contents that are too {which}"
        raise RefusedRequestError(variant, f"{len(raw)} of {due} bytes")
    return ModelTensor(tensor.name, np.frombuffer(raw, dtype).reshape(tuple(tensor.shape)))


def _typed_input(tensor: Any) -> ModelTensor:
    dtype = checked_datatype(tensor.datatype)
    checked_name(tensor.name)
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if not filled:
        raise RefusedRequestError("accepts an input without contents", "no contents")
    if filled != [FIELDS[tensor.datatype]]:
        raise RefusedRequestError("accepts contents in another type's field", f"{filled}")
    values = getattr(tensor.contents, FIELDS[tensor.datatype])
    checked_shape(list(tensor.shape), len(values))
    return ModelTensor(tensor.name, np.array(values, dtype).reshape(tuple(tensor.shape)))
