"""The gate in front of a real gRPC server on loopback."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from stream_scorer.serving.access.grpc_interceptor import CALLER, AccessInterceptor
from stream_scorer.serving.access.grpc_messages import MessageReader
from stream_scorer.serving.settings.api import Serving
from stream_scorer.serving.web.messages import Scope
from tests.support.serving.access import GateAtWork, access_settings, clients_in, make_key
from tests.support.serving.self_signed import certificate

INFER, READY, READ, STREAM, UNNAMED = (
    f"/test.Service/{name}" for name in ("Infer", "Ready", "Read", "Stream", "Unnamed")
)
SCOPES: dict[str, tuple[Scope, ...]] = {
    INFER: ("score",), READY: (), READ: ("read", "operate"), STREAM: (),
}  # fmt: skip
Call = Callable[..., Awaitable[Any]]


class Service(grpc.GenericRpcHandler):
    """Answers with the caller's name."""

    def __init__(self) -> None:
        self.decoded = 0

    def service(self, details: Any) -> Any:
        def decode(message: bytes) -> bytes:
            self.decoded += 1
            return message

        async def answer(message: bytes, _: Any) -> bytes:
            caller = CALLER.get(None)
            name = "nobody" if caller is None else f"{caller.client}/{caller.how}"
            return message + name.encode()

        if details.method == STREAM:
            return grpc.unary_stream_rpc_method_handler(answer)
        return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=decode)


def ask(
    folder: Path, calls: Callable[[Call, Service], Awaitable[None]], *, tls: bool = False
) -> None:
    """Run calls against a server with the clients of a folder."""

    async def run() -> None:
        gate = GateAtWork(access_settings(folder, {"clients_file": str(folder / "clients.json")}))
        service = Service()
        interceptor = AccessInterceptor(gate.gate, SCOPES, MessageReader(Serving()))
        server = grpc.aio.server(interceptors=(interceptor,))
        server.add_generic_rpc_handlers((service,))
        if tls:
            chain, key = (path.read_bytes() for path in certificate(folder))
            port = server.add_secure_port(
                "127.0.0.1:0",
                grpc.ssl_server_credentials([(key, chain)], chain, require_client_auth=True),
            )
            channel = grpc.aio.secure_channel(
                f"localhost:{port}", grpc.ssl_channel_credentials(chain, key, chain)
            )
        else:
            port = server.add_insecure_port("127.0.0.1:0")
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        await server.start()

        async def call(method: str, *metadata: tuple[str, str]) -> Any:
            return await channel.unary_unary(method)(b"x:", metadata=metadata, timeout=20)

        try:
            await calls(call, service)
        finally:
            await channel.close()
            await server.stop(None)
            gate.opened.close()

    asyncio.run(run())


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), dict(refused.value.trailing_metadata())


def test_a_call_needs_a_credential_with_its_scope(tmp_path: Path) -> None:
    key = ("authorization", f"Bearer {make_key(tmp_path)}")
    operator = ("authorization", f"Bearer {make_key(tmp_path, 'sre', scopes=['operate'])}")

    async def calls(call: Call, service: Service) -> None:
        code, trailing = await refusal(call(INFER))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert trailing["www-authenticate"].startswith("Bearer")
        code, _ = await refusal(call(INFER, ("authorization", "Bearer x")))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        code, _ = await refusal(call(INFER, key, key))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        code, _ = await refusal(call(INFER, ("x-client-certificate-subject", "CN=x"), key))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        code, _ = await refusal(call(READ, key))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        # Not one of these messages was decoded.
        assert service.decoded == 0
        assert await call(INFER, key) == b"x:shop/key"
        assert await call(READ, operator) == b"x:sre/key"
        # Without a credential, no message is read.
        assert await call(READY) == b"nobody"

    ask(tmp_path, calls)


def test_a_call_past_a_limit_is_refused_with_the_time(tmp_path: Path) -> None:
    key = ("authorization", f"Bearer {make_key(tmp_path, burst=1, rate_per_second=0.1)}")

    async def calls(call: Call, _: Service) -> None:
        await call(INFER, key)
        code, trailing = await refusal(call(INFER, key))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert trailing["retry-after"] == "10"

    ask(tmp_path, calls)


def test_a_method_that_is_not_named_is_not_served(tmp_path: Path) -> None:
    key = ("authorization", f"Bearer {make_key(tmp_path, scopes=['admin'])}")

    async def calls(call: Call, _: Service) -> None:
        for method in (UNNAMED, STREAM, "/test.Service/Other"):
            code, _trailing = await refusal(call(method, key))
            assert code is grpc.StatusCode.UNIMPLEMENTED

    ask(tmp_path, calls)


def test_a_certificate_of_the_connection_names_the_client(tmp_path: Path) -> None:
    clients_in(tmp_path).add(
        "shop", with_key=False, scopes=["score"], certificate_subjects=("CN=localhost",)
    )

    async def calls(call: Call, _: Service) -> None:
        assert await call(INFER) == b"x:shop/certificate"
        code, _trailing = await refusal(call(READ))
        assert code is grpc.StatusCode.PERMISSION_DENIED

    ask(tmp_path, calls, tls=True)
