"""A scorer as its operator runs it: a separate process, configured by environment variables."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from stream_scorer.devkafka import processes
from stream_scorer.devkafka.child import Child, Started, as_environment
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.settings import Kafka
from tests.support.faults.forked_scorers import COMMANDS, fork_server
from tests.support.models.upgraded import upgraded_store

COMMAND = Path(sys.executable).parent / "stream-scorer"
_SECONDS = 90.0


def wait_until(
    condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = _SECONDS
) -> None:
    """Poll a condition until it holds; fail if it does not in time.

    Args:
        condition: The condition.
        what: Its name; or a call that returns it together with the current state.
        seconds: Time limit.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not in {seconds:.0f} s: {told}")
        time.sleep(0.02)


def environment(kafka: Kafka) -> dict[str, str]:
    """Return the variables that tell a process these settings."""
    told = kafka.model_dump(exclude={"topics", "client", "password"}, exclude_defaults=True)
    return as_environment({"kafka": told | {"topics": kafka.topics.model_dump()}})


_MODE = "not in production mode"


class ScorerProcess(Child):
    """``stream-scorer run``, or another command; killed at the context's end if it still runs.

    Args:
        kafka: Its settings.
        output: File that its standard output and error are appended to.
        arguments: Command-line arguments after the command.
        variables: Further environment variables.
        command: Our command.
        program: The program that gets command and arguments; default: ours.
        follow: Whether a scorer without ``--model`` is to follow the rollout.
        fresh: Whether it is started as installed, with all imports and the shipped bundles. One
            with workers is started with all imports, but with bundles that need no scikit-learn.

    Attributes:
        port: Of its probes and metrics.
    """

    def __init__(
        self,
        kafka: Kafka,
        output: Path,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        command: str = "run",
        program: Sequence[str] = (),
        follow: bool = False,
        fresh: bool = False,
    ) -> None:
        if command == "run" and "--model" not in arguments and not follow:
            # The version without terminal features, so that a test needs no profiler.
            arguments = (*arguments, "--model", "fraud:1.0.0")
        port = free_ports(1)[0]
        told = {**environment(kafka), "STREAM_SCORER_HTTP__PORT": str(port)}
        if "--workers" in arguments and not fresh:
            told["STREAM_SCORER_MODELS__DIRECTORY"] = str(upgraded_store())
        told |= variables or {}
        process: Started
        if fresh or program or command not in COMMANDS or "--workers" in arguments:
            process = processes.start(
                [*(program or (str(COMMAND),)), command, *arguments], output, environment=told
            )
        else:
            process = fork_server().start([command, *arguments], output, told)
        super().__init__(process, output, port)
        self.port = port

    @property
    def said(self) -> str:
        """Its output so far, without the line that it is not in production mode."""
        lines = super().said.splitlines(keepends=True)
        return "".join(line for line in lines if _MODE not in line)

    @property
    def told_its_mode(self) -> bool:
        """Whether it wrote, in one line, that it is not in production mode."""
        return super().said.count(_MODE) == 1

    def workers(self) -> list[psutil.Process]:
        """Return its workers' processes by number: they are started in that order."""
        children = psutil.Process(self.pid).children()
        return sorted(filter(_works, children), key=psutil.Process.create_time)

    def probe(self) -> tuple[bool, list[str]]:
        """Return whether it is ready, and its reasons when it is not."""
        body = self.health()
        return body["ready"], body["reasons"]

    def degraded(self) -> list[str]:
        """Return what works only in part."""
        return list(self.health()["degraded"])

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of a sample of its metrics; None without one."""
        for sample in self.samples(name):
            if labels.items() <= sample.labels.items():
                return float(sample.value)
        return None

    def wait_ready(self) -> None:
        """Wait until its probe reports ready."""

        def ready() -> bool:
            assert self.alive, f"left with {self.ended()}: {self.said}"
            return self.probe()[0]

        wait_until(ready, "ready")

    def wait(self, seconds: float = _SECONDS) -> int:
        """Return its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:.0f} s: {self.said}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive:
            self.kill()


def _works(child: psutil.Process) -> bool:
    """Whether a child runs and is a worker: the parent has another that tracks resources."""
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.Error:
        return False  # it is at its end, and waits for its parent to notice
