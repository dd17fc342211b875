"""Inference over REST: what must fail, as an error."""

from typing import Any

from tests.oip.registry import FIRST, REST, cases_of, expect, versioned
from tests.oip.rest import get, infer, input_of, refused, request_of
from tests.oip.target import OipTarget

case = cases_of("rest", "core", REST)

ERROR = "Inference Response JSON Error Object"
STATUS = "A failed inference request must be indicated by an HTTP error status (typically 400)."
BODY = "The HTTP body must contain the *$inference_error_response* object."
INPUT = "Request Input"
FIELDS = (
    '$inference_request_input = { "name" : $string, "shape" : [ $number, ... ], '
    '"datatype" : $string, "parameters" : $parameters #optional, "data" : $tensor_data }'
)
DIMENSION = "Each dimension must be an integer representable as an unsigned 64-bit integer value."
FULL = (
    "If the input is batched, the shape and data must represent the full shape and contents of the "
    "entire batch."
)
SENSITIVE = "All strings in all contexts are case-sensitive."


def with_input(target: OipTarget, **fields: Any) -> dict[str, Any]:
    return {"inputs": [input_of(target, **fields)]}


def without(target: OipTarget, field: str) -> dict[str, Any]:
    tensor = input_of(target)
    del tensor[field]
    return {"inputs": [tensor]}


@case("error.status", ERROR, STATUS, "errors with 200")
def error_status(target: OipTarget) -> None:
    answer = infer(target, b"{")
    expect(400 <= answer.status < 600, f"status {answer.status}")


@case("error.body", ERROR, BODY, "errors without an object")
def error_body(target: OipTarget) -> None:
    refused(infer(target, b"{"))


@case("infer.get", "Inference", "An inference request is made with an HTTP POST", "infers on GET")
def infer_get(target: OipTarget) -> None:
    answer = get(target, target.path("/infer"))
    expect(400 <= answer.status < 600, f"status {answer.status}")


@case("infer.unknown_model", ERROR, f"{STATUS} {BODY}", "accepts an unknown model")
def unknown_model(target: OipTarget) -> None:
    refused(infer(target, request_of(target), target.path("/infer", model="no-such-model")))


@case("infer.unknown_version", ERROR, f"{STATUS} {BODY}", "accepts an unknown version")
def unknown_version(target: OipTarget) -> None:
    versioned(target)
    refused(infer(target, request_of(target), target.path("/infer", version="no-such-version")))


@case("infer.model_case", f"{FIRST}#HTTP/REST", SENSITIVE, "infers for a model in any case")
def model_case(target: OipTarget) -> None:
    path = target.path("/infer", model=target.model.swapcase())
    expect(infer(target, request_of(target), path).status >= 400, "the model in another case")


@case(
    "infer.array",
    "Inference Request JSON Object",
    "The inference request object, identified as *$inference_request*, is required in the HTTP "
    "body of the POST request.",
    "accepts an array as a request",
)
def request_array(target: OipTarget) -> None:
    refused(infer(target, [request_of(target)]))


@case("infer.empty", "Inference Request JSON Object",
      "The inference request object, identified as *$inference_request*, is required in the HTTP "
      "body of the POST request.", "accepts an empty body")  # fmt: skip
def request_empty(target: OipTarget) -> None:
    refused(infer(target, b""))


@case("infer.no_inputs", "Inference Request JSON Object",
      '"inputs" : The input tensors.', "accepts a request without inputs")  # fmt: skip
def no_inputs(target: OipTarget) -> None:
    refused(infer(target, {"id": "a"}))


@case(
    "infer.missing_input",
    "Model Metadata Response JSON Object",
    "“inputs” : The inputs required by the model.",
    "accepts that an input is missing",
)
def missing_input(target: OipTarget) -> None:
    refused(infer(target, {"inputs": []}))


