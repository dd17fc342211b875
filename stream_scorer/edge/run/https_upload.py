"""Uploads rows to ``/v1/edge`` of the API by HTTPS, with the device's key.

One connection is kept for many uploads. No redirect is followed and no proxy of the environment is
used. The answer has limits of bytes and time.
"""

import base64
import binascii
import http.client
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from stream_scorer.edge.claims.contract import CHAIN_BYTES, EdgeProgress, EdgeRow, PublishedRows
from stream_scorer.edge.device.upload import RowsRefused
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.security.keys import read_secret
from stream_scorer.serving.access.https_fetch import Deadline, tls_context
from stream_scorer.settings import Settings

_EVENTS: Final = "/v1/edge/events"
_PROGRESS: Final = "/v1/edge/progress"
_SECONDS: Final = 60.0
"""Of an upload; the API takes at most 50 s."""
_CONNECT_SECONDS: Final = 10.0
_ANSWER_BYTES_MOST: Final = 4 * 1024 * 1024
_AGAIN: Final = "it is tried again; nothing is published twice"
_BEHIND: Final = frozenset({"edge-gap", "edge-fork", "edge-order"})
_KIND: Final = "urn:stream-scorer:problem:"
_OK, _FORBIDDEN, _BUSY = 200, frozenset({401, 403}), frozenset({408, 425, 429})
_SERVER: Final = 500

Revocation = Callable[[Mapping[str, Any]], None]
"""Called with the members of a problem that names a revocation; raises if an operator signed it."""


class _RevokedError(RowsRefused):
    """The server states that the device is revoked.

    Attributes:
        document: The problem.
    """

    def __init__(self, detail: str, document: Mapping[str, Any]) -> None:
        super().__init__("forbidden", detail)
        self.document = document


