"""The binary tensor data extension over REST: what works."""

import json
from typing import Any

from tests.oip.registry import BINARY, cases_of, expect, first_two_outputs
from tests.oip.rest import (
    HEADER_LENGTH,
    HttpAnswer,
    accepted,
    binary_input,
    elements,
    get,
    infer,
    infer_binary,
    infer_raw,
    outputs_of,
    parameters_of,
    request_of,
)
from tests.oip.target import DTYPES, OipTarget

case = cases_of("rest", "binary", BINARY)

TITLE = "Binary Tensor Data Extension"
REQUEST = "Binary Tensor Request"
RAW = "Raw Binary Request"
SIZE = (
    '"binary_data_size" : int64 parameter indicating the size of the tensor binary data, in bytes.'
)
WANTED = (
    '"binary_data" : bool parameter that is true if the output should be returned as binary data '
    "and false (or not given) if the tensor should be returned as JSON."
)
ALL = (
    '"binary_data_output" : bool parameter that is true if all outputs should be returned as '
    "binary data and false (or not given) if the outputs should be returned as JSON."
)
OVERRIDES = 'If "binary_data" is specified on an output it overrides this setting.'
HEADER = (
    "If any binary data is present in the request or response the Inference-Header-Content-Length "
    "header must be provided to give the length of the JSON object"
)
LENGTH = "Content-Length continues to give the full body length (as HTTP requires)."
ORDER = (
    "the HTTP body of the request or response will contain the JSON inference request or response "
    "object followed by the binary tensor data in the same order as the order of the input or "
    "output tensors are specified in the JSON."
)
LAYOUT = (
    "Tensor data represented as binary data is organized in little-endian byte order, row major, "
    "without stride or padding between elements."
)


def named(target: OipTarget, *binary: bool) -> list[dict[str, Any]]:
    """Return the outputs to ask for, the first ones with ``binary_data``."""
    outputs: list[dict[str, Any]] = [{"name": name} for name in target.outputs]
    for output, wanted in zip(outputs, binary, strict=False):
        output["parameters"] = {"binary_data": wanted}
    return outputs


def all_binary(target: OipTarget, rows: int = 2) -> HttpAnswer:
    return infer(target, request_of(target, rows, parameters={"binary_data_output": True}))


def sizes(answer: HttpAnswer) -> dict[str, int | None]:
    """Return the binary size of each output; None where it is JSON."""
    return {
        output["name"]: parameters_of(output).get("binary_data_size")
        for output in accepted(answer)["outputs"]
    }


@case("binary.listed", TITLE,
      "Triton reports “binary_tensor_data” in the extensions field of its Server Metadata.",
      "does not list the extension")  # fmt: skip
def listed(target: OipTarget) -> None:
    found = accepted(get(target, "/v2"))["extensions"]
    expect("binary_tensor_data" in found, f"extensions are {found}")


@case("binary.input", REQUEST, SIZE, "refuses binary inputs")
def binary_request(target: OipTarget) -> None:
    tensor, raw = binary_input(target, 1)
    accepted(infer_binary(target, {"inputs": [tensor]}, raw))


@case("binary.input_layout", REQUEST, LAYOUT, "reads binary inputs as big-endian")
def binary_layout(target: OipTarget) -> None:
    tensor, raw = binary_input(target, 3)
    found = outputs_of(infer_binary(target, {"inputs": [tensor]}, raw))
    due = outputs_of(infer(target, request_of(target, 3)))
    expect(found == due, f"outputs of a binary input are {found}, of JSON {due}")


@case("binary.input_json_output", REQUEST, WANTED, "binary outputs for binary inputs")
def binary_in_json_out(target: OipTarget) -> None:
    tensor, raw = binary_input(target, 2)
    found = sizes(infer_binary(target, {"inputs": [tensor]}, raw))
    expect(set(found.values()) == {None}, f"binary sizes are {found}")


@case("binary.id", REQUEST, ORDER, "no model name before binary data")
def binary_fields(target: OipTarget) -> None:
    request = request_of(target, id="b1", parameters={"binary_data_output": True})
    document = accepted(infer(target, request))
    found = document.get("id"), document.get("model_name")
    expect(found == ("b1", target.model), f"id and model_name are {found}")


@case("binary.output", REQUEST, WANTED, "ignores binary_data")
def binary_output(target: OipTarget) -> None:
    found = sizes(infer(target, request_of(target, outputs=named(target, True))))
    expect(found[target.outputs[0]] is not None, "the output is not binary")


@case("binary.output_false", REQUEST, WANTED, "takes binary_data for true")
def binary_output_false(target: OipTarget) -> None:
    found = sizes(infer(target, request_of(target, outputs=named(target, False))))
    expect(found[target.outputs[0]] is None, "the output is binary")


@case("binary.output_mixed", REQUEST, WANTED, "all outputs binary where one is wanted")
def binary_output_mixed(target: OipTarget) -> None:
    first, second = first_two_outputs(target)
    found = sizes(infer(target, request_of(target, outputs=named(target, True, False))))
    expect(found[first] is not None and found[second] is None, f"binary sizes are {found}")


@case("binary.all_outputs", REQUEST, ALL, "ignores binary_data_output")
def binary_all(target: OipTarget) -> None:
    found = sizes(all_binary(target))
    expect(None not in found.values(), f"binary sizes are {found}")


@case("binary.all_outputs_false", REQUEST, ALL, "takes binary_data_output for true")
def binary_all_false(target: OipTarget) -> None:
    request = request_of(target, parameters={"binary_data_output": False})
    found = sizes(infer(target, request))
    expect(set(found.values()) == {None}, f"binary sizes are {found}")


