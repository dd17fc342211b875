"""Hostile bytes at a real server: each gets its documented answer, and the server works on."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.serving.running_server import RunningServer, running_server, until_closed

HOST = b"Host: x\r\nAuthorization: Bearer shop\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
HEAD_SECONDS = 1.0
CLOSED = b""
"""No answer: the connection is closed."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(head_seconds=HEAD_SECONDS, body_seconds=1.0, connections_max=64) as started:
        yield started
        assert started.process.poll() is None
        assert b"HTTP/1.1 200 " in started.exchange(get())
        assert started.stop() == 0
        assert "Traceback" not in started.written()


def get(path: bytes = b"/wait/0", fields: bytes = HOST) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /echo HTTP/" + version + b"\r\n" + JSON + fields + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
NEXT = get(b"/wait/0.0")
SMUGGLING = {
    "length and chunks": post(b"Content-Length: 4\r\n" + CHUNKED, b"0\r\n\r\n" + NEXT),
    "chunks and length": post(CHUNKED + b"Content-Length: 4\r\n", b"0\r\n\r\n" + NEXT),
    "two lengths": post(b"Content-Length: 4\r\nContent-Length: 5\r\n", b"1234" + NEXT),
    "list of lengths": post(b"Content-Length: 4, 5\r\n", b"1234" + NEXT),
    "signed length": post(b"Content-Length: +4\r\n", b"1234" + NEXT),
    "negative length": post(b"Content-Length: -4\r\n", b"1234" + NEXT),
    "hexadecimal length": post(b"Content-Length: 0x4\r\n", b"1234" + NEXT),
    "length of 24 digits": post(b"Content-Length: " + b"9" * 24 + b"\r\n", b"1234" + NEXT),
    "unknown coding": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + NEXT),
    "two codings": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n" + NEXT),
    "chunked twice": post(CHUNKED + CHUNKED, b"0\r\n\r\n" + NEXT),
    "chunked not last": post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n" + NEXT),
    "coding after a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n" + NEXT),
    "space before the colon": post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + NEXT),
    "folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + NEXT),
    "chunks in HTTP/1.0": post(CHUNKED, b"0\r\n\r\n" + NEXT, b"1.0"),
    "chunk size is no number": post(CHUNKED, b"zz\r\n12\r\n0\r\n\r\n" + NEXT),
    "chunk size overflows": post(CHUNKED, b"f" * 17 + b"\r\n12\r\n0\r\n\r\n" + NEXT),
    "signed chunk size": post(CHUNKED, b"+2\r\n12\r\n0\r\n\r\n" + NEXT),
    "chunk longer than its size": post(CHUNKED, b"1\r\n12\r\n0\r\n\r\n" + NEXT),
    "bare line feeds between chunks": post(CHUNKED, b"2\n12\n0\n\n" + NEXT),
    "trailer fields": post(CHUNKED, b"2\r\n12\r\n0\r\nContent-Length: 9\r\n\r\n" + NEXT),
    "body of a GET": get(fields=JSON + b"Content-Length: 40\r\n") + NEXT,
    "too long": post(b"Content-Length: 1048577\r\n", NEXT),
    "too long, with expectation": post(
        b"Content-Length: 1048577\r\nExpect: 100-continue\r\n", NEXT
    ),
    "too long in chunks": post(CHUNKED, b"110000\r\n" + b"1" * 1_200_000 + NEXT),
}


@pytest.mark.parametrize("sent", SMUGGLING.values(), ids=SMUGGLING)
def test_no_request_is_smuggled(server: RunningServer, sent: bytes) -> None:
    answer = server.exchange(sent)
    # One answer, or none; then the connection ends, and what follows is never a request.
    assert answer.count(b"HTTP/1.1 ") == 1
    if not answer.startswith(b"HTTP/1.1 200 "):
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
    else:
        assert b"connection: close" in answer
        assert answer.endswith(b"\r\n\r\n")


