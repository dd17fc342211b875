"""Spans of requests, at an OTLP collector in the process."""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.serving.server.application import Application
from stream_scorer.serving.server.open_requests import OpenRequests
from stream_scorer.serving.server.tracing import open_tracing
from stream_scorer.serving.web.messages import Request, Response, Route
from stream_scorer.serving.web.request_trace import UNTRACED, BeginTrace
from stream_scorer.settings import Settings, load_settings
from stream_scorer.telemetry import Event, SpansDropped
from tests.support.served.trace_collector import TraceCollector, trace_collector
from tests.support.serving.example_part import ExampleGate
from tests.support.serving.fake_rsgi import FakeProtocol, FakeScope

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
PATTERN = "/cards/{card}"


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    with trace_collector() as running:
        yield running


def settings_for(collector: TraceCollector, **tracing: Any) -> Settings:
    own = {"endpoint": collector.url, "ratio": 1.0, **tracing}
    return load_settings({"serving": {"tracing": own}})


def traced(begin: BeginTrace, traceparent: str = "", state: str = "") -> str:
    """Trace a request with two stages; return the context that it hands on."""
    now = time.perf_counter()
    trace = begin("POST", PATTERN, traceparent, state, now)
    trace.stage("judge", now, now + 0.25)
    trace.stage("wait", now + 0.25, now + 0.5)
    trace.end(200)
    return trace.traceparent


def test_a_request_and_its_stages_are_one_trace(collector: TraceCollector) -> None:
    with open_tracing(settings_for(collector), lambda _: None) as begin:
        handed_on = traced(begin, SAMPLED, "k=v")
    (span,) = collector.named(f"POST {PATTERN}")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert handed_on == f"00-{TRACE}-{span.span_id.hex()}-01"
    attributes = {each.key: each.value for each in span.attributes}
    assert attributes["http.route"].string_value == PATTERN
    assert attributes["http.response.status_code"].int_value == 200
    stages = collector.named("judge") + collector.named("wait")
    assert {each.parent_span_id for each in stages} == {span.span_id}
    judge, wait = stages
    assert judge.end_time_unix_nano == wait.start_time_unix_nano
    assert judge.end_time_unix_nano - judge.start_time_unix_nano == pytest.approx(2.5e8)
    assert abs(span.start_time_unix_nano - time.time_ns()) < 60e9
    assert collector.resources[0]["service.name"] == "stream-scorer"


@pytest.mark.parametrize(("flag", "ratio", "spans"), [("01", 0.0, 3), ("00", 1.0, 0)])
def test_the_clients_flag_decides(
    collector: TraceCollector, flag: str, ratio: float, spans: int
) -> None:
    with open_tracing(settings_for(collector, ratio=ratio), lambda _: None) as begin:
        traced(begin, f"00-{TRACE}-{PARENT}-{flag}")
    assert len(collector.spans) == spans


def test_without_a_context_the_ratio_decides(collector: TraceCollector) -> None:
    with open_tracing(settings_for(collector), lambda _: None) as begin:
        assert traced(begin)
    assert len(collector.spans) == 3
    with open_tracing(settings_for(collector, ratio=0.0), lambda _: None) as begin:
        assert traced(begin) == ""
        assert begin("GET", "/x", "", "", 0.0) is UNTRACED
    assert len(collector.spans) == 3


def test_a_collector_that_hangs_blocks_nothing(collector: TraceCollector) -> None:
    events: list[Event] = []
    collector.open.clear()
    settings = settings_for(collector, queue_spans=300, timeout_seconds=60)
    with open_tracing(settings, events.append) as begin:
        # Whatever waited for the collector would wait for ever.
        for _ in range(2_000):
            traced(begin, SAMPLED)
        assert collector.spans == []
        collector.open.set()
    assert len(collector.spans) == 300
    assert sum(each.spans for each in events if isinstance(each, SpansDropped)) == 6_000 - 300


def test_a_collector_that_refuses_is_counted(collector: TraceCollector) -> None:
    events: list[Event] = []
    collector.status = 400
    with open_tracing(settings_for(collector), events.append) as begin:
        traced(begin)
    assert events == [SpansDropped("send", 3)]


def test_a_missing_ca_is_named(collector: TraceCollector, tmp_path: Path) -> None:
    settings = settings_for(collector, ca=str(tmp_path / "ca.pem"))
    with pytest.raises(SettingsError, match=r"serving\.tracing\.ca"):
        open_tracing(settings, lambda _: None).__enter__()


def test_without_the_extra_it_is_named(
    collector: TraceCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="its extra `otel`"):
        open_tracing(settings_for(collector), lambda _: None).__enter__()


def test_spans_have_nothing_of_the_client(collector: TraceCollector) -> None:
    number = "4929123456789012"
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(200, b"{}")

    async def scenario(begin: BeginTrace) -> None:
        application = Application(
            [Route("POST", PATTERN, "score", handler, 100)], ExampleGate(),
            OpenRequests(8, 1_000), lambda _: None, body_seconds=5.0, trace=begin,
        )  # fmt: skip
        headers = (
            ("host", "x"), ("authorization", "Bearer shop"), ("x-request-id", number),
            ("traceparent", SAMPLED), ("content-type", "application/json"),
            ("content-length", "18"), ("user-agent", number),
        )  # fmt: skip
        scope = FakeScope("POST", f"/cards/{number}", headers, query_string=f"c={number}")
        protocol = FakeProtocol([f'"{number}"'.encode()])
        await application.__rsgi__(scope, protocol)
        assert protocol.status == 200

    with open_tracing(settings_for(collector), lambda _: None) as begin:
        asyncio.run(scenario(begin))
    (span,) = collector.spans
    assert seen[0].traceparent == f"00-{TRACE}-{span.span_id.hex()}-01"
    told = str(span)
    assert number not in told
    assert "shop" not in told
