"""Requests of a client that violates HTTP, and the servers that receive them."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry

from bench.hostile_cases.case import NotThereError, entry


def endpoint(health: Any, **http: Any) -> Any:
    """Return a metrics and probe server on a free port; it serves as a context manager."""
    try:
        found = entry("stream_scorer.observability.endpoint", "Endpoint")
    except NotThereError:
        # Older trees have it here.
        found = entry("stream_scorer.observability.health", "Endpoint")
    settings = entry("stream_scorer.settings", "Http")(port=0, **http)
    return found(settings, CollectorRegistry(), health)


class Answering(BaseHTTPRequestHandler):
    """Answers requests without a log; ``path`` does not contain the query."""

    def get(self, path: str) -> None:
        """Answer a GET."""
        raise NotImplementedError

    def post(self, path: str) -> None:
        """Answer a POST."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer a GET."""
        self.get(self.path.partition("?")[0])

    def do_POST(self) -> None:
        """Answer a POST."""
        self.post(self.path.partition("?")[0])

    def send(self, status: int, data: bytes, **headers: str) -> None:
        """Send an answer; header names have underscores for hyphens."""
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


@contextlib.contextmanager
def served(handler: type[Answering]) -> Iterator[str]:
    """Serve HTTP on a free loopback port; yield the URL."""
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def asked(port: int, data: bytes, *, wait: float = 10.0, source: str = "127.0.0.1") -> bytes:
    """Send bytes to a loopback port and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), wait, (source, 0)) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        return answer(connection)


def answer(connection: socket.socket) -> bytes:
    """Return the rest of a connection's bytes, up to its end or the time limit."""
    found = b""
    with contextlib.suppress(OSError):
        while piece := connection.recv(1 << 16):
            found += piece
            if b"\r\n\r\n" in found and _complete(found):
                break
    return found


def _complete(found: bytes) -> bool:
    head, _, body = found.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return len(body) >= int(value)
    return False


def status(found: bytes) -> str:
    """Return an answer's status code, or that there is none."""
    parts = found.split(b" ", 2)
    if len(parts) > 1 and parts[0].startswith(b"HTTP/"):
        return parts[1].decode("ascii", "replace")
    return "an answer without a status" if found else "no answer"


def seconds_open(port: int, pieces: Iterable[bytes], pause: float, most: float) -> float:
    """Send pieces slowly; return after how many seconds the server closes the connection."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
        connection.settimeout(pause)
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            with contextlib.suppress(TimeoutError):
                try:
                    if not connection.recv(1 << 16):
                        break
                except ConnectionError:
                    break
            if time.monotonic() - began > most:
                break
    return time.monotonic() - began


@contextlib.contextmanager
def held(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold connections open that send no complete request."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                each = stack.enter_context(socket.create_connection(("127.0.0.1", port), 1.0))
                each.sendall(first)
                found.append(each)
        yield found


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it came about in time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
