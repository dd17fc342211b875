"""The count of the service level objective, with scripted offsets."""

import random
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import UnavailableError
from stream_scorer.lag.broker.looks import PartitionLook, Place
from stream_scorer.lag.broker.record_reader import FoundRecord
from stream_scorer.lag.watch.slo_watch import SloBrokers, SloWatch
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import Event, LagFailed, SloCounted
from tests.support.effort import examples
from tests.support.kafka.mock_broker import mock_broker

AT: Place = ("transactions", 0)


class ScriptedOffsets:
    """One partition, as the test sets it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.end = 0
        self.done = 0
        self.stable: int | None = None
        self.record: FoundRecord | None = None
        self.down = False
        self.error = ""
        self.reads = 0

    def look(self) -> tuple[Mapping[Place, PartitionLook], Mapping[Place, int]]:
        if self.down:
            raise UnavailableError("broker: timed out", "start it")
        stable = self.end if self.stable is None else self.stable
        return {AT: PartitionLook(0, stable, self.end, self.error)}, {AT: self.done}

    def first_records(self, starts: Mapping[Place, int]) -> dict[Place, FoundRecord]:
        self.reads += len(starts)
        return dict.fromkeys(starts, self.record) if self.record else {}

    def close(self) -> None:
        self.down = True


class Watch:
    def __init__(
        self, limit: float = 1.0, every: float = 0.5, offsets: ScriptedOffsets | None = None
    ) -> None:
        self.every = every
        self.offsets = offsets or ScriptedOffsets()
        self.heard: list[Event] = []
        self.watch = SloWatch(
            self.offsets, "g", "transactions", self.heard.append, limit, every,
            lambda: self.offsets.time,
        )  # fmt: skip

    def look(self, end: int, done: int) -> None:
        self.offsets.end, self.offsets.done = end, done
        with suppress(UnavailableError):
            self.watch.count()
        self.offsets.time += self.every

    @property
    def counts(self) -> tuple[int, int, int]:
        events = [each for each in self.heard if isinstance(each, SloCounted)]
        return (
            sum(each.good for each in events),
            sum(each.bad for each in events),
            sum(each.unmeasured for each in events),
        )


def last_of(watch: Watch) -> SloCounted:
    """Return the last count; its time has the error of two readings of the machine's clock."""
    last = watch.heard[-1]
    assert isinstance(last, SloCounted)
    return replace(last, time=round(last.time, 3))


def test_a_stop_of_all_scorers_counts_during_it() -> None:
    watch = Watch()
    for step in range(20):
        watch.look(step * 100, step * 100)
    assert watch.counts == (1_600, 0, 0)
    for step in range(20, 27):
        watch.look(step * 100, 1_900)
    # The records of the stop's first two seconds are due by now.
    assert watch.counts == (1_900, 400, 0)
    assert last_of(watch) == SloCounted("g", "transactions", 0, 100, 0, 13.0)


def test_a_marker_at_the_end_is_no_late_record() -> None:
    watch = Watch()
    watch.offsets.record = FoundRecord(None)
    watch.look(100, 100)
    for _ in range(20):
        watch.look(111, 110)
    assert watch.counts == (11, 0, 0)
    # The absence of a record is asked for once.
    assert watch.offsets.reads == 1


def test_a_record_that_waits_is_late() -> None:
    watch = Watch()
    watch.offsets.record = FoundRecord(110, 1.0)
    watch.look(100, 100)
    for _ in range(20):
        watch.look(111, 110)
    assert watch.counts == (10, 1, 0)


class RareTransactions(ScriptedOffsets):
    """Transactions of one record, each with a marker; the group commits the record's offset + 1.

    Attributes:
        begins: When each was committed, ascending; its record and marker are there at once.
        delay: Seconds until its record is decided.
    """

    def __init__(self, begins: Sequence[float], delay: float) -> None:
        super().__init__()
        self.begins, self.delay = begins, delay

    def look(self) -> tuple[Mapping[Place, PartitionLook], Mapping[Place, int]]:
        decided = bisect_right(self.begins, self.time - self.delay)
        self.end, self.done = 2 * bisect_right(self.begins, self.time), max(2 * decided - 1, 0)
        return super().look()

    def first_records(self, starts: Mapping[Place, int]) -> dict[Place, FoundRecord]:
        self.reads += len(starts)
        even = {at: offset + offset % 2 for at, offset in starts.items()}
        return {at: FoundRecord(each if each < self.end else None) for at, each in even.items()}


@settings(max_examples=examples(50))
@given(st.integers(0, 10**6), st.floats(0.0, 0.88), st.sampled_from((0.5, 1.0, 2.0, 8.0)))
def test_rare_transactions_in_time_are_good(seed: int, delay: float, pause: float) -> None:
    assert due_of(seed, delay, pause)[1:] == (0, 0)


@settings(max_examples=examples(50))
@given(st.integers(0, 10**6), st.floats(1.5, 4.0), st.sampled_from((0.5, 1.0, 2.0, 8.0)))
def test_rare_transactions_too_late_are_bad(seed: int, delay: float, pause: float) -> None:
    assert due_of(seed, delay, pause)[::2] == (0, 0)


def due_of(seed: int, delay: float, pause: float) -> tuple[int, int, int]:
    source = random.Random(seed)  # noqa: S311 not for secrets
    gaps = [source.uniform(0.6 * pause, 1.4 * pause) for _ in range(40)]
    offsets = RareTransactions(list(accumulate(gaps, initial=1.0)), delay)
    watch = Watch(offsets=offsets)
    end = offsets.begins[-1] + 4.0
    while offsets.time < end:
        watch.watch.count()
        offsets.time += source.uniform(0.445, 0.455)
    assert sum(watch.counts) == 2 * len(offsets.begins)
    return watch.counts


