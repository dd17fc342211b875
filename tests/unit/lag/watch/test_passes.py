"""A pass reads only records on which a verdict depends, and forgets what is gone."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stream_scorer.lag.broker.looks import GroupLook, PartitionLook, Place
from stream_scorer.lag.broker.open_transactions import OpenTransaction
from stream_scorer.lag.broker.record_reader import FoundRecord
from stream_scorer.lag.verdicts.sample import LagRules, LagVerdict
from stream_scorer.lag.watch.passes import LagPasses
from tests.support.lag.fake_brokers import AT, ScriptedBrokers, passes


def verdicts(watch: LagPasses, brokers: ScriptedBrokers, count: int) -> list[LagVerdict]:
    found = []
    for _ in range(count):
        brokers.time += 10.0
        found.append(watch.run().judgements["g", AT].verdict)
    return found


def test_a_marker_at_the_end_is_read_once_and_stalls_nothing() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(101)
    brokers.group({AT: 100})
    brokers.records[AT, 100] = FoundRecord(None)
    watch = passes(brokers)
    assert verdicts(watch, brokers, 20)[1:] == [LagVerdict.OK] * 19
    assert [asked for asked in brokers.asked if asked == {AT: 100}] == [{AT: 100}]
    brokers.partition(103)
    brokers.records[AT, 100] = FoundRecord(101, 1_205.0)
    assert verdicts(watch, brokers, 2) == [LagVerdict.OK, LagVerdict.STALLED]


def test_aborted_transactions_at_the_end_stall_nothing() -> None:
    brokers = ScriptedBrokers()
    brokers.group({AT: 100})
    brokers.records[AT, 100] = FoundRecord(None)
    watch = passes(brokers)
    found = []
    for number in range(10):
        brokers.partition(101 + 2 * number)
        found += verdicts(watch, brokers, 1)
    assert found[1:] == [LagVerdict.OK] * 9


def test_a_record_after_the_stable_offset_is_not_readable() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(101)
    brokers.group({AT: 100})
    brokers.records[AT, 100] = FoundRecord(101, 1_000.0)
    assert set(verdicts(passes(brokers), brokers, 5)[1:]) == {LagVerdict.OK}


def test_open_transactions_are_read_for_groups_that_do() -> None:
    # Two groups, before and after the last stable offset, and a reader for each kind.
    committed, uncommitted = ScriptedBrokers(), ScriptedBrokers()
    committed.partition(500, stable=100)
    for name, at in (("g", 90), ("java", 400)):
        committed.group({AT: at}, name=name)
    committed.records[AT, 90] = FoundRecord(92, 1_000.0)
    uncommitted.records[AT, 400] = FoundRecord(None)
    watch = LagPasses(committed, committed, uncommitted, committed, LagRules())
    assert verdicts(watch, committed, 3)[1:] == [LagVerdict.STALLED] * 2
    java = watch.snapshot.judgements["java", AT]
    assert (java.verdict, java.to_stable, java.to_high) == (LagVerdict.OK, 0, 100)
    assert uncommitted.asked == [{AT: 400}]
    assert {AT: 400} not in committed.asked
    # Its absence is read again when the log has grown; this time there is one.
    committed.partition(600, stable=100)
    uncommitted.records[AT, 400] = FoundRecord(550, 1_050.0)
    verdicts(watch, committed, 2)
    java = watch.snapshot.judgements["java", AT]
    assert (java.verdict, java.to_stable) == (LagVerdict.STALLED, 200)


@pytest.mark.parametrize("hangs", [True, False])
def test_groups_of_two_kinds_share_no_records(*, hangs: bool) -> None:
    # One group reads a record of an open transaction; the other one comes to the same offset.
    committed, uncommitted = ScriptedBrokers(), ScriptedBrokers()
    committed.partition(489, stable=481)
    committed.group({AT: 480})
    committed.group({AT: 487}, name="java")
    committed.records[AT, 480] = FoundRecord(480, 1_000.0)
    uncommitted.records[AT, 487] = FoundRecord(488, 1_000.0)
    watch = LagPasses(committed, committed, uncommitted, committed, LagRules())
    verdicts(watch, committed, 1)
    committed.partition(500, stable=488 if hangs else 500)
    committed.group({AT: 487})
    committed.records[AT, 487] = FoundRecord(None)
    last = verdicts(watch, committed, 5)[-1]
    assert last is (LagVerdict.HANGING if hangs else LagVerdict.OK)


def test_a_silent_partition_leaves_time_for_the_other_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(monotonic=lambda: CLOCK[0])
    monkeypatch.setattr("stream_scorer.lag.watch.passes.time", clock)
    committed, uncommitted = _SilentBrokers(), ScriptedBrokers()
    committed.partition(50, at=("silent", 0))
    committed.group({("silent", 0): 10}, name="other")
    committed.partition(500, stable=100)
    committed.group({AT: 499})
    uncommitted.records[AT, 499] = FoundRecord(None)
    watch = LagPasses(committed, committed, uncommitted, committed, LagRules())
    assert verdicts(watch, committed, 4)[1:] == [LagVerdict.OK] * 3


def test_the_age_is_that_of_the_first_record() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(50)
    brokers.group({AT: 50})
    watch = passes(brokers)
    verdicts(watch, brokers, 2)
    brokers.partition(90)
    brokers.records[AT, 50] = FoundRecord(50, 1_023.0)
    verdicts(watch, brokers, 1)
    judgement = watch.snapshot.judgements["g", AT]
    assert judgement.age == pytest.approx(7.0)
    assert judgement.skew == pytest.approx(0.0)


def test_the_event_time_of_our_own_records_is_read_once() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(90)
    brokers.group({AT: 50})
    brokers.records[AT, 50] = FoundRecord(50, 990.0, b"a transaction")
    asked = []

    def event_time(at: Place, value: bytes | None) -> float | None:
        asked.append((at, value))
        return 400.0

    watch = LagPasses(brokers, brokers, brokers, brokers, LagRules(), event_time=event_time)
    verdicts(watch, brokers, 3)
    assert watch.snapshot.judgements["g", AT].event_age == pytest.approx(1_030.0 - 400.0)
    assert asked == [(AT, b"a transaction")]
    brokers.group({AT: 90})
    verdicts(watch, brokers, 1)
    assert watch.snapshot.judgements["g", AT].event_age is None


def test_silent_partitions_are_read_first() -> None:
    brokers = ScriptedBrokers()
    places = [("transactions", number) for number in range(6)]
    for number, at in enumerate(places):
        brokers.partition(1_000 * (number + 1), at=at)
    brokers.group(dict.fromkeys(places, 10))
    watch = passes(brokers, most=2)
    watch.run()
    (first, probe) = brokers.asked
    assert set(first) == set(places[-2:])
    assert len(probe) == 1
    brokers.asked.clear()
    brokers.time += 10
    brokers.group({at: 10 if at == places[0] else 500 for at in places})
    watch.run()
    assert places[0] in brokers.asked[0]


def test_two_groups_wait_at_different_offsets_of_a_partition() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 40})
    brokers.group({AT: 70}, name="other")
    brokers.records = {(AT, 40): FoundRecord(40, 900.0), (AT, 70): FoundRecord(70, 950.0)}
    found = passes(brokers).run().judgements
    assert {name: found[name, AT].age for name in ("g", "other")} == {"g": 100.0, "other": 50.0}


class _SilentBrokers(ScriptedBrokers):
    """One partition does not answer, and a call waits for it until its time is over."""

    def first_records(
        self, starts: Mapping[Place, int], seconds: float | None = None
    ) -> dict[Place, FoundRecord]:
        found = super().first_records(starts)
        if len(found) < len(starts):
            CLOCK[0] += 2.0 if seconds is None else seconds
        return found


CLOCK = [0.0]


def test_a_silent_partition_takes_no_time_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: CLOCK[0])
    monkeypatch.setattr("stream_scorer.lag.watch.passes.time", clock)
    silent, brokers = ("silent", 0), _SilentBrokers()
    brokers.partition(100)
    brokers.partition(900, at=silent)
    for number in range(50):
        brokers.group({AT: 40 + number, silent: 800 + number}, name=f"g{number}")
        brokers.records[AT, 40 + number] = FoundRecord(40 + number, 900.0)
    began = CLOCK[0]
    found = passes(brokers).run().judgements
    assert all(found[f"g{number}", AT].age == 100.0 for number in range(50))
    # The read of producers' clocks, too, has its own time.
    assert CLOCK[0] - began <= 2.0 + 2.0


def test_a_hanging_transaction_is_named() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(120, stable=100)
    brokers.group({AT: 100})
    brokers.open[AT] = OpenTransaction("payments-7", 4_711, 960.0, 900.0, (AT,))
    watch = passes(brokers)
    assert verdicts(watch, brokers, 3)[-1] is LagVerdict.HANGING
    assert "payments-7, producer 4711" in watch.snapshot.judgements["g", AT].reason
    assert watch.snapshot.transactions[AT].producer_id == 4_711
    brokers.open.clear()
    verdicts(watch, brokers, 1)
    assert "find-hanging" in watch.snapshot.judgements["g", AT].reason
    # Without the right to read the transactions, it may be that of a producer that lives.
    brokers.complete = False
    verdicts(watch, brokers, 1)
    reason = watch.snapshot.judgements["g", AT].reason
    assert "; its producer is not known: __transaction_state was not read" in reason


def test_a_group_that_a_command_reads_is_not_stopped() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 40})
    brokers.records[AT, 40] = FoundRecord(40, 900.0)
    brokers.groups["g"] = replace(brokers.groups["g"], members=0, owners={})
    watch = LagPasses(brokers, brokers, brokers, brokers, LagRules(), on_demand={"g"})
    assert set(verdicts(watch, brokers, 4)[1:]) == {LagVerdict.OK}
    assert verdicts(passes(brokers), brokers, 4)[-1] is LagVerdict.STOPPED


def test_no_answer_makes_everything_unknown() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 100})
    watch = passes(brokers)
    verdicts(watch, brokers, 3)
    answered = watch.snapshot.answered
    brokers.error = "broker b:1: timed out"
    assert verdicts(watch, brokers, 2) == [LagVerdict.UNKNOWN] * 2
    assert watch.snapshot.answered == answered
    brokers.error = ""
    assert verdicts(watch, brokers, 1) == [LagVerdict.OK]


def test_only_a_partition_without_a_leader_is_unknown() -> None:
    brokers = ScriptedBrokers()
    other = ("transactions", 1)
    brokers.partition(100)
    brokers.partition(100, at=other)
    brokers.group({AT: 100, other: 100})
    watch = passes(brokers)
    verdicts(watch, brokers, 3)
    brokers.partitions[AT] = PartitionLook(error="the partition has no leader")
    assert verdicts(watch, brokers, 1) == [LagVerdict.UNKNOWN]
    assert watch.snapshot.judgements["g", other].verdict is LagVerdict.OK
    assert watch.snapshot.worst() == {"g": LagVerdict.UNKNOWN}


def test_a_partition_that_is_made_again_has_a_curve_of_its_own() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 100})
    watch = passes(brokers)
    verdicts(watch, brokers, 3)
    del brokers.partitions[AT]
    brokers.group({})
    brokers.time += 10.0
    watch.run()
    # More records than before: its end does not tell.
    brokers.partition(500)
    brokers.group({AT: 50})
    brokers.records[AT, 50] = FoundRecord(50, 1_035.0)
    verdicts(watch, brokers, 2)
    assert watch.snapshot.judgements["g", AT].age == pytest.approx(brokers.time - 1_035.0)


def test_a_group_that_is_gone_leaves_nothing() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 100})
    watch = passes(brokers)
    verdicts(watch, brokers, 2)
    brokers.groups.clear()
    assert watch.run().judgements == {}


def test_a_named_group_without_offsets_and_members_is_unknown() -> None:
    brokers = ScriptedBrokers()
    brokers.groups["g"] = GroupLook()
    assert passes(brokers).run().worst() == {"g": LagVerdict.UNKNOWN}


def test_a_group_that_never_had_members_is_not_empty() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.groups["g"] = GroupLook(0, {}, frozenset({AT}), {AT: 100}, memberless=True)
    assert verdicts(passes(brokers), brokers, 5)[1:] == [LagVerdict.OK] * 4


def test_an_added_partition_is_given_time() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 100})
    watch = passes(brokers)
    verdicts(watch, brokers, 2)
    added = ("transactions", 1)
    brokers.partition(30, at=added)
    brokers.groups["g"] = GroupLook(1, {AT: "scorer-0"}, frozenset({AT, added}), {AT: 100})
    verdicts(watch, brokers, 5)
    assert watch.snapshot.judgements["g", added].verdict is LagVerdict.OK


def test_a_producer_s_clock_ahead_shows_as_skew_without_lag() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 100})
    watch = passes(brokers)
    verdicts(watch, brokers, 1)
    brokers.partition(200)
    brokers.group({AT: 200})
    brokers.records[AT, 197] = FoundRecord(197, 1_140.0)
    verdicts(watch, brokers, 1)
    assert watch.snapshot.skews == {"transactions": pytest.approx(120.0)}


def test_a_known_skew_is_taken_off_a_record_s_time() -> None:
    brokers = ScriptedBrokers()
    brokers.partition(100)
    brokers.group({AT: 100})
    watch = passes(brokers)
    verdicts(watch, brokers, 1)
    brokers.partition(200)
    brokers.group({AT: 200})
    brokers.records[AT, 197] = FoundRecord(197, 1_140.0)
    verdicts(watch, brokers, 1)
    # 120 s ahead: this one was appended 6 s before the next look.
    brokers.partition(300)
    brokers.records[AT, 200] = FoundRecord(200, 1_144.0)
    verdicts(watch, brokers, 1)
    assert watch.snapshot.judgements["g", AT].age == pytest.approx(6.0)


def test_connections_are_closed() -> None:
    brokers = ScriptedBrokers()
    passes(brokers).close()
    assert brokers.closed == 4
