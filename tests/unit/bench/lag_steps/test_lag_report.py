"""The report of bench/lag.py and its gates."""

from typing import Any

import pytest

from bench.lag import failures, report
from bench.lag_steps.baselines import BASELINES
from bench.lag_steps.states import LIVE_STATES, LiveRun, LiveState, Observed
from stream_scorer.lag.verdicts.sample import LagVerdict

LOST = LiveState("leader lost", LagVerdict.UNKNOWN, lambda _: None)


def observed(state: LiveState, *after: tuple[float, LagVerdict]) -> Observed:
    lag = 5_000 if state.verdict in {LagVerdict.SLOW, LagVerdict.STALLED} else 5
    simple = {name: judge(lag) for name, judge in BASELINES.items()}
    return Observed(state, [], list(after), simple)


def run_of(*states: LiveState) -> LiveRun:
    found = {
        state.name: observed(
            state, (0.7, LagVerdict.OK), (2.1, state.verdict), (3.1, state.verdict)
        )
        for state in states
    }
    return LiveRun(found, [0.01] * 95 + [0.05] * 5)


def document(**changes: Any) -> dict[str, Any]:
    return report([run_of(*LIVE_STATES), run_of(LOST)], 0, 1.5, 0.4) | changes


def test_the_keys_of_the_report() -> None:
    found = document()
    assert (found["states"], found["right"], found["false_per_hour"]) == (12, 12, 0.0)
    assert (found["age_error"], found["pass_seconds"]) == (0.05, 0.4)
    assert found["baselines"] == {"constant": 4, "threshold": 5}
    assert failures(found) == []


def test_a_verdict_counts_from_the_third_look_on() -> None:
    state = LIVE_STATES[4]
    looks = (0.9, LagVerdict.OK), (1.9, LagVerdict.OK)
    assert observed(state, *looks, (2.9, state.verdict)).right
    assert not observed(state, *looks, (2.9, LagVerdict.OK), (3.9, state.verdict)).right
    # On a busy machine the looks are further apart.
    assert observed(state, (1.5, LagVerdict.OK), (3.0, LagVerdict.OK), (4.5, state.verdict)).right
    assert not observed(state, (0.9, state.verdict), (1.9, state.verdict)).right
    assert not observed(state, *[(at, state.verdict) for at in (0.1, 0.5, 1.9)]).right


@pytest.mark.parametrize(
    "change",
    [
        {"states": 11}, {"right": 11}, {"false_per_hour": 0.1}, {"age_error": 0.11},
        {"age_error": None}, {"pass_seconds": 5.1}, {"baselines": {"constant": 7, "threshold": 4}},
    ],
)  # fmt: skip
def test_each_gate_can_fail(change: dict[str, Any]) -> None:
    assert len(failures(document(**change))) == 1
