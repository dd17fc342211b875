"""Child processes that are ended by their own id, and by default do not outlive their owner."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stream_scorer.errors import SettingsError

# Runs in the child before it executes the program (same id). A preexec_fn would do the same after
# a fork of this process with all its client threads, which may deadlock.
_TIED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def start(
    command: Sequence[str],
    output: Path,
    *,
    detached: bool = False,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in its own session, so that a Ctrl-C at the terminal is not sent to it.

    Args:
        command: Absolute path of the program and its arguments.
        output: File to which both its output streams are appended.
        detached: Whether it outlives this process. Otherwise the kernel kills it as soon as the
            *thread* that started it ends.
        environment: Further environment variables.

    Raises:
        SettingsError: It may not outlive this process, and the kernel is not Linux.
    """
    if not detached:
        if sys.platform != "linux":
            raise SettingsError(
                f"this is {sys.platform}: only Linux kills a process when its parent ends",
                "start it on Linux",
            )
        command = [sys.executable, "-S", "-c", _TIED, str(os.getpid()), *command]
    with output.open("ab") as file:
        return subprocess.Popen(  # noqa: S603 the callers name fixed programs
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )


def started_at(pid: int) -> int | None:
    """Return when a living process started, in clock ticks since boot; None if there is none.

    The number distinguishes a process from a later one with the same id.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start_ticks = fields[0], int(fields[19])
    return None if state in "ZX" else start_ticks


def end_all(members: Sequence[tuple[int, int]], seconds: float) -> None:
    """Ask processes to end, kill the rest after a time limit, return when all are gone.

    Args:
        members: Id and :func:`started_at` of each; another process with an id is left alone.
        seconds: Time limit after SIGTERM.
    """
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        for pid, _ in _left(members):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, number)
        deadline = time.monotonic() + limit
        while _left(members) and time.monotonic() < deadline:
            time.sleep(0.02)


def _left(members: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(pid, started) for pid, started in members if started_at(pid) == started]
