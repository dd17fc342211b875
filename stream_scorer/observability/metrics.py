"""The metrics of a process: every name, unit, help text and label is declared here.

Label values are bounded: outcomes, stages, reject reasons, flags and results are closed sets;
partitions, deployed versions, detectors and dependencies are few and chosen by an operator.
"""

import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

AGE_SLO_SECONDS = 0.1
"""The service level objective of the end-to-end age; exactly one bucket boundary."""

AGE_BOUNDS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, AGE_SLO_SECONDS, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip
_STAGE_BOUNDS = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_BATCH_BOUNDS = (1, 5, 20, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000)

QUARANTINES = ("batch", "replay")
RESULTS = ("committed", "aborted", "settled_committed", "settled_aborted")


class ArrayHistogram(Collector):
    """A classic histogram that takes a whole batch of observations at once.

    prometheus-client counts one observation per call (about 1 µs); here a batch of n costs one
    binary search over the boundaries in numpy.

    Args:
        name: Metric name, unit included.
        documentation: Help text.
        bounds: Upper bucket boundaries, ascending, without infinity.
        registry: Where it is scraped from.

    Example:
        >>> histogram = ArrayHistogram("age_seconds", "Age.", (0.1, 1.0), CollectorRegistry())
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
        """Count every value; a negative one counts as 0, because a clock ahead is no time travel.

        Args:
            values: Any sequence of floats; float64[n] is taken without a copy.
        """
        ages = np.maximum(np.asarray(values, np.float64), 0.0)
        # A value equal to a boundary belongs to that boundary's bucket: le is "at most".
        buckets = np.searchsorted(self._bounds, ages, side="left")
        counts = np.bincount(buckets, minlength=len(self._counts))
        total = float(ages.sum())
        with self._lock:
            self._counts += counts
            self._sum += total

    def describe(self) -> Iterable[Metric]:
        """Return the metric without samples, so that a second one of its name is refused."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[Metric]:
        """Return the buckets as they are now."""
        with self._lock:
            cumulative = np.cumsum(self._counts).tolist()
            total = self._sum
        buckets = list(zip(self._labels, map(float, cumulative), strict=True))
        return [
            HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)
        ]


