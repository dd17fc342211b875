"""Inference over gRPC: what a valid request is, and what its answer has."""

import numpy as np

from tests.oip.grpc_calls import (
    accepted_call,
    bare_input,
    call_outputs,
    infer_raw,
    infer_typed,
    typed_input,
    typed_values,
)
from tests.oip.registry import GRPC, cases_of, expect, first_two_outputs, versioned
from tests.oip.rest import elements, infer, outputs_of, request_of
from tests.oip.target import DATATYPES, DTYPES, FIELDS, OipTarget

case = cases_of("grpc", "core", GRPC)

SECTION = "Inference"
DATA = "Tensor Data"
RAW = (
    'The data contained in an input tensor can be represented in "raw" bytes form or in the '
    "repeated type that matches the tensor's data type."
)
PARAMETER = "The parameter value can be a string, an int64, a boolean"
SIZE = (
    "For each tensor, the size of this content must match what is expected by the tensor's shape "
    "and data type."
)
VALUES = {
    "suite_text": {"string_param": "a"},
    "suite_number": {"int64_param": 1},
    "suite_flag": {"bool_param": True},
}


@case("infer.typed", SECTION, RAW, "refuses typed contents")
def infer_with_typed(target: OipTarget) -> None:
    infer_typed(target)


@case("infer.raw", SECTION, RAW, "refuses raw contents")
def infer_with_raw(target: OipTarget) -> None:
    infer_raw(target)


@case("infer.model_name", SECTION, "The name of the model used for inference.",
      "answer without the model's name")  # fmt: skip
def infer_model_name(target: OipTarget) -> None:
    name = infer_typed(target).model_name
    expect(name == target.model, f"model_name is {name!r}")


@case("infer.model_version", SECTION, "The version of the model used for inference.",
      "answer without the model's version")  # fmt: skip
def infer_model_version(target: OipTarget) -> None:
    described = accepted_call(target, "ModelMetadata", name=target.model)
    known = [versioned(target), *described.versions]
    version = infer_typed(target).model_version
    expect(version in known, f"model_version is {version!r} of {known}")


@case("infer.version_used", SECTION, "The version of the model to use for inference.",
      "another version than asked for")  # fmt: skip
def infer_version_used(target: OipTarget) -> None:
    version = versioned(target)
    used = infer_typed(target, model_version=version).model_version
    expect(used == version, f"model_version is {used!r}")


@case("infer.id", SECTION, "Optional identifier for the request. If specified will be returned in "
      "the response.", "ignores the id")  # fmt: skip
def infer_id(target: OipTarget) -> None:
    found = infer_typed(target, id="a1").id
    expect(found == "a1", f"id is {found!r}")


@case("infer.id_unchanged", SECTION, "If specified will be returned in the response.",
      "the id's other letters replaced")  # fmt: skip
def infer_id_unchanged(target: OipTarget) -> None:
    found = infer_typed(target, id="rpc-é☃").id
    expect(found == "rpc-é☃", f"id is {found!r}")


@case("infer.all_outputs", SECTION,
      "Optional, if not specified all outputs produced by the model will be returned.",
      "the first output only")  # fmt: skip
def infer_all_outputs(target: OipTarget) -> None:
    names = [output.name for output in infer_typed(target).outputs]
    expect(sorted(names) == sorted(target.outputs), f"outputs are {names}")


@case("infer.one_output", SECTION, "The requested output tensors for the inference.",
      "all outputs where one is asked for")  # fmt: skip
def infer_one_output(target: OipTarget) -> None:
    first_two_outputs(target)
    for wanted in target.outputs:
        answer = infer_typed(target, outputs=[{"name": wanted}])
        names = [output.name for output in answer.outputs]
        expect(names == [wanted], f"outputs are {names} where {wanted} is asked for")


@case("infer.named_output", SECTION, "The requested output tensors for the inference.",
      "refuses to be asked for outputs")  # fmt: skip
def infer_named_output(target: OipTarget) -> None:
    answer = infer_typed(target, outputs=[{"name": name} for name in target.outputs])
    names = [output.name for output in answer.outputs]
    expect(sorted(names) == sorted(target.outputs), f"outputs are {names}")


@case("output.datatype", SECTION, "The tensor data type.", "an output's datatype of numpy")
def output_datatype(target: OipTarget) -> None:
    found = [output.datatype for output in infer_typed(target).outputs]
    expect(found and set(found) <= DATATYPES, f"datatypes are {found}")


@case("output.shape", SECTION, "The tensor shape.", "the shape of one row")
def output_shape(target: OipTarget) -> None:
    shapes = [list(output.shape) for output in infer_typed(target, 3).outputs]
    expect(shapes and all(shape[:1] == [3] for shape in shapes), f"shapes are {shapes}")


