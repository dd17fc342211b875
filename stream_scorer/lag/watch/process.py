"""The process of ``lag --serve``: it watches groups from outside, so it lives when they do not."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from prometheus_client import CollectorRegistry

from stream_scorer.clocks import steady_epoch_seconds
from stream_scorer.closing import Closing
from stream_scorer.errors import StreamScorerError
from stream_scorer.hardening.settings_check import refuse_unsafe
from stream_scorer.lag.broker.collector import Collector
from stream_scorer.lag.broker.open_transactions import OpenTransactions
from stream_scorer.lag.broker.record_reader import FirstRecordReader
from stream_scorer.lag.verdicts.sample import LagRules
from stream_scorer.lag.watch.event_times import EventTimes
from stream_scorer.lag.watch.passes import LagPasses, LagSnapshot
from stream_scorer.lag.watch.reconciliation import ReconciliationWatch
from stream_scorer.lag.watch.series import LagSeries
from stream_scorer.lag.watch.slo_watch import SloBrokers, SloWatch
from stream_scorer.lag.watch.waiting_letters import DeadLetterTopic, LetterWatch
from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.journal import ProcessJournal, process_began
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.process_metrics import add_process_metrics
from stream_scorer.observability.render import Renderer
from stream_scorer.processes.run_process import journaled
from stream_scorer.processes.signals import stopped_by_signals
from stream_scorer.settings import Settings
from stream_scorer.telemetry import (
    LAG_EVENTS,
    PROCESS_EVENTS,
    Event,
    LagFailed,
    Listener,
    RecordsReconciled,
)

_SILENT_INTERVALS = 3
"""A loop without a pass for this many intervals is not live."""
_SHUTDOWN_SECONDS = 10.0


class LagHealth:
    """Live while passes are made; ready while the brokers answer them.

    Args:
        interval: Seconds between two passes.
        snapshot: Returns the last pass.
    """

    def __init__(self, interval: float, snapshot: Callable[[], LagSnapshot]) -> None:
        self._most = _SILENT_INTERVALS * interval + 30.0
        self._snapshot = snapshot
        self._beat = time.monotonic()

    def heartbeat(self) -> None:
        """Note a pass."""
        self._beat = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last pass."""
        return time.monotonic() - self._beat

    @property
    def live(self) -> bool:
        """Whether passes are made."""
        return self.silent_seconds <= self._most

    def reasons(self) -> list[str]:
        """Return why the process is not ready; empty when it is."""
        now = self._snapshot()
        if not now.time:
            return ["no pass has ended yet"]
        return [f"the brokers do not answer: {now.error}"] if now.error else []

    def degraded(self) -> list[str]:
        """Return what works only in part: patterns that match too many groups."""
        left = self._snapshot().left_out
        return [f"groups that match lag.groups are not watched: {left:,}"] if left else []


class LagLoop(Closing):
    """Makes a pass every interval until stopped.

    Args:
        settings: The cluster, and what to watch.
    """

    def __init__(self, settings: Settings) -> None:
        self._interval = settings.lag.interval_seconds
        self.passes = open_passes(settings)
        self.stopped = threading.Event()

    def close(self) -> None:
        """Close the connections."""
        self.passes.close()

    def run(
        self,
        after: Callable[[LagSnapshot], None],
        asked: Callable[[], bool] = lambda: False,
        tick_seconds: float = 1.0,
    ) -> None:
        """Make passes until ``stopped`` is set, or ``asked`` returns True.

        Args:
            after: Called after each pass.
            asked: Called between passes, every tick.
            tick_seconds: Time between two calls of it.
        """
        due = time.monotonic()
        while not self.stopped.is_set() and not asked():
            if time.monotonic() >= due:
                after(self.passes.run())
                # Not "a pass, then the interval": samples come at even times.
                due = max(due + self._interval, time.monotonic())
            self.stopped.wait(min(tick_seconds, max(due - time.monotonic(), 0.0)))


