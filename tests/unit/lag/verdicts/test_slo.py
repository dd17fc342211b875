"""Counts of the service level objective against a count record by record."""

import bisect
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.lag.verdicts.slo import SloCount, SloCounter
from tests.support.effort import examples

STEP = 0.5
LIMIT = 1.0


def counted(ends: list[int], committed: list[int], step: float = STEP) -> SloCount:
    counter = SloCounter(LIMIT)
    found = [
        counter.add(at * step, end, done)
        for at, (end, done) in enumerate(zip(ends, committed, strict=True))
    ]
    return SloCount(
        sum(each.good for each in found),
        sum(each.bad for each in found),
        sum(each.unmeasured for each in found),
    )


@settings(max_examples=examples(200))
@given(st.integers(0, 10**6))
def test_good_and_bad_are_those_of_each_record(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 not for secrets
    time, appended, decided = 0.0, list[float](), list[float]()
    while time < 60.0:
        time += source.expovariate(200.0)
        appended.append(time)
    delay, last = 0.2, 0.0
    for time in appended:
        delay = min(max(delay + source.gauss(0, 0.02), 0.05), 3.0)
        last = max(last, time + delay)
        decided.append(last)
    steps = [at * STEP for at in range(121)]
    ends = [bisect.bisect_right(appended, at) for at in steps]
    done = [bisect.bisect_right(decided, at) for at in steps]
    found = counted(ends, done)
    due = [each for each in range(len(appended)) if appended[each] <= 59.0]
    late = sum(decided[each] - appended[each] > LIMIT for each in due)
    near = sum(abs(decided[each] - appended[each] - LIMIT) < STEP for each in due)
    assert abs(found.good + found.bad - len(due)) <= 2
    # Between two observations both offsets are taken as linear.
    assert abs(found.bad - late) <= 0.25 * near + 2


def test_a_healthy_group_has_no_bad_record() -> None:
    ends = [100 * at for at in range(200)]
    assert counted(ends, [max(end - 60, 0) for end in ends]) == SloCount(19_700, 0, 0)


def test_in_an_outage_records_are_bad_after_a_second() -> None:
    ends = [100 * at for at in range(41)]
    done = [min(end, 2_000) for end in ends]
    # Half of the records of 20 s; the last second's are not due yet.
    assert counted(ends, done) == SloCount(2_000, 1_800, 0)


def test_a_backlog_stays_bad_and_is_counted_once() -> None:
    ends = [100 * at for at in range(41)]
    done = [*(min(end, 2_000) for end in ends[:31]), *ends[31:]]
    found = counted(ends, done)
    assert found.good + found.bad == 3_800
    assert 700 <= found.bad <= 900


def test_one_record_on_a_quiet_night_counts_once() -> None:
    ends = [7] * 50 + [8] * 50
    assert counted(ends, ends) == SloCount(1, 0, 0)
    assert counted(ends, [7] * 100) == SloCount(0, 1, 0)


def test_what_became_due_unobserved_is_neither_good_nor_bad() -> None:
    counter = SloCounter(LIMIT, gap=5.0)
    for at in range(10):
        counter.add(at * 1.0, at * 100, at * 100)
    # Due until now: the records up to 800.
    assert counter.add(60.0, 5_000, 5_000) == SloCount(0, 0, 4_200)
    assert counter.add(61.0, 5_100, 5_100) == SloCount()
    assert counter.add(62.0, 5_200, 5_200) == SloCount(100, 0, 0)


def test_a_shorter_log_begins_anew() -> None:
    counter = SloCounter(LIMIT)
    counter.add(0.0, 1_000, 1_000)
    assert counter.add(1.0, 5, 5) == SloCount()
    assert counter.add(2.0, 5, 5) == SloCount()
