"""A process that serves models over both bindings, without authentication, until stdin ends.

``python -m tests.support.serving.inference_server STORE MODEL...`` prints one line of JSON with the
ports: ``{"http": 1234, "grpc": 2345}``. The protocol's public clients define the same protobuf
messages as the service, so they cannot be in its process.
"""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
from granian.constants import Interfaces
from granian.server.embed import Server

from stream_scorer.serving.inference.grpc_servicer import inference_handler, server_options
from stream_scorer.serving.inference.loading import load_served
from stream_scorer.serving.inference.rest_routes import routes
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.web.messages import Caller, Request, Response, Route
from stream_scorer.serving_settings import Inference, Serving
from stream_scorer.settings import Models, Settings

_CALLER = Caller("tests", frozenset({"score"}), "open")


class RsgiAdapter:
    """The least that routes need: it finds the route, reads the body, and answers.

    Args:
        served: The routes.
    """

    def __init__(self, served: Sequence[Route]) -> None:
        self._served = [
            (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern)), route)
            for route in served
        ]

    async def __call__(self, scope: Any, protocol: Any) -> None:
        answer = await self._answer(scope, protocol)
        headers = [("content-type", answer.content_type), *answer.headers]
        protocol.response_bytes(answer.status, headers, answer.body)

    async def _answer(self, scope: Any, protocol: Any) -> Response:
        for pattern, route in self._served:
            found = pattern.fullmatch(scope.path)
            if found is None or scope.method != route.method:
                continue
            body = await protocol()
            kind = scope.headers.get("content-type", "").partition(";")[0]
            if body and kind not in route.content_types:
                return Response(415, b'{"error":"content type"}')
            request = Request(
                method=scope.method, path=scope.path, query=scope.query_string,
                headers=dict(scope.headers.items()), body=body, caller=_CALLER,
                parameters={name: unquote(each) for name, each in found.groupdict().items()},
                request_id="r", traceparent="", tracestate="", arrived=0.0,
            )  # fmt: skip
            return await route.handler(request)
        return Response(404, b'{"error":"no such path"}')


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


async def _answering(port: int) -> None:
    """Wait until the HTTP server accepts connections."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            await writer.wait_closed()
            return


def _ignore(error: Exception) -> None:
    """Take an unexpected exception; its caller has seen INTERNAL."""


async def _serve(store: Path, models: tuple[str, ...]) -> None:
    limits = Inference(models=models)
    settings = Settings(models=Models(directory=store), serving=Serving(inference=limits))
    async with InferenceService(load_served(settings), limits) as service:
        calls = grpc.aio.server(options=server_options(limits))
        calls.add_generic_rpc_handlers((inference_handler(service, _ignore),))
        grpc_port = calls.add_insecure_port("127.0.0.1:0")
        await calls.start()
        port = free_port()
        web = Server(
            RsgiAdapter(routes(service)), port=port, interface=Interfaces.RSGI,
            websockets=False, log_enabled=False,
        )  # fmt: skip
        serving = asyncio.ensure_future(web.serve())
        await _answering(port)
        print(json.dumps({"http": port, "grpc": grpc_port}), flush=True)  # noqa: T201 its answer
        await asyncio.to_thread(sys.stdin.read)
        web.stop()  # type: ignore[no-untyped-call]
        await serving
        await calls.stop(1)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), tuple(sys.argv[2:])))
