"""The header fields of a request, each with one meaning."""

from collections.abc import Iterable, Sequence
from itertools import count
from re import ASCII
from re import compile as pattern
from secrets import token_hex
from typing import Final, Protocol

from stream_scorer.serving.web.problems import Problem

REQUEST_ID: Final = "x-request-id"
_REQUEST_ID: Final = pattern(r"[A-Za-z0-9._-]{1,64}", ASCII)
_LISTS: Final = frozenset(
    {
        "accept", "accept-charset", "accept-encoding", "accept-language", "baggage",
        "cache-control", "connection", "cookie", "forwarded", "if-match", "if-none-match",
        "pragma", "te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade",
        "via", "x-forwarded-for",
    }
)  # fmt: skip
"""Fields that may occur several times; several ``traceparent`` are invalid together."""


class SentFields(Protocol):
    """The header fields as the server read them; names are in lower case."""

    def __len__(self) -> int:
        """Return the number of different names."""
        ...

    def items(self) -> Sequence[tuple[str, str]]:
        """Return name and value of each field whose value is visible ASCII."""
        ...


def read_fields(sent: SentFields) -> dict[str, str]:
    """Return the values by name.

    Raises:
        Problem: 400; a field that must be unique occurs twice, or a value is not visible ASCII.
    """
    items = sent.items()
    fields = dict(items)
    if len(fields) != len(sent):
        raise _bad_header("a header field has a value that is not visible ASCII")
    if len(fields) != len(items):
        return _joined(items)
    return fields


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in items:
        if name not in fields:
            fields[name] = value
        elif name in _LISTS:
            fields[name] = f"{fields[name]}, {value}"
        else:
            raise _bad_header("a header field that must be unique occurs twice")
    return fields


def _bad_header(detail: str) -> Problem:
    return Problem(400, "bad-header", "A header field of the request is not acceptable.", detail)


def check_framing(fields: dict[str, str], version: str) -> None:
    """Refuse a head by which two programs could see different ends of its body.

    Args:
        fields: Values by name.
        version: ``1``, ``1.1`` or ``2``.

    Raises:
        Problem: 400; the connection is to be closed.
    """
    if version == "1.1" and "host" not in fields:
        raise _bad_header("the header field host is missing")
    coding = fields.get("transfer-encoding")
    if coding is not None and ("content-length" in fields or coding.lower() != "chunked"):
        raise _bad_header("the body's length is not clear from the header fields")


class RequestIds:
    """Takes over the request ids of clients, and makes ids that no other process makes."""

    def __init__(self) -> None:
        self._prefix = token_hex(8)
        self._count = count()

    def of(self, sent: str | None) -> str:
        """Return the client's id if it is valid, else a new one.

        Args:
            sent: The value of :data:`REQUEST_ID`; None without one.
        """
        if sent is not None and _REQUEST_ID.fullmatch(sent) is not None:
            return sent
        return f"{self._prefix}-{next(self._count):x}"
