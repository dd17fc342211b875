"""Runs cases, each in a process forked from a warm one: a crash ends that process alone.

``python -m bench.hostile_cases.running`` runs against the ``stream_scorer`` that it imports and
prints one JSON object per case. An outcome's ``kind`` is one of

- ``returned``: the case completed; ``text`` has its observation;
- ``escaped``: an exception that is not one of the product's own errors left the entry;
- ``crashed``: the process died of a signal, or ended without a result;
- ``stuck``: it took longer than the limit;
- ``memory``: it took more memory than the limit;
- ``not there``: this tree does not have the entry.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.hostile_cases.case import Case, NotThereError, Place, cut

SECONDS_MOST = 5.0
"""Processor time; a busy machine must not fail a case."""
WALL_SECONDS_MOST = 60.0
PEAK_MB_MOST = 100.0
_ADDRESSES_MORE = 3 << 30
"""Address space beyond that of the warm process: protects the machine, not a gate."""
_MB = 1 << 20
_EXIT = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one case.

    Attributes:
        name: The case's.
        kind: See the module.
        text: Its observation, or what ended it; possibly cut.
        expected: Whether the text is the documented one.
        ms: Processor time.
        peak_mb: Memory beyond that of the warm process.
    """

    name: str
    kind: str
    text: str
    expected: bool
    ms: float
    peak_mb: float


def _settled(case: Case, place: Place) -> tuple[str, str]:
    """Run a case in this process; return (kind, text)."""
    from stream_scorer.errors import StreamScorerError  # noqa: PLC0415 of the tree under test

    try:
        return "returned", case.run(place)
    except NotThereError as error:
        return "not there", str(error)
    except StreamScorerError as error:
        return "returned", f"{type(error).__name__}: {error}"
    except MemoryError as error:
        return "memory", repr(error)
    except BaseException as error:  # noqa: BLE001 whatever leaves is what the case looks for
        return "escaped", f"{type(error).__name__}: {error}"


def _child(case: Case, place: Place, answer: int, *, exactly: bool) -> None:
    faulthandler.disable()
    # Process groups end with their case, and its terminal output is discarded.
    os.setsid()
    os.chdir(place.folder)
    os.environ["HOME"] = os.environ["TMPDIR"] = str(place.folder)
    pages, resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[:2]
    most = int(pages) * resource.getpagesize() + _ADDRESSES_MORE
    # Of this process: pages of files, which its parent has, it has not.
    before = int(resident) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A second more, so that its processor time shows that it is stuck.
    whole = int(SECONDS_MOST) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        kind, text = _settled(case, place)
    text = text.replace(str(place.folder), "FOLDER").replace(str(place.root), "ROOT")
    fits = kind == "returned" and case.answers(text, exactly=exactly)
    with contextlib.suppress(BrokenPipeError):
        os.write(answer, json.dumps([kind, cut(text), fits, before]).encode())


class _Running:
    """One case in a separate process."""

    def __init__(self, case: Case, root: Path, *, exactly: bool) -> None:
        self.case = case
        self.folder = tempfile.TemporaryDirectory(prefix="hostile-")
        self._rss = _resident()
        self.began = time.monotonic()
        self.answer, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.answer)
                null = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(null, stream)
                _child(case, Place(Path(self.folder.name), root), theirs, exactly=exactly)
            finally:
                os._exit(_EXIT)
        os.close(theirs)

    @property
    def late(self) -> bool:
        return time.monotonic() - self.began > WALL_SECONDS_MOST

    def ended(self) -> Outcome:
        """Wait for its end, or end it; return its outcome."""
        said = b""
        if self.late:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        while piece := os.read(self.answer, 1 << 16):
            said += piece
        os.close(self.answer)
        _, status, used = os.wait4(self.pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        late = self.late
        self.folder.cleanup()
        seconds = used.ru_utime + used.ru_stime
        kind, text, fits, before = json.loads(said) if said else ("crashed", "", False, self._rss)
        peak = max(used.ru_maxrss * 1024 - before, 0) / _MB
        number = os.waitstatus_to_exitcode(status)
        if not said and number < 0:
            text = f"signal {signal.Signals(-number).name}"
        if late or number == -signal.SIGXCPU or seconds > SECONDS_MOST:
            kind, text = "stuck", text or f"more than {SECONDS_MOST:.0f} s"
        elif kind == "returned" and peak > PEAK_MB_MOST:
            kind = "memory"
        fits = fits and kind == "returned"
        return Outcome(self.case.name, kind, text, fits, round(seconds * 1_000, 1), round(peak, 1))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def run(cases: Iterable[Case], root: Path, jobs: int, *, exactly: bool = True) -> Iterator[Outcome]:
    """Run cases, some at a time; yield their outcomes in the order in which they end.

    Args:
        cases: The cases.
        root: The root of the tree under test.
        jobs: How many at a time.
        exactly: Whether an outcome must have the case's own words, too.
    """
    waiting = iter(cases)
    running: dict[int, _Running] = {}
    while True:
        while len(running) < jobs and (case := next(waiting, None)) is not None:
            begun = _Running(case, root, exactly=exactly)
            running[begun.answer] = begun
        if not running:
            return
        ready, _, _ = select.select(list(running), [], [], 0.5)
        for number in [n for n, each in running.items() if n in ready or each.late]:
            yield running.pop(number).ended()


def _keep_kernels(of: Path, root: Path) -> None:
    """Load compiled kernels as long as those of another tree would be loaded.

    A file next to the kernels has changed and no kernel holds any of it: without this, each such
    change would compile them all again.
    """
    from stream_scorer.core.kernels import cache  # noqa: PLC0415 of the tree under test

    whole, own = cache.stamp, Path(cache.__file__).parent

    def stamp(folder: Path) -> str:
        others = folder == own or root not in folder.parents
        return whole(folder if others else of / folder.relative_to(root))

    cache.stamp = stamp  # type: ignore[assignment] # for the caches of this process


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--doors", default="", help="their doors, with commas between")
    parser.add_argument("--kernels-of", type=Path, help="root of a tree with the same kernels")
    parser.add_argument("--older", action="store_true", help="do not ask for this tree's words")
    parser.add_argument("--stop", action="store_true", help="end at the first unexpected outcome")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    import stream_scorer  # noqa: PLC0415 of the tree under test
    from bench.hostile_cases import all_cases, warm  # noqa: PLC0415 they are warmed here

    root = Path(stream_scorer.__file__).parents[1]
    if options.kernels_of is not None:
        _keep_kernels(options.kernels_of, root)
    warm(root)
    doors = set(options.doors.split(",")) if options.doors else None
    cases = [
        case for case in all_cases()
        if options.only in case.name and (doors is None or case.door in doors)
    ]  # fmt: skip
    for outcome in run(cases, root, options.jobs, exactly=not options.older):
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.flush()
        if options.stop and not outcome.expected:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
