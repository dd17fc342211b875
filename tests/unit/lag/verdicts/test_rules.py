"""Each rule at its edge."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from stream_scorer.lag.verdicts.append_times import LogEndCurve
from stream_scorer.lag.verdicts.history import LagHistory
from stream_scorer.lag.verdicts.judge import heaviest, judge
from stream_scorer.lag.verdicts.sample import LagSample, LagVerdict
from tests.support.lag.scripts import HEALTHY, OWNER, PER, RULES, STATES, Observer, healthy, later

SECONDS = RULES.interval


def observed(*samples: LagSample) -> tuple[Observer, LagVerdict]:
    observer = Observer()
    for sample in samples[:-1]:
        observer.see(sample)
    return observer, observer.see(samples[-1]).verdict


def idle(sample: LagSample, **changes: object) -> LagSample:
    still: dict[str, object] = {
        "time": sample.time + SECONDS, "high": sample.high, "stable": sample.stable,
        "committed": sample.committed,
    }  # fmt: skip
    return later(sample, **still | changes)


def test_markers_and_aborted_records_are_not_lag() -> None:
    sample = replace(healthy()[-1], committed=20_000, high=20_001, stable=20_001, readable=False)
    series = [replace(sample, time=sample.time + at * SECONDS) for at in range(20)]
    observer, verdict = observed(*series)
    assert verdict is LagVerdict.OK
    found = observer.see(idle(series[-1]))
    assert (found.to_stable, found.to_high, found.drain_seconds) == (0, 1, 0.0)


def test_the_first_record_of_an_idle_partition_stalls_nothing() -> None:
    sample = replace(healthy()[-1], committed=20_000, high=20_000, stable=20_000)
    series = [replace(sample, time=sample.time + at * SECONDS) for at in range(10)]
    series.append(idle(series[-1], high=20_001, stable=20_001))
    observer, verdict = observed(*series)
    assert verdict is LagVerdict.OK
    assert observer.see(idle(series[-1])).verdict is LagVerdict.STALLED


def test_a_group_that_rarely_commits_is_given_its_time() -> None:
    observer, last = Observer(), healthy()[-1]
    found = [observer.see(last).verdict]
    for number in range(1, 100):
        commits = number % 3 == 0
        last = later(last, **({} if commits else {"committed": last.committed}))
        found.append(observer.see(last).verdict)
    # Two pauses teach the cadence; until then they look like any other pause.
    assert set(found[8:]) == {LagVerdict.OK}
    for _ in range(5):
        last = later(last, committed=last.committed)
        verdict = observer.see(last).verdict
    assert verdict is LagVerdict.STALLED


def test_one_incident_teaches_no_patience() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    for _ in range(5):
        last = later(last, committed=last.committed)
        observer.see(last)
    last = later(last)
    observer.see(last)
    for _ in range(2):
        last = later(last, committed=last.committed)
        verdict = observer.see(last).verdict
    assert verdict is LagVerdict.STALLED


def test_long_upstream_transactions_are_given_their_time() -> None:
    observer, last = Observer(), healthy()[-1]
    found = []
    for number in range(60):
        # One transaction of 40 s after the other.
        stable = last.high if number % 4 == 0 else last.stable
        last = later(last, stable=stable, committed=stable)
        found.append(observer.see(last).verdict)
    assert set(found[12:]) == {LagVerdict.OK}


def test_a_group_past_the_stable_offset_does_not_hang() -> None:
    observer, last = Observer(), healthy()[-1]
    stable = last.stable
    for _ in range(5):
        last = later(last, stable=stable)
        verdict = observer.see(last).verdict
    assert verdict is LagVerdict.OK


def test_a_stopped_group_is_stopped_although_a_transaction_hangs() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    for _ in range(3):
        last = later(last, stable=last.stable, committed=last.committed, members=0, owner="")
        verdict = observer.see(last).verdict
    assert verdict is LagVerdict.STOPPED


def test_without_an_owner_it_is_stopped_unless_it_is_new() -> None:
    series = [later(each, owner="", committed=9_000) for each in healthy(4)]
    _, verdict = observed(*series)
    assert verdict is LagVerdict.STOPPED
    observer = Observer(added=True)
    assert [observer.see(each).verdict for each in series][-1] is LagVerdict.OK
    late = replace(series[-1], time=series[-1].time + RULES.adopt_seconds)
    assert observer.see(late).verdict is LagVerdict.STOPPED


def test_an_outage_of_the_broker_teaches_and_accuses_nothing() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    last = later(last)
    observer.see(last)
    for _ in range(30):
        last = replace(last, time=last.time + SECONDS, error="broker: timed out")
        assert observer.see(last).verdict is LagVerdict.UNKNOWN
    last = replace(last, time=last.time + SECONDS, error="", high=(last.high or 0) + 500,
                   stable=(last.stable or 0) + 500)  # fmt: skip
    assert observer.see(last).verdict is LagVerdict.OK
    assert observer.see(idle(last)).verdict is LagVerdict.STALLED


def test_unknown_members_leave_the_offsets() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    found = observer.see(later(last, doubt="its coordinator does not answer", members=0, owner=""))
    assert (found.verdict, found.to_high) == (LagVerdict.UNKNOWN, 100)
    assert found.reason == "its coordinator does not answer"
    lost = observer.see(later(last, error="broker 2 does not answer"))
    assert (lost.verdict, lost.to_high, lost.age) == (LagVerdict.UNKNOWN, None, None)


def test_a_group_that_reads_without_members_is_not_stopped() -> None:
    _, verdict = observed(*[replace(each, members=0, owner="") for each in healthy()])
    assert verdict is LagVerdict.OK


def waiting(**changes: Any) -> list[LagSample]:
    return [replace(each, members=0, owner="", committed=9_000, **changes) for each in healthy()]


def all_read(**changes: Any) -> list[LagSample]:
    first = waiting(**changes)[0]
    return [replace(first, committed=first.high, time=10.0 * at) for at in range(5)]


def test_a_group_that_never_had_members_is_not_empty() -> None:
    assert observed(*all_read(memberless=True))[1] is LagVerdict.OK
    assert observed(*all_read())[1] is LagVerdict.EMPTY
    # As the profiler: when it is stopped, records wait.
    assert observed(*waiting(memberless=True))[1] is LagVerdict.STOPPED


def test_a_group_that_reads_on_demand_is_not_stopped() -> None:
    samples = waiting(memberless=True, on_demand=True)
    observer, verdict = observed(*samples)
    assert verdict is LagVerdict.OK
    assert "someone runs it" in observer.see(later(samples[-1], committed=9_000)).reason


def test_a_command_that_reads_on_demand_loses_nothing() -> None:
    # Letters that stay, such as duplicates, hold its offset back until retention deletes them.
    samples = waiting(memberless=True, on_demand=True, start=9_500)
    observer, verdict = observed(*samples)
    assert verdict is LagVerdict.OK
    assert observer.see(later(samples[-1], committed=9_000)).lost == 500


def test_a_slow_group_without_members_is_slow() -> None:
    series = [
        replace(each, members=0, owner="", memberless=True, committed=(each.high or 0) - 8_000)
        for each in healthy(8)
    ]
    assert observed(*series)[1] is LagVerdict.SLOW


def test_a_group_that_never_committed_is_judged_alike() -> None:
    without = [replace(each, committed=None) for each in healthy(3)]
    assert observed(*without)[1] is LagVerdict.STALLED
    nobody = [replace(each, members=0, owner="") for each in without]
    assert observed(*nobody)[1] is LagVerdict.STOPPED


def test_a_constant_lag_is_slow_and_a_shrinking_one_is_not() -> None:
    constant = [replace(each, committed=(each.high or 0) - 8_000) for each in healthy(8)]
    assert observed(*constant)[1] is LagVerdict.SLOW
    shrinking = [
        replace(each, committed=(each.high or 0) - 8_000 + at * 200)
        for at, each in enumerate(healthy(8))
    ]
    observer, verdict = observed(*shrinking)
    assert verdict is LagVerdict.OK
    found = observer.see(later(shrinking[-1], committed=(shrinking[-1].committed or 0) + PER + 200))
    assert found.drain_seconds == pytest.approx(6_400 / 20, rel=0.05)


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


def test_lost_records_count_once() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    at = last.committed or 0
    for start in (at + 100, at + 100, at + 150):
        last = later(last, start=start, committed=at)
        found = observer.see(last)
    assert (found.verdict, found.lost) == (LagVerdict.LOST, 150)
    for _ in range(RULES.window):
        last = later(last)
        found = observer.see(last)
    assert (found.verdict, found.lost) == (LagVerdict.OK, 150)


@pytest.mark.parametrize(
    ("changes", "then"),
    [({}, LagVerdict.STALLED), ({"members": 0, "owner": ""}, LagVerdict.STOPPED)],
)
def test_a_loss_is_reported_for_a_minute(changes: dict[str, object], then: LagVerdict) -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    at, found = last.committed or 0, []
    for number in range(3 * RULES.window):
        # Retention deletes once more when the first loss is nearly over.
        start = at + (100 if number < RULES.window - 1 else 150)
        last = later(last, start=start, committed=at, **changes)
        found.append(observer.see(last).verdict)
    lost = 2 * RULES.window - 1
    assert found == [LagVerdict.LOST] * lost + [then] * (len(found) - lost)


def test_a_loss_in_a_topic_that_was_made_again_is_reported() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    last = later(last, start=last.high, committed=last.committed)
    lost = observer.see(last).lost
    for _ in range(RULES.window + 1):
        last = later(last, high=50, stable=50, start=0, committed=50)
        found = observer.see(last)
    assert (found.verdict, found.lost) == (LagVerdict.OK, lost)
    found = observer.see(later(last, high=300, stable=300, start=120, committed=50))
    assert (found.verdict, found.lost) == (LagVerdict.LOST, lost + 70)


def test_a_topic_that_was_made_again_is_rewound() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    found = observer.see(replace(last, time=last.time + SECONDS, high=5, stable=5, start=0))
    assert found.verdict is LagVerdict.REWOUND
    assert "made again" in found.reason


def test_a_rewind_is_reported_for_the_window() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    last = later(last, committed=1_000)
    found = [observer.see(last).verdict]
    for _ in range(RULES.window + 1):
        # A fast group has read everything again at the next look.
        last = later(last)
        found.append(observer.see(last).verdict)
    assert found == [LagVerdict.REWOUND] * RULES.window + [LagVerdict.OK] * 2


def test_a_rewind_is_reported_until_it_was_scraped() -> None:
    # Six intervals of a second would be over before Prometheus comes.
    history = LagHistory(replace(RULES, interval=1.0), LogEndCurve())
    offset, found = 1_000, []
    for second in range(70):
        offset = 0 if second == 5 else offset + 10
        history.add(LagSample(float(second), 0, 10_000, 10_000, offset, 1, OWNER))
        found.append(judge(history).verdict)
    assert found[5:65] == [LagVerdict.REWOUND] * 60
    assert LagVerdict.REWOUND not in found[65:]


def test_a_stalled_partition_names_its_owner() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    for _ in range(2):
        last = later(last, committed=last.committed)
        found = observer.see(last)
    assert OWNER in found.reason
    assert found.owner == OWNER


def test_the_heaviest_verdict_is_the_group_s() -> None:
    assert heaviest([LagVerdict.OK, LagVerdict.SLOW, LagVerdict.EMPTY]) is LagVerdict.SLOW
    assert heaviest([]) is LagVerdict.UNKNOWN


def test_deleted_records_do_not_wait() -> None:
    sample = LagSample(0.0, 100, 140, 150, 40, 1, OWNER)
    assert (sample.first_waiting, sample.to_stable, sample.to_high) == (100, 40, 50)
