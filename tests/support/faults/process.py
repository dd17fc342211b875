"""A scorer as its operator runs it: a process of its own, told by environment variables."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
from prometheus_client.parser import text_string_to_metric_families

from stream_scorer.devkafka import processes
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.settings import Kafka
from tests.support.faults.forked_scorers import COMMANDS, Forked, zygote

COMMAND = Path(sys.executable).parent / "stream-scorer"
_SECONDS = 90.0


def wait_until(
    condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = _SECONDS
) -> None:
    """Poll a condition until it holds; fail when it does not in time.

    Args:
        condition: What to wait for.
        what: What to call it; a call where it says how things stand by then.
        seconds: For how long.
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
    variables = {f"STREAM_SCORER_KAFKA__{name.upper()}": str(told[name]) for name in told}
    return variables | {"STREAM_SCORER_KAFKA__TOPICS": json.dumps(kafka.topics.model_dump())}


_MODE = "not in production mode"


class ScorerProcess:
    """``stream-scorer run``, or another command; killed at the context's end if it still runs.

    Args:
        kafka: Its settings.
        output: File that its standard output and error are appended to.
        arguments: Command-line arguments after the command.
        variables: Further environment variables.
        command: What of us runs.
        program: The program that is given command and arguments; default: ours.
        follow: Whether a scorer without ``--model`` is to follow the rollout.
        fresh: Whether it is started as installed, imports and all; so is any with workers.
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
            # The one that asks for no terminals, so that a test needs no profiler.
            arguments = (*arguments, "--model", "fraud:1.0.0")
        self._port = free_ports(1)[0]
        self._output = output
        told = {
            **environment(kafka),
            "STREAM_SCORER_HTTP__PORT": str(self._port),
            **(variables or {}),
        }
        self._process: Forked | subprocess.Popen[bytes]
        if fresh or program or command not in COMMANDS or "--workers" in arguments:
            self._process = processes.start(
                [*(program or (str(COMMAND),)), command, *arguments], output, environment=told
            )
        else:
            self._process = zygote().start([command, *arguments], output, told)

    @property
    def said(self) -> str:
        """What it wrote so far, without the line that it is not in production mode."""
        lines = self._output.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if _MODE not in line)

    @property
    def told_its_mode(self) -> bool:
        """Whether it wrote, in one line, that it is not in production mode."""
        return self._output.read_text().count(_MODE) == 1

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def workers(self) -> list[psutil.Process]:
        """Return its workers' processes by number: they are started in that order."""
        children = psutil.Process(self.pid).children()
        return sorted(filter(_works, children), key=psutil.Process.create_time)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def probe(self) -> tuple[bool, list[str]]:
        """Return whether it is ready, and its reasons when it is not."""
        body = self._health()
        return body["ready"], body["reasons"]

    def live(self) -> bool:
        """Return whether its probe says that it lives."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health/live", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def degraded(self) -> list[str]:
        """Return what it serves with less than it should have."""
        return list(self._health()["degraded"])

    def _health(self) -> Any:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}/health/ready", timeout=5
            ) as answer:
                body: Any = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                body = json.load(error)
        except OSError as error:
            return {"ready": False, "reasons": [str(error)], "degraded": []}
        return body

    def metric(self, name: str, **labels: str) -> float | None:
        """Return what a sample of its metrics says; None when there is none."""
        url = f"http://127.0.0.1:{self._port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None

    def wait_ready(self) -> None:
        """Wait until its probe says that it works."""

        def ready() -> bool:
            assert self.alive, f"left with {self._process.poll()}: {self.said}"
            return self.probe()[0]

        wait_until(ready, "ready")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it as a crash would, and return when it is gone."""
        self._process.kill()
        self._process.wait()

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
