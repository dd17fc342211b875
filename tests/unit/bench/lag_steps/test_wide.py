"""Passes over many partitions: the slowest counts, and so does each pass that did less."""

import dataclasses
from typing import Any

import pytest

from bench.lag_steps.wide import (
    GROUP,
    PASSES_LEAST,
    PassTimes,
    time_passes,
    times_of,
    what_is_missing,
)
from stream_scorer.lag.verdicts.sample import LagJudgement, LagVerdict
from stream_scorer.lag.watch.passes import LagSnapshot

PLACES = [("wide-0", 0), ("wide-0", 1)]
STALLED = LagJudgement(LagVerdict.STALLED, "", 1.0, to_high=1, owner="wide-0 at host")


def snapshot(seconds: float = 0.1, **changes: Any) -> LagSnapshot:
    first = dataclasses.replace(STALLED, **changes)
    judged = {(GROUP, PLACES[0]): first, (GROUP, PLACES[1]): STALLED}
    return LagSnapshot(1.0, 1.0, seconds, judged)


class Scripted:
    """Passes that report given snapshots."""

    def __init__(self, *found: LagSnapshot) -> None:
        self.left = list(found)

    def run(self) -> LagSnapshot:
        return self.left.pop(0)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.lag_steps.wide._PAUSE_SECONDS", 0.0)


def timed(*found: LagSnapshot) -> PassTimes:
    return time_passes(Scripted(*found), PLACES, 0.0)  # type: ignore[arg-type]


def test_the_first_pass_is_timed_too() -> None:
    found = timed(*map(snapshot, (3.0, 1.0, 1.0, 2.0, 1.0, 1.0)))
    assert found == (3.0, 1.0, 2.0, PASSES_LEAST, 0, "")
    assert times_of([0.5, 0.2, 0.6]) == (0.5, 0.4, 0.6, 3, 0, "")


def test_passes_that_did_less_are_counted() -> None:
    silent = dataclasses.replace(snapshot(2.0), error="no answer")
    found = timed(snapshot(), snapshot(to_high=0), silent, *[snapshot()] * 3)
    assert (found.slowest, found.passes, found.incomplete) == (2.0, PASSES_LEAST, 2)
    assert found.reason.endswith("in 2 of 2 partitions: no answer")


def test_what_a_pass_did_not_do_is_named() -> None:
    assert what_is_missing(snapshot(), PLACES) == ""
    for found in (
        snapshot(to_high=0),  # no record waits
        snapshot(owner=""),  # no member
    ):
        assert "1 of 2 partitions" in what_is_missing(found, PLACES)
    assert "2 of 3" in what_is_missing(snapshot(), [*PLACES, ("wide-1", 0)])
