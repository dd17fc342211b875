"""The application: order of its checks, its answers, and what it reports."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from stream_scorer.serving.server.application import Application
from stream_scorer.serving.server.open_requests import OpenRequest, OpenRequests
from stream_scorer.serving.web.messages import JSON, Request, Response, Route, Scope
from stream_scorer.serving.web.problems import Problem
from stream_scorer.telemetry import Event, RequestFailed, RequestServed
from stream_scorer.telemetry.access import CallerRefused
from tests.support.serving.example_part import BODY_BYTES, ExampleGate, example_routes
from tests.support.serving.fake_rsgi import FakeProtocol, FakeScope

HOST = ("host", "x")
TOKEN = ("authorization", "Bearer shop")


class Server:
    """An application with the example's routes, and one that shows the request."""

    def __init__(self, *, requests: int = 8, body_seconds: float = 5.0) -> None:
        self.gate = ExampleGate()
        self.events: list[Event] = []
        self.seen: list[Request] = []
        self.open = OpenRequests(requests, 4 * BODY_BYTES)
        routes = [*example_routes(), Route("POST", "/show/{name}", "score", self.show, BODY_BYTES)]
        self.application = Application(
            routes, self.gate, self.open, self.events.append, body_seconds=body_seconds
        )

    async def show(self, request: Request) -> Response:
        self.seen.append(request)
        return Response(201, b"{}", headers=(("location", "/x"),))

    async def answer(self, scope: FakeScope, protocol: FakeProtocol) -> FakeProtocol:
        watch = asyncio.create_task(self.open.watch(lambda: None))
        await self.application.__rsgi__(scope, protocol)
        watch.cancel()
        return protocol

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        fields: Sequence[tuple[str, str]] = (HOST, TOKEN),
        **more: Any,
    ) -> FakeProtocol:
        """Send one request whose body, if it has one, is JSON with a length."""
        if body:
            fields = [*fields, ("content-type", JSON), ("content-length", str(len(body)))]
        scope = FakeScope(method, path, fields, **more)
        return asyncio.run(self.answer(scope, FakeProtocol([body])))


def document(answered: FakeProtocol) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answered.body)
    return found


def test_a_handler_is_given_the_request() -> None:
    server = Server()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    fields = (HOST, TOKEN, ("x-request-id", "mine"), ("traceparent", trace), ("tracestate", "a=b"))
    answered = server.ask("POST", "/show/é", b"[1]", fields, query_string="a=%20b")
    (request,) = server.seen
    assert (request.method, request.path, request.query) == ("POST", "/show/é", "a=%20b")
    assert (request.body, dict(request.parameters)) == (b"[1]", {"name": "é"})
    assert (request.caller.client, request.request_id) == ("shop", "mine")
    assert (request.traceparent, request.tracestate) == (trace, "a=b")
    assert answered.status == 201
    assert dict(answered.headers) == {
        "server": "stream-scorer",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-request-id": "mine",
        "location": "/x",
        "content-type": JSON,
    }


def test_the_gate_sees_the_head_and_the_peer() -> None:
    server = Server()
    server.ask("POST", "/echo", b"1")
    server.ask("POST", "/echo", b"1", client="[2001:db8::1]:443")
    server.ask("POST", "/echo", b"1", client="")
    assert [head.peer for head in server.gate.heads] == ["192.0.2.7", "2001:db8::1", "unix"]
    assert server.gate.heads[0].headers["authorization"] == "Bearer shop"


def test_the_gate_sees_the_host_of_http_2() -> None:
    server = Server()
    server.ask("POST", "/echo", b"1", (TOKEN,), http_version="2", authority="api.example")
    server.ask("POST", "/echo", b"1", (HOST, TOKEN), authority="other")
    assert [head.headers["host"] for head in server.gate.heads] == ["api.example", HOST[1]]


def test_a_request_knows_how_many_are_in_flight() -> None:
    server = Server()

    async def begin_another() -> None:
        server.open.begin(OpenRequest("another"), 1e12)

    server.ask("POST", "/show/first", b"1", (HOST, TOKEN))
    asyncio.run(begin_another())
    server.ask("POST", "/show/second", b"1", (HOST, TOKEN))
    assert [request.in_flight for request in server.seen] == [1, 2]


def test_only_tls_promises_tls() -> None:
    name = "strict-transport-security"
    assert name in dict(Server().ask("POST", "/echo", b"1", scheme="https").headers)
    assert name not in dict(Server().ask("POST", "/echo", b"1").headers)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/../echo", 400, "bad-path"),
        ("GET", "/nothing", 404, "not-found"),
        ("OPTIONS", "/echo", 405, "method-not-allowed"),
        ("POST", "/operate", 403, "forbidden"),
        ("GET", "/fail", 500, "internal"),
        ("GET", "/teapot", 418, "teapot"),
    ],
)
def test_problems(method: str, path: str, status: int, kind: str) -> None:
    answered = Server().ask(method, path)
    headers = dict(answered.headers)
    assert (answered.status, document(answered)["type"]) == (
        status,
        f"urn:stream-scorer:problem:{kind}",
    )
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == document(answered)["request_id"]
    assert "access-control-allow-origin" not in headers


