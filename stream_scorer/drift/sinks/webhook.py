"""The webhook sink: POST each event, signed as Standard Webhooks describes.

The receiver gets ``webhook-id`` (the event's id, the same for each attempt), ``webhook-timestamp``
and ``webhook-signature``: ``v1,`` and the base64 of the HMAC-SHA256 over ``ID.TIMESTAMP.BODY``
(https://www.standardwebhooks.com). Redirects are not followed, and answers are not read.
"""

import base64
import binascii
import hashlib
import hmac
import ssl
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
_AGAIN: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
"""Answers of the class 4xx after which a request can succeed later."""


class Webhook:
    """Sends events to a URL.

    Args:
        url: https, or http on a loopback address.
        secret: Key of the signatures; with the prefix ``whsec_`` it is base64.
        seconds: Time limit of a request.
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

    def send(self, message: SinkMessage) -> Delivery:
        """Send an event once."""
        at = int(self._clock())
        headers = {
            "content-type": "application/json",
            "webhook-id": message.key,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self._key, message.key, at, message.body),
        }
        connection = self._connection()
        try:
            path = self._parts.path or "/"
            if self._parts.query:
                path += f"?{self._parts.query}"
            connection.request("POST", path, message.body, headers)
            return _judged(connection.getresponse().status)
        except (OSError, HTTPException) as error:
            return Delivery("waiting", f"no answer: {type(error).__name__}")
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(host, port, timeout=self._seconds, context=context)
        return HTTPConnection(host, port, timeout=self._seconds)


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