@case("binary.all_named", REQUEST, ALL, "binary_data_output only without named outputs")
def binary_all_named(target: OipTarget) -> None:
    request = request_of(target, outputs=named(target), parameters={"binary_data_output": True})
    found = sizes(infer(target, request))
    expect(None not in found.values(), f"binary sizes are {found}")


@case("binary.override_json", REQUEST, OVERRIDES, "binary_data false does not override")
def override_with_json(target: OipTarget) -> None:
    outputs = named(target, False)
    request = request_of(target, outputs=outputs, parameters={"binary_data_output": True})
    found = sizes(infer(target, request))
    expect(found[target.outputs[0]] is None, "the output is binary")


@case("binary.override_binary", REQUEST, OVERRIDES, "binary_data true does not override")
def override_with_binary(target: OipTarget) -> None:
    outputs = named(target, True)
    request = request_of(target, outputs=outputs, parameters={"binary_data_output": False})
    found = sizes(infer(target, request))
    expect(found[target.outputs[0]] is not None, "the output is JSON")


@case("binary.header", REQUEST, HEADER, "binary outputs without their header")
def header_given(target: OipTarget) -> None:
    answer = all_binary(target)
    expect(answer.status == 200, f"status {answer.status}")
    length = answer.headers.get(HEADER_LENGTH, "")
    expect(length.isascii() and length.isdigit(), f"the header is {length!r}")


@case("binary.header_length", REQUEST, HEADER, "the header with the body's length")
def header_length(target: OipTarget) -> None:
    answer = all_binary(target)
    length = int(answer.headers.get(HEADER_LENGTH, "-1"))
    expect(0 < length < len(answer.body), f"the header is {length} of {len(answer.body)} bytes")
    document = json.loads(answer.body[:length])
    expect(isinstance(document, dict), f"before the binary data is {document!r}")


@case("binary.content_length", REQUEST, LENGTH, "padding after the binary data")
def content_length(target: OipTarget) -> None:
    answer = all_binary(target)
    tail = sum(size or 0 for size in sizes(answer).values())
    due = int(answer.headers.get(HEADER_LENGTH, "-1")) + tail
    found = answer.headers.get("content-length")
    expect(found == str(due), f"content length is {found}, header and tensors have {due} bytes")


@case("binary.content_type", "Examples", "Content-Type: application/octet-stream",
      "binary outputs as JSON's content type")  # fmt: skip
def content_type(target: OipTarget) -> None:
    answer = all_binary(target)
    expect(None not in sizes(answer).values(), "the outputs are not binary")
    found = answer.headers.get("content-type")
    expect(found == "application/octet-stream", f"content type is {found!r}")


@case("binary.size", REQUEST, SIZE, "binary sizes in elements")
def binary_size(target: OipTarget) -> None:
    for output in accepted(all_binary(target))["outputs"]:
        size = parameters_of(output).get("binary_data_size")
        expect(type(size) is int, f"binary_data_size is {size!r}")
        if output["datatype"] in DTYPES:
            due = elements(output["shape"]) * DTYPES[output["datatype"]].itemsize
            expect(size == due, f"{size} bytes in shape {output['shape']}")


@case("binary.no_data", REQUEST,
      "that the input or output tensor is communicated as binary data",
      "binary outputs also as JSON")  # fmt: skip
def no_data(target: OipTarget) -> None:
    for output in accepted(all_binary(target))["outputs"]:
        parameters = parameters_of(output)
        expect("binary_data_size" in parameters, f"parameters are {parameters}")
        expect("data" not in output, "a binary output has data in the JSON")


@case("binary.output_layout", REQUEST, LAYOUT, "writes binary outputs as big-endian")
def output_layout(target: OipTarget) -> None:
    request = request_of(target, 3, outputs=named(target, True))
    answer = infer(target, request)
    expect(sizes(answer)[target.outputs[0]] is not None, "the output is not binary")
    found, due = outputs_of(answer), outputs_of(infer(target, request_of(target, 3)))
    name = target.outputs[0]
    expect(found[name] == due[name], f"binary output is {found[name]}, as JSON {due[name]}")


@case("binary.output_order", REQUEST, ORDER, "binary data in the opposite order")
def output_order(target: OipTarget) -> None:
    first_two_outputs(target)
    answer = all_binary(target, 3)
    expect(None not in sizes(answer).values(), "the outputs are not binary")
    found, due = outputs_of(answer), outputs_of(infer(target, request_of(target, 3)))
    expect(found == due, f"binary outputs are {found}, as JSON {due}")


@case("binary.both", "Examples",
      "For the following request the input tensors are sent as binary data and the output tensor "
      "must be returned as binary data as that is what is requested.",
      "JSON outputs for binary inputs")  # fmt: skip
def both_binary(target: OipTarget) -> None:
    tensor, raw = binary_input(target, 2)
    answer = infer_binary(target, {"inputs": [tensor], "outputs": named(target, True)}, raw)
    expect(sizes(answer)[target.outputs[0]] is not None, "the output is not binary")


@case("binary.raw", RAW,
      "To send a raw binary request, the Inference-Header-Content-Length header must be provided "
      "with value 0 to indicate that the request body doesn't include the inference header.",
      "refuses raw requests")  # fmt: skip
def raw_request(target: OipTarget) -> None:
    found, due = outputs_of(infer_raw(target)), outputs_of(infer(target, request_of(target)))
    expect(found == due, f"outputs of a raw request are {found}, of JSON {due}")


@case("binary.raw_outputs", RAW,
      "all the model output will be requested to be returned in binary tensor form as described in "
      "the previous section.", "JSON outputs for raw requests")  # fmt: skip
def raw_outputs(target: OipTarget) -> None:
    found = sizes(infer_raw(target))
    expect(None not in found.values(), f"binary sizes are {found}")
