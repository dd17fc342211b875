"""The scorer with hooks for tests, which stop it or make it fail at a given point.

``python -m tests.faults.suite.scorer_with_hooks HOOK... -- run ...`` runs ``stream-scorer run
...``. Workers of ``run --workers`` have the same hooks: each imports this module before it starts.
"""

import argparse
import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stream_scorer.cli import main as stream_scorer
from stream_scorer.core.decision.decide_batch import decide_batch
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.models.stores.deployment import Deployment, Loaded, load_models
from stream_scorer.ports import Float64
from stream_scorer.scoring import process as scorer
from stream_scorer.scoring import work as scoring
from stream_scorer.settings import Settings

POISON = "poison"
"""Device of a transaction for which the computation fails, or ends the process."""
_ROOT = Path(__file__).parents[3]
_LEFT_ALONE = ("slow commit", "transport error")
# Long enough for the records to arrive at the broker before the process ends.
_ARRIVAL_SECONDS = 0.3
_ROUND_SECONDS = 0.02
_SEAMS = "TEST_SEAMS"


def program(*hooks: str) -> list[str]:
    """Return the program with the given hooks; the command and its arguments follow."""
    return [sys.executable, "-m", "tests.faults.suite.scorer_with_hooks", *hooks, "--"]


def variables() -> dict[str, str]:
    """Return the environment variables that it needs."""
    return {"PYTHONPATH": str(_ROOT)}


class SignalAt:
    """Sends this process a signal when a stage of the loop has been passed a number of times.

    Args:
        number: The signal.
        stage: The stage.
        passes: How often the stage is passed before the signal.
    """

    def __init__(self, number: signal.Signals, stage: str, passes: int) -> None:
        self._number = number
        self._stage = stage
        self._left = passes

    def __call__(self, stage: str) -> None:
        if stage != self._stage:
            return
        self._left -= 1
        if self._left == 0:
            time.sleep(_ARRIVAL_SECONDS)
            os.kill(os.getpid(), self._number)


class SuspendedClock:
    """The clock of a machine that is suspended while this process is stopped.

    It replaces ``time.monotonic``, which on Linux does not count suspension.
    """

    def __init__(self) -> None:
        self._real = time.monotonic
        self._suspended = 0.0

    def __call__(self) -> float:
        return self._real() - self._suspended

    def around(self, hook: Callable[[str], None]) -> Callable[[str], None]:
        """Return a hook that calls another one; the clock does not count the time of that call."""

        def called(stage: str) -> None:
            before = self._real()
            hook(stage)
            self._suspended += self._real() - before

        return called


class HoldAt:
    """Holds the loop after a stage while a file exists, and creates ``FILE.held`` to report it.

    Args:
        stage: The stage.
        file: The file.
    """

    def __init__(self, stage: str, file: Path) -> None:
        self._stage = stage
        self._file = file

    def __call__(self, stage: str) -> None:
        while stage == self._stage and self._file.exists():
            self._file.with_suffix(".held").touch()
            time.sleep(_ROUND_SECONDS)


class FaultyPredictor:
    """The deployed model, failing or slow while a file exists.

    Args:
        real: The model's own predictor.
        fails_while: It raises while this file exists.
        sleeps_while: Each call takes ``seconds`` longer while this file exists.
        seconds: How long.
    """

    def __init__(
        self, real: Any, fails_while: Path | None, sleeps_while: Path | None, seconds: float
    ) -> None:
        self.feature_count = real.feature_count
        self._real = real
        self._fails_while = fails_while
        self._sleeps_while = sleeps_while
        self._seconds = seconds

    def scores(self, features: Float64) -> Float64:
        if self._fails_while is not None and self._fails_while.exists():
            raise ValueError("the model is broken")
        if self._sleeps_while is not None and self._sleeps_while.exists():
            time.sleep(self._seconds)
        return np.asarray(self._real.scores(features))

    def raw(self, features: Float64) -> Float64:
        return np.asarray(self._real.raw(features))

    def attributions(self, features: Float64) -> Any:
        return self._real.attributions(features)


def _without_rebirth() -> None:
    """Switch off the rebirth rule: keep the producer after a slow commit or a transport error."""
    born: Any = TransactionalProducer.rebirth

    def rebirth(
        self: TransactionalProducer, cause: str, stop: Callable[[], bool] = lambda: False
    ) -> None:
        if not cause.startswith(_LEFT_ALONE):
            born(self, cause, stop)

    TransactionalProducer.rebirth = rebirth  # type: ignore[method-assign]


