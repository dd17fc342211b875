"""What has a route answer with a status of the document."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from stream_scorer.serving.web.messages import JSON
from tests.support.openapi.document_checks import documented
from tests.support.openapi.raw_requests import ENDED, RawAnswer, ask, parsed_answer, request_bytes
from tests.support.openapi.served_api import ServedApi
from tests.support.serving.running_server import until_closed

REQUESTS_MOST = 20
CHUNKED = ("transfer-encoding", "chunked")
LIMITS = {"requests_max": REQUESTS_MOST, "body_seconds": 6.0}
"""Settings of the server."""
Answers = dict[str, RawAnswer]


class Routes:
    """The routes of the document, and requests to each of them.

    Args:
        api: The server.
        document: Its document.
        body: Makes a good body.
        values: Of the variable parts of paths.
    """

    def __init__(
        self, api: ServedApi, document: Mapping[str, Any], body: Callable[[], bytes],
        values: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.api = api
        self._body = body
        self._values = values
        self.all = [(method, path) for method, path, _ in documented(document)]
        self.closed = [
            (method, path) for method, path, operation in documented(document)
            if operation["security"]
        ]  # fmt: skip

    def path(self, pattern: str, **values: str) -> str:
        """Return the path of a pattern."""
        for name, value in {**self._values, **values}.items():
            pattern = pattern.replace(f"{{{name}}}", value)
        return pattern

    def each(
        self, *fields: tuple[str, str], client: str | None = "shop",
        chosen: Sequence[tuple[str, str]] | None = None, **values: str,
    ) -> Answers:  # fmt: skip
        """Send a good request to each route, with further header fields."""
        found = {}
        for method, path in self.all if chosen is None else chosen:
            own = [] if client is None else [("authorization", self.api.credential(client))]
            body = self._body() if method == "POST" else None
            kind = [("content-type", JSON)] if method == "POST" else []
            target = self.path(path, **values)
            found[f"{method} {path}"] = ask(self.api, method, target, [*own, *kind, *fields], body)
        return found

    def begun(self, stack: ExitStack, *fields: tuple[str, str]) -> dict[str, Any]:
        """Send each route the head of a request whose body never ends; return the connections."""
        found = {}
        for method, path in self.all:
            opened = stack.enter_context(self.api.connect())
            own = ("authorization", self.api.credential())
            head = [own, CHUNKED, *([("content-type", JSON)] * (method == "POST")), *fields, ENDED]
            opened.sendall(request_bytes(method, self.path(path), head))
            found[f"{method} {path}"] = opened
        return found


def good(routes: Routes) -> Answers:
    return routes.each()


def header_that_is_there_twice(routes: Routes) -> Answers:
    return routes.each(("host", "other"))


def no_credential(routes: Routes) -> Answers:
    return routes.each(client=None, chosen=routes.closed)


def another_scope(routes: Routes) -> Answers:
    return routes.each(client="operator", chosen=routes.closed)


def unknown_name(routes: Routes) -> Answers:
    chosen = [each for each in routes.all if "{" in each[1]]
    return routes.each(chosen=chosen, name="other", id="A" * 22)


def body_that_never_ends(routes: Routes) -> Answers:
    with ExitStack() as stack:
        begun = routes.begun(stack)
        return {name: parsed_answer(until_closed(opened)) for name, opened in begun.items()}


def body_that_is_too_long(routes: Routes) -> Answers:
    found = {}
    for method, path in routes.all:
        own = ("authorization", routes.api.credential())
        fields = [own, ("content-type", JSON), ("content-length", str(10**9)), ENDED]
        sent = request_bytes(method, routes.path(path), fields)
        found[f"{method} {path}"] = parsed_answer(routes.api.exchange(sent))
    return found


def another_type(routes: Routes) -> Answers:
    found = {}
    for method, path in routes.all:
        own = ("authorization", routes.api.credential())
        fields = [own, CHUNKED, ("content-type", "text/xml"), ENDED]
        sent = request_bytes(method, routes.path(path), fields) + b"0\r\n\r\n"
        found[f"{method} {path}"] = parsed_answer(routes.api.exchange(sent))
    return found


def client_past_its_rate(routes: Routes) -> Answers:
    routes.each(client="eager", chosen=routes.closed[:1])
    return routes.each(client="eager", chosen=routes.closed)


def head_that_is_too_long(routes: Routes) -> Answers:
    return routes.each(("x-long", "a" * 20_000))


def more_requests_than_allowed(routes: Routes) -> Answers:
    with ExitStack() as stack:
        for _ in range(REQUESTS_MOST // len(routes.all) + 1):
            routes.begun(stack)
        return routes.each()


PROVOKED: dict[int, Callable[[Routes], Answers]] = {
    200: good,
    400: header_that_is_there_twice,
    401: no_credential,
    403: another_scope,
    404: unknown_name,
    408: body_that_never_ends,
    413: body_that_is_too_long,
    415: another_type,
    429: client_past_its_rate,
    431: head_that_is_too_long,
    503: more_requests_than_allowed,
}
