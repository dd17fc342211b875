"""What a client of gRPC can hold: nothing without a credential, and little with one."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest

from stream_scorer.serving.access.grpc_interceptor import AccessInterceptor
from stream_scorer.serving.access.grpc_messages import MessageReader, message_bytes_most
from stream_scorer.serving.server.grpc_server import GrpcServer
from stream_scorer.serving.settings.api import Serving
from tests.support.serving.access import GateAtWork, access_settings, make_key

INFER, READY = "/test.Service/Infer", "/test.Service/Ready"
SECONDS = 60.0
MIB = 1_048_576
SLOW = b"slow"
ANSWER_SECONDS = 1.5
PING, GOAWAY, ACKNOWLEDGED = 6, 7, 1
"""Kinds of HTTP/2 frames, and the flag of one that answers another."""
Code: TypeAlias = grpc.StatusCode
Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Service(grpc.GenericRpcHandler):
    """Answers with the message."""

    def service(self, details: Any) -> Any:
        del details

        async def answer(message: bytes, _: Any) -> bytes:
            await asyncio.sleep(ANSWER_SECONDS if message == SLOW else 0.0)
            return b"answer to " + message

        return grpc.unary_unary_rpc_method_handler(answer)


class Between:
    """A connection on its way to the server: notes the kinds and flags of the server's frames.

    Args:
        host: The server's.
        port: The server's.
        seen: Is added to.
    """

    def __init__(self, host: str, port: int, seen: list[tuple[int, int]]) -> None:
        self._far = host, port
        self._seen = seen

    async def carry(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry both directions until both end."""
        far, forth = await asyncio.open_connection(*self._far)

        async def onward() -> None:
            while part := await near.read(MIB):
                forth.write(part)
            forth.write_eof()

        sending = asyncio.create_task(onward())
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await far.readexactly(9)
                    self._seen.append((head[3], head[4]))
                    back.write(head + await far.readexactly(int.from_bytes(head[:3])))
        finally:
            sending.cancel()
            for writer in (forth, back):
                writer.close()
            # Or they are found later, without their loop, in another test.
            await asyncio.gather(
                sending, forth.wait_closed(), back.wait_closed(), return_exceptions=True
            )


class Client:
    """Calls a server.

    Args:
        address: The server's.
        key: The metadata of a valid credential.
        reader: The server's.
    """

    def __init__(self, address: str, key: Metadata, reader: MessageReader) -> None:
        self.address = address
        self.key = key
        self.reader = reader
        self.channel = grpc.aio.insecure_channel(address)

    async def ask(self, message: bytes = b"this", key: Metadata | None = None) -> Any:
        """Make a whole call with a credential."""
        call = self.channel.unary_unary(INFER)
        return await call(message, metadata=key or self.key, timeout=SECONDS)

    async def until_admitted(self, calls: int) -> None:
        """Wait until the server has a number of calls."""
        until = time.monotonic() + SECONDS
        while self.reader.calls != calls:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    def begin(self, *metadata: tuple[str, str], method: str = INFER) -> "asyncio.Task[Any]":
        """Begin a call that sends its head, and never a message."""

        async def never() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        async def begun() -> Any:
            call = self.channel.stream_unary(method)
            return await call(never(), metadata=metadata, timeout=3 * SECONDS)

        return asyncio.create_task(begun())


def play(folder: Path, scene: Callable[[Client], Coroutine[Any, Any, None]], **limits: Any) -> None:
    """Run calls against a server with limits."""

    async def run() -> None:
        key = (("authorization", f"Bearer {make_key(folder)}"),)
        gate = GateAtWork(access_settings(folder, {"clients_file": str(folder / "clients.json")}))
        serving = Serving.model_validate({"grpc_port": 0} | limits)
        reader = MessageReader(serving)
        interceptor = AccessInterceptor(gate.gate, {INFER: ("score",), READY: ()}, reader)
        server = GrpcServer(
            serving, [lambda added: added.add_generic_rpc_handlers((Service(),))], (interceptor,)
        )
        await server.start()
        client = Client(server.address, key, reader)
        try:
            await scene(client)
        finally:
            await client.channel.close()
            await server.stop(0)
            gate.opened.close()

    asyncio.run(run())