def _with_predictor(wrap: Callable[[Any], FaultyPredictor]) -> None:
    def load_broken(settings: Settings, deployment: Deployment) -> Loaded:
        loaded = load_models(settings, deployment)
        return replace(loaded, model=replace(loaded.model, predictor=wrap(loaded.model.predictor)))

    scorer.load_models = load_broken  # type: ignore[attr-defined]  # what it imported


def preceded(before: Callable[[Any], None]) -> Callable[..., Any]:
    """Return a function that decides a batch of events after it has called another function."""
    decide: Any = decide_batch

    def decided(events: Any, *others: Any) -> Any:
        before(events)
        return decide(events, *others)

    return decided


def _with_computation(before: Callable[[Any], None]) -> None:
    module: Any = scoring
    module.decide_batch = preceded(before)


def hold_poison(events: Any) -> bool:
    """Return whether one of these transactions is poisoned."""
    return POISON in events.records.column("device_id").to_pylist()


def raise_for_poison(events: Any) -> None:
    """Raise for a batch that has a poisoned transaction."""
    if hold_poison(events):
        raise ValueError("poison")


def _die_of_poison(events: Any) -> None:
    if hold_poison(events):
        os.kill(os.getpid(), signal.SIGSEGV)


def _hang_while(path: Path) -> Callable[[Any], None]:
    def hang(_: Any) -> None:
        while path.exists():
            time.sleep(0.02)

    return hang


def install(arguments: Sequence[str]) -> None:
    """Install hooks in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--signal-at", nargs=3, metavar=("SIGNAL", "STAGE", "PASSES"))
    parser.add_argument("--suspended-clock", action="store_true")
    parser.add_argument("--hold-at", nargs=2, metavar=("STAGE", "FILE"))
    parser.add_argument("--dump-on-usr1", action="store_true")
    parser.add_argument("--without-rebirth", action="store_true")
    parser.add_argument("--model-fails-while", type=Path)
    parser.add_argument("--model-sleeps-while", type=Path)
    parser.add_argument("--model-sleeps-seconds", type=float, default=0.0)
    parser.add_argument("--raises-for-poison", action="store_true")
    parser.add_argument("--dies-of-poison", action="store_true")
    parser.add_argument("--hangs-while", type=Path)
    hooks = parser.parse_args(arguments)
    if hooks.raises_for_poison:
        _with_computation(raise_for_poison)
    if hooks.dies_of_poison:
        _with_computation(_die_of_poison)
    if hooks.hangs_while:
        _with_computation(_hang_while(hooks.hangs_while))
    if hooks.signal_at:
        name, stage, passes = hooks.signal_at
        hook: Callable[[str], None] = SignalAt(signal.Signals[name], stage, int(passes))
        if hooks.suspended_clock:
            clock = SuspendedClock()
            hook = clock.around(hook)
            time.monotonic = clock
        scorer.scorer_loop = partial(scorer.scorer_loop, hook=hook)
    if hooks.hold_at:
        held, file = hooks.hold_at
        scorer.scorer_loop = partial(scorer.scorer_loop, hook=HoldAt(held, Path(file)))
    if hooks.dump_on_usr1:
        faulthandler.register(signal.SIGUSR1)
    if hooks.without_rebirth:
        _without_rebirth()
    if hooks.model_fails_while or hooks.model_sleeps_while:
        _with_predictor(
            lambda real: FaultyPredictor(
                real, hooks.model_fails_while, hooks.model_sleeps_while, hooks.model_sleeps_seconds
            )
        )


def main(arguments: Sequence[str]) -> None:
    """Install the hooks and run the command."""
    at = list(arguments).index("--")
    install(arguments[:at])
    os.environ[_SEAMS] = json.dumps(arguments[:at])
    sys.argv = ["stream-scorer", *arguments[at + 1 :]]
    stream_scorer()


if __name__ == "__main__":
    main(sys.argv[1:])
elif __name__ == "__mp_main__":
    # In a worker: its process is spawned, and imports the parent's main module by this name.
    install(json.loads(os.environ[_SEAMS]))
