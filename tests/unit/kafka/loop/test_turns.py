"""Restoring and deciding take turns: neither waits for the other's end."""

import time
from collections.abc import Mapping
from itertools import groupby

from stream_scorer.kafka.loop.source import Assigned
from stream_scorer.kafka.loop.work_interface import NO_ROWS, Result, Stages
from stream_scorer.ports import RawRecords
from tests.unit.kafka.loop.test_transaction import Adding, Scene

_STEP_SECONDS = 0.002
_BATCH_SECONDS = 0.06


class Slow(Adding):
    """A long restore in short steps, and slow batches."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def restoring(self) -> bool:
        return True

    def restore(self) -> set[int]:
        self.told.append("restore")
        time.sleep(_STEP_SECONDS)
        return set()

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[list[int]]:
        self.told.append("decide")
        time.sleep(_BATCH_SECONDS)
        return super().compute(raw, stages, quarantined)


def turns(steps: int) -> tuple[Scene, list[tuple[str, int]]]:
    scene = Scene()
    scene.loop._work = scene.work = work = Slow()
    for _ in range(steps):
        scene.loop.step()
    return scene, [(name, len(list(each))) for name, each in groupby(work.told)]


def test_a_backlog_gives_a_restore_the_time_of_its_last_batch() -> None:
    _, told = turns(3)
    assert [name for name, _ in told] == ["restore", "decide"] * 3
    # No batch was decided before the first turn, so it has one step.
    assert told[0] == ("restore", 1)
    # On a busy machine, a step may take up to five times as long as it sleeps.
    assert all(count > 5 for name, count in told[2:] if name == "restore")


def test_a_restore_lets_each_available_batch_through() -> None:
    scene, told = turns(3)
    assert scene.work.state == list(range(6))
    assert [count for name, count in told if name == "decide"] == [1, 1, 1]


def test_without_a_backlog_a_restore_is_asked_step_by_step() -> None:
    # The input ends after three batches; the fourth turn is the one after the third batch.
    scene, _ = turns(4)
    work = scene.work
    assert isinstance(work, Slow)
    work.told.clear()
    scene.loop.step()
    assert work.told == ["restore"]


def test_a_rebalance_is_not_kept_waiting_for_a_turns_end() -> None:
    scene, _ = turns(1)
    scene.source._events = [Assigned({}, frozenset())]
    scene.loop._rebalance = lambda: None  # type: ignore[method-assign]  # it stays to be handed over
    work = scene.work
    assert isinstance(work, Slow)
    work.told.clear()
    scene.loop._restore_in_turn()
    assert work.told == ["restore"]
