"""Every status of the OpenAPI document is seen at a real server, on each route that has it.

The statuses of ``/v1`` that need a broker are in ``test_documented_decisions.py``.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.decisions.service import DecisionService
from stream_scorer.serving.decisions.service import routes as decision_routes
from stream_scorer.serving.inference.rest_routes import routes as inference_routes
from stream_scorer.serving.openapi.service import OpenApiService
from stream_scorer.serving.server.application import Application
from stream_scorer.serving.server.open_requests import OpenRequests
from stream_scorer.serving.server.parts import Asked
from stream_scorer.settings import Settings
from tests.support.openapi.document_checks import check_answer, documented_statuses
from tests.support.openapi.provocations import LIMITS, PROVOKED, Routes
from tests.support.openapi.raw_requests import RawAnswer, ask
from tests.support.openapi.served_api import (
    GOOD_BODY,
    MODEL,
    PROGRAM,
    ROOT,
    VERSION,
    ServedApi,
    served_api,
)
from tests.support.serving.example_part import ExampleGate, fail
from tests.support.serving.fake_rsgi import FakeProtocol, FakeScope
from tests.support.serving.inference_calls import random_model, serving


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    with served_api(tmp_path_factory.mktemp("api"), serving=LIMITS) as started:
        yield started
        assert started.stop() == 0
        assert "Traceback" not in started.written()


@pytest.fixture(scope="module")
def document(api: ServedApi) -> dict[str, Any]:
    answer = ask(api, "GET", "/openapi.json", [("authorization", api.credential("auditor"))])
    assert answer.status == 200
    return answer.document


@pytest.fixture(scope="module")
def routes(api: ServedApi, document: dict[str, Any]) -> Routes:
    body = json.dumps(GOOD_BODY).encode()
    return Routes(api, document, lambda: body, {"name": MODEL, "version": VERSION})


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


def test_a_handler_that_fails_is_a_documented_500() -> None:
    complete = Asked(Deployment("fraud:1.1.0"), ("fraud:1.1.0",)).document(Settings())
    decisions = DecisionService(Settings(), Deployment(), lambda _: None)
    with serving([random_model(1)]) as rest:
        own = [*inference_routes(rest.service), *OpenApiService(dict).routes()]
    own += decision_routes(decisions)
    failing = [replace(route, handler=fail) for route in own]
    application = Application(
        failing, ExampleGate(), OpenRequests(8, 1_000), lambda _: None, body_seconds=1.0
    )
    fields = (("host", "x"), ("authorization", "Bearer shop"))
    seen = set()
    for route in own:
        path = route.pattern.replace("{", "").replace("}", "")
        protocol = FakeProtocol()
        asyncio.run(application.__rsgi__(FakeScope(route.method, path, fields), protocol))
        answer = RawAnswer(protocol.status, dict(protocol.headers), protocol.body)
        assert answer.status == 500
        assert b"secret" not in answer.body
        check_answer(complete, f"{route.method} {route.pattern}", answer)
        seen.add(f"{route.method} {route.pattern}")
    assert seen == {name for name, status in documented_statuses(complete) if status == 500}


def test_the_same_document_is_printed(api: ServedApi, document: dict[str, Any]) -> None:
    config = str(api.folder / "api.toml")
    arguments = ["serve", "--openapi", "--model", f"{MODEL}:{VERSION}", "--config", config]
    done = subprocess.run(  # noqa: S603 our own program
        [*PROGRAM, *arguments], capture_output=True, check=True, cwd=ROOT, timeout=180
    )
    assert json.loads(done.stdout) == document
    assert done.stderr == b""
