"""The webhook sink: POST each event, signed as Standard Webhooks describes.

The receiver gets ``webhook-id`` (the event's id, the same for each attempt), ``webhook-timestamp``
and ``webhook-signature``: ``v1,`` and the base64 of the HMAC-SHA256 over ``ID.TIMESTAMP.BODY``
(https://www.standardwebhooks.com). Redirects are not followed, and answers are not read.

The time limit is one for the whole request. The timeouts of sockets, and of the HTTP clients above
them, are for each read: a receiver that sends a byte now and then never exceeds them. So a request
has a thread of its own, and its connection is shut down at the limit.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from stream_scorer.drift.sinks.delivery import Delivery
from stream_scorer.drift.sinks.message import SinkMessage
from stream_scorer.errors import SettingsError
from stream_scorer.settings import Monitor

_PREFIX: Final = "whsec_"
_STEP_SECONDS: Final = 0.1
"""Time between two heartbeats."""
_HEADER: Final = re.compile("[!-~]{1,256}")
_AGAIN: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
"""Answers of the class 4xx after which a request can succeed later."""


class Webhook:
    """Sends events to a URL.

    Args:
        url: https, or http on a loopback address.
        secret: Key of the signatures; with the prefix ``whsec_`` it is base64.
        seconds: Time limit of a whole request.
        clock: Seconds since the epoch.

    Raises:
        SettingsError: The secret has the prefix and is not base64.
    """

    name = "webhook"

    def __init__(
        self, url: str, secret: str, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._parts = urlsplit(url)
        self._key = _key_of(secret)
        self._seconds = seconds
        self._clock = clock
        self._request: _Request | None = None

    @classmethod
    def of(cls, monitor: Monitor) -> "Webhook":
        """Return the sink of the settings.

        Raises:
            SettingsError: The URL or the secret is missing.
        """
        if not monitor.webhook_url or monitor.webhook_secret is None:
            raise SettingsError(
                "the webhook sink needs monitor.webhook_url and monitor.webhook_secret",
                "set both; the secret belongs in a secret file",
            )
        secret = monitor.webhook_secret.get_secret_value()
        return cls(monitor.webhook_url, secret, monitor.webhook_timeout_seconds)

    def send(self, message: SinkMessage, heartbeat: Callable[[], None] = lambda: None) -> Delivery:
        """Send an event once, within the time limit.

        Args:
            message: The event.
            heartbeat: Called ten times a second until there is an answer.
        """
        if not _HEADER.fullmatch(message.key):
            return Delivery("skipped", "its id cannot be a header")
        if self._request is not None and self._request.is_alive():
            return Delivery("waiting", "the last request has not ended: its host is looked up")
        at = int(self._clock())
        headers = {
            "content-type": "application/json",
            "webhook-id": message.key,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self._key, message.key, at, message.body),
        }
        path = self._parts.path or "/"
        if self._parts.query:
            path += f"?{self._parts.query}"
        self._request = request = _Request(self._connection(), path, message.body, headers)
        request.start()
        end = time.monotonic() + self._seconds
        while request.is_alive() and (left := end - time.monotonic()) > 0:
            heartbeat()
            request.join(min(left, _STEP_SECONDS))
        if request.result is not None:
            return request.result
        request.cut()
        return Delivery("waiting", f"no answer within {self._seconds:g} s")

    def _connection(self) -> HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(host, port, timeout=self._seconds, context=context)
        return HTTPConnection(host, port, timeout=self._seconds)


class _Request(threading.Thread):
    """One request, which another thread can cut off."""

    def __init__(
        self, connection: HTTPConnection, path: str, body: bytes, headers: dict[str, str]
    ) -> None:
        super().__init__(name="webhook", daemon=True)
        self._connection = connection
        self._asked = (path, body, headers)
        self._cut = threading.Event()
        self.result: Delivery | None = None

    def run(self) -> None:
        """Send it, and keep what the answer means."""
        try:
            self._connection.connect()
            if not self._cut.is_set():
                self._connection.request("POST", *self._asked)
                self.result = _judged(self._connection.getresponse().status)
        except (OSError, HTTPException, ValueError) as error:
            # A name of a host that is not valid is a ValueError.
            self.result = Delivery("waiting", f"no answer: {type(error).__name__}")
        finally:
            self._connection.close()

    def cut(self) -> None:
        """Shut the connection down, so that the thread ends.

        A connection that is not there yet is closed as soon as it is.
        """
        self._cut.set()
        held = self._connection.sock
        if held is not None:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)


def signature(key: bytes, name: str, at: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``.

    Args:
        key: The secret.
        name: Value of ``webhook-id``.
        at: Value of ``webhook-timestamp``.
        body: The body.
    """
    signed = b".".join([name.encode(), str(at).encode(), body])
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key_of(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret[len(_PREFIX) :], validate=True)
    except binascii.Error:
        raise SettingsError(
            f"setting monitor.webhook_secret: has the prefix {_PREFIX} and is not base64",
            "copy it again, or give one without the prefix",
        ) from None


def _judged(status: int) -> Delivery:
    """Return what an answer means.

    A redirect would send the event, and its signature, to an address that nobody configured. It is
    a mistake of the receiver's that a person can fix, so the event waits.
    """
    why = f"status {status}"
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Delivery("sent", "")
    client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if client_error and status not in _AGAIN:
        return Delivery("skipped", why)
    return Delivery("waiting", why)
