"""The gate: who sends a request, judged by its head before its body is read."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from stream_scorer.serving.web.messages import Caller


class RequestHead(msgspec.Struct, frozen=True):
    """What is known of a request before its body is read.

    Attributes:
        method: In upper case.
        path: As sent, without the query.
        headers: Values by lower-case name.
        peer: IP address of the other end of the connection, or ``unix`` for a Unix socket.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str


class Gate(Protocol):
    """Admits callers."""

    def admit(self, head: RequestHead) -> Caller:
        """Return who sends a request.

        Raises:
            Problem: 401 without a valid credential, 403 from a browser's page, 429 past a limit.
        """
