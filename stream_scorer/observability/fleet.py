"""Several workers with one endpoint: their metrics with a ``worker`` label, probes for all.

Workers report the contents of their registries, and the parent shows each worker's last report. The
client library's multi-process mode, with shared files, supports neither functions nor custom
collectors, and never removes a series; see docs/adr/0020-workers-under-one-parent.md.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from structlog.typing import FilteringBoundLogger

from stream_scorer import telemetry as events
from stream_scorer.observability.health import HEARTBEAT_SECONDS
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.render import Renderer

UNHEARD_SECONDS = 10.0
"""A worker without a report for this long does not count as ready, seconds."""

OF_THE_GROUP = frozenset(
    {
        "stream_scorer_lag_records",
        "stream_scorer_lag_seconds",
        "stream_scorer_lag_stable_records",
    }
)
"""Metrics of the group, the same for every worker: shown once, without a worker."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker reports about itself.

    Attributes:
        live: Whether its loop makes progress.
        silent_seconds: Since its last iteration.
        reasons: Why it is not ready; none when it is.
        degraded: What works only in part.
        families: Its metrics.
    """

    live: bool
    silent_seconds: float
    reasons: tuple[str, ...]
    degraded: tuple[str, ...]
    families: tuple[Metric, ...]


@dataclass(slots=True)
class _Known:
    """What the parent knows about one worker; ``pid`` is None while it does not run."""

    pid: int | None = None
    since: float = 0.0
    why: str = "is not started yet"
    report: WorkerReport | None = None
    heard: float = field(default=0.0)
    worked: bool = False


class Fleet(Collector):
    """Listens to the parent and to its workers, and provides probes and metrics for all.

    Live: the loop of every running worker makes progress. If a worker is down, the parent restarts
    it, so the parent need not be restarted. Ready: every worker is up and ready.

    Args:
        workers: Intended number of workers.
        logger: The logger.
        clock: Seconds, monotonic.
        heartbeat_seconds: A worker whose loop has made no progress for longer is not live.
    """

    def __init__(
        self,
        workers: int,
        logger: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._lock = threading.Lock()
        self._known = {number: _Known() for number in range(workers)}
        self._stopping = ""
        own = self._own = CollectorRegistry()
        self._render = Renderer(own, logger, clock, events.SUPERVISOR_EVENTS)
        self._ready = ready_gauge(own, "worker")
        for number in self._known:
            self._render.apply(events.WorkerStarted.UP, 0, number)

    def __call__(self, event: events.Event) -> None:
        """Note an event of the parent."""
        with self._lock:
            match event:
                case events.WorkerStarted():
                    known = _Known(event.pid, self._clock(), "has not reported yet")
                    self._known[event.worker] = known
                case events.WorkerLeft():
                    self._known[event.worker] = _Known(why=f"left ({event.cause})")
                case events.Stopping():
                    self._stopping = event.cause
                case _:
                    pass
        if isinstance(event, events.SUPERVISOR_EVENTS):
            self._render(event)

    def reported(self, worker: int, pid: int, report: WorkerReport) -> None:
        """Take a worker's report, unless another process runs in its place by now."""
        with self._lock:
            known = self._known[worker]
            if known.pid == pid:
                known.report, known.heard = report, self._clock()
                known.worked = known.worked or not report.reasons

    # -- probes -----------------------------------------------------------------------------

    def _silent(self, known: _Known) -> float:
        """Return the seconds since the worker's last known progress."""
        if known.pid is None:
            return 0.0
        if known.report is None:
            return self._clock() - known.since
        return known.report.silent_seconds + self._clock() - known.heard

    @property
    def silent_seconds(self) -> float:
        """The longest time since the last known progress among running workers, seconds."""
        with self._lock:
            return max(self._silent(known) for known in self._known.values())

    @property
    def live(self) -> bool:
        """Whether the loop of every running worker makes progress."""
        with self._lock:
            return all(
                (known.report is None or known.report.live)
                and self._silent(known) <= self._heartbeat_seconds
                for known in self._known.values()
            )

    def silent(self) -> list[int]:
        """Return the workers that were ready once, but make no progress now, or hang in a batch.

        Workers that have not been ready yet may be compiling or loading, without a running loop.
        """
        with self._lock:
            return [
                number
                for number, known in self._known.items()
                if known.worked
                and (
                    self._silent(known) > self._heartbeat_seconds
                    or (known.report is not None and not known.report.live)
                )
            ]

    def reasons(self) -> list[str]:
        """Return why the process is not ready, by worker; empty when all are."""
        with self._lock:
            reasons = [f"stopping: {self._stopping}"] if self._stopping else []
            for number, known in self._known.items():
                reasons += [f"worker {number}: {why}" for why in self._against(known)]
            return reasons

    def _against(self, known: _Known) -> list[str]:
        """Return why one worker is not ready."""
        if known.report is None:
            return [known.why]
        unheard = self._clock() - known.heard
        if unheard > UNHEARD_SECONDS:
            return [f"has reported nothing for {unheard:.0f} s"]
        return list(known.report.reasons)

    def degraded(self) -> list[str]:
        """Return what works only in part, by worker."""
        with self._lock:
            return [
                f"worker {number}: {what}"
                for number, known in self._known.items()
                if known.report is not None
                for what in known.report.degraded
            ]

    # -- metrics ----------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Yield the workers' metrics, each with its worker's number, and those of the parent."""
        with self._lock:
            for number, known in self._known.items():
                self._ready.labels(str(number)).set(float(not self._against(known)))
            reports = [(n, known.report) for n, known in self._known.items() if known.report]
            latest = max(self._known.values(), key=lambda known: known.heard).report
        families: dict[str, Metric] = {}
        for number, report in reports:
            for family in report.families:
                if family.name not in OF_THE_GROUP:
                    _add(families, family, {"worker": str(number)})
                elif report is latest:
                    _add(families, family, {})
        yield from families.values()
        yield from self._own.collect()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the workers determine the metrics."""
        return []


def _add(families: dict[str, Metric], family: Metric, labels: dict[str, str]) -> None:
    """Add a family's samples to those of its name."""
    whole = families.get(family.name)
    if whole is None:
        whole = Metric(family.name, family.documentation, family.type, family.unit)
        families[family.name] = whole
    for sample in family.samples:
        whole.samples.append(sample._replace(labels={**sample.labels, **labels}))
