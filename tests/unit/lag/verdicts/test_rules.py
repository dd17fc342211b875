"""Each rule at its edge."""

import math
from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.lag.verdicts.judge import heaviest
from stream_scorer.lag.verdicts.sample import LagSample, LagVerdict
from tests.support.lag.scripts import OWNER, RULES, Observer, healthy, later

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


def past_an_open_transaction(**changes: Any) -> LagSample:
    """Return a sample of a group that reads uncommitted records: it is past the stable offset."""
    return replace(healthy()[-1], stable=20_000, high=20_500, committed=20_400, **changes)


def test_a_group_of_uncommitted_records_can_stop_and_stall() -> None:
    for changes, expected in (
        ({"owner": "", "members": 0}, LagVerdict.STOPPED), ({"owner": OWNER}, LagVerdict.STALLED),
    ):  # fmt: skip
        first = past_an_open_transaction(**changes)
        series = [first, idle(first, **changes), idle(idle(first), **changes)]
        observer, verdict = observed(*series)
        assert verdict is expected
        found = observer.see(idle(series[-1], **changes))
        assert (found.verdict, found.to_stable, found.to_high) == (expected, 100, 100)


def test_a_group_at_the_log_s_end_waits_for_no_transaction() -> None:
    first = replace(past_an_open_transaction(), committed=20_500)
    for last in (first, past_an_open_transaction(readable=False)):
        observer, verdict = observed(last, idle(last, readable=last.readable))
        assert verdict is LagVerdict.OK
        found = observer.see(idle(idle(last), readable=last.readable))
        assert (found.to_stable, found.age, found.drain_seconds) == (0, 0.0, 0.0)


def test_the_age_in_a_hanging_transaction_is_that_of_its_records() -> None:
    # The group stands before markers, and the first record that waits is in the transaction.
    last = replace(healthy()[-1], high=20_000, stable=20_000, committed=19_990, readable=False)
    observer, _ = observed(last, idle(last, readable=False))
    for number in (1, 2, 3):
        last = later(
            last, time=last.time + (number + 1) * SECONDS, high=20_000 + 100 * number,
            stable=20_000, committed=19_990,
        )  # fmt: skip
        found = observer.see(last)
    first = observer.curve.append_time(20_000)
    assert first is not None
    assert found.age == pytest.approx(last.time - first.time)
    assert found.verdict is LagVerdict.HANGING


def test_nothing_drains_while_a_transaction_hangs() -> None:
    last = replace(healthy()[-1], stable=20_000, committed=20_000, high=20_500)
    observer, _ = observed(last, idle(last))
    found = observer.see(idle(idle(last)))
    assert (found.verdict, found.drain_seconds) == (LagVerdict.HANGING, math.inf)


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


def test_a_group_that_has_read_all_without_members_is_not_empty() -> None:
    series = [replace(each, members=0, owner="", committed=each.high) for each in healthy()]
    assert observed(*series)[1] is LagVerdict.OK
    assert observed(*series, idle(series[-1]))[1] is LagVerdict.EMPTY


def test_incidents_teach_no_patience_however_many_they_are() -> None:
    observer, last = Observer(), healthy()[-1]
    observer.see(last)
    for _ in range(3):
        for _ in range(int(RULES.pause_most / SECONDS) + 1):
            last = later(last, committed=last.committed)
            found = observer.see(last).verdict
        assert found is LagVerdict.STALLED
        last = later(last)
        observer.see(last)
    last = later(last, committed=last.committed)
    assert observer.see(last).verdict is LagVerdict.STALLED


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
