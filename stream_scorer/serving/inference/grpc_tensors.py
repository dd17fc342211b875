"""Inference requests and answers of the gRPC binding, from and to their protobuf messages."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.binary_data import binary_texts, binary_values
from stream_scorer.serving.inference.data_types import DataType, data_type
from stream_scorer.serving.inference.feature_tensors import FeatureTensors, InputTensor
from stream_scorer.serving.inference.json_requests import refuse_unsupported
from stream_scorer.serving.inference.refusals import invalid, shown
from stream_scorer.serving.inference.results import (
    OUTPUTS,
    SCORE,
    RowResults,
    check_outputs,
    data_type_of,
)
from stream_scorer.serving.inference.served_model import ServedModel
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages

Float64 = NDArray[np.float64]

_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""The field of ``InferTensorContents`` that has the elements of a data type."""


def rows_of(request: messages.ModelInferRequest, model: FeatureTensors) -> Float64:
    """Return float64[n, m] of a request, columns in manifest order.

    Raises:
        InferenceRefused: It contradicts the protocol or the model.
    """
    refuse_unsupported(request.parameters)
    inputs, raw = request.inputs, request.raw_input_contents
    if not inputs:
        raise invalid("the request has no inputs")
    if raw and len(raw) != len(inputs):
        raise invalid(f"{len(raw)} raw_input_contents for {len(inputs)} inputs")
    tensors = []
    for number, each in enumerate(inputs):
        refuse_unsupported(each.parameters)
        rows, count = model.rows_of(each.name, each.shape, len(inputs))
        kind = data_type(each.datatype)
        if raw:
            if each.HasField("contents"):
                raise invalid(f"input {shown(each.name)}: both contents and raw_input_contents")
            values = binary_values(raw[number], kind, count)
        else:
            values = _typed_values(each, kind, count)
        tensors.append(InputTensor(each.name, rows, values))
    return model.joined(tensors)


def outputs_of(request: messages.ModelInferRequest) -> tuple[str, ...]:
    """Return the names of the requested outputs; if there are none, of those that are returned.

    Raises:
        InferenceRefused: One is unknown or requested twice, or has an unsupported parameter.
    """
    if not request.outputs:
        return OUTPUTS
    names = tuple(each.name for each in request.outputs)
    check_outputs(names)
    for each in request.outputs:
        refuse_unsupported(each.parameters)
    return names


def response_of(
    model: ServedModel,
    request: messages.ModelInferRequest,
    outputs: tuple[str, ...],
    results: RowResults,
) -> messages.ModelInferResponse:
    """Return the answer: raw data if the request had raw data, else typed contents."""
    response = messages.ModelInferResponse(
        model_name=model.name, model_version=model.version, id=request.id
    )
    raw = len(request.raw_input_contents) > 0
    for name in outputs:
        output = response.outputs.add(
            name=name, datatype=data_type_of(name), shape=results.shape(name)
        )
        if name == SCORE:
            score = results.score.astype("<f8", copy=False)
            if raw:
                response.raw_output_contents.append(score.tobytes())
            else:
                output.contents.fp64_contents.extend(score.tolist())
        elif raw:
            response.raw_output_contents.append(binary_texts(results.texts(name)))
        else:
            output.contents.bytes_contents.extend(results.texts(name))
    return response


def _typed_values(
    tensor: messages.ModelInferRequest.InferInputTensor, kind: DataType, count: int
) -> Float64:
    field = _FIELDS.get(kind.name)
    if field is None:
        raise invalid(f"datatype {kind.name}: only raw_input_contents has it")
    given = [each.name for each, _ in tensor.contents.ListFields()]
    if given and given != [field]:
        raise invalid(f"input {shown(tensor.name)}: contents of {kind.name} are {field}")
    values = getattr(tensor.contents, field)
    if len(values) != count:
        raise invalid(f"{len(values)} elements of contents, the shape has {count}")
    return kind.from_typed(values[:])  # NumPy takes a list sooner than a repeated field
