"""A process that takes part in a bench: its settings, its start and end, its probe and metrics."""

import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from bench.harness import contender
from stream_scorer.devkafka import processes
from stream_scorer.settings import Settings

_START_SECONDS = 60.0
_GLANCE_SECONDS = 0.05
_ANSWER_SECONDS = 10.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of one contender: its settings and its processes, not started yet.

    Attributes:
        name: Unique in this arena; prefix of its topics and name of its group.
        command: Arguments of ``bench/harness/contender.py``.
        settings: As the process will read them.
        environment: What makes it read them so.
    """

    name: str
    command: tuple[str, ...]
    settings: Settings
    environment: Mapping[str, str]


class Contender:
    """A contender's process, waiting for ``go``.

    Args:
        entry: What it is.
        log: File of its output.
    """

    def __init__(self, entry: Entry, log: Path) -> None:
        self.entry = entry
        self._log = log
        self._before = log.stat().st_size if log.exists() else 0
        self._process = processes.start(
            [sys.executable, contender.__file__, *entry.command],
            log,
            environment=entry.environment,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return when its imports are done."""
        until(
            lambda: contender.READY in self._said(), f"{self.entry.name} is imported",
            _START_SECONDS, self,
        )  # fmt: skip

    @property
    def ready_at(self) -> float:
        """When its imports were done, seconds since the epoch; asked before ``go``."""
        return self._log.stat().st_mtime

    def go(self) -> None:
        """Let it begin."""
        self._process.send_signal(signal.SIGUSR1)

    def begin(self) -> None:
        """Let it begin as soon as its imports are done."""
        self.wait_ready()
        self.go()

    def ready(self) -> bool:
        """Whether its readiness probe says so; needs a port of its own in ``http``."""
        self.refuse_death()
        try:
            return bool(json.loads(self._get("/health/ready"))["ready"])
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def metric(self, name: str) -> list[Sample]:
        """Return the samples of a metric, named without ``stream_scorer_``."""
        return [
            sample
            for family in text_string_to_metric_families(self._get("/metrics").decode())
            for sample in family.samples
            if sample.name == f"stream_scorer_{name}"
        ]

    def _get(self, path: str) -> bytes:
        address = f"http://127.0.0.1:{self.entry.settings.http.port}{path}"
        with urllib.request.urlopen(address, timeout=_ANSWER_SECONDS) as answer:
            body: bytes = answer.read()
        return body

    @property
    def resident(self) -> int:
        """Bytes of resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1_024

    def ended(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.poll()

    def refuse_death(self) -> None:
        """Raise when it has ended by itself."""
        if self._process.poll() is not None:
            raise SystemExit(f"{self.entry.name} ended: {self.last}")

    @property
    def last(self) -> str:
        """The last line that it said."""
        return (self._said().strip().splitlines() or ["no output"])[-1]

    def ask_to_end(self) -> None:
        """Ask it to end and return at once."""
        self._process.terminate()

    def freeze(self) -> None:
        """Let it stand still."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would, and return when it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it, or wait until it has ended; return its exit code."""
        started = processes.started_at(self._process.pid)
        if started is not None:
            processes.end_all([(self._process.pid, started)], _STOP_SECONDS)
        return self._process.wait()

    def _said(self) -> str:
        return self._log.read_bytes()[self._before :].decode(errors="replace")


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