class HttpsUpload:
    """Publishes rows through the API; see ``edge.device.upload.UploadClient``. For one thread.

    Args:
        url: The API, https; http only for a test.
        device: The device.
        key: The device's key of the API.
        ca: CA certificates, PEM; None: the system's.
        revoked: Judges a revocation.

    Raises:
        SettingsError: The CA certificates cannot be read.
    """

    def __init__(
        self, url: str, device: str, key: str, ca: Path | None = None,
        revoked: Revocation = lambda _: None,
    ) -> None:  # fmt: skip
        parts = urlsplit(url)
        self._url = url
        self._path = parts.path.rstrip("/")
        self._device = device
        self._headers = {
            "authorization": f"Bearer {key}", "content-type": "application/json",
            "accept-encoding": "identity",
        }  # fmt: skip
        self._revoked = revoked
        self._interrupted = False
        host = parts.hostname or ""
        self._connection: http.client.HTTPConnection = (
            http.client.HTTPConnection(host, parts.port, timeout=_CONNECT_SECONDS)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(
                host, parts.port, timeout=_CONNECT_SECONDS, context=tls_context(ca)
            )
        )

    def progress(self) -> EdgeProgress:
        """Return up to which row the device's rows are published."""
        return _progress(self._ask("GET", _PROGRESS, None))

    def send(self, rows: Sequence[EdgeRow]) -> PublishedRows:
        """Publish rows; of a revoked device, those that still count."""
        try:
            return self._sent(rows)
        except _RevokedError as error:
            after = error.document.get("revoked_after")
            good = [row for row in rows if isinstance(after, int) and row.sequence <= after]
            if good and len(good) < len(rows):
                return self.send(good)
            self._revoked(error.document)
            raise RowsRefused("forbidden", error.detail) from error

    def _sent(self, rows: Sequence[EdgeRow]) -> PublishedRows:
        body = {
            "device": self._device,
            "rows": [
                {
                    "sequence": row.sequence, "key": _text(row.key), "value": _text(row.value),
                    "decision": _text(row.decision), "previous": _text(row.previous),
                    "signature": _text(row.signature),
                }
                for row in rows
            ],
        }  # fmt: skip
        answer = self._ask("POST", _EVENTS, json.dumps(body).encode())
        try:
            found = answer["published"], answer["repeated"]
            return PublishedRows(_progress(answer["progress"]), *map(int, found))
        except (KeyError, TypeError, ValueError) as error:
            raise self._unavailable("the answer is not that of an upload") from error

    def interrupt(self) -> None:
        """Have a request of another thread fail, and each one after it."""
        self._interrupted = True
        held: socket.socket | None = self._connection.sock
        if held is not None:
            with suppress(OSError):
                # Not the TLS side's own method: that is for the thread that reads.
                socket.socket.shutdown(held, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> Mapping[str, Any]:
        try:
            status, data = self._exchanged(method, path, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise self._unavailable(str(error) or type(error).__name__) from error
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            document = {}
        if status != _OK:
            self._refuse(status, document)
        return document

    def _exchanged(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Return status and body of an answer, within the limits of bytes and time."""
        deadline = Deadline(self._connection, _SECONDS)
        try:
            answer = self._answer(method, path, body, deadline)
            data = answer.read(_ANSWER_BYTES_MOST + 1)
        finally:
            deadline.cancel()
        if deadline.passed or len(data) > _ANSWER_BYTES_MOST:
            self._connection.close()
            raise OSError("the answer is too large, or too slow")
        return answer.status, data

    def _answer(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> http.client.HTTPResponse:
        """Return the head of an answer.

        An idle connection may have been closed by the server. So a request that finds no answer at
        all is sent once more, on a new connection.
        """
        fresh = self._connection.sock is None
        try:
            return self._sent_once(method, path, body, deadline)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._connection.close()
            if fresh or self._interrupted:
                raise
        return self._sent_once(method, path, body, deadline)

    def _sent_once(
        self, method: str, path: str, body: bytes | None, deadline: Deadline
    ) -> http.client.HTTPResponse:
        if self._connection.sock is None:
            self._connection.connect()
            held: socket.socket | None = self._connection.sock
            if held is not None:
                held.settimeout(_SECONDS)
        deadline.hold()
        self._connection.request(method, self._path + path, body, self._headers)
        return self._connection.getresponse()

    def _refuse(self, status: int, document: Mapping[str, Any]) -> None:
        """Raise what an answer other than 200 means.

        Raises:
            RowsRefused: A repetition changes nothing.
            UnavailableError: A repetition may help.
        """
        kind = str(document.get("type", "")).removeprefix(_KIND)
        detail = f"{self._url}: {status} {kind[:64]}: {str(document.get('detail', ''))[:200]}"
        if kind == "edge-revoked":
            raise _RevokedError(detail, document)
        if kind in _BEHIND:
            raise RowsRefused("behind", detail)
        if status in _BUSY or status >= _SERVER:
            raise self._unavailable(detail)
        raise RowsRefused("forbidden", detail)

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(f"edge.upload_url {self._url}: {why}", _AGAIN)


def https_upload(settings: Settings, revoked: Revocation) -> HttpsUpload:
    """Return the client of the settings.

    Raises:
        SettingsError: The key or the CA certificates cannot be read.
    """
    edge = settings.edge
    if edge.api_key_file is None:
        raise SettingsError("edge.api_key_file: is missing", "name the file with the device's key")
    key = read_secret(edge.api_key_file, f"edge.api_key_file {edge.api_key_file}")
    text = key.decode("ascii", "replace").strip()
    if not text or not text.isprintable():
        raise SettingsError(
            f"edge.api_key_file {edge.api_key_file}: has no key", "write the key that it was given"
        )
    return HttpsUpload(edge.upload_url, edge.device, text, edge.upload_ca, revoked)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _progress(document: Mapping[str, Any]) -> EdgeProgress:
    """Return the progress of an answer.

    Raises:
        UnavailableError: It has none.
    """
    try:
        sequence, chain = document["sequence"], base64.b64decode(document["chain"], validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError):
        sequence, chain = -1, b""
    if not isinstance(sequence, int) or sequence < 0 or len(chain) != CHAIN_BYTES:
        raise UnavailableError("the answer has no progress of a device", _AGAIN)
    return EdgeProgress(sequence, chain)
