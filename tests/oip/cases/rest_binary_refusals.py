"""The binary tensor data extension over REST: what must fail, as an error."""

from typing import Any

from tests.oip.cases.rest_binary import HEADER, LENGTH, RAW, REQUEST, SIZE
from tests.oip.registry import BINARY, REST, cases_of, expect
from tests.oip.rest import binary_input, infer_binary, infer_raw, refused
from tests.oip.target import OipTarget

case = cases_of("rest", "binary", BINARY)


def sized(target: OipTarget, size: Any) -> tuple[dict[str, Any], bytes]:
    """Return a request that reports another size of its binary tensor, and the tensor."""
    tensor, raw = binary_input(target)
    return {"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}, raw


@case("binary.error", f"{REST}#Inference Response JSON Error Object",
      "The HTTP body must contain the *$inference_error_response* object.",
      "binary errors without an object")  # fmt: skip
def error_object(target: OipTarget) -> None:
    tensor, raw = binary_input(target)
    answer = infer_binary(target, {"inputs": [{**tensor, "name": "no-such-input"}]}, raw)
    expect(answer.status != 200, "an unknown input is accepted")
    refused(answer)


@case("binary.header_missing", REQUEST, HEADER, "accepts binary data without the header")
def header_missing(target: OipTarget) -> None:
    tensor, raw = binary_input(target)
    document = {"inputs": [tensor]}
    refused(infer_binary(target, document, raw, inference_header_content_length=None))


@case("binary.header_text", REQUEST, HEADER, "accepts a header that is not a number")
def header_text(target: OipTarget) -> None:
    tensor, raw = binary_input(target)
    document = {"inputs": [tensor]}
    refused(infer_binary(target, document, raw, inference_header_content_length="all"))


@case("binary.header_negative", REQUEST, HEADER, "accepts a negative header")
def header_negative(target: OipTarget) -> None:
    tensor, raw = binary_input(target)
    length = f"-{len(raw)}"
    refused(infer_binary(target, {"inputs": [tensor]}, raw, inference_header_content_length=length))


@case("binary.header_long", REQUEST, HEADER, "accepts a header past the body")
def header_long(target: OipTarget) -> None:
    tensor, raw = binary_input(target)
    document = {"inputs": [tensor]}
    refused(infer_binary(target, document, raw, inference_header_content_length="1000000"))


@case("binary.header_short", REQUEST, HEADER, "accepts a header inside of the JSON object")
def header_short(target: OipTarget) -> None:
    tensor, raw = binary_input(target)
    refused(infer_binary(target, {"inputs": [tensor]}, raw, inference_header_content_length="10"))


@case("binary.size_short", REQUEST, SIZE, "accepts a binary tensor that is too short")
def size_short(target: OipTarget) -> None:
    half = len(target.input.raw(1)) // 2
    document, raw = sized(target, half)
    refused(infer_binary(target, document, raw[:half]))


@case("binary.size_long", REQUEST, SIZE, "accepts a binary tensor that is too long")
def size_long(target: OipTarget) -> None:
    document, raw = sized(target, 2 * len(target.input.raw(1)))
    refused(infer_binary(target, document, raw * 2))


@case("binary.truncated", REQUEST, SIZE, "accepts a truncated body")
def truncated(target: OipTarget) -> None:
    document, raw = sized(target, len(target.input.raw(1)))
    refused(infer_binary(target, document, raw[:-1]))


@case("binary.rest", REQUEST, LENGTH, "accepts bytes after the last tensor")
def bytes_after(target: OipTarget) -> None:
    document, raw = sized(target, len(target.input.raw(1)))
    refused(infer_binary(target, document, raw + b"\0" * 8))


@case("binary.size_negative", REQUEST, SIZE, "accepts a negative size")
def size_negative(target: OipTarget) -> None:
    document, raw = sized(target, -8)
    refused(infer_binary(target, document, raw))


@case("binary.size_text", REQUEST, SIZE, "accepts a size as text")
def size_text(target: OipTarget) -> None:
    document, raw = sized(target, str(len(target.input.raw(1))))
    refused(infer_binary(target, document, raw))


@case("binary.raw_truncated", RAW,
      "For models whose tensor metadata can be deduced from the byte size of the binary data.",
      "accepts a truncated raw request")  # fmt: skip
def raw_truncated(target: OipTarget) -> None:
    refused(infer_raw(target, target.input.raw(1)[:-1]))
