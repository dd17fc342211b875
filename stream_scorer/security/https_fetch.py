"""One HTTPS answer within limits of bytes and time, for documents of other services.

No redirect is followed, no proxy of the environment is used, and nothing is inflated. The complete
request has a deadline: a server that sends its answer byte by byte does not hold the caller longer.
Only the look-up of the host's name is not limited; it has the resolver's own limit.
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
    timer = threading.Timer(seconds, _cut, (connection,))
    timer.daemon = True
    timer.start()
    try:
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
        raise UnavailableError(f"{url}: {error or type(error).__name__}", _FIX) from error
    finally:
        timer.cancel()
        connection.close()
    if len(body) > bytes_max:
        raise UnavailableError(f"{url}: the answer is larger than {bytes_max} bytes", _FIX)
    if short:
        raise UnavailableError(f"{url}: the answer ended early", _FIX)
    return body


def _cut(connection: http.client.HTTPSConnection) -> None:
    """End a request whose time is up: what waits for its socket fails."""
    held = connection.sock
    with contextlib.suppress(OSError):
        if held is not None:
            # Not the TLS side's own method: that is for the thread that reads.
            socket.socket.shutdown(held, socket.SHUT_RDWR)
