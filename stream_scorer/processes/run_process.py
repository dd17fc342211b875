"""The parts of every long-running process: metrics, probes, lag, and a graceful end on a signal."""

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry

from stream_scorer.hardening.settings_check import refuse_unsafe
from stream_scorer.kafka.membership.fenced_wait import StayingOut
from stream_scorer.kafka.membership.standby import Standby
from stream_scorer.kafka.topics.client_options import refused_option
from stream_scorer.kafka.topics.lag import LagWatch
from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.health import Health
from stream_scorer.observability.journal import ProcessJournal, process_began
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.process_metrics import add_process_metrics
from stream_scorer.observability.progress import Progress
from stream_scorer.observability.render import Renderer
from stream_scorer.processes.free_cycles import FreeCycles
from stream_scorer.processes.signals import asked_by_hangup, stopped_by_signals
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Event, Listener

START_SECONDS = 900.0
"""A longer start (loading models, compiling kernels) does not count as alive, seconds."""
_BEAT_SECONDS = 1.0
_SWITCH_SECONDS = 0.0001
"""How long a thread may keep the GIL that another one waits for, seconds.

The loop waits for the GIL after each answer of the broker while another thread computes. Python's
5 ms are half of a small transaction.
"""


class Loop(Protocol):
    """The loop that runs: a ``TransactionLoop``, or the controller's loop."""

    def run(self, heartbeat: Callable[[], None]) -> None: ...  # noqa: D102 see there
    def stop(self) -> None: ...  # noqa: D102


Exposed = Callable[[CollectorRegistry, Health], AbstractContextManager[object]]
"""Exposes a process's metrics and health while the context lasts."""


def run_process(
    name: str,
    settings: Settings,
    topic: str,
    make: Callable[[Listener], Loop],
    exposed: Exposed | None = None,
    *,
    together: bool = False,
    hangup: Callable[[], None] | None = None,
    lagging: str = "",
    member: bool = True,
) -> None:
    """Run a loop until a signal ends it.

    Args:
        name: Kind of process, for the logs: scorer, monitor.
        settings: The settings; ``kafka.group`` is the process's own group.
        topic: The topic that its group consumes.
        make: Makes the loop; ready is false until it returns.
        exposed: How it is scraped and probed; None: by its own endpoint, at ``http``.
        together: Whether its partitions wait for each other; see ``observability.progress``.
        hangup: Called on SIGHUP, safe in a signal handler; None leaves the signal unhandled.
        lagging: The topic whose lag is watched, if it is not ``topic``.
        member: Whether it is a member of its group, where a newer process of its name is visible.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    refuse_unsafe(settings)
    registry = CollectorRegistry()
    health = Health(heartbeat_seconds=settings.heartbeat_seconds)
    renderer = Renderer(registry, process_logger(name, settings.kafka.instance))
    journal = ProcessJournal(settings.logging.journal, name, settings.kafka.instance)
    add_process_metrics(registry, settings)

    def told(event: Event) -> None:
        renderer(event)
        health(event)
        journal(event)

    loop: Loop | None = None
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        if loop is None:
            # Nothing has begun that would have to be ended.
            sys.exit(0)
        loop.stop()

    progress = Progress(told, settings.scorer.stuck_seconds, together=together)
    standby = Standby(settings.kafka, topic, told)

    outside = StayingOut(settings.kafka, told, health.heartbeat, stopped, member=member)

    def listener(event: Event) -> None:
        standby(event)
        outside(event)
        told(event)
        progress(event)

    with ExitStack() as stack:
        stack.push(journaled(journal))
        told(process_began(name, settings.kafka.group, settings.kafka.instance, settings))
        if hangup is not None:
            stack.enter_context(asked_by_hangup(hangup))
        stack.enter_context(stopped_by_signals(stop, listener, settings.scorer.shutdown_seconds))
        if exposed is None:
            ready_gauge(registry).set_function(lambda: float(health.ready))
            stack.enter_context(Endpoint(settings.http, registry, health))
        else:
            stack.enter_context(exposed(registry, health))

        def run() -> None:
            nonlocal loop
            with beating(health.heartbeat):
                loop = make(listener)
            health.model_loaded()
            stack.enter_context(LagWatch(settings.kafka, lagging or topic, listener))
            stack.enter_context(standby)
            _settle_memory()
            stack.callback(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(_SWITCH_SECONDS)
            loop.run(FreeCycles(health.heartbeat))

        outside.around(run)


def journaled(journal: ProcessJournal) -> Callable[[object, BaseException | None, object], None]:
    """Return what a stack calls at its end: it notes why the process ends."""

    def end(_: object, error: BaseException | None, __: object) -> None:
        refused = refused_option(error) if isinstance(error, KafkaException) else None
        journal.left(error, refused)
        journal.close()

    return end


def _settle_memory() -> None:
    """Adjust the garbage collector once everything is loaded."""
    # Loaded objects stay: the collector need not traverse them again.
    gc.collect()
    gc.freeze()
    # A batch makes thousands of short-lived messages without cycles: collecting every 700
    # allocations cost a tenth of the throughput.
    gc.set_threshold(100_000, 50, 100)


@contextmanager
def beating(
    heartbeat: Callable[[], None],
    every_seconds: float = _BEAT_SECONDS,
    most_seconds: float = START_SECONDS,
) -> Iterator[None]:
    """Send heartbeats while something else runs, which may be slow but not for ever.

    Args:
        heartbeat: Safe on another thread.
        every_seconds: Time between two of them.
        most_seconds: After this time no more are sent.
    """
    over = threading.Event()

    def beat() -> None:
        until = time.monotonic() + most_seconds
        while not over.wait(every_seconds) and time.monotonic() < until:
            heartbeat()

    thread = threading.Thread(target=beat, name="start-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