async def code_of(call: Awaitable[Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code()


def test_a_call_is_judged_before_its_message_is_read(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        begun = time.monotonic()
        # More than there are places: each is refused, though its message never comes.
        calls = [client.begin() for _ in range(8)]
        assert {await code_of(each) for each in calls} == {Code.UNAUTHENTICATED}
        assert await client.ask() == b"answer to this"
        assert time.monotonic() - begun < SECONDS / 2

    play(tmp_path, scene, requests_max=1, body_seconds=300)


def test_an_open_method_is_answered_without_its_message(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        assert await client.begin(method=READY) == b"answer to "

    play(tmp_path, scene, requests_max=1, body_seconds=300)


def test_a_message_has_a_time(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        for _ in range(2):
            begun = time.monotonic()
            assert await code_of(client.begin(*client.key)) is Code.DEADLINE_EXCEEDED
            assert ANSWER_SECONDS / 2 <= time.monotonic() - begun < SECONDS / 2
        # Its place is free again. The answer has its own time.
        assert await client.ask(SLOW) == b"answer to slow"

    play(tmp_path, scene, requests_max=1, body_seconds=ANSWER_SECONDS / 2)


def test_each_message_has_a_time_of_its_own(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        async def given_up() -> float:
            begun = time.monotonic()
            assert await code_of(client.begin(*client.key)) is Code.DEADLINE_EXCEEDED
            return time.monotonic() - begun

        first = asyncio.create_task(given_up())
        await client.until_admitted(1)
        # One that arrives between them does not end the wait for the second.
        assert await client.ask() == b"answer to this"
        await asyncio.sleep(ANSWER_SECONDS / 3)
        second = asyncio.create_task(given_up())
        for waited in await asyncio.gather(first, second):
            assert ANSWER_SECONDS <= waited < SECONDS / 2

    play(tmp_path, scene, body_seconds=ANSWER_SECONDS)


def test_a_call_without_a_message_is_invalid(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        async def nothing() -> AsyncIterator[bytes]:
            if client.reader.calls < 0:
                yield b""

        call = client.channel.stream_unary(INFER)(nothing(), metadata=client.key, timeout=SECONDS)
        assert await code_of(call) is Code.INVALID_ARGUMENT
        # A client that ends the call itself gives its place back, too.
        cancelled = client.begin(*client.key)
        await client.until_admitted(1)
        cancelled.cancel()
        await client.until_admitted(0)
        assert await client.ask() == b"answer to this"

    play(tmp_path, scene, requests_max=1, body_seconds=300)


def test_admitted_calls_at_a_time_are_limited(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        held = client.begin(*client.key)
        await client.until_admitted(1)
        with pytest.raises(grpc.aio.AioRpcError) as busy:
            await client.ask()
        assert busy.value.code() is Code.UNAVAILABLE
        assert dict(busy.value.trailing_metadata()) == {"grpc-retry-pushback-ms": "1000"}
        held.cancel()

    play(tmp_path, scene, requests_max=1, body_seconds=300)


def test_a_client_has_half_of_the_calls(tmp_path: Path) -> None:
    other = (("authorization", f"Bearer {make_key(tmp_path, 'other')}"),)
    third = (("authorization", f"Bearer {make_key(tmp_path, 'third')}"),)

    async def scene(client: Client) -> None:
        held = [client.begin(*client.key) for _ in range(2)]
        await client.until_admitted(2)
        assert await code_of(client.ask()) is Code.UNAVAILABLE
        assert await client.ask(key=other) == b"answer to this"
        held += [client.begin(*other) for _ in range(2)]
        await client.until_admitted(4)
        # All together have no more than there are.
        assert await code_of(client.ask(key=third)) is Code.UNAVAILABLE
        for each in held:
            each.cancel()
        await client.until_admitted(0)
        assert await client.ask() == b"answer to this"
        assert not client.reader._calls_by_client

    play(tmp_path, scene, requests_max=4, body_seconds=300)


def test_messages_being_read_have_bounded_bytes(tmp_path: Path) -> None:
    other = (("authorization", f"Bearer {make_key(tmp_path, 'other')}"),)

    async def scene(client: Client) -> None:
        held = client.begin(*client.key)
        await client.until_admitted(1)
        waiting = asyncio.create_task(client.ask(key=other))
        await client.until_admitted(2)
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
        held.cancel()
        assert await waiting == b"answer to this"

    play(tmp_path, scene, body_seconds=300, bodies_bytes_max=MIB, grpc_message_bytes_max=MIB)


def test_a_client_reads_with_half_of_the_bytes(tmp_path: Path) -> None:
    other = (("authorization", f"Bearer {make_key(tmp_path, 'other')}"),)

    async def scene(client: Client) -> None:
        held = [client.begin(*client.key) for _ in range(3)]
        await client.until_admitted(3)
        assert await client.ask(key=other) == b"answer to this"
        for each in held:
            each.cancel()
        await client.until_admitted(0)

    play(tmp_path, scene, body_seconds=300, bodies_bytes_max=2 * MIB, grpc_message_bytes_max=MIB)


def test_a_compressed_message_has_the_limit_of_its_content(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        call = client.channel.unary_unary(INFER)

        async def ask(length: int, kind: grpc.Compression) -> Any:
            return await call(bytes(length), metadata=client.key, timeout=SECONDS, compression=kind)

        for kind in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert await ask(MIB // 2, kind) == b"answer to " + bytes(MIB // 2)
            assert await code_of(ask(8 * MIB, kind)) is Code.RESOURCE_EXHAUSTED

    play(tmp_path, scene, grpc_message_bytes_max=MIB)


def test_no_rate_is_probed_to_let_windows_grow(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    async def scene(client: Client) -> None:
        host, _, port = client.address.rpartition(":")
        between = await asyncio.start_server(
            lambda *near: Between(host, int(port), seen).carry(*near), "127.0.0.1", 0
        )
        address = f"127.0.0.1:{between.sockets[0].getsockname()[1]}"
        # The client probes, too; the server only answers it.
        async with grpc.aio.insecure_channel(address) as channel:
            message = bytes(MIB // 2)
            call = channel.unary_unary(INFER)
            for _ in range(3):
                assert await call(message, metadata=client.key, timeout=SECONDS)
        between.close()
        await between.wait_closed()

    play(tmp_path, scene)
    # A server that stops pings, too, but only then.
    stop = next((at for at, (kind, _) in enumerate(seen) if kind == GOAWAY), len(seen))
    pings = [flags for kind, flags in seen[:stop] if kind == PING]
    assert pings
    assert set(pings) == {ACKNOWLEDGED}


def test_connections_are_limited(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        assert await client.ask() == b"answer to this"
        host, _, port = client.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(SECONDS):
            # The end of the connection, and no settings of HTTP/2 before.
            assert await reader.read() == b""
        writer.close()

    play(tmp_path, scene, connections_max=1)


def test_the_lower_limit_of_a_message_holds() -> None:
    assert message_bytes_most(Serving.model_validate({"grpc_message_bytes_max": 2_048})) == 2_048
    assert message_bytes_most(Serving.model_validate({"inference": {"body_bytes_max": 1_024}})) == (
        1_024
    )