class Metrics:
    """One process's metrics, declared on one registry.

    Args:
        registry: Where they are scraped from; a second set on the same registry is refused.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"stream_scorer_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"stream_scorer_{name}", text, labels, registry=registry)

        self.lag = gauge(
            "lag_records",
            "Records between the group's committed offset and the high watermark.",
            "partition",
        )
        self.lag_stable = gauge(
            "lag_stable_records",
            "Records between the group's committed offset and the last stable offset; less than "
            "stream_scorer_lag_records for long is a hanging transaction upstream.",
            "partition",
        )
        self.lag_seconds = gauge(
            "lag_seconds", "Age of the oldest record that the group has not committed.", "partition"
        )
        self.next_offset = gauge(
            "next_offset", "Next input offset after the last commit of this process.", "partition"
        )
        self.decisions = counter(
            "decisions", "Decisions in committed transactions.", "outcome", "model", "version"
        )
        self.stage = Histogram(
            "stream_scorer_stage_seconds",
            "Duration of one stage of one batch.",
            ("stage",),
            buckets=_STAGE_BOUNDS,
            registry=registry,
        )
        self.age = ArrayHistogram(
            "stream_scorer_age_seconds",
            "Seconds from a record's Kafka timestamp to the commit of its decision.",
            AGE_BOUNDS,
            registry,
        )
        self.batch = Histogram(
            "stream_scorer_batch_records",
            "Input records of one committed transaction.",
            buckets=_BATCH_BOUNDS,
            registry=registry,
        )
        self.transactions = counter(
            "transactions",
            "Transactions by result; settled_* are commits whose answer was lost and whose result "
            "was read from the committed offsets (settled_committed counts as committed too).",
            "result",
        )
        self.rejected = counter(
            "rejected", "Records sent to the dead-letter topic, by reject reason.", "reason"
        )
        self.flagged = counter("flagged", "Decisions that carry a flag, by flag.", "flag")
        self.rebirths = counter(
            "producer_rebirths", "Producers replaced so that a late request of the old is fenced."
        )
        self.replay = gauge(
            "replay_remaining_records",
            "Input records still to be replayed before the partition's state is whole.",
            "partition",
        )
        self.state_incomplete = gauge(
            "state_incomplete",
            "1 while less is known of the partition than windows reach back; see the log line.",
            "partition",
        )
        self.restored = gauge(
            "restore_replayed_records",
            "Input records that the partition's last restore replayed behind its checkpoint.",
            "partition",
        )
        self.warming = gauge(
            "warming_features",
            "Features of the version being warmed that lacked history when the partition came.",
            "partition",
        )
        self.warm_from = gauge(
            "warming_until_event_time_seconds",
            "Event time from which on they do not.",
            "partition",
        )
        self.cold = gauge(
            "cold_features",
            "Features that lacked history when the partition came, and decide all the same.",
            "partition",
        )
        self.checkpoint_age = gauge(
            "checkpoint_age_records",
            "Input records that a restart would replay: from the partition's oldest bucket on.",
            "partition",
        )
        self.checkpoint_cycle = gauge(
            "checkpoint_cycle_seconds",
            "How long it last took to write every bucket of the partition once.",
            "partition",
        )
        self.checkpoint_buckets = counter("checkpoint_buckets", "Buckets written.")
        self.checkpoint_bytes = counter("checkpoint_bytes", "Bytes of checkpoint records written.")
        self.checkpoint_failures = counter(
            "checkpoint_failures", "Buckets that the checkpoint store did not take."
        )
        self.assigned = gauge("partitions_assigned", "Input partitions that this process owns.")
        self.standing_by = gauge(
            "standing_by", "1 while other members own every partition and this process none."
        )
        self.rebalances = counter(
            "rebalances", "Times that partitions came to this process or left it."
        )
        self.lost = counter(
            "partitions_lost", "Partitions taken away before this process could finish its batch."
        )
        self.dependency_up = gauge(
            "dependency_up", "1 while the dependency answers, 0 while it does not.", "dependency"
        )
        self.keys_sampled = counter("keys_sampled", "Keys compared with their partition.")
        self.keys_misplaced = counter(
            "keys_misplaced", "Sampled keys that do not belong to their partition."
        )
        self.model_errors = counter(
            "model_error_rows", "Rows decided without the model because it raised.",
            "model", "version",
        )  # fmt: skip
        self.model_refused = gauge(
            "model_refused",
            "1 while the deployed bundle's files are not those that were loaded: a start refuses "
            "them, and the loaded copy goes on.",
            "model", "version",
        )  # fmt: skip
        self.model_verifications = counter(
            "model_verifications",
            "Times that deployed bundles' files were compared with what was loaded: at the start, "
            "by SIGHUP (signal) or every models.verify_seconds (time); whole or refused.",
            "cause", "result",
        )  # fmt: skip
        self.drift = counter(
            "drift_events", "Changes that a drift detector reported.", "detector", "signal"
        )
        self.terminal_rows = counter("terminal_rows_published", "Terminals' rows published.")
        self.terminal_pending = gauge(
            "terminal_rows_pending", "Transactions whose row waits for its label's cut-off."
        )
        self.terminal_late_rows = counter(
            "terminal_rows_late", "Transactions that came when their row could no longer leave."
        )
        self.late_labels = counter(
            "labels_late",
            "Labels that changed no row: delivered_late came when the row had left, after_cutoff "
            "became known after the row's cut-off.",
            "cause",
        )
        self.terminal_held = gauge("terminal_rows_held", "Terminals' rows in the scorer's table.")
        self.terminal_watermark = gauge(
            "terminal_watermark_seconds",
            "Event time up to which terminals' rows are out (profiler) or taken in (scorer).",
        )
        self.stuck = gauge(
            "stuck_seconds",
            "Seconds that a partition's position has not moved despite lag; 0: all move.",
        )
        self.quarantined = counter(
            "records_quarantined",
            "Records for which the computation fails each time: batch rejected them, replay "
            "rebuilt the state without them.",
            "where",
        )
        self.hung = gauge(
            "computation_hung_seconds",
            "Seconds that a batch had been computed when it was found hung; 0: none hangs.",
        )
        # A series that begins at its first event shows no rate for it: begin at 0.
        for where in QUARANTINES:
            self.quarantined.labels(where)
        for result in RESULTS:
            self.transactions.labels(result)


def ready_gauge(registry: CollectorRegistry, *labels: str) -> Gauge:
    """Declare the gauge of readiness; its owner says how it is read."""
    return Gauge(
        "stream_scorer_ready", "1 while the process can do its work, else 0.", labels,
        registry=registry,
    )  # fmt: skip
