"""The registry server's connections: a limited number, each request with a time limit."""

import io
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

CONNECTIONS_MOST: Final = 64
"""Maximum number of connections, and so of threads; others are closed without an answer."""
REQUEST_SECONDS: Final = 20.0
"""Time limit from the first byte of a request to its last, seconds."""
IDLE_SECONDS: Final = 60.0
"""Time limit for the first byte of a connection's next request, seconds."""


class RegistryConnections(ThreadingHTTPServer):
    """One thread per connection, and at most :data:`CONNECTIONS_MOST` of them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(CONNECTIONS_MOST)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on its own thread, or close it."""
        if self._free.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:
                self._free.release()
                raise
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing about a client that disconnected or was too slow."""


class RequestClock(io.RawIOBase):
    """A connection's bytes; the connection ends if a request is not complete in time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until: float | None = None

    def next_request(self) -> None:
        """Expect a new request: its first byte starts the clock."""
        self._until = None

    def readable(self) -> bool:
        """Return True: it can always be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the available bytes within the remaining time.

        Raises:
            TimeoutError: The request takes too long.
        """
        left = IDLE_SECONDS if self._until is None else self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if self._until is None:
            self._until = time.monotonic() + REQUEST_SECONDS
        # Answers use the same connection.
        self._connection.settimeout(REQUEST_SECONDS)
        return count
