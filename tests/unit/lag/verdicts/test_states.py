"""The twelve states, each judged within two intervals; two simple judges fail most of them."""

from itertools import islice

import pytest

from bench.lag_steps.baselines import constant_ok, threshold
from stream_scorer.lag.verdicts.sample import LagSample, LagVerdict
from tests.support.lag.scripts import HEALTHY, STATES, Observer, State

INTERVALS = 2
HELD = 3
"""Samples for which the verdict stays, at least."""


def _judged(state: State) -> list[LagVerdict]:
    """Return the verdicts from the second interval of the state on."""
    observer = Observer(added=state.added)
    verdicts = [observer.see(each).verdict for each in islice(state.series(), 30)]
    return verdicts[HEALTHY + INTERVALS - 1 :]


def _sample(state: State) -> LagSample:
    """Return the sample two intervals after the state has begun."""
    return next(islice(state.series(), HEALTHY + INTERVALS - 1, None))


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_state_is_named_within_two_intervals(state: State) -> None:
    verdicts = _judged(state)
    assert verdicts[:HELD] == [state.verdict] * HELD


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_nothing_else_is_reported_before_the_state(state: State) -> None:
    observer = Observer(added=state.added)
    before = [observer.see(each).verdict for each in islice(state.series(), HEALTHY)]
    first = LagVerdict.OK if state.added else LagVerdict.UNKNOWN
    assert before == [first] + [LagVerdict.OK] * (HEALTHY - 1)


@pytest.mark.parametrize("state", [each for each in STATES if each.verdict is LagVerdict.OK],
                         ids=lambda state: state.name)  # fmt: skip
def test_an_ok_state_stays_ok(state: State) -> None:
    assert set(_judged(state)) == {LagVerdict.OK}


@pytest.mark.parametrize("judge", [constant_ok, threshold])
def test_a_simple_judge_fails_half_of_the_states(judge: object) -> None:
    assert callable(judge)
    wrong = [state.name for state in STATES if judge(_sample(state).to_high) is not state.verdict]
    assert len(wrong) >= 6, wrong


def test_every_verdict_is_a_state() -> None:
    assert {state.verdict for state in STATES} == set(LagVerdict)
    assert len({state.name for state in STATES}) == len(STATES) == 12


def test_a_clock_ahead_shows_as_skew_and_leaves_the_age_right() -> None:
    state = next(each for each in STATES if each.name == "clock skew")
    observer = Observer()
    found = [observer.see(each) for each in islice(state.series(), HEALTHY + 4)][-1]
    assert found.verdict is LagVerdict.OK
    assert found.skew == pytest.approx(120.0, abs=10)
    # Half of a second's records are in the group's hands: 0.5 s, by the log's end.
    assert found.age is not None
    assert found.age <= 10.0
