"""The proxy's network conditions and faults, with a broker that answers with correlation ids."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from stream_scorer.devkafka.cluster import free_ports
from tests.support.faults.network_conditions import Weather
from tests.support.faults.process import wait_until
from tests.support.faults.proxy import HOST, Api, Direction, Proxy

FETCH = 1


@dataclass
class Broker:
    """Answers every request with its correlation id.

    Attributes:
        asked: (API key, correlation id) of each request, in order.
    """

    listener: socket.socket
    asked: list[tuple[int, int]] = field(default_factory=list)

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with closing(connection):
            while frame := receive(connection):
                api, _, correlation = struct.unpack(">hhi", frame[:8])
                self.asked.append((api, correlation))
                connection.sendall(struct.pack(">ii", 4, correlation))


def receive(connection: socket.socket) -> bytes:
    """Return the next frame's body; empty when the connection has ended."""
    try:
        head = exactly(connection, 4)
        return exactly(connection, struct.unpack(">i", head)[0]) if head else b""
    except OSError:
        return b""


def exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            return b""
        found += piece
    return found


@pytest.fixture
def broker() -> Iterator[Broker]:
    with socket.create_server((HOST, 0)) as listener:
        found = Broker(listener)
        threading.Thread(target=found.serve, daemon=True).start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    (port,) = free_ports(1)
    with Proxy(port) as found:
        found.upstream = f"{HOST}:{broker.listener.getsockname()[1]}"
        yield found


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    host, _, port = proxy.address.partition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        yield connection


def ask(
    client: socket.socket, api: int, correlation: int, size: int = 0, name: bytes = b""
) -> None:
    own = struct.pack(">h", len(name)) + name if name else b""
    body = struct.pack(">hhi", api, 0, correlation) + own + bytes(size)
    client.sendall(struct.pack(">i", len(body)) + body)


def answered(client: socket.socket) -> int:
    """Return the correlation id of the next answer."""
    return int(struct.unpack(">i", receive(client))[0])


def silent(client: socket.socket, seconds: float = 0.2) -> bool:
    """Return whether nothing arrives for a while."""
    client.settimeout(seconds)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)


def test_a_calm_proxy_passes_frames_on_in_order(client: socket.socket, proxy: Proxy) -> None:
    for number in range(50):
        ask(client, FETCH, number)
    assert [answered(client) for _ in range(50)] == list(range(50))
    assert proxy.counters.total() == 0


def test_latency_is_on_each_frame_and_not_on_their_sum(client: socket.socket, proxy: Proxy) -> None:
    proxy.weather.latency_seconds = 0.1
    started = time.monotonic()
    for number in range(200):
        ask(client, FETCH, number)
    assert [answered(client) for _ in range(200)] == list(range(200))
    assert 0.2 <= time.monotonic() - started < 15
    assert proxy.counters.delayed == 400


def test_bandwidth_limits_bytes(client: socket.socket, proxy: Proxy) -> None:
    proxy.weather.bytes_per_second = 100_000
    started = time.monotonic()
    ask(client, FETCH, 1, 50_000)
    assert answered(client) == 1
    assert time.monotonic() - started >= 0.45
    assert proxy.counters.throttled_bytes > 50_000


def test_a_black_hole_swallows_and_keeps_connections(
    client: socket.socket, proxy: Proxy, broker: Broker
) -> None:
    proxy.weather.black_hole = True
    ask(client, FETCH, 1)
    assert silent(client)
    assert broker.asked == []
    assert proxy.counters.swallowed == 1
    proxy.weather.become(Weather())
    ask(client, FETCH, 2)
    assert answered(client) == 2


def test_a_path_that_is_cut_is_cut_for_its_requests_alone(
    client: socket.socket, proxy: Proxy, broker: Broker
) -> None:
    proxy.weather.cut = frozenset({Api.PRODUCE})
    ask(client, Api.PRODUCE, 1)
    ask(client, FETCH, 2)
    assert answered(client) == 2
    assert broker.asked == [(FETCH, 2)]
    assert proxy.counters.cut == 1


def test_a_reset_ends_connections(client: socket.socket, proxy: Proxy) -> None:
    ask(client, FETCH, 1)
    assert answered(client) == 1
    proxy.reset()
    assert receive(client) == b""
    assert proxy.counters.reset == 1


def test_a_half_open_connection_is_silent(client: socket.socket, proxy: Proxy) -> None:
    ask(client, FETCH, 1)
    assert answered(client) == 1
    proxy.half_open()
    ask(client, FETCH, 2)
    assert silent(client)
    assert proxy.counters.half_open == 1


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_one_frame_is_dropped(
    client: socket.socket, proxy: Proxy, broker: Broker, lost: str
) -> None:
    fault = proxy.fault(Api.END_TXN, "request" if lost == "request" else "answer")
    ask(client, Api.END_TXN, 1)
    ask(client, Api.END_TXN, 2)
    assert answered(client) == 2
    assert fault.hit.is_set()
    assert broker.asked[0] == (Api.END_TXN, 2 if lost == "request" else 1)
    assert proxy.counters.dropped == 1


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_only_frames_of_the_named_client_are_dropped(
    client: socket.socket, proxy: Proxy, lost: str
) -> None:
    direction: Direction = "request" if lost == "request" else "answer"
    fault = proxy.fault(Api.PRODUCE, direction, client="gateway")
    ask(client, Api.PRODUCE, 1, name=b"scorer")
    ask(client, Api.PRODUCE, 2)
    ask(client, Api.PRODUCE, 3, name=b"gateway")
    ask(client, Api.PRODUCE, 4, name=b"gateway")
    assert [answered(client) for _ in range(3)] == [1, 2, 4]
    assert fault.hit.is_set()
    assert proxy.counters.dropped == 1


def test_a_held_request_arrives_even_if_its_client_is_gone(
    client: socket.socket, proxy: Proxy, broker: Broker
) -> None:
    fault = proxy.fault(Api.END_TXN, "request", "hold")
    ask(client, Api.END_TXN, 1)
    hold: Callable[[], bool] = lambda: bool(fault.held)  # noqa: E731 one line is enough
    wait_until(hold, "it is held")
    client.close()
    assert broker.asked == []
    proxy.release(fault)
    assert broker.asked == [(Api.END_TXN, 1)]
    assert (proxy.counters.held, proxy.counters.released) == (1, 1)
