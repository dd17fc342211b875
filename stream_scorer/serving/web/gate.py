"""The port to whoever decides which client a request comes from, and whether it may ask now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stream_scorer.serving.web.messages import Caller

UNIX_PEER: Final = "unix"
"""The peer of a request that came through a Unix socket."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a request before its body is read.

    Attributes:
        method: In upper case.
        path: Percent-decoded, without the query.
        headers: Values by lower-case name.
        peer: Address of the connection's other end, without its port, or :data:`UNIX_PEER`.
        secure: Whether the connection uses TLS.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str
    secure: bool


class Gate(Protocol):
    """Authenticates requests and limits how often a client may ask."""

    def admit(self, head: Head) -> Caller:
        """Return the client that a request comes from; it does not wait for anything.

        Raises:
            Problem: 401, the client is not authenticated; 403, it may not ask at all; 429, it asks
                too often.
        """
