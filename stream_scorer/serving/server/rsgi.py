"""What Granian hands an application for each request: its protocol RSGI, version 1.6."""

from typing import Protocol

from stream_scorer.serving.web.body import SentBody
from stream_scorer.serving.web.head_fields import SentFields


class RsgiFields(SentFields, Protocol):
    """Header fields."""

    def get(self, name: str, default: None = None) -> str | None:
        """Return the first value of a field, if it is visible ASCII."""
        ...


class RsgiScope(Protocol):
    """A request's head."""

    @property
    def headers(self) -> RsgiFields:
        """The header fields; each access copies them."""
        ...

    @property
    def method(self) -> str:
        """In upper case, as sent."""
        ...

    @property
    def path(self) -> str:
        """Percent-decoded; U+FFFD for what is not UTF-8."""
        ...

    @property
    def query_string(self) -> str:
        """The part after ``?``, as sent."""
        ...

    @property
    def client(self) -> str:
        """Address and port of the connection's other end; empty for a Unix socket."""
        ...

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        ...

    @property
    def authority(self) -> str | None:
        """What HTTP/2 has in ``:authority``; None in HTTP/1."""
        ...

    @property
    def http_version(self) -> str:
        """``1``, ``1.1`` or ``2``."""
        ...


class RsgiProtocol(SentBody, Protocol):
    """A request's body, and the way back."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer with a body."""
        ...

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Answer without a body."""
        ...
