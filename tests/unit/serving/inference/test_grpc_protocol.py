"""The gRPC binding, by the lines of open_inference_grpc.proto and inference_grpc.md.

The quoted lines are from kserve/open-inference-protocol at d49cc23, specification/protocol.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from stream_scorer.serving.inference.grpc_servicer import METHOD_SCOPES, SERVICE, inference_handler
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages
from tests.support.serving.generate_protocol import FOLDER, GENERATED, generate
from tests.support.serving.grpc_inference import GrpcCalls, grpc_serving
from tests.support.serving.inference_calls import NAMES, random_model, serving
from tests.support.serving.inference_messages import grpc_outputs, grpc_request

ROWS = np.arange(21.0).reshape(3, 7)
Request = messages.ModelInferRequest
Change = Callable[[Any], object]


def scene(play: Callable[[GrpcCalls], Any], **settings: Any) -> Any:
    """Run a coroutine of calls against a server of two versions."""

    async def played() -> Any:
        models = [random_model(1, "1.10.0"), random_model(2, "1.9.0")]
        async with grpc_serving(models, **settings) as calls:
            return await play(calls)

    return asyncio.run(played())


def test_the_generated_module_is_the_one_of_the_definition(tmp_path: Path) -> None:
    generate(tmp_path)
    for name in GENERATED:
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()


def test_the_service_has_the_methods_of_the_definition() -> None:
    (service,) = messages.DESCRIPTOR.services_by_name.values()
    assert service.full_name == SERVICE
    assert {f"/{SERVICE}/{name}" for name in service.methods_by_name} == METHOD_SCOPES.keys()


def test_health_and_metadata() -> None:
    async def play(calls: GrpcCalls) -> None:
        assert (await calls("ServerLive")).live
        assert (await calls("ServerReady")).ready
        # "The version of the model to check for readiness. If not given the server will choose a
        # version based on the model and internal policy."
        assert (await calls("ModelReady", name="fraud")).ready
        assert (await calls("ModelReady", name="fraud", version="1.9.0")).ready
        server = await calls("ServerMetadata")
        assert (server.name, server.version) == ("stream-scorer", calls.service.release)
        assert server.extensions == ["binary_tensor_data"]
        model = await calls("ModelMetadata", name="fraud")
        assert (model.name, model.versions) == ("fraud", ["1.9.0", "1.10.0"])
        # "A variable-size dimension is represented by a -1 value."
        (features,) = model.inputs
        assert (features.name, features.datatype, features.shape) == ("features", "FP64", [-1, 7])
        assert [(o.name, o.datatype, o.shape) for o in model.outputs] == [
            ("score", "FP64", [-1]),
            ("outcome", "BYTES", [-1]),
        ]
        assert model.properties["features"] == ",".join(NAMES)
        calls.service.admission.open = False
        assert (await calls("ServerLive")).live
        assert not (await calls("ServerReady")).ready
        assert not (await calls("ModelReady", name="fraud")).ready

    scene(play)


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_has_the_form_of_its_request(*, raw: bool) -> None:
    async def play(calls: GrpcCalls) -> None:
        # The id is an "Optional identifier for the request. If specified will be returned in the
        # response."
        request = grpc_request(ROWS, raw=raw, id="42", model_version="1.9.0")
        answer = await calls("ModelInfer", request)
        assert (answer.model_name, answer.model_version, answer.id) == ("fraud", "1.9.0", "42")
        # "If this field is specified then InferOutputTensor::contents must not be specified for any
        # output tensor."
        assert len(answer.raw_output_contents) == (2 if raw else 0)
        assert [each.HasField("contents") for each in answer.outputs] == [not raw] * 2
        # Outputs are "Optional, if not specified all outputs produced by the model will be
        # returned."
        expected = calls.service.find("fraud", "1.9.0").compute(ROWS)
        found = grpc_outputs(answer)
        assert found["score"].tobytes() == expected.score.tobytes()
        assert found["outcome"] == expected.outcome_names()
        request.outputs.add(name="reasons")
        found = grpc_outputs(await calls("ModelInfer", request))
        assert list(found) == ["reasons"]
        assert found["reasons"] == expected.reason_texts()

    scene(play)


def test_contents_of_each_data_type_are_read() -> None:
    # "Representation for INT8, INT16, and INT32 data types." and so on.
    fields = {
        "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
        "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
        "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
        "FP32": "fp32_contents", "FP64": "fp64_contents",
    }  # fmt: skip

    async def play(calls: GrpcCalls) -> None:
        rows = np.array([[1.0, 0, 0, 1, 1, 0, 1]])
        expected = calls.service.find("fraud", None).compute(rows)
        for kind, field in fields.items():
            request = Request(model_name="fraud")
            tensor = request.inputs.add(name="features", datatype=kind, shape=[1, 7])
            getattr(tensor.contents, field).extend([int(each) for each in rows[0]])
            found = grpc_outputs(await calls("ModelInfer", request))
            assert found["score"].tobytes() == expected.score.tobytes(), kind
        # A missing and an infinite value need no other form.
        rows[0, :3] = np.nan, np.inf, -np.inf
        expected = calls.service.find("fraud", None).compute(rows)
        for kind, field in (("FP64", "fp64_contents"), ("FP32", "fp32_contents")):
            request = Request(model_name="fraud")
            tensor = request.inputs.add(name="features", datatype=kind, shape=[1, 7])
            getattr(tensor.contents, field).extend(rows[0].tolist())
            found = grpc_outputs(await calls("ModelInfer", request))
            assert found["score"].tobytes() == expected.score.tobytes(), kind

    scene(play)


def _contents(field: str, values: list[Any], kind: str = "FP64") -> Change:
    def change(request: Any) -> None:
        request.inputs[0].ClearField("contents")
        request.inputs[0].datatype = kind
        getattr(request.inputs[0].contents, field).extend(values)

    return change


def _raw(*contents: bytes, cleared: bool = True, kind: str = "FP64") -> Change:
    def change(request: Any) -> None:
        if cleared:
            request.inputs[0].ClearField("contents")
        request.inputs[0].datatype = kind
        request.raw_input_contents.extend(contents)

    return change


def _shape(*shape: int) -> Change:
    def change(request: Any) -> None:
        request.inputs[0].shape[:] = shape

    return change


HOSTILE: dict[str, tuple[Change, str]] = {
    "no inputs": (lambda r: r.ClearField("inputs"), "no inputs"),
    "overflowing shape": (_shape(2**62, 7), "1 to 4096 rows"),
    "negative shape": (_shape(-3, -7), "its shape is"),
    "no shape": (_shape(), "its shape is"),
    "no rows": (_shape(0, 7), "1 to 4096 rows"),
    "one row fewer": (_shape(2, 7), "21 elements of contents, the shape has 14"),
    "one row more": (_shape(4, 7), "21 elements of contents, the shape has 28"),
    "no contents": (_contents("fp64_contents", []), "0 elements"),
    "contents of another type": (_contents("fp32_contents", [1] * 21), "are fp64_contents"),
    "contents of two types": (
        lambda r: r.inputs[0].contents.int_contents.append(1), "are fp64_contents"
    ),
    "INT8 out of range": (_contents("int_contents", [128] * 21, "INT8"), "range of INT8"),
    "INT64 that float64 does not have": (
        _contents("int64_contents", [2**53 + 1] * 21, "INT64"), "no equal float64"
    ),
    "FP16 in contents": (_contents("fp32_contents", [1] * 21, "FP16"), "only raw_input_contents"),
    "BYTES": (_contents("bytes_contents", [b"1"] * 21, "BYTES"), "a feature is a number"),
    "unknown data type": (_contents("fp64_contents", [1] * 21, "X"), "unknown datatype 'X'"),
    "raw and contents": (_raw(ROWS.tobytes(), cleared=False), "both contents and"),
    "two raw contents": (_raw(ROWS.tobytes(), b""), "2 raw_input_contents for 1 inputs"),
    "short raw contents": (_raw(ROWS.tobytes()[:-1]), "167 bytes of data"),
    "long raw contents": (_raw(ROWS.tobytes() + b"x"), "169 bytes of data"),
    "BOOL of 2": (_raw(b"\x02" * 21, kind="BOOL"), "neither 0 nor 1"),
    "BYTES whose lengths lie": (_raw(b"\xff\xff\xff\xff", kind="BYTES"), "a feature is a number"),
    "unknown input": (lambda r: setattr(r.inputs[0], "name", "x\n"), "unknown input 'x\\n'"),
    "duplicate input": (lambda r: r.inputs.append(r.inputs[0]), "same name"),
    "unknown output": (lambda r: r.outputs.add(name="x"), "unknown output 'x'"),
    "duplicate output": (
        lambda r: r.outputs.extend([Request.InferRequestedOutputTensor(name="score")] * 2), "twice"
    ),
    "sequence": (
        lambda r: r.parameters["sequence_id"].MergeFrom(messages.InferParameter(int64_param=1)),
        "sequence_id is not supported",
    ),
    "shared memory": (
        lambda r: r.inputs[0].parameters["shared_memory_region"].MergeFrom(
            messages.InferParameter(string_param="x")), "shared_memory_region is not supported",
    ),
}  # fmt: skip


def test_hostile_requests_are_invalid_arguments() -> None:
    async def play(calls: GrpcCalls) -> None:
        for name, (change, message) in HOSTILE.items():
            request = grpc_request(ROWS, raw=False)
            change(request)
            error = await calls.error("ModelInfer", request)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, name
            assert message in (error.details() or ""), name
        assert calls.errors == []
        assert calls.service.admission.in_flight == 0
        await calls("ModelInfer", grpc_request(ROWS, raw=True))

    scene(play)


def test_a_message_that_is_not_protobuf_is_invalid() -> None:
    async def play(calls: GrpcCalls) -> None:
        for method in ("ServerLive", "ModelReady", "ModelInfer"):
            error = await calls.raw(method, b"\xff\xff\xff")
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error.details() == "the message is not protobuf of the method's request"
        assert calls.errors == []

    scene(play)


def test_unknown_models_are_not_found() -> None:
    async def play(calls: GrpcCalls) -> None:
        asked: list[tuple[str, dict[str, str]]] = [
            ("ModelReady", {"name": "x"}),
            ("ModelMetadata", {"name": "fraud", "version": "9.9.9"}),
            ("ModelInfer", {"model_name": "x"}),
            ("ModelInfer", {}),
        ]
        for method, fields in asked:
            error = await calls.error(method, **fields)
            assert error.code() is grpc.StatusCode.NOT_FOUND
            assert (error.details() or "").startswith("unknown")

    scene(play)


def test_too_many_requests_are_unavailable() -> None:
    async def play(calls: GrpcCalls) -> None:
        with calls.service.admission:
            error = await calls.error("ModelInfer", grpc_request(ROWS, raw=True))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(error.trailing_metadata()) == {"grpc-retry-pushback-ms": "1000"}
        await calls("ModelInfer", grpc_request(ROWS, raw=True))

    scene(play, concurrent=1)


@pytest.mark.parametrize(
    ("in_flight", "rounds"), [(1, 0), (4, 0), (5, 1), (100, 1), (0, 1)]
)  # fmt: skip
def test_only_more_calls_than_the_limit_take_another_round(in_flight: int, rounds: int) -> None:
    with serving([random_model(1)], concurrent=4) as rest:
        handler: Any = inference_handler(rest.service, print, lambda: in_flight)
        method = handler.service(SimpleNamespace(method=f"/{SERVICE}/ModelInfer"))
        message = grpc_request(ROWS[:1], raw=True).SerializeToString()
        # The model is asked on the event loop, so nothing else is awaited.
        answer = method.unary_unary(message, None)
        for _ in range(rounds):
            assert answer.send(None) is None
        with pytest.raises(StopIteration) as ended:
            answer.send(None)
        assert ended.value.value.model_name == "fraud"


def test_an_unexpected_error_tells_the_caller_nothing() -> None:
    async def play(calls: GrpcCalls) -> None:
        def failing(*_: Any, **__: Any) -> None:
            raise KeyError("secret")

        calls.service.find("fraud", None).compute = failing  # type: ignore[method-assign,assignment]
        error = await calls.error("ModelInfer", grpc_request(ROWS, raw=True))
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert [repr(each) for each in calls.errors] == ["KeyError('secret')"]

    scene(play)


def test_a_message_over_the_limit_is_refused() -> None:
    async def play(calls: GrpcCalls) -> None:
        error = await calls.error("ModelInfer", grpc_request(np.zeros((40, 7)), raw=True))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    scene(play, body_bytes_max=1024)
