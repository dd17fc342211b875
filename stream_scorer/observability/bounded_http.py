"""An HTTP server that untrusted clients cannot exhaust: threads, time and bytes are limited.

It is the base of the small servers in this package, which run inside a process with other work.
Each connection serves one request.

====================== ===========================================================
limit                  what happens past it
====================== ===========================================================
:data:`THREADS`        the connection is closed
:data:`PER_ADDRESS`    a further connection of that address is closed
:data:`SECONDS`        the connection is closed, however far the request has come
:data:`HEAD_BYTES`     431, and the connection is closed
====================== ===========================================================
"""

import contextlib
import io
import socket
import socketserver
import ssl
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

THREADS: Final = 8
"""Requests that are served at the same time."""
PER_ADDRESS: Final = 4
"""Of these, for one address, so that a client that hangs leaves room for others."""
SECONDS: Final = 5.0
"""From the connection to the last byte of the answer."""
HEAD_BYTES: Final = 16_384
"""Request line and header fields together."""


class HeadTooLargeError(Exception):
    """A request's head is larger than :data:`HEAD_BYTES`."""


class TlsFiles:
    """A server's certificate and key, read again when one of the files changes.

    Args:
        certificate: Certificate chain, PEM.
        key: Its private key, PEM, without a passphrase.

    Raises:
        OSError: A file cannot be read.
        ssl.SSLError: The files are not a certificate and its key.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._seen = self._stamp()
        self._context = self._load()

    def _stamp(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._files)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files)
        return context

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """Return a TLS socket over a connection; the caller does the handshake.

        While new files are written, certificate and key may not fit each other. Until they do, the
        old ones are used.
        """
        try:
            seen = self._stamp()
            if seen != self._seen:
                self._context, self._seen = self._load(), seen
        except (OSError, ssl.SSLError):
            pass
        return self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )


@dataclass(slots=True)
class _Open:
    """A connection that a thread serves.

    Attributes:
        address: The client's address; None: its time is up, and it no longer counts for the
            address.
        end: When its time is up, by the monotonic clock, in seconds.
    """

    address: str | None
    end: float


class BoundedServer(socketserver.TCPServer):
    """Serves connections in a bounded number of threads, each until its time is up.

    Args:
        address: Host and port; port 0 picks a free one.
        handler: Handles one request.
        tls: Certificate and key; None serves without TLS.

    Raises:
        OSError: The address cannot be bound.
    """

    allow_reuse_address = True
    request_queue_size = 2 * THREADS

    def __init__(
        self,
        address: tuple[str, int],
        handler: type["BoundedHandler"],
        tls: TlsFiles | None = None,
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._tls = tls
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _Open] = {}
        super().__init__(address, handler)

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its own thread, or close it if a limit is reached.

        It is also closed if no thread can be started.
        """
        address = str(client_address[0])
        with self._lock:
            taken = sum(each.address == address for each in self._open.values())
            full = len(self._open) >= THREADS or taken >= PER_ADDRESS
            if not full:
                self._open[request] = _Open(address, time.monotonic() + SECONDS)
        if full:
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="http-request", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system has no room for a thread, perhaps only now
            with self._lock:
                self._open.pop(request, None)
            self.shutdown_request(request)

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        wrapped = request
        try:
            request.settimeout(SECONDS)
            if self._tls is not None:
                wrapped = self._tls.wrap(request)
                with self._lock:
                    self._open[wrapped] = self._open.pop(request)
                wrapped.do_handshake()
            self.finish_request(wrapped, client_address)
        except (OSError, ValueError):
            pass  # the peer left, spoke no TLS, or its time was up
        finally:
            with self._lock:
                self._open.pop(wrapped, None)
                self._open.pop(request, None)
            self.shutdown_request(wrapped)

    def service_actions(self) -> None:
        """Close the connections whose time is up; called by the serving loop."""
        now = time.monotonic()
        with self._lock:
            late = [connection for connection, each in self._open.items() if each.end < now]
            for connection in late:
                # Its place is free before the client sees the end, and not only when the thread
                # does.
                self._open[connection].address = None
        for connection in late:
            # It may be closed already.
            with contextlib.suppress(OSError):
                # Not the TLS side's own method: that is for the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Head(io.RawIOBase):
    """What a client sends, up to a limit.

    Args:
        connection: The client's.
        most: The limit, bytes.
    """

    def __init__(self, connection: socket.socket, most: int) -> None:
        self._connection = connection
        self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        if self._left <= 0:
            raise HeadTooLargeError
        view = memoryview(into)
        read = self._connection.recv_into(view[: self._left])
        self._left -= read
        return read


class BoundedHandler(BaseHTTPRequestHandler):
    """Handles one request within the limits; a subclass has the methods ``do_GET`` and so on."""

    protocol_version = "HTTP/1.0"
    request_bytes_max = HEAD_BYTES
    """Limit of head and body together; a subclass that accepts bodies has a larger one."""
    requestline = command = ""
    request_version = "HTTP/1.0"

    def setup(self) -> None:
        """Read the request through the limit."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Head(self.connection, self.request_bytes_max))

    def handle(self) -> None:
        """Answer one request."""
        try:
            self.handle_one_request()
        except HeadTooLargeError:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def answer(self, status: HTTPStatus, body: bytes, content_type: str, **headers: str) -> None:
        """Send a response.

        Args:
            status: Its code.
            body: All of it.
            content_type: Its media type.
            headers: Further fields; underscores in names stand for hyphens.
        """
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Return the ``Server`` field, without versions."""
        return "stream-scorer"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 http.server's name
        """Write nothing: a request every second is normal operation."""
