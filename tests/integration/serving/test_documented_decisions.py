"""The OpenAPI document of ``/v1`` with a broker and a scorer: every status of it is seen.

schemathesis over it: every answer is one that the document has.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from stream_scorer.settings import Kafka
from tests.support.effort import examples
from tests.support.faults.process import ScorerProcess, environment, wait_until
from tests.support.openapi.document_checks import check_answer, documented_statuses
from tests.support.openapi.provocations import LIMITS, PROVOKED, Answers, Routes
from tests.support.openapi.raw_requests import RawAnswer, ask
from tests.support.openapi.schemathesis_runs import exercise, table
from tests.support.openapi.served_api import ROOT, ServedApi, served_api

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

POST, GET = "POST /v1/decisions", "GET /v1/decisions/{id}"
TIMEOUT_MS = 10_000
_FROM_PROVOCATIONS = {400, 401, 403, 404, 408, 413, 415, 429, 431, 503}


@dataclass(frozen=True)
class Deciding:
    """The API, its document and the scorer behind it."""

    api: ServedApi
    document: dict[str, Any]
    scorer: ScorerProcess

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the scorer for a while."""
        os.kill(self.scorer.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.scorer.pid, signal.SIGCONT)

    def post(self, sent: Any, authorization: str = "") -> RawAnswer:
        who = authorization or self.api.credential()
        fields = [("authorization", who), ("content-type", "application/json")]
        return ask(self.api, "POST", "/v1/decisions", fields, json.dumps(sent).encode())

    def get(self, path: str) -> RawAnswer:
        return ask(self.api, "GET", path, [("authorization", self.api.credential())])


@pytest.fixture(scope="module")
def deciding(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deciding]:  # fmt: skip
    kafka = kafka_topics(kafka_settings(session_timeout_ms=60_000))
    folder = tmp_path_factory.mktemp("api")
    limits = {**LIMITS, "decisions": {"timeout_ms": TIMEOUT_MS}}
    with (
        ScorerProcess(kafka, folder / "scorer.log", "--from", "earliest") as scorer,
        served_api(
            folder, "--decisions", "--plan-of", "fraud:1.0.0", models=(), serving=limits,
            settings={"models": {"directory": str(ROOT / "models")}},
            environment=environment(kafka),
        ) as api,
    ):  # fmt: skip
        scorer.wait_ready()
        wait_until(lambda: api.probe()[0] == 200, api.written)
        answer = ask(api, "GET", "/openapi.json", [("authorization", api.credential())])
        assert answer.status == 200
        yield Deciding(api, answer.document, scorer)
        assert api.process.poll() is None
        assert api.stop() == 0
        assert "Traceback" not in api.written()


def transaction(**changed: Any) -> dict[str, Any]:
    name = f"t{random.getrandbits(60)}"
    return {
        "transaction_id": name, "event_time": time.time_ns() // 1_000_000, "customer_id": name,
        "terminal_id": "s", "amount_minor": 1_250, "currency": "EUR", **changed,
    }  # fmt: skip


def body() -> bytes:
    return json.dumps(transaction()).encode()


def own_answers(deciding: Deciding) -> dict[int, Answers]:
    """Return answers with the statuses that only decisions have."""
    sent = transaction()
    first = deciding.post(sent)
    found: dict[int, Answers] = {
        200: {POST: first, GET: deciding.get(f"/v1/decisions/{first.document['id']}")},
        207: {POST: deciding.post([transaction(), transaction(currency="XXX")])},
        409: {POST: deciding.post({**sent, "amount_minor": 7})},
        422: {POST: deciding.post(transaction(amount_minor=-1))},
    }
    with deciding.paused():
        pending = deciding.post(transaction())
        found[202] = {POST: pending, GET: deciding.get(pending.fields["location"])}
    return found


def test_every_documented_status_is_seen(deciding: Deciding) -> None:
    seen = set()
    own = own_answers(deciding)
    found = own[200][POST].document["id"]
    routes = Routes(deciding.api, deciding.document, body, {"id": found})
    batch = deciding.post([transaction(), transaction()])
    assert [each["status"] for each in batch.document["answers"]] == [200, 200]
    check_answer(deciding.document, POST, batch)
    # The last one leaves requests behind that take a moment to end, and hold all places until then.
    for status in sorted(_FROM_PROVOCATIONS):
        own[status] = PROVOKED[status](routes)
    for status, answers in own.items():
        for name, answer in answers.items():
            assert answer.status == status, (name, answer)
            check_answer(deciding.document, name, answer)
            seen.add((name, status))
    missing = documented_statuses(deciding.document) - seen
    # 500 is seen with handlers that fail; the document itself was fetched above.
    assert {each for each in missing if each[1] != 500} == {("GET /openapi.json", 200)}


def test_every_answer_is_documented(deciding: Deciding) -> None:
    def adapt(case: Any) -> None:
        # Without this, nearly all random records would be rejected.
        sent = case.body
        if isinstance(sent, dict) and "currency" in sent and len(str(sent)) % 2:
            case.body = {**sent, **transaction()}

    authorization = f"Bearer {deciding.api.token()}"
    known = {"id": deciding.post(transaction(), authorization).document["id"]}
    url, count = deciding.api.url, examples(40)
    seen = exercise(deciding.document, url, authorization, count, known, adapt)
    report = table(seen)
    for name, status in ((POST, 400), (POST, 422), (GET, 200), (GET, 404)):
        assert seen[name, status], report
    assert not any(status >= 500 for _, status in seen), report