def test_what_a_group_stands_before_is_read_once() -> None:
    watch = Watch()
    watch.offsets.record = FoundRecord(110, 1.0)
    watch.look(100, 100)
    for _ in range(20):
        watch.look(111, 109)
    assert watch.counts == (10, 1, 0)
    assert watch.offsets.reads == 1


def test_a_group_that_moves_far_is_not_asked_for_records() -> None:
    watch = Watch()
    watch.offsets.record = FoundRecord(None)
    for step in range(20):
        watch.look(step * 200 + 50, step * 200)
    assert watch.offsets.reads == 0
    for step in range(20):
        watch.look(5_000 + step * 80 + 50, 5_000 + step * 80)
    assert watch.offsets.reads == 19


def test_looks_are_evenly_spaced() -> None:
    watch = Watch(every=0.3)
    began: list[float] = []

    def look() -> tuple[Mapping[Place, PartitionLook], Mapping[Place, int]]:
        began.append(time.monotonic())
        time.sleep(0.2)
        return {AT: PartitionLook(0, 0, 0)}, {AT: 0}

    watch.offsets.look = look  # type: ignore[method-assign]
    watch.watch.start()
    deadline = time.monotonic() + 60
    while len(began) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.watch.close()
    assert min(after - before for before, after in pairwise(began)) < 0.45


def test_records_of_a_hanging_transaction_are_late() -> None:
    watch = Watch()
    watch.look(100, 100)
    watch.offsets.stable = 100
    for _ in range(10):
        watch.look(140, 100)
    assert watch.counts == (0, 40, 0)


def test_an_outage_of_the_brokers_is_unmeasured() -> None:
    watch = Watch()
    for step in range(10):
        watch.look(step * 100, step * 100)
    watch.offsets.down = True
    for _ in range(20):
        watch.look(1_000, 1_000)
    watch.offsets.down = False
    for _ in range(2):
        watch.look(3_000, 3_000)
    good, bad, unmeasured = watch.counts
    assert (good, bad) == (700, 0)
    assert unmeasured == 3_000 - 700


def test_rare_looks_are_no_gap() -> None:
    watch = Watch(limit=10.0, every=10.0)
    for step in range(10):
        watch.look(step * 100, step * 100)
    assert watch.counts == (700, 0, 0)
    watch.offsets.time += 30.0
    for _ in range(2):
        watch.look(2_000, 2_000)
    assert watch.counts == (800, 0, 1_200)


def test_a_look_without_numbers_does_not_move_the_time() -> None:
    # The time's alert would not see that nothing is counted.
    watch = Watch()
    watch.look(0, 0)
    watch.look(100, 100)
    before = list(watch.heard)
    watch.offsets.error = "broker 1 does not answer"
    for _ in range(5):
        watch.look(200, 200)
    assert watch.heard == before
    watch.offsets.error = ""
    for _ in range(2):
        watch.look(200, 200)
    assert last_of(watch) == SloCounted("g", "transactions", 166, 0, 0, 4.0)


def test_an_error_of_one_look_does_not_end_the_count() -> None:
    watch = Watch()
    watch.offsets.look = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    watch.watch.start()
    deadline = time.monotonic() + 60
    while len(watch.heard) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.watch.close()
    failed = [each for each in watch.heard if isinstance(each, LagFailed)]
    assert len(failed) >= 2
    assert "ZeroDivisionError" in failed[0].detail


@pytest.mark.parametrize(
    ("down", "error", "reason"),
    [
        (True, "", "broker: timed out — start it"),
        (False, "the partition has no leader", "topic transactions: the partition has no leader"),
    ],
)
def test_why_nothing_is_counted_is_reported(*, down: bool, error: str, reason: str) -> None:
    # The page on the absence of a count leads to this line.
    watch = Watch(every=0.01)
    watch.offsets.down, watch.offsets.error = down, error
    watch.watch.start()
    deadline = time.monotonic() + 60
    while not (failed := [each for each in watch.heard if isinstance(each, LagFailed)]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.watch.close()
    assert failed[0].what == "late decisions"
    assert failed[0].detail.startswith(f"late decisions: {reason}")


def test_a_topic_that_does_not_exist_is_reported() -> None:
    # Without this, nothing would be late in a topic whose name is wrong, and nothing would page.
    heard: list[Event] = []
    with mock_broker() as address:
        brokers = SloBrokers(Settings(kafka=Kafka(bootstrap=address, group="g")))
        with SloWatch(brokers, "g", brokers.topic, heard.append, 1.0, 0.05).start():
            deadline = time.monotonic() + 60
            while len(heard) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert [each for each in heard if isinstance(each, SloCounted)] == heard[:1]
    failed = heard[1]
    assert isinstance(failed, LagFailed)
    assert failed.what == "late decisions"
    assert failed.detail.startswith(
        f"late decisions: topic transactions: does not exist on {address} — create it"
    )


def test_a_record_that_cannot_be_read_delays_no_look() -> None:
    with mock_broker() as address:
        settings = Settings(kafka=Kafka(bootstrap=address, group="g"))
        with SloBrokers(settings) as brokers:
            began = time.monotonic()
            assert not brokers.first_records({("absent", 0): 0})
            assert time.monotonic() - began < settings.lag.slo_seconds


def test_it_reports_before_the_first_record_and_closes() -> None:
    watch = Watch()
    watch.watch.start().close()
    assert watch.heard[0] == SloCounted("g", "transactions", 0, 0, 0, 0.0)
    assert watch.offsets.down
