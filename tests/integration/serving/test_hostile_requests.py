"""Hostile bytes at a real server: each gets its documented answer, and the server works on."""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.support.hostile.raw_http import HOST, REFUSED, SMUGGLING, get, post
from tests.support.serving.running_server import RunningServer, running_server, until_closed

HEAD_SECONDS = 1.0
CLOSED = b""
"""No answer: the connection is closed."""


def harmed_by_nothing(started: RunningServer) -> Iterator[RunningServer]:
    yield started
    assert started.process.poll() is None
    assert b"HTTP/1.1 200 " in started.exchange(get())
    assert started.stop() == 0
    assert "Traceback" not in started.written()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    # A connection that is kept open after an answer ends after the time for a head.
    with running_server(head_seconds=3.0, connections_max=64) as started:
        yield from harmed_by_nothing(started)


@pytest.fixture(scope="module")
def hasty() -> Iterator[RunningServer]:
    """Yield a server that gives up a head or a body after a second."""
    with running_server(head_seconds=HEAD_SECONDS, body_seconds=1.0, connections_max=64) as started:
        yield from harmed_by_nothing(started)


@pytest.mark.parametrize(("sent", "status"), SMUGGLING.values(), ids=SMUGGLING)
def test_no_request_is_smuggled(server: RunningServer, sent: bytes, status: int) -> None:
    answer = server.exchange(sent)
    # One answer; then the connection ends, and what follows is never a request.
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    # An echo: the chunks, which come before the length, have no body.
    assert status != 200 or not body


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_documented(
    server: RunningServer, hasty: RunningServer, sent: bytes, status: int
) -> None:
    asked = hasty if status == 408 else server
    answer = asked.exchange(sent.replace(HOST, HOST + b"Connection: close\r\n", 1))
    assert answer.split(b"\r\n")[0].startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"access-control" not in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    # What the HTTP library itself refuses has no body.
    assert not body or b"application/problem+json" in head


@pytest.mark.parametrize(
    "sent",
    [
        get(b"http://evil/wait/0"),
        b"GET /wait/0 HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"\n",
        b"\r\n" + get(),
        get(fields=HOST + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
        get(fields=HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        get(fields=HOST + b"X-Request-Id: a\tb\r\nTraceparent: nonsense\r\n"),
        get(fields=HOST + b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"),
    ],
    ids=[
        "absolute target", "bare line feeds", "empty line before", "upgrade to HTTP/2",
        "upgrade to WebSocket", "invalid request id", "forged addresses",
    ],
)  # fmt: skip
def test_what_is_harmless_is_served(server: RunningServer, sent: bytes) -> None:
    answer = server.exchange(sent)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("sent", [b"", b"GET /wa", b"GET /wait/0 HTTP/1.1\r\n" + HOST])
def test_an_unfinished_head_is_given_up(hasty: RunningServer, sent: bytes) -> None:
    begin = time.monotonic()
    assert hasty.exchange(sent) == CLOSED
    assert time.monotonic() - begin >= HEAD_SECONDS * 0.9


def test_a_head_that_drips_has_the_same_time(hasty: RunningServer) -> None:
    begin = time.monotonic()
    with hasty.connect() as opened:
        opened.sendall(b"GET /wait/0 HTTP/1.1\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):
            for number in range(1_000):
                opened.sendall(b"X-%d: a\r\n" % number)
                time.sleep(0.05)
    assert HEAD_SECONDS * 0.9 <= time.monotonic() - begin < 30


def test_silent_connections_leave_their_places(hasty: RunningServer) -> None:
    silent = [hasty.connect() for _ in range(64)]
    answer = hasty.exchange(get())
    assert answer.startswith(b"HTTP/1.1 200 ")
    for each in silent:
        each.close()


def test_a_pipeline_is_answered_in_order(server: RunningServer) -> None:
    bodies = [b"1", b"22", b"333"]
    sent = [post(b"Content-Length: %d\r\n" % len(body), body) for body in bodies]
    answer = server.exchange(b"".join(sent))
    found = [each.partition(b"\r\n\r\n")[2] for each in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert found == bodies


def test_a_client_that_sends_all_first_is_answered_too(server: RunningServer) -> None:
    # More than the system's buffers hold. The client reads no answer before its body is sent.
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    fields = {"Authorization": "Bearer shop", "Content-Type": "application/json"}
    with closing(client):
        client.request("POST", "/echo", b" " * 8_000_000, fields)
        answer = client.getresponse()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert b"too-large" in answer.read()


def test_a_client_that_leaves_harms_no_one(server: RunningServer) -> None:
    for sent in (get(b"/wait/1"), post(b"Content-Length: 100\r\n", b"1")):
        with server.connect() as opened:
            opened.sendall(sent)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert server.exchange(get()).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_is_not_read_holds_no_one_up(server: RunningServer) -> None:
    body = b"1" * 1_000_000
    with server.connect() as opened:
        opened.sendall(post(b"Content-Length: %d\r\n" % len(body), body))
        assert server.exchange(get()).startswith(b"HTTP/1.1 200 ")
        assert until_closed(opened).endswith(body)
