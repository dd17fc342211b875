"""What every long-running process has: metrics, probes, lag, and an orderly end on a signal."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import Protocol

from prometheus_client import CollectorRegistry

from stream_scorer.hardening.settings_check import refuse_unsafe
from stream_scorer.kafka.membership.fenced_wait import StayingOut
from stream_scorer.kafka.membership.standby import Standby
from stream_scorer.kafka.topics.lag import LagWatch
from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.health import Health
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.progress import Progress
from stream_scorer.observability.render import Renderer
from stream_scorer.processes.signals import handled, tell_of_stopping
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Event, Listener

START_SECONDS = 900.0
"""A start that takes longer (models are loaded, kernels compiled) does not count as alive."""
_BEAT_SECONDS = 1.0


class Loop(Protocol):
    """What runs: a ``TransactionLoop``, or the controller's loop."""

    def run(self, heartbeat: Callable[[], None]) -> None: ...  # noqa: D102 see there
    def stop(self) -> None: ...  # noqa: D102


Exposed = Callable[[CollectorRegistry, Health], AbstractContextManager[object]]
"""Shows a process's metrics and health to the outside for as long as the context lasts."""


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
        name: What runs, for the logs: scorer, monitor.
        settings: How and where; ``kafka.group`` is the process's own group.
        topic: What it consumes, as its group knows.
        make: Wires the loop; ready is false until it returns.
        exposed: How it is scraped and probed; None is an endpoint of its own, at ``http``.
        together: Whether its partitions wait for each other; see ``observability.progress``.
        hangup: What SIGHUP asks for, safe in a signal handler; None leaves the signal as it is.
        lagging: The topic in which its lag is watched, where that is another.
        member: Whether it is a member of its group, where a newer process of its name is seen.

    Raises:
        StreamScorerError: Whatever keeps it from running; see the tree in ``errors``.
    """
    refuse_unsafe(settings)
    registry = CollectorRegistry()
    health = Health(heartbeat_seconds=settings.heartbeat_seconds)
    renderer = Renderer(registry, process_logger(name, settings.kafka.instance))

    def told(event: Event) -> None:
        renderer(event)
        health(event)

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
            loop.run(health.heartbeat)

        outside.around(run)


def _settle_memory() -> None:
    """Tell the collector of cycles what this process is like, once everything is loaded."""
    # What was loaded stays: the collector need not walk it again.
    gc.collect()
    gc.freeze()
    # A batch is thousands of short-lived messages without cycles: looking through them every
    # 700 allocations cost a tenth of the throughput.
    gc.set_threshold(100_000, 50, 100)


@contextmanager
def beating(
    heartbeat: Callable[[], None],
    every_seconds: float = _BEAT_SECONDS,
    most_seconds: float = START_SECONDS,
) -> Iterator[None]:
    """Send a heartbeat while something else runs, which may be slow but not for ever.

    Args:
        heartbeat: Safe on another thread.
        every_seconds: Between two of them.
        most_seconds: After this none is sent any more.
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


@contextmanager
def asked_by_hangup(ask: Callable[[], object]) -> Iterator[None]:
    """Turn SIGHUP into ``ask``, which must be safe in a signal handler."""
    with handled({signal.SIGHUP: lambda *_: ask()}):
        # A supervisor starts its workers with it blocked: none is killed before it can hear.
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def stopped_by_signals(
    stop: Callable[[], None], listener: Listener, seconds: float
) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into ``stop``; leave hard when that takes longer than ``seconds``.

    Leaving hard loses nothing: what is not committed is read again by the partition's next owner.
    """

    def leave_hard() -> None:
        sys.stderr.write(f"not finished within {seconds:.0f} s of the signal; exiting now\n")
        sys.stderr.flush()
        os._exit(1)

    def handle(number: int, _: FrameType | None) -> None:
        tell_of_stopping(number, listener)
        timer = threading.Timer(seconds, leave_hard)
        timer.daemon = True
        timers.append(timer)
        timer.start()
        stop()

    timers: list[threading.Timer] = []
    with handled({signal.SIGTERM: handle, signal.SIGINT: handle}):
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
