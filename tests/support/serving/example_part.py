"""A part of the API for tests: it echoes, waits, fails and keeps the processor busy."""

import asyncio
import time

import grpc
import grpc.aio

from stream_scorer.serving.access.refusals import unauthenticated
from stream_scorer.serving.web.gate import RequestHead
from stream_scorer.serving.web.messages import JSON, Caller, Request, Response, Route
from stream_scorer.serving.web.problems import Problem

BODY_BYTES = 1_048_576
WAIT_SECONDS = 5.0
HOLD_SECONDS = 60.0


class ExampleGate:
    """Admits ``Bearer NAME`` as the client NAME with the scope score, and remembers all heads."""

    def __init__(self) -> None:
        self.heads: list[RequestHead] = []

    def admit(self, head: RequestHead) -> Caller:
        self.heads.append(head)
        scheme, _, name = head.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not name:
            raise unauthenticated("none were sent", presented=False)
        return Caller(name, frozenset({"score"}), "key")


async def echo(request: Request) -> Response:
    return Response(200, request.body)


async def wait(request: Request) -> Response:
    await asyncio.sleep(float(request.parameters["seconds"]))
    return Response(200, b"{}")


async def spin(request: Request) -> Response:
    """Keep the event loop busy."""
    until = time.perf_counter() + float(request.parameters["seconds"])
    while time.perf_counter() < until:
        pass
    return Response(200, b"{}")


async def fail(request: Request) -> Response:
    raise ValueError(f"secret inside, {request.request_id}")


async def teapot(request: Request) -> Response:
    raise Problem(418, "teapot", "Short and stout.", "handle\x1b]52;c;aGk=\x07", members={"n": 1})


def example_routes() -> tuple[Route, ...]:
    return (
        Route("POST", "/echo", "score", echo, BODY_BYTES),
        Route("GET", "/wait/{seconds}", "score", wait, seconds_max=WAIT_SECONDS),
        Route("GET", "/hold/{seconds}", "score", wait, seconds_max=HOLD_SECONDS),
        Route("GET", "/spin/{seconds}", "score", spin),
        Route("GET", "/fail", "score", fail),
        Route("GET", "/teapot", None, teapot),
        Route("POST", "/operate", "operate", echo, BODY_BYTES, content_types=frozenset({JSON})),
    )


async def _echo_bytes(message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    # A client sees by this that its call is in flight.
    await context.send_initial_metadata(())
    await asyncio.sleep(float(message.decode() or 0))
    return message


def echo_service(server: grpc.aio.Server) -> None:
    """Add ``/example.Echo/Wait``, whose messages are seconds as text."""
    handler = grpc.unary_unary_rpc_method_handler(_echo_bytes)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("example.Echo", {"Wait": handler}),)
    )
