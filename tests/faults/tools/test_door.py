"""The door in front of a gateway forwards bytes, and loses as many answers as it is told to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults.suite.gateways.door import AnswerDoor
from tests.support.faults.process import wait_until

HOST = "127.0.0.1"


class Echo:
    """A server that answers what it is sent, and keeps it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.listener = socket.create_server((HOST, 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while part := connection.recv(100):
                self.heard.append(part)
                connection.sendall(part)


@pytest.fixture
def echo() -> Iterator[Echo]:
    found = Echo()
    yield found
    found.listener.shutdown(socket.SHUT_RDWR)
    found.listener.close()


@pytest.fixture
def door(echo: Echo) -> Iterator[AnswerDoor]:
    with AnswerDoor(echo.port) as found:
        yield found


def connected(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), 10)


def asked(client: socket.socket, content: bytes) -> bytes:
    """Return the answer; empty if the connection was reset."""
    with suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(content)
        return client.recv(100)
    return b""


def test_a_door_forwards_both_ways(door: AnswerDoor) -> None:
    with connected(door.port) as client:
        assert [asked(client, each) for each in (b"a", b"b")] == [b"a", b"b"]
    assert door.lost == 0


def test_an_answer_is_lost_after_its_request_has_arrived(door: AnswerDoor, echo: Echo) -> None:
    with connected(door.port) as kept, connected(door.port) as client:
        assert asked(kept, b"before") == b"before"
        door.lose(1)
        assert asked(client, b"lost") == b""
        assert door.lost == 1
        assert echo.heard == [b"before", b"lost"]
        # Only this connection is gone.
        assert asked(kept, b"after") == b"after"
    with connected(door.port) as again:
        assert asked(again, b"again") == b"again"


def test_without_a_gateway_a_connection_is_reset(echo: Echo) -> None:
    with socket.socket() as silent:
        # Bound, so nobody else gets the port; not listening, so a connection is refused.
        silent.bind((HOST, 0))
        port = int(silent.getsockname()[1])
        # The reset may come before the client knows that it is connected.
        with (
            AnswerDoor(port) as door,
            suppress(ConnectionResetError, BrokenPipeError),
            connected(door.port) as client,
        ):
            assert asked(client, b"x") == b""


def test_a_client_that_leaves_ends_the_gateways_connection(door: AnswerDoor, echo: Echo) -> None:
    client = connected(door.port)
    assert asked(client, b"x") == b"x"
    before = threading.active_count()
    client.close()
    wait_until(lambda: threading.active_count() < before, "its threads have ended")
