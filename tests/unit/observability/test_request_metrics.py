"""Requests to other services, and statistics of Kafka clients, as metrics."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from stream_scorer.observability.request_metrics import ClientStatistics, RequestSeconds
from stream_scorer.readings import scraped
from stream_scorer.readings.scraped import (
    REQUEST_BOUNDS,
    RequestCount,
    StatisticsSlot,
    counts,
    note,
    reports,
    timed,
    timed_reading,
)

REPORT: dict[str, Any] = {
    "type": "producer", "client_id": "g:0", "msg_cnt": 7,
    "brokers": {
        "b:9092/1": {
            "nodeid": 1, "outbuf_cnt": 2, "waitresp_cnt": 3,
            "rtt": {"cnt": 4, "p50": 1_500, "p99": 250_000}, "throttle": {"max": 40},
        },
        "b:9092/bootstrap": {"nodeid": -1, "rtt": {"cnt": 9, "p50": 9, "p99": 9}},
        "b:9093/2": {"nodeid": 2, "outbuf_cnt": 0, "waitresp_cnt": 0, "rtt": {"cnt": 0}},
    },
    "topics": {"t": {"partitions": {"0": {"fetchq_cnt": 5}, "-1": {"fetchq_cnt": 0}}}},
}  # fmt: skip


def samples(collector: Collector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        f"{each.name.removeprefix('stream_scorer_')} {' '.join(each.labels.values())}": each.value
        for family in registry.collect()
        for each in family.samples
    }


def test_a_client_s_report_is_shown() -> None:
    found = samples(ClientStatistics(lambda: [json.dumps(REPORT).encode()]))
    assert found == {
        "kafka_round_trip_seconds producer g:0 1 p50": 0.0015,
        "kafka_round_trip_seconds producer g:0 1 p99": 0.25,
        "kafka_throttle_seconds producer g:0 1": 0.04,
        "kafka_throttle_seconds producer g:0 2": 0.0,
        "kafka_requests_waiting producer g:0 1": 5.0,
        "kafka_requests_waiting producer g:0 2": 0.0,
        "kafka_queue_records producer g:0": 12.0,
    }


def test_a_report_that_is_not_json_shows_nothing() -> None:
    assert samples(ClientStatistics(lambda: [b"{", b"[]"])) == {}


def test_a_closed_client_is_forgotten() -> None:
    slot = StatisticsSlot()
    slot.keep(b"{}1")
    slot.keep(b"{}2")
    assert [each for each in reports() if each.startswith(b"{}")] == [b"{}2"]
    slot.forget()
    slot.forget()
    assert not [each for each in reports() if each.startswith(b"{}")]


def test_requests_are_a_histogram() -> None:
    count = RequestCount([1, 0, 2] + [0] * (len(REQUEST_BOUNDS) - 3) + [1], 31.5)
    found = samples(RequestSeconds(lambda: {("registry", "get_schema"): count}))
    at = "service_request_seconds_bucket registry get_schema"
    assert [found[f"{at} {bound}"] for bound in ("0.001", "0.005", "0.01", "30.0", "+Inf")] == [
        1.0, 1.0, 3.0, 3.0, 4.0,
    ]  # fmt: skip
    assert found["service_request_seconds_count registry get_schema"] == 4.0
    assert found["service_request_seconds_sum registry get_schema"] == 31.5


def test_a_request_that_fails_is_counted() -> None:
    before = counts().get(("test", "read"), RequestCount())
    with pytest.raises(ZeroDivisionError), timed("test", "read"):
        _ = 1 / 0
    note("test", "read", 1e9)
    after = counts()["test", "read"]
    assert sum(after.buckets) - sum(before.buckets) == 2
    assert after.buckets[-1] - before.buckets[-1] == 1


def test_a_reading_is_measured_without_the_work_on_its_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(scraped, "time", SimpleNamespace(perf_counter=lambda: now))

    def pieces() -> Iterator[int]:
        nonlocal now
        for number in range(3):
            now += 0.25
            yield number

    for _ in timed_reading("test", "pieces", pieces()):
        now += 8.0
    found = counts()["test", "pieces"]
    assert found.seconds == 0.75
    # One that is left early counts, too.
    reading = timed_reading("test", "pieces", pieces())
    assert next(iter(reading)) == 0
    del reading
    assert sum(counts()["test", "pieces"].buckets) == 2
