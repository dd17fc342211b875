"""Restoring and deciding take turns: neither waits for the other's end."""

from collections.abc import Mapping
from itertools import groupby

import pytest

from stream_scorer.kafka.loop.source import Assigned
from stream_scorer.kafka.loop.work_interface import NO_ROWS, Result, Stages
from stream_scorer.ports import RawRecords
from tests.support.kafka.fake_broker import Clock
from tests.unit.kafka.loop.test_transaction import Adding, Scene

_STEP_SECONDS = 0.03125
_BATCH_SECONDS = 0.25


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The loop's time, which only restores and batches take."""
    made = Clock()
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction.time", made)
    return made


class Slow(Adding):
    """A long restore in short steps, and slow batches."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.told: list[str] = []
        self._clock = clock

    def restoring(self) -> bool:
        return True

    def restore(self) -> set[int]:
        self.told.append("restore")
        self._clock.sleep(_STEP_SECONDS)
        return set()

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[list[int]]:
        self.told.append("decide")
        self._clock.sleep(_BATCH_SECONDS)
        return super().compute(raw, stages, quarantined)


def turns(clock: Clock, steps: int) -> tuple[Scene, list[tuple[str, int]]]:
    scene = Scene()
    scene.loop._work = scene.work = work = Slow(clock)
    for _ in range(steps):
        scene.loop.step()
    return scene, [(name, len(list(each))) for name, each in groupby(work.told)]


def test_a_backlog_gives_a_restore_the_time_of_its_last_batch(clock: Clock) -> None:
    _, told = turns(clock, 3)
    # No batch was decided before the first turn, so it has one step.
    assert told == [
        ("restore", 1), ("decide", 1), ("restore", 8), ("decide", 1), ("restore", 8), ("decide", 1),
    ]  # fmt: skip


def test_a_restore_lets_each_available_batch_through(clock: Clock) -> None:
    scene, told = turns(clock, 3)
    assert scene.work.state == list(range(6))
    assert [count for name, count in told if name == "decide"] == [1, 1, 1]


def test_without_a_backlog_a_restore_is_asked_step_by_step(clock: Clock) -> None:
    # The input ends after three batches; the fourth turn is the one after the third batch.
    scene, _ = turns(clock, 4)
    work = scene.work
    assert isinstance(work, Slow)
    work.told.clear()
    scene.loop.step()
    assert work.told == ["restore"]


def test_a_rebalance_is_not_kept_waiting_for_a_turns_end(clock: Clock) -> None:
    scene, _ = turns(clock, 1)
    scene.source._events = [Assigned({}, frozenset())]
    scene.loop._rebalance = lambda: None  # type: ignore[method-assign]  # it stays to be handed over
    work = scene.work
    assert isinstance(work, Slow)
    work.told.clear()
    scene.loop._restore_in_turn()
    assert work.told == ["restore"]
