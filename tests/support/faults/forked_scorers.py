"""Scorers without the seconds of their imports: forked from a process that has imported already.

Each is a separate process with its own id, session, environment, output and end. From ``main`` on
it runs what the installed command runs. Tests of a process's start use
``ScorerProcess(..., fresh=True)``, and so does the fault suite.
"""

import ctypes
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

COMMANDS = ("run", "profile", "rekey", "monitor", "controller", "performance")
_DIE_WITH_PARENT = 1
_GLANCE_SECONDS = 0.01


class Forked:
    """A process that the fork server has forked; as much of ``subprocess.Popen`` as tests need."""

    def __init__(self, fork_server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self._fork_server = fork_server
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        if self._code is None:
            self._code = self._fork_server.ask({"ended": self.pid})["code"]
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: It has not in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("forked", timeout or 0)
            time.sleep(_GLANCE_SECONDS)
        return code

    def kill(self) -> None:
        """End it as a crash would."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """Forks scorers; one for a test process, started when the first is asked for.

    It and its children end when this process ends, for whatever reason.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 our own program
                [sys.executable, "-m", __spec__.name, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[3], start_new_session=True,
            )  # fmt: skip
        self._lines = ours.makefile("rwb")
        self._turn = threading.Lock()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Send an order; return the answer."""
        with self._turn:
            self._lines.write(json.dumps(order).encode() + b"\n")
            self._lines.flush()
            answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def start(
        self, arguments: Sequence[str], output: Path, environment: Mapping[str, str]
    ) -> Forked:
        """Run ``stream-scorer`` with arguments; see ``devkafka.processes.start``."""
        order = {
            "arguments": list(arguments), "output": str(output), "cwd": str(Path.cwd()),
            "environment": {**os.environ, **environment},
        }  # fmt: skip
        return Forked(self, self.ask(order)["pid"])


@cache
def fork_server() -> ForkServer:
    """Return this process's."""
    return ForkServer()


# -- the process itself ---------------------------------------------------------------------


def _orders(channel: socket.socket) -> dict[str, Any]:
    """Fork at each order; return the order in the child. The parent never returns."""
    owner = os.getpid()
    with channel, channel.makefile("rwb") as lines:
        for line in lines:
            order = json.loads(line)
            if "ended" in order:
                done, status = os.waitpid(order["ended"], os.WNOHANG)
                answer = {"code": os.waitstatus_to_exitcode(status) if done else None}
            else:
                pid = os.fork()
                if pid == 0:
                    _die_with(owner)
                    return dict(order)
                answer = {"pid": pid}
            lines.write(json.dumps(answer).encode() + b"\n")
            lines.flush()
    os._exit(0)


def _die_with(owner: int) -> None:
    """Let the kernel kill this process when the fork server ends, or at once if it has."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != owner:
        os._exit(1)


def _become(order: Mapping[str, Any]) -> None:
    """Set up the requested process, without running it."""
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, Path(order["output"]).open("ab") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["stream-scorer", *order["arguments"]]


def main(descriptor: int) -> None:
    for name in COMMANDS:
        importlib.import_module(f"stream_scorer.cli.{name}")
    from stream_scorer.cli import main as stream_scorer  # noqa: PLC0415 after what it loads
    from stream_scorer.models.bundles.loader import load_bundle  # noqa: PLC0415
    from stream_scorer.settings import MODELS_DIRECTORY  # noqa: PLC0415

    # It is of format 1: scikit-learn is imported.
    load_bundle(MODELS_DIRECTORY / "fraud" / "1.0.0")

    _become(_orders(socket.socket(fileno=descriptor)))
    stream_scorer()


if __name__ == "__main__":
    main(int(sys.argv[1]))