def test_a_caller_without_the_scope_is_told_and_counted() -> None:
    server = Server()
    answered = server.ask("POST", "/operate")
    challenge = dict(answered.headers)["www-authenticate"]
    assert challenge.endswith('error="insufficient_scope", scope="operate"')
    assert CallerRefused("scope") in server.events


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((HOST,), 401),
        ((HOST, ("authorization", "Basic a")), 401),
        ((HOST, TOKEN, ("authorization", "Bearer other")), 400),
        ((TOKEN,), 400),
        ((HOST, TOKEN, ("content-length", "3")), 415),
    ],
)
def test_a_refused_request_is_not_read(fields: Sequence[tuple[str, str]], status: int) -> None:
    server = Server()
    protocol = FakeProtocol([b"123"])
    scope = FakeScope("POST", "/echo", fields)
    assert asyncio.run(server.answer(scope, protocol)).status == status
    assert not protocol.read
    assert len(server.open) == 0


class EndlessBody(FakeProtocol):
    """A body that never ends, and how much of it was read before and after the answer."""

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.before = self.after = 0
        self._pause = pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self.status:
                self.after += 1
            else:
                self.before += 1
            yield b" " * 1_048_576
            await asyncio.sleep(self._pause)


def sent_too_large(server: Server, protocol: FakeProtocol, *fields: tuple[str, str]) -> int:
    length = ("content-length", str(BODY_BYTES + 1))
    scope = FakeScope("POST", "/echo", (HOST, length, *fields))
    return asyncio.run(server.answer(scope, protocol)).status


def test_a_body_that_is_too_large_is_read_after_its_answer() -> None:
    server, protocol = Server(), EndlessBody()
    assert sent_too_large(server, protocol, TOKEN) == 413
    assert ("connection", "close") in protocol.headers
    assert protocol.before == 0
    # Only a part of it: 16 MiB.
    assert protocol.after == 17
    assert len(server.open) == 0


def test_a_slow_body_that_is_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_scorer.serving.web.body._DISCARD_SECONDS", 0.05)
    protocol = EndlessBody(pause=60.0)
    assert sent_too_large(Server(), protocol, TOKEN) == 413
    assert protocol.after == 1
    left = FakeProtocol([b"1"], cut=True)
    assert sent_too_large(Server(), left, TOKEN) == 413


def test_of_a_client_without_credentials_nothing_is_read() -> None:
    protocol = EndlessBody()
    assert sent_too_large(Server(), protocol) == 401
    assert (protocol.before, protocol.after) == (0, 0)


def test_of_anyone_nothing_is_read_after_the_answer() -> None:
    protocol = EndlessBody()
    length = ("content-length", str(BODY_BYTES + 1))
    scope = FakeScope("GET", "/teapot", (HOST, length))
    assert asyncio.run(Server().answer(scope, protocol)).status == 413
    assert (protocol.before, protocol.after) == (0, 0)


def test_chunks_that_are_too_large_are_not_read_on() -> None:
    # What was read of it cannot be iterated again.
    protocol = EndlessBody()
    framing = ("transfer-encoding", "chunked"), ("content-type", JSON)
    scope = FakeScope("POST", "/echo", (HOST, TOKEN, *framing))
    assert asyncio.run(Server().answer(scope, protocol)).status == 413
    assert ("connection", "close") in protocol.headers
    assert (protocol.before, protocol.after) == (2, 0)


def test_without_a_scope_no_one_is_asked_who_it_is() -> None:
    server = Server()
    assert server.ask("GET", "/teapot", fields=(HOST,)).status == 418
    assert server.gate.heads == []


def test_an_error_is_reported_and_not_shown() -> None:
    server = Server()
    answered = server.ask("GET", "/fail")
    assert b"secret" not in answered.body + repr(answered.headers).encode()
    failed, served = server.events
    assert isinstance(failed, RequestFailed)
    assert (failed.route, failed.error) == ("GET /fail", "ValueError")
    assert "secret inside" in failed.trace
    assert isinstance(served, RequestServed)
    assert served.request_id == failed.request_id == document(answered)["request_id"]


def test_each_request_is_reported() -> None:
    server = Server()
    server.ask("POST", "/show/a", b"1")
    server.ask("GET", "/nothing/\x1b")
    server.ask("HEAD", "/wait/0")
    reported = [
        (each.route, each.status, each.client)
        for each in server.events
        if isinstance(each, RequestServed)
    ]
    assert reported == [
        ("POST /show/{name}", 201, "shop"),
        ("none", 400, ""),
        ("GET /wait/{seconds}", 200, "shop"),
    ]