@case("output.metadata", "Model Metadata", "The model's outputs.",
      "a datatype that the metadata do not name")  # fmt: skip
def output_metadata(target: OipTarget) -> None:
    answer = accepted_call(target, "ModelMetadata", name=target.model)
    due = {one.name: (one.datatype, len(one.shape)) for one in answer.outputs}
    found = {one.name: (one.datatype, len(one.shape)) for one in infer_typed(target, 2).outputs}
    same = {name: due.get(name) for name in found}
    expect(found == same, f"datatypes and dimensions are {found}, in the metadata {same}")


@case("output.one_form", SECTION,
      "If this field is specified then InferOutputTensor::contents must not be specified for any "
      "output tensor.", "outputs in both forms")  # fmt: skip
def output_one_form(target: OipTarget) -> None:
    for answer in (infer_typed(target), infer_raw(target)):
        both = answer.raw_output_contents and any(
            output.contents.ListFields() for output in answer.outputs
        )
        expect(not both, "an output has raw and typed contents")


@case("output.size", SECTION, SIZE, "an element too few")
def output_size(target: OipTarget) -> None:
    for answer in (infer_typed(target, 2), infer_raw(target, 2)):
        raw = list(answer.raw_output_contents)
        expect(len(raw) in {0, len(answer.outputs)}, f"{len(raw)} raw tensors")
        for place, output in enumerate(answer.outputs):
            due = elements(output.shape)
            if not raw:
                count = len(typed_values(output))
                expect(count == due, f"{count} elements in shape {list(output.shape)}")
            elif output.datatype in DTYPES:
                size = due * DTYPES[output.datatype].itemsize
                expect(len(raw[place]) == size, f"{len(raw[place])} of {size} raw bytes")


@case("output.field", DATA,
      'An alternative to the "raw" representation is to use InferTensorContents to represent the '
      "tensor data in a format that matches the tensor's data type.",
      "typed outputs in another type's field")  # fmt: skip
def output_field(target: OipTarget) -> None:
    for output in infer_typed(target).outputs:
        filled = {field.name for field, _ in output.contents.ListFields()}
        expect(filled <= {FIELDS.get(output.datatype)}, f"{output.datatype} in {filled}")


@case("output.same", "gRPC",
      "The GRPC API closely follows the concepts defined in the [HTTP/REST](./inference_rest.md) "
      "API.", "other values over gRPC")  # fmt: skip
def output_same(target: OipTarget) -> None:
    found = call_outputs(infer_typed(target, 3))
    due = outputs_of(infer(target, request_of(target, 3)))
    expect(found == due, f"outputs are {found}, over REST {due}")


@case("raw.same", SECTION,
      "The raw data must be the flattened, one-dimensional, row-major order of the tensor elements "
      "without any stride or padding between the elements.",
      "reads raw inputs column by column")  # fmt: skip
def raw_same(target: OipTarget) -> None:
    found, due = call_outputs(infer_raw(target, 3)), call_outputs(infer_typed(target, 3))
    expect(found == due, f"outputs of raw contents are {found}, of typed ones {due}")


@case("input.batch", DATA,
      "In all representations tensor data must be flattened to a one-dimensional, row-major order "
      "of the tensor elements.", "columns before rows")  # fmt: skip
def input_batch(target: OipTarget) -> None:
    batch = call_outputs(infer_typed(target, 3))
    field = FIELDS[target.input.datatype]
    alone = [
        call_outputs(infer_typed(target, inputs=[typed_input(target, contents={field: row})]))
        for row in target.input.rows[:3]
    ]
    for name, output in batch.items():
        values = [value for one in alone for value in one[name].values]
        same = (
            values == list(output.values)
            if output.datatype == "BYTES"
            else np.allclose(values, output.values, rtol=1e-5, atol=1e-9)
        )
        expect(same, f"{name} of three rows is {output.values}, of each alone {values}")


@case("parameters.request", "Parameters", PARAMETER, "refuses parameters of a request")
def parameters_request(target: OipTarget) -> None:
    infer_typed(target, parameters=VALUES)


@case("parameters.input", "Parameters", PARAMETER, "refuses parameters of an input")
def parameters_input(target: OipTarget) -> None:
    infer_typed(target, inputs=[typed_input(target, parameters=VALUES)])
    infer_raw(target, inputs=[bare_input(target, parameters=VALUES)])


@case("parameters.output", "Parameters", PARAMETER, "refuses parameters of an output")
def parameters_output(target: OipTarget) -> None:
    named = [{"name": name, "parameters": VALUES} for name in target.outputs]
    infer_typed(target, outputs=named)
