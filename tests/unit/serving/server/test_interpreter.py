"""The interpreter of a server: its event loop comes first."""

import gc
import sys
from collections.abc import Iterator

import pytest

from stream_scorer.serving.server.interpreter import (
    COLLECTED_AFTER,
    LOOP_WAITS_SECONDS,
    prefer_the_loop,
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_the_loop_interrupts_threads_sooner_than_by_default() -> None:
    before = sys.getswitchinterval()
    prefer_the_loop()
    assert sys.getswitchinterval() == pytest.approx(LOOP_WAITS_SECONDS)
    assert sys.getswitchinterval() < before


def test_the_collector_looks_less_often() -> None:
    generations = gc.get_threshold()[1:]
    prefer_the_loop()
    assert gc.get_threshold() == (COLLECTED_AFTER, *generations)
    assert gc.get_freeze_count() > 0