REFUSED = {
    "folded field": (get(fields=HOST + b"X: a\r\n b\r\n"), 400),
    "bare carriage return": (get(fields=HOST + b"X: a\rb\r\n"), 400),
    "NUL in a value": (get(fields=HOST + b"X: a\0b\r\n"), 400),
    "escape in a value": (get(fields=HOST + b"X: a\x1b[0m\r\n"), 400),
    "UTF-8 in a value": (get(fields=HOST + b"X: \xc3\xa9\r\n"), 400),
    "space in a name": (get(fields=HOST + b"X Y: a\r\n"), 400),
    "empty name": (get(fields=HOST + b": a\r\n"), 400),
    "no host": (get(fields=b"Authorization: Bearer shop\r\n"), 400),
    "two hosts": (get(fields=HOST + b"Host: y\r\n"), 400),
    "two credentials": (get(fields=HOST + b"Authorization: Bearer a\r\n"), 400),
    "no credentials": (get(fields=b"Host: x\r\n"), 401),
    "101 fields": (get(fields=HOST + b"".join(b"X-%d: a\r\n" % n for n in range(101))), 431),
    "long field": (get(fields=HOST + b"X: " + b"a" * 20_000 + b"\r\n"), 431),
    "long path": (get(b"/wait/" + b"a" * 4_000), 400),
    "longer path": (get(b"/wait/" + b"a" * 20_000), 431),
    "dot segments": (get(b"/wait/../echo"), 400),
    "encoded dot segments": (get(b"/wait/%2e%2e/echo"), 400),
    "dots encoded twice": (get(b"/wait/%252e%252e"), 400),
    "encoded backslash": (get(b"/wait/..%5cecho"), 400),
    "encoded NUL": (get(b"/wait/0%00"), 400),
    "encoded line break": (get(b"/wait/0%0d%0aX:%20y"), 400),
    "invalid escape": (get(b"/wait/%zz"), 400),
    "half an escape": (get(b"/wait/0%"), 400),
    "invalid UTF-8": (get(b"/wait/%ff"), 400),
    "overlong UTF-8": (get(b"/wait/%c0%ae%c0%ae"), 400),
    "surrogate": (get(b"/wait/%ed%a0%80"), 400),
    "right-to-left override": (get(b"/wait/%e2%80%ae0"), 400),
    "raw byte in the path": (get(b"/wait/\xff"), 400),
    "double slash": (get(b"//wait/0"), 400),
    "encoded slash": (get(b"/wait/0%2f0"), 404),
    "full-width slash": (get(b"/wait%ef%bc%8f0"), 404),
    "other case": (get(b"/WAIT/0"), 404),
    "space in the path": (get(b"/wait/0 0"), 400),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "TRACE": (b"TRACE /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "preflight": (b"OPTIONS /echo HTTP/1.1\r\nOrigin: https://evil\r\n" + HOST + b"\r\n", 405),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "lower-case method": (b"get /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "NUL in the method": (b"G\0T /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "method of 9,000 letters": (b"G" * 9_000 + b" /wait/0 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "HTTP/0.9": (b"GET /wait/0\r\n\r\n", 400),
    "HTTP/1.2": (b"GET /wait/0 HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "HTTP/2.0 by name": (b"GET /wait/0 HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 60, 400),
    "compressed body": (post(b"Content-Encoding: gzip\r\nContent-Length: 2\r\n", b"{}"), 415),
    "no type": (b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}", 415),
    "body cut off": (post(CHUNKED, b"5\r\n12"), 408),
    "length never reached": (post(b"Content-Length: 5\r\n", b"12"), 408),
}


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_documented(server: RunningServer, sent: bytes, status: int) -> None:
    answer = server.exchange(sent.replace(HOST, HOST + b"Connection: close\r\n", 1))
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
def test_an_unfinished_head_is_given_up(server: RunningServer, sent: bytes) -> None:
    begin = time.monotonic()
    assert server.exchange(sent) == CLOSED
    assert time.monotonic() - begin >= HEAD_SECONDS * 0.9


def test_a_head_that_drips_has_the_same_time(server: RunningServer) -> None:
    begin = time.monotonic()
    with server.connect() as opened:
        opened.sendall(b"GET /wait/0 HTTP/1.1\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):
            for number in range(1_000):
                opened.sendall(b"X-%d: a\r\n" % number)
                time.sleep(0.05)
    assert HEAD_SECONDS * 0.9 <= time.monotonic() - begin < 30


def test_silent_connections_leave_their_places(server: RunningServer) -> None:
    silent = [server.connect() for _ in range(64)]
    answer = server.exchange(get())
    assert answer.startswith(b"HTTP/1.1 200 ")
    for each in silent:
        each.close()


def test_a_pipeline_is_answered_in_order(server: RunningServer) -> None:
    bodies = [b"1", b"22", b"333"]
    sent = [post(b"Content-Length: %d\r\n" % len(body), body) for body in bodies]
    answer = server.exchange(b"".join(sent))
    found = [each.partition(b"\r\n\r\n")[2] for each in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert found == bodies


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
