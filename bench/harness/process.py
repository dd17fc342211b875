"""A process of a bench: its settings, its start and end, its probe and metrics."""

import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.samples import Sample

from bench.harness import contender
from stream_scorer.devkafka import processes
from stream_scorer.devkafka.child import Child
from stream_scorer.settings import Settings

_START_SECONDS = 60.0
_GLANCE_SECONDS = 0.05
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of one contender: its settings and its processes, not started yet.

    Attributes:
        name: Unique in this arena; prefix of its topics and name of its group.
        command: Arguments of ``bench/harness/contender.py``.
        settings: As the process will read them.
        environment: The settings as environment variables.
    """

    name: str
    command: tuple[str, ...]
    settings: Settings
    environment: Mapping[str, str]


class Contender(Child):
    """A contender's process, waiting for ``go``.

    Args:
        entry: Its description.
        log: File of its output.
    """

    answer_seconds = 10.0

    def __init__(self, entry: Entry, log: Path) -> None:
        self.entry = entry
        before = log.stat().st_size if log.exists() else 0
        command = [sys.executable, contender.__file__, *entry.command]
        process = processes.start(command, log, environment=entry.environment)
        super().__init__(process, log, entry.settings.http.port, before)

    def wait_ready(self) -> None:
        """Return when its imports are done."""
        until(
            lambda: contender.READY in self.said, f"{self.entry.name} is imported",
            _START_SECONDS, self,
        )  # fmt: skip

    @property
    def ready_at(self) -> float:
        """When its imports were done, seconds since the epoch; read before ``go``."""
        return self._log.stat().st_mtime

    def go(self) -> None:
        """Start its work."""
        self.send(signal.SIGUSR1)

    def begin(self) -> None:
        """Start its work as soon as its imports are done."""
        self.wait_ready()
        self.go()

    def ready(self) -> bool:
        """Whether its readiness probe reports ready; needs a separate port in ``http``."""
        self.refuse_death()
        return super().ready()

    def metric(self, name: str) -> list[Sample]:
        """Return the samples of a metric, named without ``stream_scorer_``."""
        return self.samples(f"stream_scorer_{name}")

    def refuse_death(self) -> None:
        """Raise when it has ended by itself."""
        if not self.alive:
            raise SystemExit(f"{self.entry.name} ended: {self.last}")

    def ask_to_end(self) -> None:
        """Ask it to end and return immediately."""
        self.send(signal.SIGTERM)

    def freeze(self) -> None:
        """Suspend it."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
        self.send(signal.SIGCONT)

    def stop(self, seconds: float = _STOP_SECONDS) -> int:
        """End it, or wait until it has ended; return its exit code."""
        return super().stop(seconds)


def until(
    holds: Callable[[], bool], what: str | Callable[[], str], seconds: float, *needed: Contender,
    glance: float = _GLANCE_SECONDS,
) -> None:  # fmt: skip
    """Return when a condition holds; end the bench if it does not in time, or a process ends.

    Args:
        holds: The condition.
        what: Its name in the message; a call where it describes the state by then.
        seconds: For how long it is waited for.
        needed: Processes that must be running meanwhile.
        glance: Seconds between two looks.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        for process in needed:
            process.refuse_death()
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {seconds:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(glance)
