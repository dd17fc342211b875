"""gRPC next to HTTP: limits, TLS, certificates of clients, and the slot for access control."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.serving.server.grpc_server import GrpcServer
from stream_scorer.serving.settings.api import Serving
from tests.support.serving.certificates import TestAuthority
from tests.support.serving.example_part import echo_service

METHOD = "/example.Echo/Wait"
SECONDS = 60.0


async def call(port: int, message: bytes, credentials: Any = None) -> bytes:
    """Return a call's answer.

    Raises:
        grpc.aio.AioRpcError: It failed.
    """
    target = f"127.0.0.1:{port}"
    opened = (
        grpc.aio.insecure_channel(target)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials)
    )
    async with opened as channel:
        answer: bytes = await channel.unary_unary(METHOD)(message, timeout=SECONDS)
        return answer


async def failure(port: int, message: bytes, credentials: Any = None) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(port, message, credentials)
    return failed.value.code()


async def serving(
    ask: Callable[[int], Awaitable[None]],
    *interceptors: grpc.aio.ServerInterceptor,
    **settings: Any,
) -> None:
    """Run a server while it is asked."""
    server = GrpcServer(
        Serving.model_validate({"grpc_port": 0} | settings), [echo_service], interceptors
    )
    await server.start()
    try:
        await ask(server.port)
    finally:
        await server.stop(0)


def test_a_message_has_a_size() -> None:
    async def ask(port: int) -> None:
        assert await call(port, b"0" * 1_024) == b"0" * 1_024
        assert await failure(port, b"0" * 1_025) == grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(serving(ask, grpc_message_bytes_max=1_024))


class Refuse(grpc.aio.ServerInterceptor):
    """Access control that admits no call."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        del continuation, handler_call_details

        async def refuse(_: bytes, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")

        return grpc.unary_unary_rpc_method_handler(refuse)


def test_an_interceptor_comes_before_the_services() -> None:
    async def ask(port: int) -> None:
        assert await failure(port, b"0") == grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(serving(ask, Refuse()))


def test_a_client_needs_a_certificate_of_the_ca(tmp_path: Path) -> None:
    ours, theirs = TestAuthority(tmp_path), TestAuthority(tmp_path, "stranger")
    certificate, key = ours.issue("server")

    def credentials(*issued: Path) -> Any:
        chain, secret = (path.read_bytes() for path in issued) if issued else (None, None)
        return grpc.ssl_channel_credentials(ours.path.read_bytes(), secret, chain)

    async def ask(port: int) -> None:
        assert await call(port, b"0", credentials(*ours.issue("client"))) == b"0"
        for each in (credentials(), credentials(*theirs.issue("forged"))):
            assert await failure(port, b"0", each) == grpc.StatusCode.UNAVAILABLE
        assert await failure(port, b"0") == grpc.StatusCode.UNAVAILABLE

    files = {"tls_certificate": certificate, "tls_key": key, "grpc_client_ca": ours.path}
    asyncio.run(serving(ask, **files))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        certificate, key = TestAuthority(tmp_path).issue("server")
        missing = tmp_path / "missing.pem"
        settings = Serving(
            grpc_port=0, tls_certificate=certificate, tls_key=key, grpc_client_ca=missing
        )
        with pytest.raises(SettingsError, match=r"missing\.pem"):
            GrpcServer(settings, [])

    asyncio.run(run())
