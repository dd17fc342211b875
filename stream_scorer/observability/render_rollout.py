"""What happens to the plan of a rollout and to our own topics, as log lines and metrics."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from stream_scorer import telemetry as h

Say = Callable[..., None]


class RolloutRenderer:
    """Renders what becomes of revisions, and of records that are not what their topic is for.

    Args:
        registry: Where the metrics are.
        say: Logs a line under a condition, unless it was just said.
    """

    def __init__(self, registry: CollectorRegistry, say: Say) -> None:
        self._say = say
        self._awaited = Gauge(
            "stream_scorer_plan_awaited",
            "1 while the control log holds no plan, and nothing is decided.",
            registry=registry,
        )
        self._loaded = Gauge(
            "stream_scorer_plan_revision",
            "Newest revision of the plan that is ready to decide; 0 without a rollout.",
            registry=registry,
        )
        self._active = Gauge(
            "stream_scorer_active_revision",
            "Revision of the plan that decides an input partition.",
            ["partition"],
            registry=registry,
        )
        self._refused = Counter(
            "stream_scorer_revisions_refused",
            "Revisions of the plan that cannot be used here, in a partition or at all.",
            registry=registry,
        )
        self._skipped = Counter(
            "stream_scorer_own_records_skipped",
            "Records of a topic of ours that are not of its family, or over its limits.",
            ["topic"],
            registry=registry,
        )
        self.renderings: Mapping[type[h.Happening], Callable[[Any], None]] = {
            h.PlanAwaited: self._plan_awaited,
            h.RevisionLoaded: self._revision_loaded,
            h.RevisionRefused: self._revision_refused,
            h.RevisionActivated: self._revision_activated,
            h.RecordsSkipped: self._records_skipped,
        }

    def left(self, partition: int) -> None:
        """Forget a partition that left."""
        if (str(partition),) in self._active._metrics:  # noqa: SLF001 remove() of none raises
            self._active.remove(str(partition))

    def _plan_awaited(self, happening: h.PlanAwaited) -> None:
        self._awaited.set(not happening.over)
        if not happening.over:
            self._say("plan", "plan_awaited", mend="stream-scorer rollout start")

    def _revision_loaded(self, happening: h.RevisionLoaded) -> None:
        self._loaded.set(happening.revision)
        self._say(
            ("revision", happening.revision), "revision_loaded", "info",
            revision=happening.revision, versions=dict(happening.versions),
        )  # fmt: skip

    def _revision_refused(self, happening: h.RevisionRefused) -> None:
        self._refused.inc()
        self._say(
            ("refused", happening.revision, happening.partition), "revision_refused",
            revision=happening.revision, reason=happening.reason, partition=happening.partition,
        )  # fmt: skip

    def _records_skipped(self, happening: h.RecordsSkipped) -> None:
        self._skipped.labels(happening.topic).inc(happening.records)
        self._say(
            ("skipped", happening.topic), "records_skipped",
            topic=happening.topic, records=happening.records, partition=happening.partition,
            offset=happening.offset, why=happening.why,
        )  # fmt: skip

    def _revision_activated(self, happening: h.RevisionActivated) -> None:
        self._active.labels(str(happening.partition)).set(happening.revision)
        self._say(
            ("active", happening.partition, happening.revision), "revision_activated", "info",
            partition=happening.partition, offset=happening.offset, revision=happening.revision,
        )  # fmt: skip
