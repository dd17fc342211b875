"""The application: from what Granian read to what it sends."""

import asyncio
import time
import traceback
from collections.abc import Iterable
from typing import Final

from stream_scorer.serving.access.refusals import out_of_scope
from stream_scorer.serving.server.open_requests import OpenRequest, OpenRequests
from stream_scorer.serving.server.rsgi import RsgiProtocol, RsgiScope
from stream_scorer.serving.web.body import (
    TOO_LARGE,
    announced_length,
    cut_off,
    discard,
    read_open_end,
)
from stream_scorer.serving.web.gate import Gate, RequestHead
from stream_scorer.serving.web.head_fields import (
    REQUEST_ID,
    RequestIds,
    check_framing,
    read_fields,
)
from stream_scorer.serving.web.messages import Caller, Request, Response, Route
from stream_scorer.serving.web.paths import check_path
from stream_scorer.serving.web.problem_body import internal_problem, problem_response
from stream_scorer.serving.web.problems import Problem
from stream_scorer.serving.web.request_trace import BeginTrace, untraced
from stream_scorer.serving.web.router import Router
from stream_scorer.serving.web.trace_context import trace_of
from stream_scorer.telemetry import Listener, RequestFailed, RequestServed
from stream_scorer.telemetry.access import CallerRefused

_ANYONE: Final = Caller("", frozenset(), "open")
_SECURITY: Final = (
    ("server", "stream-scorer"),
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)
_TLS_ONLY: Final = (("strict-transport-security", "max-age=31536000"),)
_CLOSE: Final = ("connection", "close")
_UNIX_PEER: Final = "unix"
_UNREAD: Final = frozenset({"bad-header", TOO_LARGE, "incomplete-body"})
"""Problems after which the rest of what was sent is not worth reading, or has no clear end."""


class Application:
    """Answers each request by its route, within limits.

    The order is: header fields, path, route, caller, scope, length and type of the body, body,
    handler. What is refused early costs little, and a client that is not authenticated cannot make
    the server read a body.

    Args:
        routes: All routes.
        gate: Authenticates; asked for every route that needs a scope.
        requests: The requests in flight.
        listener: Notified of each request.
        body_seconds: Limit for the time from a request's head to the end of its body.
        access_log: Whether each request has a log line.
        trace: Begins the trace of a request whose caller is authenticated.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        gate: Gate,
        requests: OpenRequests,
        listener: Listener,
        *,
        body_seconds: float,
        access_log: bool = False,
        trace: BeginTrace = untraced,
    ) -> None:
        self._router = Router(routes)
        self._gate = gate
        self._requests = requests
        self._listener = listener
        self._body_seconds = body_seconds
        self._access_log = access_log
        self._trace = trace
        self._ids = RequestIds()

    async def __rsgi__(self, scope: RsgiScope, protocol: RsgiProtocol) -> None:
        """Answer one request."""
        arrived = time.perf_counter()
        sent = scope.headers
        opened = OpenRequest(self._ids.of(sent.get(REQUEST_ID)))
        secure = scope.scheme == "https"
        unwanted = False
        try:
            response = await self._answer(scope, protocol, opened, read_fields(sent), arrived)
        except Problem as problem:
            if problem.kind in _UNREAD:
                opened.close = True
            # What was announced by a client with credentials, and of which nothing was read.
            unwanted = problem.kind == TOO_LARGE and bool(opened.client) and not opened.body_bytes
            response = _shaped(problem, opened)
        except asyncio.CancelledError:
            if not opened.overdue:
                raise
            response = _shaped(opened.overdue_problem(), opened)
        except Exception as error:  # noqa: BLE001 nothing of it is shown to the client
            trace = "".join(traceback.format_exception(error))
            self._listener(
                RequestFailed(opened.route, opened.request_id, type(error).__name__, trace)
            )
            response = _shaped(internal_problem(), opened)
        finally:
            self._requests.end(opened)
        opened.trace.end(response.status)
        self._listener(
            RequestServed(
                opened.route,
                response.status,
                time.perf_counter() - arrived,
                opened.request_id,
                opened.client,
                self._access_log,
            )
        )
        # Last: who has an answer finds it in the metrics.
        _send(protocol, response, opened, secure=secure, head=scope.method == "HEAD")
        if unwanted:
            await discard(protocol)

    async def _answer(
        self,
        scope: RsgiScope,
        protocol: RsgiProtocol,
        opened: OpenRequest,
        fields: dict[str, str],
        arrived: float,
    ) -> Response:
        version = scope.http_version
        if version == "2" and scope.authority is not None:
            # HTTP/2 has the host in a field of its own.
            fields.setdefault("host", scope.authority)
        if "transfer-encoding" in fields:
            # The server has already dropped a content-length after it. What another program took
            # for a further request is not read.
            opened.close = True
        check_framing(fields, version)
        method, path = scope.method, scope.path
        check_path(path)
        route, parameters = self._router.find(method, path)
        opened.route = f"{route.method} {route.pattern}"
        opened.shape = route.problem
        caller = _ANYONE
        if route.scope is not None:
            peer = scope.client.rpartition(":")[0].strip("[]") or _UNIX_PEER
            caller = self._gate.admit(RequestHead(method, path, fields, peer))
            opened.client = caller.client
            other = route.other_scope
            if not (caller.may(route.scope) or (other is not None and caller.may(other))):
                self._listener(CallerRefused("scope"))
                raise out_of_scope(route.scope)
        context = trace_of(fields.get("traceparent"), fields.get("tracestate"))
        trace = opened.trace = self._trace(method, route.pattern, *context, arrived)
        length = announced_length(fields, version, route)
        self._requests.begin(opened, arrived + min(self._body_seconds, route.seconds_max))
        body = b""
        if length is None:
            self._requests.reserve(opened, route.body_bytes_max)
            body = await read_open_end(protocol, version, route)
        elif length:
            self._requests.reserve(opened, length)
            try:
                body = await protocol()
            except RuntimeError:
                raise cut_off() from None
        opened.reading = False
        opened.deadline = arrived + route.seconds_max
        return await route.handler(
            Request(
                method,
                path,
                scope.query_string,
                fields,
                body,
                parameters,
                caller,
                opened.request_id,
                trace.traceparent or context[0],
                trace.tracestate if trace.traceparent else context[1],
                arrived,
                in_flight=len(self._requests),
                trace=trace,
            )
        )


def _shaped(problem: Problem, opened: OpenRequest) -> Response:
    """Return the answer for a problem, in the form that its route has for problems."""
    if opened.shape is None:
        return problem_response(problem, opened.request_id)
    return opened.shape(problem)


def _send(
    protocol: RsgiProtocol, response: Response, opened: OpenRequest, *, secure: bool, head: bool
) -> None:
    headers = [*_SECURITY, (REQUEST_ID, opened.request_id), *response.headers]
    if response.content_type:
        headers.append(("content-type", response.content_type))
    if secure:
        headers += _TLS_ONLY
    if opened.close:
        headers.append(_CLOSE)
    if head:
        headers.append(("content-length", str(len(response.body))))
        protocol.response_empty(response.status, headers)
    else:
        protocol.response_bytes(response.status, headers, response.body)
