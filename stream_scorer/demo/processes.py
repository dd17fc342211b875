"""Scorer, profiler and monitor of the demo: separate processes, run by our command line."""

import signal
import subprocess
import sys
from pathlib import Path

from stream_scorer.devkafka.child import Child, as_environment
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.devkafka.processes import start
from stream_scorer.errors import StreamScorerError
from stream_scorer.settings import Settings

MODEL = "fraud:1.1.1"
"""The shipped model that the demo runs by default."""
_NAMES = {"run": "scorer", "profile": "profiler"}

_LEAVE_SECONDS = 12.0


class DemoProcess(Child):
    """A process of the demo; the thread that starts it must outlive it.

    Args:
        command: ``run``, ``profile`` or ``monitor``.
        settings: Cluster, topics, groups and registry; they override the caller's environment.
        folder: For its log.
        config: File with all other settings.
        model: NAME:VERSION.
        store: The folder with that model; None: the store in the settings.
    """

    def __init__(
        self,
        command: str,
        settings: Settings,
        folder: Path,
        config: Path | None = None,
        model: str = MODEL,
        store: Path | None = None,
    ) -> None:
        self.name = _NAMES.get(command, command)
        port = free_ports(1)[0]
        log = folder / f"{command}.log"
        program = [sys.executable, "-c", "from stream_scorer.cli import main; main()"]
        options = ["--from", "earliest", "--model", model]
        if config is not None:
            options += ["--config", str(config.resolve())]
        own = _own(settings, port)
        if store is not None:
            own["models"] = {"directory": store, "url": ""}
        variables = as_environment(own)
        super().__init__(
            start([*program, command, *options], log, environment=variables), log, port
        )

    def check(self) -> None:
        """Raise if it has ended."""
        if not self.alive:
            raise StreamScorerError(
                f"demo: the {self.name} left with exit code {self.ended()}: {self.last}"
            )

    def ready(self) -> bool:
        """Whether its readiness probe reports ready."""
        self.check()
        return super().ready()

    def ask_to_leave(self) -> None:
        """Ask it to finish its batch and exit."""
        self.send(signal.SIGTERM)

    def left(self) -> int:
        """Wait for its exit after :meth:`ask_to_leave`, and return its exit code."""
        try:
            return self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def end(self) -> None:
        """End it unless it has ended."""
        self.ask_to_leave()
        self.left()


def _own(settings: Settings, port: int) -> dict[str, object]:
    """Return the settings that connect one of our processes to the demo's cluster."""
    kafka = settings.kafka
    return {
        "kafka": {
            "bootstrap": kafka.bootstrap,
            "group": kafka.group,
            "topics": kafka.topics.model_dump(),
        },
        "monitor": {"group": settings.monitor.group},
        "profiler": {"group": settings.profiler.group},
        "registry": {"url": settings.registry.url, "directory": settings.registry.directory},
        "http": {"host": "127.0.0.1", "port": port},
    }
