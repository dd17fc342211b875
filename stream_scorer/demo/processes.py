"""Scorer, profiler and monitor of the demo: processes of their own, run by our command line."""

import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.devkafka.processes import start
from stream_scorer.errors import StreamScorerError
from stream_scorer.settings import Settings

MODEL = "fraud:1.1.0"
_NAMES = {"run": "scorer", "profile": "profiler"}

_LEAVE_SECONDS = 12.0


@dataclass(slots=True)
class DemoProcess:
    """A process of ours, and how to hear of its health and its end."""

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path
    port: int

    def check(self) -> None:
        """Raise when it has ended."""
        if self.popen.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise StreamScorerError(
                f"demo: the {self.name} left with exit code {self.popen.returncode}: {lines[-1]}"
            )

    def ready(self) -> bool:
        """Whether its probe says so."""
        self.check()
        try:
            # A port on loopback that this process chose.
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/health/ready", timeout=1
            ) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 OK
        except OSError:
            return False

    def ask_to_leave(self) -> None:
        """Let it finish what it has in hand, and leave."""
        self.popen.send_signal(signal.SIGTERM)

    def left(self) -> int:
        """Wait until it has left, which it was asked to, and return its exit code."""
        try:
            return self.popen.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def end(self) -> None:
        """Have it leave unless it has."""
        if self.popen.poll() is None:
            self.ask_to_leave()
            self.left()


def start_process(
    command: str, settings: Settings, folder: Path, config: Path | None = None
) -> DemoProcess:
    """Start ``run``, ``profile`` or ``monitor``; this thread must outlive it.

    Args:
        command: Name of the command.
        settings: Cluster, topics, groups and registry; they win over the caller's environment.
        folder: For its log.
        config: File with all other settings.
    """
    port = free_ports(1)[0]
    log = folder / f"{command}.log"
    program = [sys.executable, "-c", "from stream_scorer.cli import main; main()"]
    options = ["--from", "earliest", "--model", MODEL]
    if config is not None:
        options += ["--config", str(config.resolve())]
    popen = start([*program, command, *options], log, environment=_environment(settings, port))
    return DemoProcess(_NAMES.get(command, command), popen, log, port)


def _environment(settings: Settings, port: int) -> dict[str, str]:
    """Return what puts a process of ours onto the demo's cluster, whatever the caller's says."""
    prefix = "STREAM_SCORER_"
    own = {
        "KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "KAFKA__GROUP": settings.kafka.group,
        "MONITOR__GROUP": settings.monitor.group,
        "PROFILER__GROUP": settings.profiler.group,
        "REGISTRY__URL": settings.registry.url,
        "REGISTRY__DIRECTORY": str(settings.registry.directory),
        "HTTP__HOST": "127.0.0.1",
        "HTTP__PORT": str(port),
    }
    topics = settings.kafka.topics.model_dump()
    own |= {f"KAFKA__TOPICS__{name.upper()}": topic for name, topic in topics.items()}
    return {prefix + name: value for name, value in own.items()}
