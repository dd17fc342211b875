"""HTTP/2 at a real server: bodies without a length, malformed heads, and floods."""

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

from tests.support.serving.running_server import RunningServer, running_server

Fields = tuple[tuple[bytes, bytes], ...]
MEGABYTES_MOST = 60
CONFIGURATION = H2Configuration(
    client_side=True,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    header_encoding=None,
)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    # A dead connection is kept for longer than a client waits for an answer.
    with running_server(http2=True, head_seconds=300.0) as started:
        yield started
        with Client(started) as client:
            client.send(head())
            assert client.answer() == (200, b"{}")
        assert started.stop() == 0
        assert "Traceback" not in started.written()


class Client:
    """One connection of HTTP/2, without TLS."""

    def __init__(self, server: RunningServer) -> None:
        self.socket = server.connect()
        self.http = H2Connection(CONFIGURATION)
        self.http.initiate_connection()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.http.data_to_send())

    def send(self, fields: Fields, *parts: bytes, stream: int = 1) -> None:
        """Send a request; the last part ends it, and without one its head does."""
        self.http.send_headers(stream, fields, end_stream=not parts)
        for number, part in enumerate(parts):
            self.http.send_data(stream, part, end_stream=number == len(parts) - 1)
        self.flush()

    def events(self) -> Iterator[Event]:
        while True:
            try:
                received = self.socket.recv(65_536)
            except OSError:
                return
            if not received:
                return
            yield from self.http.receive_data(received)
            with suppress(OSError):
                self.flush()

    def until_closed(self) -> None:
        """Wait until the server closes the connection; it may be slower than what is sent."""
        while self.socket.recv(65_536):
            pass

    def answer(self) -> tuple[int, bytes] | ErrorCodes | int | None:
        """Return the answer, or the error that ended the stream or the connection."""
        status, body = 0, b""
        for event in self.events():
            match event:
                case ResponseReceived():
                    status = int(dict(event.headers)[b":status"])
                case DataReceived():
                    body += event.data
                case StreamEnded():
                    return status, body
                case StreamReset() | ConnectionTerminated():
                    return event.error_code
                case _:
                    pass
        return None


def head(path: bytes = b"/wait/0", method: bytes = b"GET", *more: tuple[bytes, bytes]) -> Fields:
    return (
        (b":method", method),
        (b":path", path),
        (b":scheme", b"http"),
        (b":authority", b"x"),
        (b"authorization", b"Bearer shop"),
        *more,
    )


JSON = (b"content-type", b"application/json")


def test_a_body_without_a_length_is_read(server: RunningServer) -> None:
    with Client(server) as client:
        client.send(head(b"/echo", b"POST", JSON), b'{"a"', b":1}", b"")
        assert client.answer() == (200, b'{"a":1}')


def test_a_body_that_grows_too_long_is_refused(server: RunningServer) -> None:
    with Client(server) as client:
        client.http.send_headers(1, head(b"/echo", b"POST", JSON))
        client.flush()
        status = None
        sent = 0
        client.socket.settimeout(0.01)
        while status is None and sent < 4_000_000:
            with suppress(TimeoutError):
                for event in client.http.receive_data(client.socket.recv(65_536)):
                    if isinstance(event, ResponseReceived):
                        status = dict(event.headers)[b":status"]
            if status is None and client.http.local_flow_control_window(1) >= 16_000:
                client.http.send_data(1, b"1" * 16_000)
                sent += 16_000
            client.flush()
        assert status == b"413"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (head(b"/wait/0", b"GET", (b"connection", b"close")), ErrorCodes.PROTOCOL_ERROR),
        (head(b"/echo", b"POST", (b"transfer-encoding", b"chunked")), ErrorCodes.PROTOCOL_ERROR),
        (head(b"/wait/0", b"GET", (b"X-Upper", b"a")), ErrorCodes.PROTOCOL_ERROR),
        (head(b"/wait/0", b"GET", (b"x", b"a\r\nb: c")), ErrorCodes.PROTOCOL_ERROR),
        (head(b"/wait/0", b"GET", (b"x", b"a\0b")), ErrorCodes.PROTOCOL_ERROR),
        (head(b"wait/0"), ErrorCodes.PROTOCOL_ERROR),
        (head()[1:], ErrorCodes.PROTOCOL_ERROR),
        (head(b"/wait/0", b"GET", (b":path", b"/echo")), ErrorCodes.PROTOCOL_ERROR),
    ],
    ids=[
        "connection field", "transfer coding", "upper case", "line break", "NUL", "no slash",
        "no method", "two paths",
    ],
)  # fmt: skip
def test_a_malformed_head_ends_its_stream(
    server: RunningServer, fields: Fields, error: ErrorCodes
) -> None:
    with Client(server) as client:
        client.send(fields)
        assert client.answer() == error


