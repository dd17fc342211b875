"""Admission: under overload, scorers stay busy and accepted requests stay fast."""

import statistics

import pytest

from stream_scorer.serving.decisions.admission import Admission, Refused
from stream_scorer.serving.following.scorers_watch import BacklogAge
from tests.support.serving.simulated_queue import NOISE, Seen, SimulatedScorers

CALM, SETTLED, OVER = 20.0, 23.0, 60.0
SEEDS = 1, 2, 3
AVERAGE_NOISE = 1 + NOISE / 2


def simulated(row: float, commit: float, slow_commits: float, seed: int) -> tuple[Seen, float]:
    """Return a run that is calm for 20 s and then overloaded, and the scorers' capacity."""
    world = SimulatedScorers(lambda _: row, commit, seed, slow_commits)
    busy = SimulatedScorers(lambda _: row, commit, seed, slow_commits).run(
        lambda now: 2 / row if now < 10 else 0, 10, None
    )
    capacity = len(busy.accepted) / max(at + took for at, took in busy.accepted)
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(
        lambda now: capacity * (0.3 if now < CALM else 3.0), OVER, admission
    )  # fmt: skip
    assert admission.in_flight == 0
    return seen, capacity


@pytest.mark.parametrize("slow_commits", [0.0, 0.01])
@pytest.mark.parametrize(("row", "commit"), [(0.01, 0.022), (0.004, 0.022), (0.001, 0.022)])
def test_three_times_the_capacity(row: float, commit: float, slow_commits: float) -> None:
    shares = []
    for seed in SEEDS:
        seen, capacity = simulated(row, commit, slow_commits, seed)
        unloaded = seen.latency(0.99, 2, CALM)
        assert seen.latency(0.99, SETTLED, OVER) <= 2 * unloaded
        assert len(seen.refused) > capacity * (OVER - CALM)
        shares.append(seen.rate(SETTLED, OVER - 1) / capacity)
    # A backlog's batches are large, so slow commits cost it nothing.
    least = 0.87 if slow_commits else 0.9
    assert statistics.fmean(shares) >= least
    assert min(shares) >= least - 0.07


def test_a_lasting_overload_changes_nothing() -> None:
    # The latency without a queue is seen only in the moments of a low limit.
    capacity = 1 / 0.004 / AVERAGE_NOISE
    world = SimulatedScorers(lambda _: 0.004, 0.022)
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda now: capacity * (0.3 if now < CALM else 3.0), 200, admission)
    assert seen.latency(0.99, 100, 200) <= 2 * seen.latency(0.99, 2, CALM)
    assert seen.rate(100, 199) >= 0.9 * capacity


def test_nothing_is_refused_below_the_capacity() -> None:
    world = SimulatedScorers(lambda _: 0.0005, 0.015)
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda now: 200 if now < 5 else 1_000, 30, admission)
    assert len(seen.refused) < 0.01 * len(seen.accepted)


def test_a_capacity_that_falls_is_followed() -> None:
    world = SimulatedScorers(lambda now: 0.0005 if now < 30 else 0.004, 0.015)
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda now: 150 if now < 10 else 3_000, 90, admission)
    assert seen.latency(0.99, 60, 90) < 0.25
    assert seen.rate(60, 89) > 0.7 / 0.004 / AVERAGE_NOISE


@pytest.mark.parametrize("times", [0.5, 2.0])
def test_a_capacity_that_changes_under_overload_is_followed(times: float) -> None:
    row = 0.002
    world = SimulatedScorers(lambda now: row if now < 30 else row / times, 0.02)
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda now: 100 if now < 10 else 3_000, 60, admission)
    unloaded = seen.latency(0.99, 2, 10)
    before, after = 1 / row / AVERAGE_NOISE, times / row / AVERAGE_NOISE
    assert seen.rate(13, 30) >= 0.9 * before
    assert seen.rate(33, 59) >= 0.9 * after
    assert seen.latency(0.99, 33, 59) <= 2.2 * unloaded


def test_a_limit_that_was_low_grows_within_seconds() -> None:
    # While the scorer stands still, the limit falls to its least.
    world = SimulatedScorers(lambda now: float("inf") if 20 < now < 40 else 0.002, 0.02)
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda now: 100 if now < 10 else 1_500, 55, admission)
    assert min(limit for at, limit in seen.limits if 30 < at < 40) == 2
    assert seen.rate(46, 54) >= 0.75 / 0.002 / AVERAGE_NOISE


def test_admissions_are_paced_only_while_some_are_refused() -> None:
    world = SimulatedScorers(lambda _: 0.004, 0.02)
    admission = Admission(100_000, 1.0, lambda: world.now)
    world.run(lambda now: 50 if now < 10 else 700, 20, admission)
    assert admission.in_flight == 0
    together = [admission.admit(1) is None for _ in range(admission.limit)]
    assert 1 <= sum(together) <= 4
    world.now += 10
    assert all(admission.admit(1) is None for _ in range(admission.limit - sum(together)))


