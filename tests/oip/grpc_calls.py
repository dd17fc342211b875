"""Requests and answers of the gRPC binding."""

from typing import Any

import grpc

from tests.oip.messages import SERVICE, message_types, new
from tests.oip.registry import NotConformingError, expect
from tests.oip.rest import OutputValues, decoded, typed
from tests.oip.target import FIELDS, OipTarget

SECONDS = 10


def call(target: OipTarget, method: str, /, **fields: Any) -> Any:
    """Call a method on a channel of its own and return its answer.

    Args:
        target: The server.
        method: For example ``ModelInfer``.
        fields: Of the request.

    Raises:
        grpc.RpcError: The status is not OK.
    """
    request, answer = new(f"{method}Request", **fields), message_types()[f"{method}Response"]
    with grpc.insecure_channel(target.grpc) as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return ask(request, timeout=SECONDS, metadata=tuple(target.headers.items()))


def accepted_call(target: OipTarget, method: str, /, **fields: Any) -> Any:
    """Return the answer of a call that must succeed."""
    try:
        return call(target, method, **fields)
    except grpc.RpcError as error:
        raise NotConformingError(f"{method}: {status_of(error)}") from error


def refused_call(target: OipTarget, method: str, /, **fields: Any) -> None:
    """Check that a call fails, and that its method is implemented."""
    try:
        call(target, method, **fields)
    except grpc.RpcError as error:
        code = error.code()
        no_answer = (
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
        expect(code not in no_answer, f"{method}: {status_of(error)}")
        return
    raise NotConformingError(f"{method}: status OK where an error is due")


def status_of(error: Any) -> str:
    """Return code and first line of the details."""
    return f"{error.code().name}: {(error.details() or '').partition(chr(10))[0][:120]}"


def typed_input(target: OipTarget, rows: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a valid input with typed contents; ``fields`` replace or add to its own."""
    values = typed(
        target.input.datatype, [value for row in target.input.rows[:rows] for value in row]
    )
    contents = {FIELDS[target.input.datatype]: values}
    return {**bare_input(target, rows), "contents": contents, **fields}


def bare_input(target: OipTarget, rows: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an input without contents, as raw requests have it."""
    shape = [rows, target.input.width]
    tensor = {"name": target.input.name, "datatype": target.input.datatype, "shape": shape}
    return {**tensor, **fields}


def infer_typed(target: OipTarget, rows: int = 1, **fields: Any) -> Any:
    """Return the answer of a valid request with typed contents."""
    request = {"model_name": target.model, "inputs": [typed_input(target, rows)], **fields}
    return accepted_call(target, "ModelInfer", **request)


def infer_raw(target: OipTarget, rows: int = 1, **fields: Any) -> Any:
    """Return the answer of a valid request with raw contents."""
    raw = {"inputs": [bare_input(target, rows)], "raw_input_contents": [target.input.raw(rows)]}
    return accepted_call(target, "ModelInfer", model_name=target.model, **{**raw, **fields})


def refuse_infer(target: OipTarget, **fields: Any) -> None:
    """Check that an inference fails; ``fields`` replace those of a valid typed request."""
    valid = {"model_name": target.model, "inputs": [typed_input(target)]}
    refused_call(target, "ModelInfer", **{**valid, **fields})


def call_outputs(answer: Any) -> dict[str, OutputValues]:
    """Return the outputs of an inference by name, raw ones decoded."""
    found = {}
    for place, output in enumerate(answer.outputs):
        if answer.raw_output_contents:
            values = decoded(output.datatype, answer.raw_output_contents[place])
        else:
            values = tuple(
                value.decode() if isinstance(value, bytes) else value
                for value in typed_values(output)
            )
        found[output.name] = OutputValues(output.datatype, tuple(output.shape), values)
    return found


def typed_values(output: Any) -> tuple[Any, ...]:
    """Return the elements in the field of an output's data type."""
    expect(output.datatype in FIELDS, f"no typed contents for datatype {output.datatype!r}")
    return tuple(getattr(output.contents, FIELDS[output.datatype]))
