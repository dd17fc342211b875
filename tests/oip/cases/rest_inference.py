"""Inference over REST: what a valid request is, and what its answer has."""

from typing import Any

import numpy as np

from tests.oip.registry import REST, cases_of, expect, first_two_outputs, versioned
from tests.oip.rest import (
    accepted,
    elements,
    flat,
    get,
    infer,
    input_of,
    outputs_of,
    request_of,
)
from tests.oip.target import DATATYPES, OipTarget

case = cases_of("rest", "core", REST)

REQUEST = "Inference Request JSON Object"
RESPONSE = "Inference Response JSON Object"
OUTPUT = "Response Output"
PARAMETERS = "$parameter = $string : $string | $number | $boolean"
IDENTIFIER = "Optional, but if specified this identifier must be returned in the response."
ID = 'rest-é☃-"42"'


def outputs(target: OipTarget, rows: int = 2) -> list[dict[str, Any]]:
    found = accepted(infer(target, request_of(target, rows)))["outputs"]
    expect(isinstance(found, list) and found, f"outputs are {found!r}")
    return list(found)


@case(
    "infer.status",
    RESPONSE,
    "A successful inference request is indicated by a 200 HTTP status code.",
    "inference with 201",
)
def infer_status(target: OipTarget) -> None:
    answer = infer(target, request_of(target))
    expect(answer.status == 200, f"status {answer.status}: {answer.body[:120]!r}")


@case(
    "infer.content_type",
    "Inference Request Examples",
    "HTTP/1.1 200 OK Content-Type: application/json",
    "JSON as plain text",
)
def infer_content_type(target: OipTarget) -> None:
    answer = infer(target, request_of(target))
    accepted(answer)
    kind = answer.headers.get("content-type", "").partition(";")[0]
    expect(kind == "application/json", f"content type is {kind!r}")


@case(
    "infer.content_length",
    "Inference Request Examples",
    "The HTTP Content-Length header gives the size of the JSON object.",
    "no content length",
)
def infer_content_length(target: OipTarget) -> None:
    answer = infer(target, request_of(target))
    length = answer.headers.get("content-length")
    expect(length == str(len(answer.body)), f"content length is {length!r}")


@case(
    "infer.model_name",
    RESPONSE,
    '"model_name" : The name of the model used for inference.',
    "answer without the model's name",
)
def infer_model_name(target: OipTarget) -> None:
    name = accepted(infer(target, request_of(target))).get("model_name")
    expect(name == target.model, f"model_name is {name!r}")


@case(
    "infer.model_version",
    RESPONSE,
    '"model_version" : The specific model version used for inference.',
    "answer without the model's version",
)
def infer_model_version(target: OipTarget) -> None:
    known = [versioned(target), *accepted(get(target, target.path())).get("versions", [])]
    version = accepted(infer(target, request_of(target))).get("model_version")
    expect(version in known, f"model_version is {version!r}")


@case(
    "infer.version_path",
    "HTTP/REST",
    "POST | v2/models/<model_name>[/versions/\\<model_version\\>]/infer",
    "no inference by a version",
)
def infer_version_path(target: OipTarget) -> None:
    path = target.path("/infer", version=versioned(target))
    accepted(infer(target, request_of(target), path))


@case(
    "infer.version_used",
    RESPONSE,
    '"model_version" : The specific model version used for inference.',
    "another version than asked for",
)
def infer_version_used(target: OipTarget) -> None:
    version = versioned(target)
    answer = infer(target, request_of(target), target.path("/infer", version=version))
    used = accepted(answer).get("model_version")
    expect(used == version, f"model_version is {used!r}")


@case("infer.id", REQUEST, IDENTIFIER, "ignores the id")
def infer_id(target: OipTarget) -> None:
    found = accepted(infer(target, request_of(target, id="a1"))).get("id")
    expect(found == "a1", f"id is {found!r}")


