"""Groups that read: whether they keep up, and when their lag is gone."""

import math
from dataclasses import replace
from itertools import islice

import pytest

from stream_scorer.lag.verdicts.sample import LagVerdict
from tests.support.lag.scripts import HEALTHY, PER, RULES, STATES, Observer, healthy, later


def test_a_constant_lag_is_slow_and_a_shrinking_one_is_not() -> None:
    constant = [replace(each, committed=(each.high or 0) - 8_000) for each in healthy(8)]
    observer = Observer()
    assert [observer.see(each).verdict for each in constant][-1] is LagVerdict.SLOW
    shrinking = [
        replace(each, committed=(each.high or 0) - 8_000 + at * 200)
        for at, each in enumerate(healthy(8))
    ]
    observer = Observer()
    assert [observer.see(each).verdict for each in shrinking][-1] is LagVerdict.OK
    found = observer.see(later(shrinking[-1], committed=(shrinking[-1].committed or 0) + PER + 200))
    assert found.drain_seconds == pytest.approx(6_400 / 20, rel=0.05)


def test_a_lag_that_shrinks_by_a_fifth_now_and_then_is_not_slow() -> None:
    observer = Observer()
    lags = (8_000, 8_000, 7_600, 7_600, 7_200, 7_200, 6_800, 6_800, 6_400, 6_400)
    found = [
        observer.see(replace(each, committed=(each.high or 0) - lag)).verdict
        for each, lag in zip(healthy(len(lags)), lags, strict=True)
    ]
    assert set(found[1:]) == {LagVerdict.OK}


def test_the_time_to_drain_of_a_group_that_keeps_up_is_not_known() -> None:
    # 100 records are in its hands at each look, now some more and now some less.
    observer, found = Observer(), []
    for number, sample in enumerate(healthy(12)):
        found.append(observer.see(replace(sample, committed=(sample.committed or 0) - number % 4)))
    assert {(each.verdict, each.drain_seconds) for each in found[1:]} == {(LagVerdict.OK, None)}


def test_a_burst_that_still_arrives_has_no_time_to_drain() -> None:
    observer, last = Observer(), healthy()[-1]
    for sample in healthy():
        observer.see(sample)
    high = (last.high or 0) + 30_000
    found = observer.see(later(last, high=high, stable=high, committed=(last.high or 0) + PER))
    assert (found.verdict, found.drain_seconds) == (LagVerdict.OK, None)


def test_a_lag_that_does_not_shrink_never_drains() -> None:
    observer = Observer()
    for each in healthy(8):
        found = observer.see(replace(each, committed=(each.high or 0) - 8_000))
    assert (found.verdict, found.drain_seconds) == (LagVerdict.SLOW, math.inf)


def test_a_burst_of_which_a_part_was_seen_first_is_not_slow() -> None:
    observer, last = Observer(), healthy()[-1]
    for sample in healthy():
        observer.see(sample)
    found = []
    # Half of the burst in the first look; then 400 records are read for 100 that arrive.
    for much in (30_000, 30_000, *[PER // 2] * 2 * RULES.window):
        high = (last.high or 0) + much
        committed = (last.committed or 0) + 2 * PER
        last = later(last, high=high, stable=high, committed=min(committed, high))
        found.append(observer.see(last).verdict)
    assert set(found) == {LagVerdict.OK}


def test_a_look_that_took_long_makes_no_group_slow() -> None:
    observer, last = Observer(), healthy()[-1]
    for sample in healthy():
        observer.see(sample)
    found = []
    for number in range(6):
        # Up to 8 of 10 s lie between the committed offset and the log's end.
        late = (4.0, 8.0, 0.0)[number % 3]
        last = later(last, spread=late)
        last = replace(last, committed=(last.high or 0) - 100 - int(late * 200))
        found.append(observer.see(last).verdict)
    assert set(found) == {LagVerdict.OK}


def test_a_slow_group_that_catches_up_is_ok_again() -> None:
    state = next(each for each in STATES if each.name == "slow")
    observer = Observer()
    series = list(islice(state.series(), HEALTHY + 6))
    for sample in series:
        verdict = observer.see(sample).verdict
    assert verdict is LagVerdict.SLOW
    last, found = series[-1], []
    for _ in range(3):
        last = later(last, committed=(last.committed or 0) + 2 * PER)
        found.append(observer.see(last).verdict)
    assert found[-1] is LagVerdict.OK
