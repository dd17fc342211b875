"""Metrics of the services that a process uses: its requests, and its Kafka clients' statistics."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_scorer.readings.scraped import (
    REQUEST_BOUNDS,
    Request,
    RequestCount,
    brokers,
    counts,
    reports,
)
from stream_scorer.telemetry import ClientReported, RequestTimed
from stream_scorer.telemetry.event import Metric as Declared


class RequestSeconds(Collector):
    """Shows how long requests to the registry and the checkpoint store took.

    Args:
        source: Returns the counts.
    """

    def __init__(self, source: Callable[[], Mapping[Request, RequestCount]] = counts) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Return the metric without samples."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the histograms."""
        family = self._family()
        for labels, count in sorted(self._source().items()):
            total, buckets = 0, []
            for bound, number in zip((*map(str, REQUEST_BOUNDS), "+Inf"), count.buckets,
                                     strict=True):  # fmt: skip
                total += number
                buckets.append((bound, float(total)))
            family.add_metric(labels, buckets, count.seconds)
        return [family]

    @staticmethod
    def _family() -> HistogramMetricFamily:
        metric = RequestTimed.SECONDS
        return HistogramMetricFamily(
            f"stream_scorer_{metric.name}", metric.text, labels=metric.labels
        )


class ClientStatistics(Collector):
    """Shows what the Kafka clients of the process report of their brokers and queues.

    Args:
        source: Returns the newest report of each client, JSON.
    """

    def __init__(self, source: Callable[[], list[bytes]] = reports) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        return [_gauge(metric) for metric in ClientReported.metrics()]

    def collect(self) -> Iterable[Metric]:
        """Return the newest numbers; a report that cannot be parsed has none."""
        families = {metric: _gauge(metric) for metric in ClientReported.metrics()}
        for report in self._source():
            try:
                found = json.loads(report)
            except ValueError:
                continue
            if isinstance(found, dict):
                _add(families, found)
        return list(families.values())


def _gauge(metric: Declared) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"stream_scorer_{metric.name}", metric.text, labels=metric.labels)


def _add(families: Mapping[Declared, GaugeMetricFamily], found: dict[str, Any]) -> None:
    client = (str(found.get("type", "")), str(found.get("client_id", "")))
    partitions = [
        partition
        for topic in found.get("topics", {}).values()
        for partition in topic.get("partitions", {}).values()
    ]
    fetched = sum(each.get("fetchq_cnt", 0) for each in partitions)
    queued = found.get("msg_cnt", 0) + fetched
    families[ClientReported.QUEUE].add_metric(client, float(queued))
    for each in brokers(found):
        at = (*client, str(each["nodeid"]))
        trips, throttle = _part(each, "rtt"), _part(each, "throttle")
        if trips.get("cnt"):
            for share in ("p50", "p99"):
                families[ClientReported.ROUND_TRIP].add_metric((*at, share), trips[share] / 1e6)
        families[ClientReported.THROTTLE].add_metric(at, throttle.get("max", 0) / 1e3)
        waiting = _number(each, "outbuf_cnt") + _number(each, "waitresp_cnt")
        families[ClientReported.REQUESTS].add_metric(at, waiting)


def _part(broker: Mapping[str, object], name: str) -> dict[str, float]:
    found = broker.get(name)
    return found if isinstance(found, dict) else {}


def _number(broker: Mapping[str, object], name: str) -> float:
    found = broker.get(name)
    return float(found) if isinstance(found, (int, float)) else 0.0
