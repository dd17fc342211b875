"""The same server without scoring: the same routes, bodies, authentication and limits.

``contender.py module bench.http_steps.echo [STALL]`` runs it. An inference request is answered with
its own body, by REST and by gRPC. With ``STALL``, the process stops for 100 ms each second: a
generator that counts latency from the schedule shows that.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from stream_scorer.serving.access.grpc_interceptor import AccessInterceptor
from stream_scorer.serving.access.grpc_messages import MessageReader
from stream_scorer.serving.access.opening import ListenAddress, OpenedGate
from stream_scorer.serving.inference.grpc_servicer import METHOD_SCOPES, SERVICE
from stream_scorer.serving.inference.rest_routes import CONTENT_TYPES
from stream_scorer.serving.server.compose import Composition, ServedPart, kept_open
from stream_scorer.serving.server.process import run_server
from stream_scorer.serving.web.messages import Request, Response, Route
from stream_scorer.settings import Settings, load_settings
from stream_scorer.telemetry import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STALL: Final = "stall"
STALL_SECONDS: Final = 0.1
STALL_EVERY_SECONDS: Final = 1.0


async def echo(request: Request) -> Response:
    """Answer a request with its body."""
    return Response(200, request.body)


async def echo_message(message: bytes, context: Any) -> bytes:
    """Answer a call with its message."""
    del context
    return message


def add_echo(server: "grpc.aio.Server") -> None:
    """Add the method ``ModelInfer``, which echoes."""
    handler = grpc.unary_unary_rpc_method_handler(echo_message)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler}),)
    )


@asynccontextmanager
async def stalling() -> "AsyncIterator[None]":
    """Stop the event loop for a moment each second."""

    async def stall() -> None:
        while True:
            await asyncio.sleep(STALL_EVERY_SECONDS - STALL_SECONDS)
            time.sleep(STALL_SECONDS)  # noqa: ASYNC251 this is what is tested

    task = asyncio.create_task(stall())
    yield
    task.cancel()


def prepare(arguments: Sequence[str]) -> Callable[[], None]:
    """Return the run of the server.

    Args:
        arguments: Empty, or ``stall``.
    """
    settings = load_settings()
    contexts = (stalling(),) if STALL in arguments else ()

    def compose(settings: Settings, listener: Listener) -> Composition:
        own = settings.serving
        opened = OpenedGate(settings, (ListenAddress(own.host), ListenAddress(own.host)), listener)
        models = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        routes = tuple(
            Route(
                "POST", f"{model}/infer", "score", echo, own.inference.body_bytes_max,
                content_types=CONTENT_TYPES,
            )
            for model in models
        )  # fmt: skip
        part = ServedPart(routes, (kept_open(opened), *contexts), (add_echo,))
        scopes = {
            method: () if scope is None else (scope,) for method, scope in METHOD_SCOPES.items()
        }
        interceptor = AccessInterceptor(opened.gate, scopes, MessageReader(own))
        return Composition(opened.gate, [part], (interceptor,))

    return lambda: run_server(settings, compose)