def test_a_head_has_the_length_and_no_body() -> None:
    answered = Server().ask("HEAD", "/wait/0")
    assert (answered.status, answered.body) == (200, b"")
    assert dict(answered.headers)["content-length"] == "2"


@pytest.mark.parametrize("framing", [("content-length", "9"), ("transfer-encoding", "chunked")])
def test_a_slow_body_is_given_up(framing: tuple[str, str]) -> None:
    server = Server(body_seconds=0.05)
    scope = FakeScope("POST", "/echo", (HOST, TOKEN, ("content-type", JSON), framing))
    answered = asyncio.run(server.answer(scope, FakeProtocol([b"1"], slow=True)))
    assert (answered.status, document(answered)["type"][-9:]) == (408, "slow-body")
    assert ("connection", "close") in answered.headers
    assert len(server.open) == 0


@pytest.mark.parametrize("framing", [("content-length", "9"), ("transfer-encoding", "chunked")])
def test_a_body_that_was_cut_off_is_a_problem(framing: tuple[str, str]) -> None:
    scope = FakeScope("POST", "/echo", (HOST, TOKEN, ("content-type", JSON), framing))
    answered = asyncio.run(Server().answer(scope, FakeProtocol([b"1"], cut=True)))
    assert (answered.status, document(answered)["type"][-15:]) == (400, "incomplete-body")


def test_a_slow_handler_is_given_up() -> None:
    async def sleep(request: Request) -> Response:
        await asyncio.sleep(60)
        return Response(200, request.body)

    async def run() -> FakeProtocol:
        server = Server()
        route = Route("GET", "/slow", "score", sleep, seconds_max=0.05)
        server.application = Application(
            [route], server.gate, server.open, server.events.append, body_seconds=5
        )
        return await server.answer(FakeScope("GET", "/slow", (HOST, TOKEN)), FakeProtocol())

    answered = asyncio.run(run())
    assert (answered.status, document(answered)["type"][-7:]) == (503, "timeout")
    assert ("retry-after", "1") in answered.headers


def test_a_route_can_have_its_own_form_of_problems() -> None:
    def shape(problem: Problem) -> Response:
        return Response(problem.status, b'{"error":"%s"}' % problem.kind.encode())

    async def run(fields: Sequence[tuple[str, str]]) -> FakeProtocol:
        server = Server()
        route = Route("GET", "/v2", "score", server.show, problem=shape)
        server.application = Application(
            [route], server.gate, server.open, server.events.append, body_seconds=5
        )
        return await server.answer(FakeScope("GET", "/v2", fields), FakeProtocol())

    answered = asyncio.run(run((HOST,)))
    assert (answered.status, document(answered)) == (401, {"error": "unauthenticated"})


def test_another_scope_can_suffice() -> None:
    async def run(other: Scope | None) -> int:
        server = Server()
        route = Route("GET", "/v2", "operate", server.show, other_scope=other)
        server.application = Application(
            [route], server.gate, server.open, server.events.append, body_seconds=5
        )
        scope = FakeScope("GET", "/v2", (HOST, TOKEN))
        return (await server.answer(scope, FakeProtocol())).status

    assert asyncio.run(run(None)) == asyncio.run(run("read")) == 403
    assert asyncio.run(run("score")) == 201


def test_after_chunks_the_connection_is_closed() -> None:
    fields = (HOST, TOKEN, ("content-type", JSON), ("transfer-encoding", "chunked"))
    scope = FakeScope("POST", "/echo", fields)
    answered = asyncio.run(Server().answer(scope, FakeProtocol([b"12", b"3"])))
    assert (answered.status, answered.body) == (200, b"123")
    assert ("connection", "close") in answered.headers


def test_too_many_requests_are_refused_at_once() -> None:
    async def run() -> tuple[int, FakeProtocol]:
        server = Server(requests=2)
        held = [
            asyncio.create_task(
                server.answer(FakeScope("GET", "/wait/0.05", (HOST, TOKEN)), FakeProtocol())
            )
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        scope = FakeScope("GET", "/wait/0", (HOST, TOKEN))
        refused = await server.answer(scope, FakeProtocol())
        held_statuses = {each.status for each in await asyncio.gather(*held)}
        assert held_statuses == {200}
        return (await server.answer(scope, FakeProtocol())).status, refused

    after, refused = asyncio.run(run())
    assert (refused.status, after) == (503, 200)
    assert ("retry-after", "1") in refused.headers


def test_the_memory_of_bodies_is_bounded() -> None:
    async def run() -> list[int]:
        server = Server(body_seconds=0.1)
        fields = (HOST, TOKEN, ("content-type", JSON), ("content-length", str(BODY_BYTES)))
        scope = FakeScope("POST", "/echo", fields)
        asked = [server.answer(scope, FakeProtocol([b""], slow=True)) for _ in range(6)]
        return sorted(each.status for each in await asyncio.gather(*asked))

    assert asyncio.run(run()) == [408] * 4 + [503] * 2