@case("infer.id_text", REQUEST, '"id" : $string #optional', "an id of digits as a number")
def infer_id_text(target: OipTarget) -> None:
    found = accepted(infer(target, request_of(target, id="42"))).get("id")
    expect(found == "42", f"id is {found!r}")


@case("infer.id_unchanged", REQUEST, IDENTIFIER, "the id's other letters replaced")
def infer_id_unchanged(target: OipTarget) -> None:
    found = accepted(infer(target, request_of(target, id=ID))).get("id")
    expect(found == ID, f"id is {found!r}")


@case(
    "infer.id_optional",
    REQUEST,
    '"id" : An identifier for this request. Optional',
    "requires an id",
)
def infer_id_optional(target: OipTarget) -> None:
    accepted(infer(target, request_of(target)))


@case("infer.all_outputs", REQUEST,
      "if not specified all outputs produced by the model will be returned",
      "the first output only")  # fmt: skip
def infer_all_outputs(target: OipTarget) -> None:
    names = [str(output.get("name")) for output in outputs(target)]
    expect(sorted(names) == sorted(target.outputs), f"outputs are {names}")


@case(
    "infer.one_output",
    REQUEST,
    '"outputs" : The output tensors requested for this inference.',
    "all outputs where one is asked for",
)
def infer_one_output(target: OipTarget) -> None:
    first_two_outputs(target)
    for wanted in target.outputs:
        request = request_of(target, outputs=[{"name": wanted}])
        names = list(outputs_of(infer(target, request)))
        expect(names == [wanted], f"outputs are {names} where {wanted} is asked for")


@case("infer.named_output", "Inference Request Examples",
      "For the above request the inference server must return the “output0” output tensor.",
      "refuses to be asked for outputs")  # fmt: skip
def infer_named_output(target: OipTarget) -> None:
    request = request_of(target, outputs=[{"name": name} for name in target.outputs])
    names = list(outputs_of(infer(target, request)))
    expect(sorted(names) == sorted(target.outputs), f"outputs are {names}")


@case("output.name", OUTPUT, '"name" : The name of the output tensor.', "outputs without names")
def output_name(target: OipTarget) -> None:
    names = [output.get("name") for output in outputs(target)]
    expect(all(isinstance(name, str) for name in names), f"names are {names}")


@case(
    "output.shape",
    OUTPUT,
    "Each dimension must be an integer representable as an unsigned 64-bit integer value.",
    "an output's dimensions as floats",
)
def output_shape(target: OipTarget) -> None:
    for output in outputs(target):
        shape = output.get("shape")
        valid = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
        expect(valid, f"shape is {shape!r}")


@case(
    "output.datatype",
    OUTPUT,
    '"datatype" : The data-type of the output tensor elements as defined in [Tensor Data Types]',
    "an output's datatype of numpy",
)
def output_datatype(target: OipTarget) -> None:
    found = [output.get("datatype") for output in outputs(target)]
    expect(set(found) <= DATATYPES, f"datatypes are {found}")


@case("output.data", OUTPUT, "“data”: The contents of the tensor.", "an element too few")
def output_data(target: OipTarget) -> None:
    for output in outputs(target):
        count, due = len(flat(output["data"])), elements(output["shape"])
        expect(count == due, f"{count} elements in shape {output['shape']}")


@case("output.elements", "Tensor Data",
      "Each element of the array may be an integer, floating-point number, string or boolean "
      "value.", "numbers as text")  # fmt: skip
def output_elements(target: OipTarget) -> None:
    for output in outputs(target):
        datatype = output["datatype"]
        kinds = {"BOOL": (bool,), "BYTES": (str,)}.get(
            datatype, (int, float) if datatype.startswith("FP") else (int,)
        )
        found = {type(element) for element in flat(output["data"])}
        expect(found <= set(kinds), f"{datatype} with elements of {found}")


