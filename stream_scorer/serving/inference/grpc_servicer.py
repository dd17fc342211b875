"""The gRPC binding of the Open Inference Protocol, for a server of ``grpc.aio``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from stream_scorer.serving.inference.feature_tensors import FEATURES
from stream_scorer.serving.inference.grpc_tensors import outputs_of, response_of, rows_of
from stream_scorer.serving.inference.refusals import InferenceRefused, RefusalKind
from stream_scorer.serving.inference.rest_answers import model_properties
from stream_scorer.serving.inference.results import OUTPUTS, REASONS, data_type_of
from stream_scorer.serving.inference.service import (
    EXTENSIONS,
    PLATFORM,
    RETRY_SECONDS,
    SERVER_NAME,
    InferenceService,
)
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages
from stream_scorer.serving.web.messages import Scope

SERVICE: Final = "inference.GRPCInferenceService"
METHOD_SCOPES: Final[dict[str, Scope | None]] = {
    f"/{SERVICE}/ServerLive": None,
    f"/{SERVICE}/ServerReady": None,
    f"/{SERVICE}/ModelReady": "score",
    f"/{SERVICE}/ServerMetadata": "score",
    f"/{SERVICE}/ModelMetadata": "score",
    f"/{SERVICE}/ModelInfer": "score",
}
"""What a caller needs for each method; None: no authentication."""

_CODES: Final = {
    RefusalKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalKind.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    RefusalKind.BUSY: grpc.StatusCode.UNAVAILABLE,
}
_NOTHING: Final[tuple[tuple[str, str], ...]] = ()
_PUSHBACK: Final = (("grpc-retry-pushback-ms", str(1000 * RETRY_SECONDS)),)
_Rpc = Callable[[Any, Any], Awaitable[Any]]


def inference_handler(
    service: InferenceService,
    on_error: Callable[[Exception], None],
    in_flight: Callable[[], int] = lambda: 0,
) -> grpc.GenericRpcHandler:
    """Return the methods of the binding, for ``grpc.aio.Server.add_generic_rpc_handlers``.

    Args:
        service: Answers them; it is ready when its ``async with`` has begun.
        on_error: Called with an unexpected exception. The caller of the method receives INTERNAL,
            and nothing of the exception.
        in_flight: Returns the calls in flight, as seen by one of them; 0: not known.
    """
    binding = _GrpcBinding(service, in_flight)
    methods: tuple[tuple[str, _Rpc, Any, Any], ...] = (
        ("ServerLive", binding.live, messages.ServerLiveRequest, messages.ServerLiveResponse),
        ("ServerReady", binding.ready, messages.ServerReadyRequest, messages.ServerReadyResponse),
        ("ModelReady", binding.model_ready, messages.ModelReadyRequest,
         messages.ModelReadyResponse),
        ("ServerMetadata", binding.server_metadata, messages.ServerMetadataRequest,
         messages.ServerMetadataResponse),
        ("ModelMetadata", binding.model_metadata, messages.ModelMetadataRequest,
         messages.ModelMetadataResponse),
        ("ModelInfer", binding.infer, messages.ModelInferRequest, messages.ModelInferResponse),
    )  # fmt: skip
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _with_status(rpc, request.FromString, on_error),
            response_serializer=response.SerializeToString,
        )
        for name, rpc, request, response in methods
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _with_status(
    rpc: _Rpc, decode: Callable[[bytes], Any], on_error: Callable[[Exception], None]
) -> _Rpc:
    """Return a method of undecoded messages, whose exceptions are status codes."""

    async def answered(message: bytes, context: Any) -> Any:
        try:
            return await rpc(decode(message), context)
        except DecodeError:
            code, metadata = grpc.StatusCode.INVALID_ARGUMENT, _NOTHING
            text = "the message is not protobuf of the method's request"
        except InferenceRefused as refused:
            metadata = _PUSHBACK if refused.kind is RefusalKind.BUSY else _NOTHING
            code, text = _CODES[refused.kind], refused.message
        except Exception as error:  # noqa: BLE001 otherwise its text goes to the caller
            on_error(error)
            metadata, code, text = _NOTHING, grpc.StatusCode.INTERNAL, "internal error"
        return await context.abort(code, text, metadata)

    return answered


class _GrpcBinding:
    """The methods; the second argument is the context of grpc, which they do not need."""

    def __init__(self, service: InferenceService, in_flight: Callable[[], int] = lambda: 0) -> None:
        self._service = service
        self._in_flight = in_flight

    async def live(self, request: messages.ServerLiveRequest, _: Any) -> Any:  # noqa: ARG002
        return messages.ServerLiveResponse(live=True)

    async def ready(self, request: messages.ServerReadyRequest, _: Any) -> Any:  # noqa: ARG002
        return messages.ServerReadyResponse(ready=self._service.ready)

    async def model_ready(self, request: messages.ModelReadyRequest, _: Any) -> Any:
        self._service.find(request.name, request.version)
        return messages.ModelReadyResponse(ready=self._service.ready)

    async def server_metadata(self, request: messages.ServerMetadataRequest, _: Any) -> Any:  # noqa: ARG002
        return messages.ServerMetadataResponse(
            name=SERVER_NAME, version=self._service.release, extensions=EXTENSIONS
        )

    async def model_metadata(self, request: messages.ModelMetadataRequest, _: Any) -> Any:
        model = self._service.find(request.name, request.version)
        tensor = messages.ModelMetadataResponse.TensorMetadata
        return messages.ModelMetadataResponse(
            name=model.name,
            versions=self._service.versions(model.name),
            platform=PLATFORM,
            inputs=[tensor(name=FEATURES, datatype="FP64", shape=[-1, len(model.inputs.names)])],
            outputs=[
                tensor(name=name, datatype=data_type_of(name), shape=[-1]) for name in OUTPUTS
            ],
            properties=model_properties(model),
        )

    async def infer(self, request: messages.ModelInferRequest, _: Any) -> Any:
        service = self._service
        with service.admission:
            # As by REST: all requests that have arrived are counted before the first one is
            # computed, where they are more than the limit.
            if not 0 < self._in_flight() <= service.settings.concurrent:
                await asyncio.sleep(0)
            model = service.find(request.model_name, request.model_version)
            outputs = outputs_of(request)
            rows = rows_of(request, model.inputs)
            results = await service.infer(model, rows, explain=REASONS in outputs)
            return response_of(model, request, outputs, results)
