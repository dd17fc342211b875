"""A child process: its output, health and metrics, and its end."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from stream_scorer.devkafka.processes import end_all, started_at


class Started(Protocol):
    """The required part of ``subprocess.Popen``."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended."""


class Child:
    """A process that was started.

    Args:
        process: The process.
        log: File that its output is appended to.
        port: Of its health and metrics on the loopback.
        said_from: Length of the file when it started, in bytes.
    """

    answer_seconds: ClassVar = 5.0
    """Time limit for its health and metrics."""

    def __init__(self, process: Started, log: Path, port: int, said_from: int = 0) -> None:
        self._process = process
        self._log = log
        self._port = port
        self._said_from = said_from

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ended(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """Its output so far."""
        return self._log.read_bytes()[self._said_from :].decode(errors="replace")

    @property
    def last(self) -> str:
        """The last line of its output."""
        return (self.said.strip().splitlines() or ["no output"])[-1]

    @property
    def resident(self) -> int:
        """Bytes of resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1_024

    def ready(self) -> bool:
        """Whether its readiness probe reports ready."""
        return bool(self.health()["ready"])

    def live(self) -> bool:
        """Whether its liveness probe reports live."""
        try:
            self._get("/health/live")
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def health(self) -> dict[str, Any]:
        """Return the answer of its readiness probe: ``ready``, ``reasons`` and ``degraded``."""
        try:
            try:
                return dict(json.loads(self._get("/health/ready")))
            except urllib.error.HTTPError as error:
                with error:
                    return dict(json.load(error))
        except OSError as error:
            return {"ready": False, "reasons": [str(error)], "degraded": []}

    def samples(self, name: str) -> list[Sample]:
        """Return the samples of that name among its metrics.

        Raises:
            OSError: It does not answer.
        """
        return [
            sample
            for family in text_string_to_metric_families(self._get("/metrics").decode())
            for sample in family.samples
            if sample.name == name
        ]

    def _get(self, path: str) -> bytes:
        # A port on the loopback that the caller chose.
        address = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(address, timeout=self.answer_seconds) as answer:
            return bytes(answer.read())

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; does nothing if it has ended."""
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it as a crash would, and return when it is gone."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def stop(self, seconds: float) -> int:
        """Stop it, or wait until it has ended; return its exit code.

        Args:
            seconds: Time limit after SIGTERM, before it is killed.
        """
        started = started_at(self.pid)
        if started is not None:
            end_all([(self.pid, started)], seconds)
        return self._process.wait()


def as_environment(table: Mapping[str, Any], prefix: str = "STREAM_SCORER_") -> dict[str, str]:
    """Return a table of settings as environment variables.

    >>> as_environment({"kafka": {"group": "a", "topics": {"state": "s"}}})
    {'STREAM_SCORER_KAFKA__GROUP': 'a', 'STREAM_SCORER_KAFKA__TOPICS__STATE': 's'}
    """
    variables: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            variables |= as_environment(value, f"{prefix}{key.upper()}__")
        else:
            variables[f"{prefix}{key.upper()}"] = str(value)
    return variables
