"""Random faults for as long as you like, one after another, under a steady load.

Kinds of the fault suite (``tests/faults/suite``) are drawn by the seed and applied to one group of
scorers on one broker behind the suite's proxy, while 300 transactions arrive per second. One
scorer, the bystander, is in the group from the beginning to the end, and its process gets no
fault: its memory, file descriptors and threads are recorded once a second, and lines fitted through
them after a warm-up must be flat. At the end the suite's verifier judges every record of the run.
"""

import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.harness.script import Number, Script, table
from bench.verdicts.soak import MOST_GROWTH, Sample, failures, watched
from tests.faults.suite import endurance
from tests.faults.suite import kinds as registered
from tests.faults.suite.brokers import compile_first, opened
from tests.faults.suite.endurance import Endurance
from tests.faults.suite.registry import KINDS
from tests.faults.verifier.judge import Verdict

__all__ = ["registered"]

QUICK = ("latency", "end_txn_answer_lost", "kills_at_random_moments", "sigterm", "half_open")
"""Kinds that take seconds."""

_SAMPLE_SECONDS = 1.0
_SLOWEST_KIND_SECONDS = 240.0
"""How long the load continues after the last fault begins."""
_PAUSE_SECONDS = (1.0, 8.0)
_ERROR_LENGTH = 1_000


class Watch(threading.Thread):
    """Records once a second the resources of the bystander's process.

    Args:
        stage: Whose bystander.
    """

    def __init__(self, stage: Endurance) -> None:
        super().__init__(name="watch", daemon=True)
        self.samples: list[Sample] = []
        self._stage = stage
        self._began = time.monotonic()
        self._enough = threading.Event()

    def run(self) -> None:
        """Record, on this separate thread."""
        while not self._enough.wait(_SAMPLE_SECONDS):
            scorer = self._stage.bystander
            if scorer is None:
                continue
            try:
                process = psutil.Process(scorer.pid)
                with process.oneshot():
                    sample = Sample(
                        scorer.pid, self.seconds, process.memory_info().rss, process.num_fds(),
                        process.num_threads(),
                    )  # fmt: skip
            except psutil.Error:
                # It has just ended; the next round finds the one that was started for it.
                continue
            self.samples.append(sample)

    @property
    def seconds(self) -> float:
        """How long it has been watching."""
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._enough.set()
        self.join()


def drawn(seed: int, names: tuple[str, ...]) -> Iterator[str]:
    """Yield kinds for ever: all of them in one random order, then in another."""
    choice = random.Random(seed)  # noqa: S311 faults, not secrets
    while True:
        yield from choice.sample(names, len(names))


def soak(seconds: float, seed: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Apply faults for some seconds, and judge; return the report."""
    happened: Counter[str] = Counter()
    failed: dict[str, str] = {}
    verdict: Verdict | None = None
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    with (
        opened("one") as ground,
        Endurance(ground, seed, folder, seconds + _SLOWEST_KIND_SECONDS) as stage,
    ):
        stage.begin()
        with Watch(stage) as watch:
            for name in drawn(seed, names):
                if watch.seconds >= seconds:
                    break
                time.sleep(stage.random.uniform(*_PAUSE_SECONDS))
                error = _done_to(stage, name)
                _say(watch.seconds, name, stage, error)
                if error:
                    failed[name] = error
                    ground.repair()
                    break
                happened[name] += 1
            took = watch.seconds
        try:
            verdict = stage.end()
        except Exception as error:  # noqa: BLE001 it is the report's
            failed["the end"] = _told(error, stage)
    if failed:
        sys.stderr.write(f"the scorers' logs are in {folder}\n")
    else:
        shutil.rmtree(folder)
    return {
        "minutes": round(took / 60, 1),
        "seed": seed,
        "seconds": round(took, 1),
        "faults": dict(sorted(happened.items())),
        "fired": sum(count for count, _ in stage.proofs),
        "failed": failed,
        "longest_resume_seconds": round(max(stage.resumed, default=0.0), 1),
        "started_again": stage.scorers.restarts,
        "bystander": watched(watch.samples, took),
        "verdict": None if verdict is None else _counts(verdict),
    }


def _done_to(stage: Endurance, name: str) -> str:
    """Apply one kind; return what went wrong, or an empty text."""
    before = len(stage.proofs)
    try:
        KINDS[name].act(stage)
    except Exception as error:  # noqa: BLE001 it is the report's
        return _told(error, stage)
    return "" if len(stage.proofs) > before else "nothing shows that the fault happened"


def _told(error: Exception, stage: Endurance) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{Path(where.filename).name}:{where.lineno}"
    return f"{type(error).__name__}: {error} ({at}); {stage.scorers.state()}"[:_ERROR_LENGTH]


def _counts(verdict: Verdict) -> dict[str, Any]:
    return {
        "sent": verdict.sent,
        "copies": verdict.copies,
        "decisions": verdict.decisions,
        "dead_letters": verdict.dead_letters,
        "faults": verdict.faults,
        "examples": verdict.examples,
    }


def _say(second: float, name: str, stage: Endurance, error: str) -> None:
    """Print the progress."""
    state = f"FAILED {error}" if error else f"resumed in {stage.resume_seconds:.1f} s"
    sys.stderr.write(f"{second:7.0f} s  {name}: {state}\n")
    sys.stderr.flush()


def main() -> int:
    script = Script(
        __doc__, "three minutes of quick faults",
        minutes=Number(30.0, 3.0, "how long faults are started"),
        seed=Number(1, 1, "draws the faults"),
        kinds=Number(endurance.KINDS, QUICK),
    )  # fmt: skip
    options = script.options
    compile_first()
    document = soak(60 * options.minutes, options.seed, options.kinds)
    document["load_average"] = script.loads()
    found = document["bystander"]
    keys = ("median", "most", "least_first", "least_last", "growth", "share")
    rows = ((name, *map(found[name].get, keys)) for name in MOST_GROWTH if name in found)
    return script.conclude(
        document,
        failures(document),
        table("Faults", "fault", "times", rows=document["faults"].items()),
        table(
            f"{document['minutes']} minutes, seed {document['seed']}",
            "of the bystander", *keys, rows=rows,
        ),
        f"verdict: {document['verdict']}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