@case(
    "infer.unknown_input",
    "Model Metadata Response JSON Object",
    "“inputs” : The inputs required by the model.",
    "accepts an unknown input",
)
def unknown_input(target: OipTarget) -> None:
    refused(infer(target, with_input(target, name="no-such-input")))


@case("infer.input_case", f"{FIRST}#HTTP/REST", SENSITIVE, "accepts an input's name in any case")
def input_case(target: OipTarget) -> None:
    refused(infer(target, with_input(target, name=target.input.name.swapcase())))


@case(
    "infer.unknown_output",
    "Inference Request JSON Object",
    '"outputs" : The output tensors requested for this inference.',
    "accepts an unknown output",
)
def unknown_output(target: OipTarget) -> None:
    refused(infer(target, request_of(target, outputs=[{"name": "no-such-output"}])))


@case("input.no_name", INPUT, FIELDS, "accepts an input without a name")
def input_no_name(target: OipTarget) -> None:
    refused(infer(target, without(target, "name")))


@case("input.no_shape", INPUT, FIELDS, "accepts an input without a shape")
def input_no_shape(target: OipTarget) -> None:
    refused(infer(target, without(target, "shape")))


@case("input.no_datatype", INPUT, FIELDS, "accepts an input without a datatype")
def input_no_datatype(target: OipTarget) -> None:
    refused(infer(target, without(target, "datatype")))


@case("input.no_data", INPUT, FIELDS, "accepts an input without data")
def input_no_data(target: OipTarget) -> None:
    refused(infer(target, without(target, "data")))


@case("input.negative", INPUT, DIMENSION, "accepts a negative dimension")
def input_negative(target: OipTarget) -> None:
    refused(infer(target, with_input(target, shape=[-1, target.input.width])))


@case("input.fraction", INPUT, DIMENSION, "accepts a fraction as a dimension")
def input_fraction(target: OipTarget) -> None:
    refused(infer(target, with_input(target, shape=[1.5, target.input.width])))


@case("input.text_dimension", INPUT, DIMENSION, "accepts a text as a dimension")
def input_text_dimension(target: OipTarget) -> None:
    refused(infer(target, with_input(target, shape=["one", target.input.width])))


@case("input.huge", INPUT, DIMENSION, "accepts a dimension of 65 bits")
def input_huge(target: OipTarget) -> None:
    refused(infer(target, with_input(target, shape=[2**64 + 1, target.input.width])))


@case("input.too_few", INPUT, FULL, "accepts too few elements")
def input_too_few(target: OipTarget) -> None:
    refused(infer(target, with_input(target, shape=[2, target.input.width])))


@case("input.too_many", INPUT, FULL, "accepts too many elements")
def input_too_many(target: OipTarget) -> None:
    refused(infer(target, with_input(target, rows=2, shape=[1, target.input.width])))


@case("input.ragged", INPUT, FULL, "accepts rows of unequal length")
def input_ragged(target: OipTarget) -> None:
    first, second = (list(row) for row in target.input.rows[:2])
    refused(infer(target, with_input(target, rows=2, data=[first, second[:-1]])))


@case("input.unknown_datatype", INPUT,
      '"datatype" : The data-type of the input tensor elements as defined in [Tensor Data Types]',
      "accepts an unknown datatype")  # fmt: skip
def input_unknown_datatype(target: OipTarget) -> None:
    refused(infer(target, with_input(target, datatype="FP33")))


@case("input.datatype_case", f"{FIRST}#HTTP/REST", SENSITIVE, "accepts a datatype in any case")
def input_datatype_case(target: OipTarget) -> None:
    refused(infer(target, with_input(target, datatype=target.input.datatype.lower())))


@case("input.text_element", "Tensor Data",
      "The server can decide to coerce each element to the required type or return an error if an "
      "unexpected value is received.", "accepts a word as a number")  # fmt: skip
def input_text_element(target: OipTarget) -> None:
    refused(infer(target, with_input(target, data=["word"] * target.input.width)))
