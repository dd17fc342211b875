"""``stream-scorer serve`` with a broker and a scorer: keys, scopes, decisions, traces, probes."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.client import DecisionTopic
from stream_scorer.devkafka.cluster import DevKafka
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.settings import Kafka
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.served.served_api import ServedApi
from tests.support.served.trace_collector import TraceCollector, trace_collector

pytestmark = pytest.mark.kafka

TRACE = "0af7651916cd43dd8448eb211c80319c"
UNREADY_SECONDS = 30.0
DECISIONS = "/v1/decisions"
ROOT = Path(__file__).parents[3]


@dataclass
class ServedPipe:
    """A broker, a scorer, and the API in front of them."""

    kafka: Kafka
    scorer: ScorerProcess
    api: ServedApi
    spans: TraceCollector
    number: int = 0

    def transaction(self, **changed: Any) -> dict[str, Any]:
        self.number += 1
        return {
            "transaction_id": f"t{self.number}", "event_time": time.time_ns() // 1_000_000,
            "customer_id": f"c{self.number}", "terminal_id": "s", "amount_minor": 1_250,
            "currency": "EUR", **changed,
        }  # fmt: skip


@pytest.fixture(scope="module")
def pipe(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServedPipe]:  # fmt: skip
    kafka = kafka_topics(kafka_settings())
    folder = tmp_path_factory.mktemp("api")
    log = tmp_path_factory.mktemp("scorer") / "log"
    with trace_collector() as spans, ScorerProcess(kafka, log, "--from", "earliest") as scorer:
        serving = {
            "decisions": {"timeout_ms": 20_000},
            "tracing": {"endpoint": spans.url, "ratio": 0},
        }
        scorer.wait_ready()
        arguments = ("--decisions", "--plan-of", "fraud:1.0.0")
        with ServedApi(kafka, folder, *arguments, serving=serving) as api:
            api.wait_served()
            yield ServedPipe(kafka, scorer, api, spans)
            assert api.stop(30) == 0, api.said


def test_a_decision_in_the_call_is_published(pipe: ServedPipe) -> None:
    sent = pipe.transaction()
    answer = pipe.api.call("POST", DECISIONS, sent, x_request_id="mine")
    assert answer.status == 200, answer.body
    found = answer.document
    topic = DecisionTopic(bootstrap=pipe.kafka.bootstrap, topic=pipe.kafka.topics.decisions)
    (decision,) = [e for e in topic.records() if e.transaction_id == sent["transaction_id"]]
    assert (found["decision"], found["score"]) == (decision.outcome, decision.score)
    assert found["source_offset"] == decision.source_offset
    assert answer.headers["x-request-id"] == "mine"
    again = pipe.api.call("POST", DECISIONS, sent)
    assert again.body == answer.body


def test_keys_and_scopes(pipe: ServedPipe) -> None:
    sent = pipe.transaction()
    for client, status, kind in [("", 401, "unauthenticated"), ("auditor", 403, "forbidden")]:
        answer = pipe.api.call("POST", DECISIONS, sent, client)
        assert (answer.status, answer.kind) == (status, kind)
        assert answer.headers["content-type"] == "application/problem+json"
    forged = pipe.api.call("POST", DECISIONS, sent, "", authorization="Bearer ss_no.such.key")
    assert forged.status == 401
    found = pipe.api.call("POST", DECISIONS, sent).document
    path = f"{DECISIONS}/{found['id']}"
    assert pipe.api.call("GET", path).document == found
    assert pipe.api.call("GET", path, client="auditor").document == found
    assert pipe.api.call("GET", path, client="other").status == 404
    assert pipe.api.call("GET", path, client="").status == 401


def test_problems_over_the_wire(pipe: ServedPipe) -> None:
    sent = pipe.transaction()
    assert pipe.api.call("POST", DECISIONS, sent).status == 200
    other = pipe.api.call("POST", DECISIONS, {**sent, "amount_minor": 1})
    assert (other.status, other.kind) == (409, "another-body")
    rejected = pipe.api.call("POST", DECISIONS, pipe.transaction(currency="XXX"))
    assert (rejected.status, rejected.document["reason"]) == (422, "CURRENCY")
    batch = pipe.api.call("POST", DECISIONS, [pipe.transaction(), {"customer_id": "c"}])
    assert batch.status == 207
    assert [each["status"] for each in batch.document["answers"]] == [200, 422]
    # Models are not served by this process.
    assert pipe.api.call("GET", "/v2").status == 404


def test_a_trace_reaches_the_decision(pipe: ServedPipe) -> None:
    sent = pipe.transaction()
    context = f"00-{TRACE}-b7ad6b7169203331-01"
    assert pipe.api.call("POST", DECISIONS, sent, traceparent=context).status == 200
    wait_until(lambda: bool(pipe.spans.named(f"POST {DECISIONS}")), "the spans came")
    (span,) = pipe.spans.named(f"POST {DECISIONS}")
    assert span.trace_id.hex() == TRACE
    parts = [pipe.spans.named(name)[0] for name in ("judge", "produce", "wait")]
    assert {each.parent_span_id for each in parts} == {span.span_id}
    assert all(a.end_time_unix_nano == b.start_time_unix_nano for a, b in pairwise(parts))
    records = read_all(pipe.kafka, pipe.kafka.topics.decisions)
    (headers,) = [dict(m.headers()) for m in records if m.key() == sent["customer_id"].encode()]
    assert headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01".encode()


def test_the_curl_of_the_readme_is_answered(pipe: ServedPipe) -> None:
    section = (ROOT / "README.md").read_text().partition("## Ask it")[2]
    found = re.search(r"^curl -s localhost:8080.*?\}'$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    (name, value), *_ = pipe.api.authorization().items()
    command = found[0].replace("localhost:8080", pipe.api.address(), 1) + f" -H '{name}: {value}'"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)  # noqa: S603, S607 our own document
    assert json.loads(ran.stdout)["transaction_id"] == "T-1"


def test_the_python_of_the_document_asks(pipe: ServedPipe) -> None:
    section = (ROOT / "docs" / "API.md").read_text().partition("## Decisions")[2]
    found = re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102 our own document
    url, key = f"http://{pipe.api.address()}", pipe.api.keys["shop"]
    sent = pipe.transaction()
    assert names["ask"](sent, url, key)["transaction_id"] == sent["transaction_id"]
    with pytest.raises(ValueError, match="urn:stream-scorer:problem:another-body"):
        names["ask"]({**sent, "amount_minor": 2}, url, key)


def down(api: ServedApi, why: str) -> None:
    """Wait until a process is not ready for this reason."""
    wait_until(lambda: api.probe() == (False, [why]), lambda: str(api.health()), UNREADY_SECONDS)


def test_no_scorer_is_unready_and_overload_is_not(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    serving = {"decisions": {"timeout_ms": 100}}
    with ServedApi(
        kafka, tmp_path, "--decisions", "--plan-of", "fraud:1.0.0", serving=serving
    ) as api:
        api.wait_served()
        down(api, "no assigned scorer")
        sent = {
            "transaction_id": "t", "event_time": time.time_ns() // 1_000_000, "customer_id": "c",
            "terminal_id": "s", "amount_minor": 1, "currency": "EUR",
        }  # fmt: skip
        refused = api.call("POST", DECISIONS, sent)
        assert (refused.status, refused.kind) == (503, "unavailable")
        with ScorerProcess(kafka, tmp_path / "scorer", "--from", "earliest") as scorer:
            scorer.wait_ready()
            wait_until(api.ready, lambda: str(api.health()), UNREADY_SECONDS)

            # More than can be in flight, in batches: some are refused, and it stays ready.
            def batch(number: int) -> tuple[int, tuple[bool, list[str]]]:
                every = [{**sent, "transaction_id": f"t{number}.{each}"} for each in range(1_000)]
                return api.call("POST", DECISIONS, every).status, api.probe()

            with ThreadPoolExecutor(8) as clients:
                answers = list(clients.map(batch, range(24)))
            assert {503} < {status for status, _ in answers} <= {200, 202, 207, 503}
            assert [probed for _, probed in answers if probed != (True, [])] == []
            scorer.kill()
            down(api, "no assigned scorer")
        with ScorerProcess(kafka, tmp_path / "scorer", "--from", "earliest") as scorer:
            scorer.wait_ready()
            wait_until(api.ready, lambda: str(api.health()), UNREADY_SECONDS)
        assert api.stop(30) == 0


def test_no_broker_is_unready_and_its_return_is_noticed(
    kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    with DevKafka() as cluster:
        kafka = kafka_topics(Kafka(bootstrap=cluster.bootstrap, group="g", instance="i"))
        arguments = ("--decisions", "--plan-of", "fraud:1.0.0")
        with (
            ScorerProcess(kafka, tmp_path / "scorer", "--from", "earliest") as scorer,
            ServedApi(kafka, tmp_path, *arguments) as api,
        ):
            scorer.wait_ready()
            api.wait_served()
            wait_until(api.ready, lambda: str(api.health()), UNREADY_SECONDS)
            cluster.brokers[0].kill()
            down(api, "no broker")
            assert api.live()
            refused = api.call("POST", DECISIONS, {"customer_id": "c"})
            assert (refused.status, refused.kind) == (503, "unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            cluster.brokers[0].start()
            cluster.brokers[0].wait_ready(1)
            wait_until(api.ready, lambda: str(api.health()))