def test_a_length_that_is_not_the_bodys_ends_its_stream(server: RunningServer) -> None:
    with Client(server) as client:
        client.send(head(b"/echo", b"POST", JSON, (b"content-length", b"9")), b"123")
        assert client.answer() == ErrorCodes.PROTOCOL_ERROR


def test_a_head_that_is_too_long_is_refused(server: RunningServer) -> None:
    with Client(server) as client:
        client.send(head(b"/wait/0", b"GET", *[(b"x-%d" % n, b"a" * 3_000) for n in range(8)]))
        answer = client.answer()
        assert isinstance(answer, tuple)
        assert answer[0] == 431


def test_a_slow_body_is_given_up() -> None:
    with running_server(http2=True, body_seconds=1.0) as hasty, Client(hasty) as client:
        client.http.send_headers(1, head(b"/echo", b"POST", JSON))
        client.flush()
        answer = client.answer()
        assert isinstance(answer, tuple)
        assert answer[0] == 408


def test_streams_that_are_reset_at_once_end_the_connection(server: RunningServer) -> None:
    """CVE-2023-44487: each stream is begun and reset."""
    before = resident_megabytes(server)
    with Client(server) as client, suppress(ConnectionResetError, BrokenPipeError):
        for number in range(20_000):
            stream = 2 * number + 1
            client.http.send_headers(stream, head(b"/wait/1"), end_stream=True)
            client.http.reset_stream(stream, ErrorCodes.CANCEL)
            if number % 50 == 0:
                client.flush()
        client.until_closed()
    assert resident_megabytes(server) - before < MEGABYTES_MOST


@pytest.mark.parametrize(
    "frame",
    [
        # SETTINGS and PING frames without end; each asks for an answer.
        b"\0\0\0\4\0\0\0\0\0",
        b"\0\0\10\6\0\0\0\0\0" + b"\0" * 8,
        # An empty DATA frame for a stream that does not exist.
        b"\0\0\0\0\0\0\0\0\1",
    ],
    ids=["settings", "pings", "empty data"],
)
def test_a_flood_of_frames_takes_no_memory(server: RunningServer, frame: bytes) -> None:
    before = resident_megabytes(server)
    with Client(server) as client, suppress(ConnectionResetError, BrokenPipeError, TimeoutError):
        client.socket.settimeout(2.0)
        for _ in range(200):
            client.socket.sendall(frame * 500)
    assert resident_megabytes(server) - before < MEGABYTES_MOST
    with Client(server) as other:
        other.send(head())
        assert other.answer() == (200, b"{}")


def test_an_endless_head_is_refused(server: RunningServer) -> None:
    """CVE-2024-27316: CONTINUATION frames without end."""
    before = resident_megabytes(server)
    begin = b"\0\0\1\1\0\0\0\0\1\x82"
    more = b"\0\x40\0\x09\0\0\0\0\1" + b"\0" * 0x4000
    with Client(server) as client, suppress(ConnectionResetError, BrokenPipeError):
        client.socket.sendall(begin)
        for _ in range(2_000):
            client.socket.sendall(more)
        client.until_closed()
    assert resident_megabytes(server) - before < MEGABYTES_MOST


def test_more_streams_than_allowed_are_refused(server: RunningServer) -> None:
    with Client(server) as client:
        statuses, refused = 0, 0
        for number in range(300):
            client.http.send_headers(2 * number + 1, head(b"/wait/2"), end_stream=True)
        client.flush()
        for event in client.events():
            statuses += isinstance(event, StreamEnded)
            refused += isinstance(event, StreamReset)
            if statuses + refused == 300:
                break
        assert statuses >= 100
        assert refused > 0


def test_without_the_setting_there_is_no_http2() -> None:
    with (
        running_server() as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as opened,
    ):
        opened.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert not opened.recv(100).startswith(b"\0")


def resident_megabytes(server: RunningServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", status)
    return int(kilobytes) // 1_024
