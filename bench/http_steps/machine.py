"""The machine of ``bench/http.py``: a core for the server, one for the generator, and its tools."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".bench-tools"
_TICKS = os.sysconf("SC_CLK_TCK")
_BUILD_SECONDS = 600.0


def cores() -> tuple[int, int]:
    """Return the core of the server and that of the generator.

    Raises:
        SystemExit: This process may use only one core.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("two cores are needed: one for the server, one for the generator")
    return usable[1], usable[0]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let processes that this thread starts run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processor_seconds(pid: int) -> float:
    """Return how long a process has computed, in all its threads; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Busy:
    """Measures which share of a core processes use in the middle of a load; ``with`` the load.

    Args:
        pid: The server's process.
        after: Seconds from now at which the load is steady.
        seconds: For how long it is then steady.
    """

    def __init__(self, pid: int, after: float, seconds: float) -> None:
        self._pid = pid
        self._after = after
        self._seconds = seconds
        self.share = float("nan")
        self._thread = threading.Thread(target=self._measure)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _measure(self) -> None:
        time.sleep(self._after)
        begin, used = time.monotonic(), processor_seconds(self._pid)
        time.sleep(self._seconds)
        used = processor_seconds(self._pid) - used
        self.share = round(used / (time.monotonic() - begin), 3)


def h2load() -> str:
    """Return the path of nghttp2's load generator.

    Raises:
        SystemExit: It is not installed.
    """
    found = shutil.which("h2load")
    if found is None:
        raise SystemExit("h2load is missing: install Debian's package nghttp2-client")
    return found


def vegeta() -> str:
    """Return the path of ``bench/http_steps/vegeta``; it is built once, with ``go.sum``'s modules.

    Raises:
        SystemExit: There is no Go, or it cannot be built.
    """
    module = Path(__file__).parent / "vegeta"
    built = TOOLS / "vegeta-schedule"
    if built.exists() and built.stat().st_mtime > (module / "main.go").stat().st_mtime:
        return str(built)
    go = shutil.which("go")
    if go is None:
        raise SystemExit("vegeta is not built, and there is no Go to build it: install golang")
    TOOLS.mkdir(exist_ok=True)
    command = [go, "build", "-mod=readonly", "-o", str(built), "."]
    subprocess.run(command, cwd=module, check=True, timeout=_BUILD_SECONDS)  # noqa: S603 fixed
    return str(built)
