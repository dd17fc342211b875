"""Passes over many partitions: the slowest counts, and a pass that did less is no result."""

import dataclasses
from typing import Any

import pytest

from bench.lag_steps.wide import GROUP, PASSES_LEAST, refuse_incomplete, time_passes, times_of
from stream_scorer.lag.verdicts.sample import LagJudgement, LagVerdict
from stream_scorer.lag.watch.passes import LagSnapshot

PLACES = [("wide-0", 0), ("wide-0", 1)]
STALLED = LagJudgement(LagVerdict.STALLED, "", 1.0, to_high=1, owner="wide-0 at host")


def snapshot(seconds: float = 0.1, **changes: Any) -> LagSnapshot:
    first = dataclasses.replace(STALLED, **changes)
    judged = {(GROUP, PLACES[0]): first, (GROUP, PLACES[1]): STALLED}
    return LagSnapshot(1.0, 1.0, seconds, judged)


class Scripted:
    """Passes of a given duration."""

    def __init__(self, *seconds: float) -> None:
        self.left = list(seconds)

    def run(self) -> LagSnapshot:
        return snapshot(self.left.pop(0))


def test_the_first_pass_is_timed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.lag_steps.wide._PAUSE_SECONDS", 0.0)
    found = time_passes(Scripted(3.0, 1.0, 1.0, 2.0, 1.0, 1.0), PLACES, 0.0)  # type: ignore[arg-type]
    assert found == (3.0, 1.0, 2.0, PASSES_LEAST)
    assert times_of([0.5, 0.2, 0.6]) == (0.5, 0.4, 0.6, 3)


def test_a_pass_that_did_less_is_refused() -> None:
    refuse_incomplete(snapshot(), PLACES)
    for found in (
        snapshot(to_high=0),  # no record waits
        snapshot(owner=""),  # no member
        dataclasses.replace(snapshot(), error="no answer"),
    ):
        with pytest.raises(RuntimeError, match="partitions"):
            refuse_incomplete(found, PLACES)
    with pytest.raises(RuntimeError, match="2 of 3"):
        refuse_incomplete(snapshot(), [*PLACES, ("wide-1", 0)])
