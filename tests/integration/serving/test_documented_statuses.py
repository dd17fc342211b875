"""Every status of the OpenAPI document is seen at a real server, on each route that has it.

The statuses of ``/v1`` that need a broker are in ``test_documented_decisions.py``.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.serving.inference.rest_routes import routes as inference_routes
from stream_scorer.serving.openapi.service import OpenApiService
from stream_scorer.serving.server.application import Application
from stream_scorer.serving.server.open_requests import OpenRequests
from stream_scorer.serving.web.messages import JSON
from tests.support.openapi.document_checks import check_answer, documented, documented_statuses
from tests.support.openapi.raw_requests import ENDED, RawAnswer, ask, parsed_answer, request_bytes
from tests.support.openapi.served_api import GOOD_BODY, MODEL, VERSION, ServedApi, served_api
from tests.support.serving.example_part import ExampleGate, fail
from tests.support.serving.fake_rsgi import FakeProtocol, FakeScope
from tests.support.serving.inference_calls import random_model, serving
from tests.support.serving.running_server import until_closed

REQUESTS_MOST = 20
CHUNKED = ("transfer-encoding", "chunked")
Answers = dict[str, RawAnswer]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    limits = {"requests_max": REQUESTS_MOST, "body_seconds": 3.0}
    with served_api(tmp_path_factory.mktemp("api"), serving=limits) as started:
        yield started
        assert started.stop() == 0
        assert "Traceback" not in started.written()


@pytest.fixture(scope="module")
def document(api: ServedApi) -> dict[str, Any]:
    answer = ask(api, "GET", "/openapi.json", [("authorization", api.credential("auditor"))])
    assert answer.status == 200
    return answer.document


class Routes:
    """The routes of the document, and requests to each of them."""

    def __init__(self, api: ServedApi, document: dict[str, Any]) -> None:
        self.api = api
        self.all = [(method, path) for method, path, _ in documented(document)]
        self.closed = [
            (method, path) for method, path, operation in documented(document)
            if operation["security"]
        ]  # fmt: skip

    def path(self, pattern: str, model: str = MODEL) -> str:
        return pattern.replace("{name}", model).replace("{version}", VERSION)

    def each(
        self, *fields: tuple[str, str], client: str | None = "shop", model: str = MODEL,
        chosen: list[tuple[str, str]] | None = None,
    ) -> Answers:  # fmt: skip
        """Send a good request to each route, with further header fields."""
        found = {}
        for method, path in self.all if chosen is None else chosen:
            own = [] if client is None else [("authorization", self.api.credential(client))]
            body = json.dumps(GOOD_BODY).encode() if method == "POST" else None
            kind = [("content-type", JSON)] if method == "POST" else []
            target = self.path(path, model)
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


@pytest.fixture(scope="module")
def routes(api: ServedApi, document: dict[str, Any]) -> Routes:
    return Routes(api, document)


def good(routes: Routes) -> Answers:
    return routes.each()


def header_that_is_there_twice(routes: Routes) -> Answers:
    return routes.each(("host", "other"))


def no_credential(routes: Routes) -> Answers:
    return routes.each(client=None, chosen=routes.closed)


def another_scope(routes: Routes) -> Answers:
    return routes.each(client="operator", chosen=routes.closed)


def unknown_model(routes: Routes) -> Answers:
    chosen = [each for each in routes.all if "{name}" in each[1]]
    return routes.each(model="other", chosen=chosen)


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
    404: unknown_model,
    408: body_that_never_ends,
    413: body_that_is_too_long,
    415: another_type,
    429: client_past_its_rate,
    431: head_that_is_too_long,
    503: more_requests_than_allowed,
}
ELSEWHERE = {500: "test_a_handler_that_fails_is_a_documented_500"}


def test_no_documented_status_is_left_out(document: dict[str, Any]) -> None:
    assert {status for _, status in documented_statuses(document)} == {*PROVOKED, *ELSEWHERE}


@pytest.mark.parametrize("status", PROVOKED)
def test_a_documented_status_is_seen(
    status: int, routes: Routes, document: dict[str, Any]
) -> None:  # fmt: skip
    answers = PROVOKED[status](routes)
    for name, answer in answers.items():
        assert answer.status == status, (name, answer)
        assert answer.answers == 1
        check_answer(document, name, answer)
    expected = {name for name, each in documented_statuses(document) if each == status}
    assert answers.keys() == expected


def test_a_handler_that_fails_is_a_documented_500(document: dict[str, Any]) -> None:
    with serving([random_model(1)]) as rest:
        own = [*inference_routes(rest.service), *OpenApiService(dict).routes()]
    failing = [replace(route, handler=fail) for route in own]
    application = Application(
        failing, ExampleGate(), OpenRequests(8, 1_000), lambda _: None, body_seconds=1.0
    )
    fields = (("host", "x"), ("authorization", "Bearer shop"))
    seen = set()
    for route in own:
        path = route.pattern.replace("{name}", MODEL).replace("{version}", VERSION)
        protocol = FakeProtocol()
        asyncio.run(application.__rsgi__(FakeScope(route.method, path, fields), protocol))
        answer = RawAnswer(protocol.status, dict(protocol.headers), protocol.body)
        assert answer.status == 500
        assert b"secret" not in answer.body
        check_answer(document, f"{route.method} {route.pattern}", answer)
        seen.add(f"{route.method} {route.pattern}")
    assert seen == {name for name, status in documented_statuses(document) if status == 500}


def test_the_same_document_is_printed(
    api: ServedApi, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_scorer.cli.main import main  # noqa: PLC0415 the command line takes a second

    config = str(Path(api.folder) / "api.toml")
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--openapi", "--model", f"{MODEL}:{VERSION}", "--config", config])
    assert ended.value.code in {None, 0}
    assert json.loads(capsys.readouterr().out) == document