def test_scorers_that_stop_are_not_buried() -> None:
    world = SimulatedScorers(
        lambda now: float("inf") if 20 < now < 40 else 0.0005, 0.015
    )  # fmt: skip
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda _: 500, 60, admission)
    waited = [took for at, took in seen.accepted if 20 < at < 40]
    # No more than arrive within the time limit of a request.
    assert 0 < len(waited) <= 1.2 * 500
    assert seen.rate(45, 59) > 450


def test_scorers_that_pause_for_a_moment_refuse_nothing() -> None:
    world = SimulatedScorers(
        lambda now: float("inf") if now > 5 and now % 5 < 0.7 else 0.0005, 0.015
    )  # fmt: skip
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda _: 300, 60, admission)
    assert seen.refused == []


def test_a_burst_is_answered_and_forgotten() -> None:
    world = SimulatedScorers(lambda _: 0.0005, 0.015)
    admission = Admission(100_000, 1.0, lambda: world.now)
    seen = world.run(lambda now: 6_000 if 10 < now < 11 else 200, 30, admission)
    assert seen.latency(0.99, 10, 11) < 0.2
    assert seen.latency(0.99, 12, 30) <= 1.2 * seen.latency(0.99, 2, 10)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_batch_is_admitted_as_one() -> None:
    admission = Admission(1_000, 1.0, Clock())
    assert admission.admit(1_000) is None
    assert admission.in_flight == 1_000
    refused = admission.admit(1)
    assert refused is not None
    assert refused.cause == "limit"
    admission.released(1_000)
    assert admission.admit(1) is None
    assert admission.admit(1_000) is not None  # more than may ever be in flight
    assert admission.admit(admission.limit) is None  # large, and nearly nothing is in flight
    assert admission.in_flight == 1 + 32


def overloaded(clock: Clock, latency: float) -> Admission:
    """Return an admission at its least limit, that has refused something and is empty."""
    admission = Admission(20_000, 1.0, clock)
    for _ in range(100):
        assert admission.admit(1) is None
        clock.now += 0.02
        admission.decided(latency)
    while admission.limit > 2:
        while admission.admit(1) is None:
            clock.now += 0.001
        clock.now += 4 * latency
        for _ in range(admission.in_flight):
            admission.decided(4 * latency)
    clock.now += 0.5
    return admission


def test_a_decided_batch_leaves_the_gateway_open() -> None:
    clock = Clock()
    admission = overloaded(clock, 0.1)
    assert admission.admit(1_000) is None
    clock.now += 0.05
    for _ in range(1_000):
        assert admission.full() is not None
        admission.decided(0.05)
    # At once, though the batch was far larger than what is due in that time.
    assert admission.admit(1) is None


def test_a_batch_delays_admissions_by_one_latency() -> None:
    clock = Clock()
    admission = overloaded(clock, 0.1)
    assert admission.admit(1_000) is None
    for _ in range(999):
        admission.decided(0.1)
    assert admission.full() is not None
    clock.now += 0.15
    assert admission.full() is None


def test_a_backlog_refuses_everything() -> None:
    admission = Admission(1_000, 1.0, Clock())
    admission.lagging(0.8)
    assert admission.admit(1) is None
    admission.lagging(5.0)
    assert admission.full() == Refused("lag", 5)
    assert admission.admit(1) == Refused("lag", 5)
    admission.lagging(1_000.0)
    assert admission.full() == Refused("lag", 30)


def test_a_backlog_is_as_old_as_its_oldest_record() -> None:
    backlog = BacklogAge()
    # Few records, which are decided within an observation.
    for second in range(5):
        assert backlog.note(second, {0: (second * 10, second * 10 + 2)}) == 0
    # Nothing is decided any more.
    assert [backlog.note(5 + each, {0: (42, 60 + each)}) for each in range(3)] == [0, 1, 2]
    # The scorers catch up.
    assert backlog.note(8, {0: (61, 70)}) == 1
    assert backlog.note(9, {0: (70, 70)}) == 0


def test_one_partition_that_stands_still_refuses_nobody() -> None:
    backlog = BacklogAge()
    for second in range(10):
        offsets = dict.fromkeys(range(3), (second, second)) | {3: (0, second + 1)}
        assert backlog.note(second, offsets) == 0
    assert backlog.note(10, dict.fromkeys(range(3, 7), (0, 10))) == 0
    assert backlog.note(12, dict.fromkeys(range(3, 7), (0, 10))) == 2


def test_overdue_transactions_leave_their_place_but_are_bounded() -> None:
    admission = Admission(100, 1.0, Clock())
    for _ in range(100):
        assert admission.admit(1) is None
        admission.overdue()
    assert admission.in_flight == 100
    refused = admission.full()
    assert refused is not None
    admission.ended_overdue()
    assert admission.full() is None
    assert admission.in_flight == 99
