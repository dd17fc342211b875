"""Asks a running device for its status, at its address."""

import http.client
import json
import socket
from typing import Any, Final

from stream_scorer.settings import Settings

_STATUS_PATH: Final = "/v1/edge/status"
_SECONDS: Final = 5.0
_BYTES_MOST: Final = 65_536
_OK: Final = 200


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def running_status(settings: Settings) -> dict[str, Any] | None:
    """Return the status of the device that runs at the address of the settings; None: none does.

    A device of another name is not this one.
    """
    edge = settings.edge
    connection: http.client.HTTPConnection
    if edge.unix_socket is not None:
        connection = _UnixConnection(str(edge.unix_socket))
    else:
        host, _, port = edge.listen.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_SECONDS)
    try:
        connection.request("GET", _STATUS_PATH)
        answer = connection.getresponse()
        document = json.loads(answer.read(_BYTES_MOST))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return None
    finally:
        connection.close()
    if answer.status != _OK or not isinstance(document, dict):
        return None
    return document if document.get("device") == edge.device else None
