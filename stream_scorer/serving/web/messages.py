"""A request, its answer, and a route from one to the other.

A request is made for each call, as a type of msgspec: a frozen dataclass takes ten times as long.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from stream_scorer.serving.web.problems import Problem
from stream_scorer.serving.web.request_trace import UNTRACED, RequestTrace

Scope = Literal["score", "read", "operate", "edge", "admin"]
"""What a caller may do: ask for decisions and scores; read decisions; operate;
upload what a device decided; everything."""

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Caller:
    """The client that a request comes from, once it is authenticated.

    Attributes:
        client: The client's name, as limits, idempotency and the audit log know it.
        scopes: What it may do. ``admin`` includes every other scope.
        how: How it was authenticated: ``key``, ``token``, ``certificate`` or ``open``, the last
            where a development server authenticates no one.
    """

    client: str
    scopes: frozenset[Scope]
    how: str

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has a scope."""
        return scope in self.scopes or "admin" in self.scopes


class Request(msgspec.Struct, frozen=True):
    """One request whose caller is authenticated and whose body is within the route's limits.

    Attributes:
        method: In upper case.
        path: As sent, without the query; it has matched a route.
        query: The part after ``?``, undecoded; empty without one.
        headers: Values by lower-case name.
        body: Complete, as sent.
        parameters: The path's variable parts, percent-decoded, by their names in the route.
        caller: The authenticated client.
        request_id: From the header ``x-request-id`` where that is valid, else made here.
        traceparent: The W3C trace context to continue, valid; empty without one.
        tracestate: Belongs to ``traceparent``; may be empty.
        arrived: When the head had been read, ``time.perf_counter()`` seconds.
        trace: Takes the stages of the request.
        in_flight: Requests in flight once the body was complete, this one included; 0: not known.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    parameters: Mapping[str, str]
    caller: Caller
    request_id: str
    traceparent: str
    tracestate: str
    arrived: float
    trace: RequestTrace = UNTRACED
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; the server adds request id, security headers and content length.

    Attributes:
        status: HTTP status.
        body: Complete.
        content_type: Of the body; empty with an empty body.
        headers: Further ones, in lower case.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, and what answers them.

    Attributes:
        method: In upper case.
        pattern: Path whose variable segments are in braces: ``/v1/decisions/{id}``.
        scope: What a caller needs; None: no authentication.
        handler: Answers; a ``Problem`` that it raises is the answer, any other exception is a 500
            whose cause is only logged.
        body_bytes_max: Bytes of body; a longer one is a 413, and is not used.
        seconds_max: Seconds after which the request is given up with a 503.
        content_types: What the body may be; another one is a 415. Empty: no body is expected. An
            empty string in it: a body without a content type is accepted, too.
        problem: Turns a problem of this path into an answer, also one from before the handler, such
            as a 401; None: RFC 9457.
        other_scope: A scope that suffices as well; None: only ``scope`` does.
    """

    method: str
    pattern: str
    scope: Scope | None
    handler: Handler
    body_bytes_max: int = 0
    seconds_max: float = 30.0
    content_types: frozenset[str] = field(default=frozenset({JSON}))
    problem: Callable[[Problem], Response] | None = None
    other_scope: Scope | None = None
