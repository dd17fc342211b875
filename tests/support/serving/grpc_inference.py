"""A server of the gRPC binding on loopback, and calls to it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from stream_scorer.core.decision.decide import Model
from stream_scorer.serving.inference.grpc_servicer import SERVICE, inference_handler
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages
from stream_scorer.serving.server.grpc_server import GrpcServer
from stream_scorer.serving.settings.api import Serving


class GrpcCalls:
    """Calls the methods of a server.

    Args:
        channel: A channel of ``grpc.aio``.
        service: What the server answers with.
        errors: The unexpected exceptions of the server.
    """

    def __init__(self, channel: Any, service: InferenceService, errors: list[Exception]) -> None:
        self.service = service
        self.errors = errors
        self._channel = channel

    async def __call__(self, method: str, request: Any = None, **fields: Any) -> Any:
        """Return the answer of a method; without a message, its fields make one."""
        if request is None:
            request = getattr(messages, f"{method}Request")(**fields)
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(messages, f"{method}Response").FromString,
        )
        return await call(request, timeout=30)

    async def raw(self, method: str, message: bytes) -> grpc.aio.AioRpcError:
        """Return the error that bytes are answered with."""
        try:
            answer = await self._channel.unary_unary(f"/{SERVICE}/{method}")(message, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"{method} answered {answer}")

    async def error(self, method: str, request: Any = None, **fields: Any) -> grpc.aio.AioRpcError:
        """Return the error that a method answers with."""
        try:
            answer = await self(method, request, **fields)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"{method} answered {answer}")


@asynccontextmanager
async def grpc_serving(models: Sequence[Model], **settings: Any) -> AsyncIterator[GrpcCalls]:
    """Run a server with a free port, and connect to it."""
    errors: list[Exception] = []
    serving = Serving.model_validate({"grpc_port": 0, "inference": settings})
    async with InferenceService(models, serving.inference) as service:
        handler = inference_handler(service, errors.append)
        server = GrpcServer(serving, [lambda added: added.add_generic_rpc_handlers((handler,))])
        await server.start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield GrpcCalls(channel, service, errors)
        await server.stop(5)
