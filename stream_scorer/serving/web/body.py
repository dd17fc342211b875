"""Reads a request's body within the limits of its route."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from stream_scorer.serving.web.messages import JSON, Route
from stream_scorer.serving.web.problems import Problem

_LENGTH_DIGITS_MOST: Final = 15
_EMPTY_CHUNKS_MOST: Final = 8
TOO_LARGE: Final = "too-large"
_DISCARDED_MOST: Final = 16_777_216
_DISCARD_SECONDS: Final = 2.0


class SentBody(Protocol):
    """A body that a server has not read yet; it is read by one of the two ways."""

    def __call__(self) -> Awaitable[bytes]:
        """Return all of it.

        Raises:
            RuntimeError: The client left before its end.
        """
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield its parts; one that is empty follows the last, or stands for an error."""
        ...


def announced_length(fields: Mapping[str, str], version: str, route: Route) -> int | None:
    """Return the length that the head announces, judged before anything of the body is read.

    Args:
        fields: Header fields; ``head_fields.check_framing`` accepts them.
        version: ``1``, ``1.1`` or ``2``.
        route: The request's.

    Returns:
        Bytes; None: only the end of the body shows its length.

    Raises:
        Problem: 400, 413 or 415.
    """
    sent = fields.get("content-length")
    if sent is None:
        open_end = "transfer-encoding" in fields or (version == "2" and route.body_bytes_max > 0)
        length = None if open_end else 0
    elif sent.isascii() and sent.isdigit() and len(sent) <= _LENGTH_DIGITS_MOST:
        length = int(sent)
    else:
        raise Problem(
            400,
            "bad-header",
            "A header field of the request is not acceptable.",
            "content-length is not a number",
        )
    if length is not None and length > route.body_bytes_max:
        raise too_large(route)
    if length != 0:
        _check_type(fields, route, sure=length is not None)
    return length


def _check_type(fields: Mapping[str, str], route: Route, *, sure: bool) -> None:
    """Refuse a body of another type; ``sure`` is false where the body may turn out empty."""
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise Problem(
            415,
            "unsupported-encoding",
            "The body must not be compressed.",
            headers=(("accept-encoding", "identity"),),
        )
    sent = fields.get("content-type")
    if sent is None:
        accepted = "" in route.content_types or (not sure and not route.content_types)
    elif sent in route.content_types:
        return
    else:
        kind, _, parameters = sent.partition(";")
        kind = kind.strip().lower()
        accepted = kind in route.content_types and (kind != JSON or _is_utf8(parameters))
    if not accepted:
        known = ", ".join(sorted(route.content_types - {""})) or "no body"
        raise Problem(
            415,
            "unsupported-media-type",
            "The body's content-type is not supported here.",
            f"supported: {known}",
            headers=(("accept", known),) if route.content_types else (),
        )


def _is_utf8(parameters: str) -> bool:
    """Return whether parameters of JSON's content type name no other charset than UTF-8."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower() in {"utf-8", "utf8"}
    return True


def too_large(route: Route) -> Problem:
    """Return the problem of a body that is longer than its route allows."""
    return Problem(
        413,
        "too-large",
        "The body is too large.",
        f"at most {route.body_bytes_max} bytes",
        members={"bytes_max": route.body_bytes_max},
    )


def cut_off() -> Problem:
    """Return the problem of a body whose end never came."""
    return Problem(400, "incomplete-body", "The body ended before its announced end.")


async def read_open_end(sent: SentBody, version: str, route: Route) -> bytes:
    """Return a body whose length is not announced.

    The server shows an error of the connection as an empty part, and the end as one more. In HTTP/1
    an empty part is nothing else, so a body that was cut off is recognised. In HTTP/2 clients may
    send empty parts; there a client that cuts its request off also gets no answer.

    Args:
        sent: The body.
        version: ``1``, ``1.1`` or ``2``.
        route: The request's.

    Raises:
        Problem: 400, its end did not come; 413, it is too long.
    """
    parts: list[bytes] = []
    length = empty = 0
    most_empty = _EMPTY_CHUNKS_MOST if version == "2" else 1
    async for part in sent:
        if not part:
            empty += 1
            if empty > most_empty:
                raise cut_off()
            continue
        length += len(part)
        if length > route.body_bytes_max:
            raise too_large(route)
        parts.append(part)
    return b"".join(parts)


async def discard(sent: SentBody) -> None:
    """Read what a client still sends after its answer, at most 16 MiB and for 2 s.

    Otherwise the connection would be reset, and many clients read no answer before they have sent
    everything.
    """
    left = _DISCARDED_MOST
    with suppress(TimeoutError, RuntimeError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            async for part in sent:
                left -= len(part)
                if left < 0 or not part:
                    return