def open_passes(settings: Settings) -> LagPasses:
    """Return passes over the groups of the settings, with connections of their own."""
    lag, kafka = settings.lag, settings.kafka
    return LagPasses(
        Collector(
            kafka,
            lag.groups or [kafka.group],
            lag.request_seconds,
            lag.groups_max,
            lag.interval_seconds,
        ),
        FirstRecordReader(kafka, lag.request_seconds),
        FirstRecordReader(kafka, lag.request_seconds, uncommitted=True),
        OpenTransactions(kafka, lag.request_seconds),
        LagRules(interval=lag.interval_seconds),
        lag.records,
        EventTimes(settings),
        on_demand={settings.replay.group},
        read_seconds=lag.request_seconds,
    )


def start_reconciliation(settings: Settings, listener: Listener, stack: ExitStack) -> None:
    """Start to compare input and outputs, and to count dead letters, until the stack ends.

    What is wrong with the registry's settings is reported, and ends nothing: verdicts need none.

    Args:
        settings: ``lag``, ``kafka``, ``registry`` and ``replay``.
        listener: Notified of the begin, of every round and of failures.
        stack: Closes what was started.
    """
    # Not at the start of the program: it loads compiled code.
    from stream_scorer.lag.watch.output_reader import OutputReader  # noqa: PLC0415

    group, topic = (
        settings.lag.slo_group or settings.kafka.group,
        settings.kafka.topics.transactions,
    )
    listener(RecordsReconciled(group, topic, None, time=steady_epoch_seconds()))
    every, letters = settings.lag.reconcile_seconds, DeadLetterTopic(settings)
    stack.enter_context(LetterWatch(letters, letters.topic, listener, every)).start()
    try:
        outputs = OutputReader(settings)
    except StreamScorerError as error:
        listener(LagFailed(f"reconciliation: {error}", "reconciliation"))
        return
    watch = ReconciliationWatch(outputs, outputs.group, outputs.topic, listener, every)
    stack.enter_context(watch).start()


def _slo_watch(settings: Settings, listener: Listener) -> SloWatch:
    brokers, lag = SloBrokers(settings), settings.lag
    return SloWatch(
        brokers, brokers.group, brokers.topic, listener, lag.slo_seconds, lag.slo_every_seconds
    )


def serve_lag(settings: Settings) -> None:
    """Watch groups and serve metrics until a signal ends it.

    Args:
        settings: ``lag``, ``http`` and ``kafka``.

    Raises:
        SettingsError: Unsafe settings in production, or the address cannot be bound.
    """
    refuse_unsafe(settings)
    registry = CollectorRegistry()
    kinds = (*LAG_EVENTS, *PROCESS_EVENTS)
    renderer = Renderer(registry, process_logger("lag", settings.kafka.instance), kinds=kinds)
    journal = ProcessJournal(settings.logging.journal, "lag", settings.kafka.instance)
    add_process_metrics(registry, settings)

    def listener(event: Event) -> None:
        journal(event)
        if isinstance(event, kinds):
            renderer(event)

    with ExitStack() as stack:
        stack.push(journaled(journal))
        listener(process_began("lag", settings.kafka.group, settings.kafka.instance, settings))
        loop = stack.enter_context(LagLoop(settings))
        registry.register(LagSeries(lambda: loop.passes.snapshot, settings.lag.series_max))
        health = LagHealth(settings.lag.interval_seconds, lambda: loop.passes.snapshot)
        ready_gauge(registry).set_function(lambda: float(not health.reasons()))

        def after(snapshot: LagSnapshot) -> None:
            health.heartbeat()
            if snapshot.error:
                listener(LagFailed(snapshot.error))

        stack.enter_context(stopped_by_signals(loop.stopped.set, listener, _SHUTDOWN_SECONDS))
        stack.enter_context(Endpoint(settings.http, registry, health))
        if settings.lag.slo_seconds:
            stack.enter_context(_slo_watch(settings, listener)).start()
        if settings.lag.reconcile_seconds:
            start_reconciliation(settings, listener, stack)
        loop.run(after)
