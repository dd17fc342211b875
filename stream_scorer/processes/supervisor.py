"""The parent of ``run --workers N``: starts workers, and restarts those that die or hang.

::

    supervisor ─── /metrics, /health/live, /health/ready: of all
      ├── worker 0   instance.0   its own transactional id, its own member of the group
      ├── worker 1   instance.1
      ⋮      │ health and metrics, once a second, through a pipe

The parent computes nothing and connects to no broker, so that only workers can crash.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from types import FrameType

from prometheus_client import CollectorRegistry

from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.fleet import Fleet
from stream_scorer.observability.journal import ProcessJournal, process_began
from stream_scorer.observability.logging import process_logger
from stream_scorer.processes.restart_policy import (
    SILENT,
    UNFINISHED,
    EndAll,
    Supervision,
    cause_of,
    parting_code,
)
from stream_scorer.processes.run_process import journaled
from stream_scorer.processes.signals import Handler, handled, tell_of_stopping
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Event, Listener, WorkerLeft, WorkerStarted

_ROUND_SECONDS = 0.1
_GRACE_SECONDS = 2.0
"""Time in addition to ``scorer.shutdown_seconds``, after which workers exit hard by themselves."""

_SURE_SECONDS = 3.0
"""How long a worker must be silent before it is killed: this process may have been suspended."""

Start = Callable[[int, connection.Connection], SpawnProcess]


@dataclass(slots=True)
class _Worker:
    """One worker: its process while it runs, else the time of its next start.

    Attributes:
        silent: Since when it has been silent; 0 while it is not.
        killed: Whether it was killed for that.
    """

    process: SpawnProcess | None = None
    started: float = 0.0
    due: float = 0.0
    silent: float = 0.0
    killed: bool = False


class Supervisor:
    """Starts workers, watches them, and ends them gracefully.

    Args:
        workers: How many.
        start: Starts the process of a worker, given its number and the pipe for its reports.
        fleet: Notified of reports; knows which workers are silent.
        shutdown_seconds: Time limit for a worker that was asked to stop.
        supervision: Decides about workers that exited.
        listener: Notified of starts and ends; None: the fleet.
    """

    def __init__(
        self,
        workers: int,
        start: Start,
        fleet: Fleet,
        shutdown_seconds: float,
        supervision: Supervision | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._start = start
        self._fleet = fleet
        self._listener = listener or fleet
        self._shutdown_seconds = shutdown_seconds
        self._supervision = supervision or Supervision()
        self._workers = {number: _Worker() for number in range(workers)}
        self._stopping = False
        self._hung_up = False

    def stop(self) -> None:
        """End the workers gracefully; safe in a signal handler."""
        self._stopping = True

    def hang_up(self) -> None:
        """Pass SIGHUP on to every running worker; safe in a signal handler."""
        self._hung_up = True

    def run(self) -> int:
        """Run until ``stop``, or until a worker exits for a reason that a restart does not fix.

        Returns:
            The exit code: 0 if every worker exited gracefully after ``stop``, else a worker's.
        """
        code = 0
        try:
            while not self._stopping and not code:
                self._start_due()
                self._wait(self._next_due())
                code = self._look()
                self._end_silent()
                self._pass_on()
        finally:
            codes = self._end_all()
        return parting_code(code, codes)

    # -- one round --------------------------------------------------------------------------

    def _start_due(self) -> None:
        for number, worker in self._workers.items():
            if worker.process is not None or worker.due > time.monotonic() or self._stopping:
                continue
            worker.started = time.monotonic()
            worker.silent, worker.killed = 0.0, False
            try:
                self._start_one(number, worker)
            except OSError as error:
                # Missing memory, process ids or descriptors may be temporary.
                self._put_off(number, worker, f"not started: {error.strerror}", UNFINISHED)

    def _start_one(self, number: int, worker: _Worker) -> None:
        receiver, sender = connection.Pipe(duplex=False)
        # Otherwise it would unblock the signals when the first process is started.
        resource_tracker.ensure_running()
        # Inherited: on Ctrl-C a worker gets SIGTERM from its parent instead of an interrupt halfway
        # through its imports, and a SIGHUP waits until it has a handler.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            worker.process = self._start(number, sender)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            # Only the worker has the sending end, so the pipe closes when the worker ends.
            sender.close()
        pid = worker.process.pid or 0
        self._listener(WorkerStarted(number, pid))
        threading.Thread(
            target=_listen, args=(receiver, number, pid, self._fleet),
            name=f"worker-{number}", daemon=True,
        ).start()  # fmt: skip

    def _next_due(self) -> float:
        waits = [w.due - time.monotonic() for w in self._workers.values() if w.process is None]
        return max(min([_ROUND_SECONDS, *waits]), 0.0)

    def _wait(self, seconds: float) -> None:
        running = [w.process.sentinel for w in self._workers.values() if w.process is not None]
        if running:
            connection.wait(running, seconds)
        else:
            time.sleep(seconds)

    def _look(self) -> int:
        """Note workers that exited; return a code to exit with, or 0 to continue."""
        for number, worker in self._workers.items():
            # A worker that ends after ``stop`` keeps its process, for its exit code at the end.
            if self._stopping or (exit_code := _exit_code(worker)) is None:
                continue
            worker.process = None
            cause = SILENT if worker.killed else cause_of(exit_code)
            if code := self._put_off(number, worker, cause, exit_code):
                return code
        return 0

    def _end_silent(self) -> None:
        """Kill workers whose loops make no progress: others could have their partitions."""
        silent, now = self._fleet.silent(), time.monotonic()
        for number, worker in self._workers.items():
            if number not in silent or worker.process is None:
                worker.silent = 0.0
            elif not worker.silent:
                worker.silent = now
            elif now - worker.silent >= _SURE_SECONDS and not worker.killed:
                worker.killed = True
                worker.process.kill()

    def _put_off(self, number: int, worker: _Worker, cause: str, exit_code: int) -> int:
        """Schedule a worker's restart; return a code to exit with if there is none."""
        ran = time.monotonic() - worker.started
        verdict = self._supervision.left(number, exit_code, ran)
        if isinstance(verdict, EndAll):
            self._listener(WorkerLeft(number, cause, None))
            return verdict.code
        self._listener(WorkerLeft(number, cause, verdict.seconds))
        worker.due = time.monotonic() + verdict.seconds
        return 0

    def _pass_on(self) -> None:
        if not self._hung_up:
            return
        self._hung_up = False
        for worker in self._workers.values():
            process = worker.process
            # A child that is not known to have ended still owns its process id.
            if process is not None and process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGHUP)

    # -- the end ----------------------------------------------------------------------------

    def _end_all(self) -> dict[int, int]:
        """Ask running workers to stop, kill those that do not; return their exit codes."""
        running = {n: w.process for n, w in self._workers.items() if w.process is not None}
        for process in running.values():
            process.terminate()
        deadline = time.monotonic() + self._shutdown_seconds + _GRACE_SECONDS
        codes: dict[int, int] = {}
        for number, process in running.items():
            process.join(max(deadline - time.monotonic(), 0.0))
            if process.exitcode is None:
                process.kill()
                process.join()
            codes[number] = process.exitcode or 0
            process.close()
        return codes


