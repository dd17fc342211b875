"""Eleven states on a real broker, named in advance; the twelfth needs a broker that is stopped."""

from collections.abc import Iterator

import pytest

from bench.lag import settings_of
from bench.lag_steps.baselines import BASELINES
from bench.lag_steps.scenes import PREFIX, SKEW
from bench.lag_steps.states import (
    LIVE_STATES,
    SKEW_ERROR_MOST,
    SKEWED,
    LiveRun,
    LiveState,
    run_states,
)
from stream_scorer.devkafka import DevKafka
from stream_scorer.lag.verdicts.sample import LagVerdict
from stream_scorer.lag.watch.process import open_passes
from stream_scorer.settings import Settings
from tests.conftest import Broker

pytestmark = pytest.mark.kafka
INTERVAL = 2.0


def watched(bootstrap: str) -> Settings:
    return settings_of(bootstrap, f"{PREFIX}*", INTERVAL)


@pytest.fixture(scope="module")
def run() -> Iterator[LiveRun]:
    # Groups of other tests must not slow the passes down.
    with DevKafka() as kafka, open_passes(watched(kafka.bootstrap)) as passes:
        yield run_states(LIVE_STATES, kafka.bootstrap, passes, INTERVAL)


@pytest.mark.parametrize("state", LIVE_STATES, ids=lambda state: state.name)
def test_a_state_is_named_within_two_intervals(state: LiveState, run: LiveRun) -> None:
    observed = run.observed[state.name]
    assert observed.right, (observed.before, observed.after, observed.reason)


def test_nothing_is_reported_while_all_are_healthy(run: LiveRun) -> None:
    for name, observed in run.observed.items():
        assert set(observed.before) == {LagVerdict.OK}, (name, observed.before)


def test_simple_judges_fail_at_least_six_states(run: LiveRun) -> None:
    for name, judge in BASELINES.items():
        wrong = [
            each.state.name for each in run.observed.values() if not each.is_named_by_lag(judge)
        ]
        assert len(wrong) >= 6, (name, wrong)


def test_the_age_is_within_ten_per_cent_of_the_truth(run: LiveRun) -> None:
    assert len(run.age_errors) >= 10
    assert sorted(run.age_errors)[int(len(run.age_errors) * 0.95)] <= 0.1


def test_a_producer_s_clock_shows_as_skew(run: LiveRun) -> None:
    for name, skew in ((SKEWED, SKEW), ("healthy", 0.0)):
        observed = run.observed[name]
        assert observed.state.skew == skew
        assert observed.skew_error is not None
        assert observed.skew_error <= SKEW_ERROR_MOST, (observed.after, observed.delay)


def test_a_hanging_transaction_is_named(run: LiveRun) -> None:
    reason = run.observed["hanging transaction"].reason
    assert "state-hanging-transaction-upstream" in reason
    assert "producer " in reason


def test_no_broker_makes_every_group_unknown(kafka: Broker) -> None:
    del kafka  # its jars are there then
    with DevKafka() as own, open_passes(watched(own.bootstrap)) as passes:

        def stop(_: object) -> None:
            own.brokers[0].kill()

        lost = LiveState("leader lost", LagVerdict.UNKNOWN, stop)
        observed = run_states([lost], own.bootstrap, passes, INTERVAL, looks=3)
    assert observed.observed["leader lost"].right, observed


@pytest.mark.thorough
def test_a_lost_leader_makes_its_partitions_unknown() -> None:
    with DevKafka(3) as own, open_passes(watched(own.bootstrap)) as passes:

        def stop(_: object) -> None:
            own.brokers[2].kill()

        lost = LiveState("leader lost", LagVerdict.UNKNOWN, stop)
        led = own.brokers[2].node
        observed = run_states([lost], own.bootstrap, passes, INTERVAL, looks=3, leader=led)
    found = observed.observed["leader lost"]
    assert found.right, found
    assert "leader" in found.reason or "does not answer" in found.reason
