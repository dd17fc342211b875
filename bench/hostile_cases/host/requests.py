"""Requests of a client that does not keep to HTTP."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator


def asked(port: int, data: bytes, *, wait: float = 10.0, source: str = "127.0.0.1") -> bytes:
    """Send bytes to a loopback port and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), wait, (source, 0)) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        return answer(connection)


def answer(connection: socket.socket) -> bytes:
    """Return what a connection still brings, up to its end or the time limit."""
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
