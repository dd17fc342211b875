"""One HTTPS answer within limits of bytes and time, for documents of other services.

No redirect is followed, no proxy of the environment is used, and nothing is inflated. The complete
request has a deadline: a server that sends its answer byte by byte does not hold the caller longer.
Only the look-up of the host's name and the pieces of the TLS handshake have separate limits: the
resolver's, and the same time for each piece.
"""

import contextlib
import http.client
import socket
import ssl
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stream_scorer.errors import SettingsError, UnavailableError

_FIX: Final = "see whether the address answers with the document itself"


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Return a context that verifies servers, with TLS 1.2 or newer.

    Args:
        ca: CA certificates, PEM; None: the system's.

    Raises:
        SettingsError: The file cannot be read or is not PEM.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"CA certificates {ca}: {error.strerror or error}", "name a PEM file"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def fetch(url: str, context: ssl.SSLContext, bytes_max: int, seconds: float) -> bytes:
    """Return the body of the answer to a GET.

    Args:
        url: An https URL.
        context: Verifies the server.
        bytes_max: Maximum size of the body.
        seconds: Time limit, from the connection to the last byte.

    Raises:
        UnavailableError: No answer in time, or not a 200 within the limits.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port, timeout=seconds, context=context
    )
    deadline = Deadline(connection, seconds)
    try:
        connection.connect()
        deadline.hold()
        connection.request("GET", target, headers={"Accept-Encoding": "identity"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise UnavailableError(f"{url}: answered with {answer.status}", _FIX)
        if answer.getheader("Content-Encoding", "identity") != "identity":
            raise UnavailableError(
                f"{url}: the answer is compressed, which was not asked for", _FIX
            )
        body = answer.read(bytes_max + 1)
        short = answer.length
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(f"{url}: {str(error) or type(error).__name__}", _FIX) from error
    finally:
        deadline.cancel()
        connection.close()
    if deadline.passed:
        # The end of the connection may have looked like the end of the answer.
        raise UnavailableError(f"{url}: no complete answer in {seconds:g} s", _FIX)
    if len(body) > bytes_max:
        raise UnavailableError(f"{url}: the answer is larger than {bytes_max} bytes", _FIX)
    if short:
        raise UnavailableError(f"{url}: the answer ended early", _FIX)
    return body


class Deadline:
    """Ends a request when its time is up: what waits for its socket fails, or finds its end.

    Args:
        connection: Of the request.
        seconds: Its time.

    Attributes:
        passed: Whether its time was up.
    """

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self._connection = connection
        self._held: socket.socket | None = None
        self.passed = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def hold(self) -> None:
        """Keep the socket: the connection forgets it while its answer is read."""
        self._held = self._connection.sock

    def cancel(self) -> None:
        """Leave the request alone from now on."""
        self._timer.cancel()

    def _cut(self) -> None:
        self.passed = True
        held = self._held or self._connection.sock
        with contextlib.suppress(OSError):
            if held is not None:
                # Not the TLS side's own method: that is for the thread that reads.
                socket.socket.shutdown(held, socket.SHUT_RDWR)