@case("output.batch", OUTPUT,
      "If the output is batched, the shape and data represents the full shape of the entire batch.",
      "the shape of one row")  # fmt: skip
def output_batch(target: OipTarget) -> None:
    for output in outputs(target, 3):
        expect(output["shape"][:1] == [3], f"shape of {output['name']} is {output['shape']}")


@case(
    "output.metadata",
    "Model Metadata Response JSON Object",
    "“outputs” : The outputs produced by the model.",
    "a datatype that the metadata do not name",
)
def output_metadata(target: OipTarget) -> None:
    described = {one["name"]: one for one in accepted(get(target, target.path()))["outputs"]}
    for output in outputs(target):
        due = described.get(output["name"], {})
        expect(output["datatype"] == due.get("datatype"), f"{output['name']}: {due} in metadata")
        expect(len(output["shape"]) == len(due["shape"]), f"{output['name']}: {due} in metadata")


@case("input.batch", "Request Input",
      "If the input is batched, the shape and data must represent the full shape and contents of "
      "the entire batch.", "columns before rows")  # fmt: skip
def input_batch(target: OipTarget) -> None:
    batch = outputs_of(infer(target, request_of(target, 3)))
    alone = [
        outputs_of(infer(target, {"inputs": [input_of(target, data=list(row))]}))
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


@case("input.nested", "Tensor Data",
      "Tensor elements may be presented in their nature multi-dimensional representation, or as a "
      "flattened one-dimensional representation.", "refuses nested data")  # fmt: skip
def input_nested(target: OipTarget) -> None:
    rows = [list(row) for row in target.input.rows[:2]]
    nested = outputs_of(infer(target, {"inputs": [input_of(target, 2, data=rows)]}))
    expect(nested == outputs_of(infer(target, request_of(target, 2))), "nested data differ")


@case("input.flat", "Tensor Data", 'Or in a flattened one-dimensional representation: "data" : '
      "[ 1, 2, 4, 5 ]", "refuses flat data")  # fmt: skip
def input_flat(target: OipTarget) -> None:
    accepted(infer(target, request_of(target, 2)))


@case(
    "parameters.empty",
    REQUEST,
    '"parameters" : An object containing zero or more parameters for this inference request',
    "refuses empty parameters",
)
def parameters_empty(target: OipTarget) -> None:
    tensor = input_of(target, parameters={})
    named = [{"name": name, "parameters": {}} for name in target.outputs]
    accepted(infer(target, {"inputs": [tensor], "outputs": named, "parameters": {}}))


@case("parameters.request", "Parameters", PARAMETERS, "refuses parameters of a request")
def parameters_request(target: OipTarget) -> None:
    parameters = {"suite_text": "a", "suite_number": 1.5, "suite_flag": True}
    accepted(infer(target, request_of(target, parameters=parameters)))


@case("parameters.input", "Parameters", PARAMETERS, "refuses parameters of an input")
def parameters_input(target: OipTarget) -> None:
    parameters = {"suite_text": "a", "suite_number": 1.5, "suite_flag": True}
    accepted(infer(target, {"inputs": [input_of(target, parameters=parameters)]}))


@case("parameters.output", "Parameters", PARAMETERS, "refuses parameters of an output")
def parameters_output(target: OipTarget) -> None:
    parameters = {"suite_text": "a", "suite_number": 1.5, "suite_flag": True}
    named = [{"name": name, "parameters": parameters} for name in target.outputs]
    accepted(infer(target, request_of(target, outputs=named)))


@case("parameters.response", "Parameters", PARAMETERS, "an object as a parameter")
def parameters_response(target: OipTarget) -> None:
    document = accepted(infer(target, request_of(target)))
    for part in (document, *document["outputs"]):
        found = part.get("parameters", {})
        expect(isinstance(found, dict), f"parameters are {found!r}")
        kinds = {type(value) for value in found.values()}
        expect(kinds <= {str, int, float, bool}, f"parameters are {found!r}")