def _exit_code(worker: _Worker) -> int | None:
    """Return the exit code of a worker that has exited, and release its process."""
    if worker.process is None or worker.process.exitcode is None:
        return None
    code = worker.process.exitcode
    worker.process.close()
    return code


def _listen(reports: connection.Connection, number: int, pid: int, fleet: Fleet) -> None:
    """Receive a worker's reports until it ends, on a separate thread.

    A worker that is stopped halfway through a report blocks only this thread.
    """
    with reports:
        while True:
            try:
                report = reports.recv()
            except (EOFError, OSError):
                return
            fleet.reported(number, pid, report)


def supervised(
    settings: Settings, workers: int, start: Start, supervision: Supervision | None = None
) -> None:
    """Run workers with one endpoint until a signal.

    Args:
        settings: The instance's; the parent uses ``http``, ``logging`` and
            ``scorer.shutdown_seconds``.
        workers: How many.
        start: Starts a worker's process.
        supervision: Decides about workers that exited.

    Raises:
        SystemExit: With the exit code of a worker that is not restarted.
        SettingsError: The endpoint's address cannot be bound, or the journal cannot be opened.
    """
    logger = process_logger("supervisor", settings.kafka.instance)
    fleet = Fleet(workers, logger, heartbeat_seconds=settings.heartbeat_seconds)
    registry = CollectorRegistry()
    registry.register(fleet)
    journal = ProcessJournal(settings.logging.journal, "supervisor", settings.kafka.instance)

    def listener(event: Event) -> None:
        fleet(event)
        journal(event)

    supervisor = Supervisor(
        workers, start, fleet, settings.scorer.shutdown_seconds, supervision, listener
    )

    def stop(number: int, _: FrameType | None) -> None:
        tell_of_stopping(number, listener)
        supervisor.stop()

    handlers: dict[signal.Signals, Handler] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: lambda *_: supervisor.hang_up(),
    }
    with ExitStack() as stack:
        stack.push(journaled(journal))
        kafka = settings.kafka
        listener(process_began("supervisor", kafka.group, kafka.instance, settings))
        stack.enter_context(handled(handlers))
        stack.enter_context(Endpoint(settings.http, registry, fleet))
        if code := supervisor.run():
            sys.exit(code)
