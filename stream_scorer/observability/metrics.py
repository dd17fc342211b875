"""The metrics of a process, created from the declarations of the event classes in ``telemetry``."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_scorer.telemetry import event as declared


class ArrayHistogramCollector(Collector):
    """A classic histogram that takes a batch of observations in one call.

    prometheus-client counts one observation per call (about 1 µs); here a batch of n costs one
    binary search over the boundaries in numpy.

    Args:
        name: Metric name, unit included.
        documentation: Help text.
        bounds: Upper bucket boundaries, ascending, without infinity.
        registry: The registry that is scraped.

    Example:
        >>> registry = CollectorRegistry()
        >>> histogram = ArrayHistogramCollector("age_seconds", "Age.", (0.1, 1.0), registry)
        >>> histogram.observe([0.1, 0.5, 7.0])
        >>> [(s.labels.get("le"), s.value) for m in histogram.collect() for s in m.samples]
        [('0.1', 1.0), ('1.0', 2.0), ('+Inf', 3.0), (None, 3.0), (None, 7.6)]
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: tuple[float, ...],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(bounds, np.float64)
        self._labels = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: ArrayLike) -> None:
        """Count every value; a negative one, which comes from clocks that differ, counts as 0.

        Args:
            values: Any sequence of floats; float64[n] is used without a copy.
        """
        ages = np.maximum(np.asarray(values, np.float64), 0.0)
        # A value equal to a boundary belongs to that boundary's bucket: le means "at most".
        buckets = self._bounds.searchsorted(ages, side="left")
        counts = np.bincount(buckets, minlength=len(self._counts))
        total = float(ages.sum())
        with self._lock:
            self._counts += counts
            self._sum += total

    def describe(self) -> Iterable[Metric]:
        """Return the metric without samples, so that a second one of its name is refused."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[Metric]:
        """Return the current buckets."""
        with self._lock:
            cumulative = np.cumsum(self._counts).tolist()
            total = self._sum
        buckets = list(zip(self._labels, map(float, cumulative), strict=True))
        return [
            HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)
        ]


def create_metric(metric: declared.Metric, registry: CollectorRegistry) -> Any:
    """Create a metric from its declaration.

    Args:
        metric: The declaration.
        registry: The registry that is scraped; it refuses a second metric of the same name.
    """
    name = f"stream_scorer_{metric.name}"
    match metric:
        case declared.Counter():
            return Counter(name, metric.text, metric.labels, registry=registry)
        case declared.Gauge():
            return Gauge(name, metric.text, metric.labels, registry=registry)
        case declared.ArrayHistogram():
            return ArrayHistogramCollector(name, metric.text, metric.bounds, registry)
        case _:
            return Histogram(
                name, metric.text, metric.labels, buckets=metric.bounds, registry=registry
            )


def update_of(metric: Any, labels: tuple[str | int, ...]) -> Callable[[Any], None]:
    """Return the function that updates one series: adds, shows or observes a value.

    Args:
        metric: The result of :func:`create_metric`.
        labels: Values of its labels; empty for a metric without labels.
    """
    series = metric.labels(*labels) if labels else metric
    match series:
        case Counter():
            return series.inc
        case Gauge():
            return series.set
        case _:
            return series.observe


def ready_gauge(registry: CollectorRegistry, *labels: str) -> Gauge:
    """Declare the gauge of readiness; its owner sets its function."""
    return Gauge(
        "stream_scorer_ready", "1 while the process can do its work, else 0.", labels,
        registry=registry,
    )  # fmt: skip
