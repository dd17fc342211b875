"""The report of bench/lag.py and its gates."""

from typing import Any

import pytest

from bench.lag import failures, report
from bench.lag_steps.states import LIVE_STATES, SKEWED, LiveRun, LiveState, Observed, StateLook
from bench.lag_steps.wide import PassTimes
from stream_scorer.lag.verdicts.sample import LagVerdict

LOST = LiveState("leader lost", LagVerdict.UNKNOWN, lambda _: None)
BY_NAME = {state.name: state for state in LIVE_STATES}
PASSES = PassTimes(0.4, 0.2, 0.3, 6)
LONG = {LagVerdict.SLOW, LagVerdict.STALLED}


def observed(state: LiveState, *after: tuple[float, LagVerdict | None], **changes: Any) -> Observed:
    waiting = state.waiting or (5_000 if state.verdict in LONG else 5)
    looks = [StateLook(*look, waiting, state.skew)._replace(**changes) for look in after]
    return Observed(state, [], looks)


def run_of(*states: LiveState) -> LiveRun:
    found = {
        state.name: observed(
            state,
            (0.7, LagVerdict.OK),
            (1.5, LagVerdict.OK),
            (2.1, state.verdict),
            (3.1, state.verdict),
        )
        for state in states
    }
    return LiveRun(found, [0.01] * 95 + [0.05] * 4 + [0.08], 2)


def document(**changes: Any) -> dict[str, Any]:
    return report([run_of(*LIVE_STATES), run_of(LOST)], 0, 1.5, PASSES) | changes


def test_the_keys_of_the_report() -> None:
    found = document()
    assert (found["states"], found["right"], found["false_per_hour"]) == (12, 12, 0.0)
    assert (found["age_error"], found["pass_seconds"]) == (0.05, 0.4)
    assert found["age_errors"] == {"p50": 0.01, "p95": 0.05, "max": 0.08}
    assert (found["ages"], found["ages_unknown"], found["skew_error"]) == (200, 4, 0.0)
    assert found["baselines"] == {"constant": 4, "threshold": 4}  # not the burst, but SLOW
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
    # A look that does not report the group is wrong.
    known = [(at, state.verdict) for at in (0.9, 1.9, 2.9)]
    assert not observed(state, *known, (3.9, None)).right


def test_in_a_state_that_is_ok_every_look_counts() -> None:
    looks = [(at, LagVerdict.OK) for at in (0.0, 1.0, 2.0, 3.0)]
    for state in (BY_NAME["burst"], BY_NAME["partition added"]):
        assert observed(state, *looks).right
        assert not observed(state, (0.0, LagVerdict.SLOW), *looks[1:]).right
        assert not observed(state, *looks[:2]).right


def test_a_burst_that_no_look_sees_is_not_right() -> None:
    looks = [(at, LagVerdict.OK) for at in (0.0, 1.0, 2.0, 3.0)]
    assert not observed(BY_NAME["burst"], *looks, waiting=50).right
    assert not observed(BY_NAME["burst"], *looks, waiting=None).right


@pytest.mark.parametrize("skew", [None, 0.0, 114.0, -120.0])
def test_a_wrong_skew_makes_the_clock_skew_wrong(skew: float | None) -> None:
    looks = [(at, LagVerdict.OK) for at in (0.5, 1.5, 2.5)]
    assert observed(BY_NAME[SKEWED], *looks).right
    wrong = observed(BY_NAME[SKEWED], *looks, skew=skew)
    assert not wrong.right
    found = report([LiveRun({SKEWED: wrong})], 0, 1.5, PASSES)
    assert any("the skew is off" in line for line in failures(found))


def test_the_time_of_an_append_is_no_skew() -> None:
    slow = observed(BY_NAME[SKEWED], *[(at, LagVerdict.OK) for at in (0.5, 1.5, 2.5)], skew=112.0)
    assert not slow.right
    slow.delay = 4.0
    assert (slow.right, slow.skew_error) == (True, 4.0)
    slow.delay = 9.0
    assert slow.skew_error == 0.0


def test_a_look_after_the_report_of_an_event_does_not_count() -> None:
    rewound = BY_NAME["rewound"]
    seen = observed(rewound, *[(at, rewound.verdict) for at in (0.5, 1.5, 2.5)])
    after = StateLook(30.0, LagVerdict.OK, 5, over=True)
    seen.after.append(after)
    assert seen.right
    seen.after[-1] = after._replace(over=False)
    assert not seen.right


def test_simple_judges_are_run_on_the_looks() -> None:
    easy = [LiveState(f"healthy {number}", LagVerdict.OK, lambda _: None) for number in range(12)]
    found = report([run_of(*easy)], 0, 1.5, PASSES)
    assert found["baselines"] == {"constant": 12, "threshold": 12}
    assert sum("gets" in line for line in failures(found)) == 2
    slow = BY_NAME["slow"]
    looks = [(at, slow.verdict) for at in (0.5, 1.5, 2.5, 3.5)]
    few = report([LiveRun({"slow": observed(slow, *looks, waiting=1_000)})], 0, 1.5, PASSES)
    many = report([LiveRun({"slow": observed(slow, *looks, waiting=1_001)})], 0, 1.5, PASSES)
    assert (few["baselines"]["threshold"], many["baselines"]["threshold"]) == (0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"states": 11}, {"right": 11}, {"false_per_hour": 0.1}, {"age_error": 0.11},
        {"age_error": None}, {"age_errors": {"max": 0.11}}, {"pass_seconds": 5.1},
        {"skew_error": 5.1}, {"skew_error": None},
        {"baselines": {"constant": 7, "threshold": 4}},
        {"passes": PASSES._replace(incomplete=1)._asdict()},
    ],
)  # fmt: skip
def test_each_gate_can_fail(change: dict[str, Any]) -> None:
    assert len(failures(document(**change))) == 1
