"""Ties a child to its parent: it ends with the parent, reports to it, and exits with a reason."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry

from stream_scorer.closing import Closing
from stream_scorer.errors import SettingsError, StreamScorerError
from stream_scorer.kafka.topics.client_options import refused_option
from stream_scorer.observability.fleet import WorkerReport
from stream_scorer.observability.health import Health
from stream_scorer.terminal_text import write_error

REPORT_SECONDS = 1.0
"""Time between two reports, the maximum age of the parent's probes and metrics, seconds."""

_DIE_WITH_PARENT = 1
"""``PR_SET_PDEATHSIG`` of Linux's ``prctl``."""


def tie_to(parent: int) -> None:
    """Make the kernel kill this process when the parent's main thread ends.

    SIGKILL instead of SIGTERM also ends a worker that hangs. The effect is that of any crash: the
    broker aborts open transactions, and other processes take over the partitions.

    Args:
        parent: The parent's process id; if it has already ended, this process ends too.

    Raises:
        SettingsError: The kernel is not Linux, so nothing would end this process.
    """
    if sys.platform != "linux":
        raise SettingsError(
            f"this is {sys.platform}: only Linux kills workers when their parent ends",
            "run the workers on Linux",
        )
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Reporter(Closing):
    """Reports health and metrics to the parent, from a separate thread until closed.

    Args:
        parent: The parent's end of the pipe.
        registry: The metrics.
        health: The conditions.
        every_seconds: Time between two reports.
    """

    def __init__(
        self,
        parent: Connection,
        registry: CollectorRegistry,
        health: Health,
        every_seconds: float = REPORT_SECONDS,
    ) -> None:
        self._parent = parent
        self._registry = registry
        self._health = health
        self._every_seconds = every_seconds
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reporting without waiting: a parent that does not read must not keep a worker."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            health = self._health
            report = WorkerReport(
                live=health.live,
                silent_seconds=health.silent_seconds,
                reasons=tuple(health.reasons()),
                degraded=tuple(health.degraded()),
                families=tuple(self._registry.collect()),
            )
            try:
                self._parent.send(report)
            except OSError:
                return  # the parent is gone, and the kernel is about to end this process
            self._closing.wait(self._every_seconds)


def ended_in_one_line(name: str, run: Callable[[], None]) -> None:
    """Run; one of our errors becomes one line with the worker's name, and its own exit code."""
    try:
        run()
    except StreamScorerError as error:
        failure = error
    except KafkaException as error:
        refused = refused_option(error)
        if refused is None:
            raise
        failure = refused
    else:
        return
    write_error(f"{name}: {failure}")
    sys.exit(failure.exit_code)
