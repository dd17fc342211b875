"""Requests as bytes, and the answers to them, by their parts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.serving.running_server import RunningServer

Fields = Sequence[tuple[str, str]]
ENDED = ("connection", "close")


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer.

    Attributes:
        status: 0: the connection was closed without an answer.
        fields: Values by lower-case name.
        body: Complete.
        answers: How many there are in what came back.
    """

    status: int
    fields: dict[str, str]
    body: bytes
    answers: int = 1

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def request_bytes(method: str, path: str, fields: Fields = (), body: bytes | None = None) -> bytes:
    """Return a request; with a body, also its length."""
    head = [f"{method} {path} HTTP/1.1", "host: api.example"]
    head += [f"{name}: {value}" for name, value in fields]
    if body is not None:
        head.append(f"content-length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")


def parsed_answer(received: bytes) -> RawAnswer:
    """Return the first of the answers that came back."""
    count = received.count(b"HTTP/1.1 ")
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first.startswith("HTTP/1.1 "):
        return RawAnswer(0, {}, received, count)
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    length = fields.get("content-length")
    return RawAnswer(
        int(first.split()[1]), fields, body if length is None else body[: int(length)], count
    )


def ask(
    server: RunningServer, method: str, path: str, fields: Fields = (), body: bytes | None = None
) -> RawAnswer:
    """Send a request on a connection of its own, and return the answer."""
    sent = request_bytes(method, path, [*fields, ENDED], body)
    return parsed_answer(server.exchange(sent))
