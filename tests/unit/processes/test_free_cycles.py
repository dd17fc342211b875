"""Cycles are freed in time, although Python's own collections are rare."""

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from stream_scorer.processes.free_cycles import EVERY_SECONDS, FreeCycles


class Batch:
    """Holds an array, and is part of a cycle."""

    def __init__(self) -> None:
        self.rows = np.zeros(1_000)
        self.itself = self


@pytest.fixture
def rare() -> Iterator[None]:
    """Set what a process sets: Python itself would collect too late."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("rare")
def test_a_cycle_is_freed_by_a_heartbeat_when_it_is_time() -> None:
    now: list[float] = [0.0]
    beats: list[float] = []
    beat = FreeCycles(lambda: beats.append(now[0]), lambda: now[0])
    batch = Batch()
    held = weakref.ref(batch)
    del batch
    now[0] = EVERY_SECONDS - 1
    beat()
    assert held() is not None
    now[0] = EVERY_SECONDS
    beat()
    assert held() is None
    assert beats == [EVERY_SECONDS - 1, EVERY_SECONDS]


def test_it_collects_once_in_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[float] = [0.0]
    collected: list[float] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(now[0]))
    beat = FreeCycles(lambda: None, lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        beat()
    assert collected == [30.0, 60.0, 90.0]
