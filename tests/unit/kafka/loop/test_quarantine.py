"""The loop quarantines records for which the computation fails, and pauses for other failures."""

import threading
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.loop.quarantine import Quarantine
from stream_scorer.kafka.loop.work_interface import NO_ROWS, LoopLimits, Result, Stages
from stream_scorer.kafka.reading.blamed_failures import MOST_RECORDS, blames_records, kind_of
from stream_scorer.kafka.reading.replay import Replays
from stream_scorer.ports import BytesColumn, Paused, RawRecords
from stream_scorer.telemetry import (
    BatchAborted,
    BatchCommitted,
    ComputationHung,
    ComputationOver,
    DependencyUnavailable,
    Event,
    RecordQuarantined,
    ReplayLeftOut,
)
from tests.support.kafka.fake_broker import Clock
from tests.support.kafka.fake_cluster import ABORT
from tests.unit.kafka.loop.test_transaction import Adding, FakeSource, Scene


def records(count: int) -> RawRecords:
    offsets = np.arange(count)
    return RawRecords(
        BytesColumn.of([b"v"] * count), BytesColumn.nulls(count), None,
        np.zeros(count, np.int32), offsets, offsets,
    )  # fmt: skip


class Failing(Adding):
    """Work that fails for some offsets, and for a group of offsets only if all of them are there.

    Args:
        bad: Offsets for which it fails.
        together: Offsets for which it fails if all of them are in the batch.
        error: What it raises.
    """

    def __init__(
        self, bad: set[int], together: set[int] | None = None,
        error: Callable[[], BaseException] = lambda: ValueError("poison"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.bad, self.together, self.error = bad, together or set(), error
        self.trials = 0

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[list[int]]:
        self.trials += 1
        read = [offset for row, offset in enumerate(raw.offset.tolist()) if row not in quarantined]
        if self.bad & set(read) or (self.together and self.together <= set(read)):
            raise self.error()
        return super().compute(raw, stages)


def quarantine_of(work: Failing) -> Quarantine[list[int]]:
    return Quarantine(work.compute, work.undo, lambda: True)


def computed(work: Failing, count: int) -> Mapping[int, str]:
    """Return the quarantined offsets of a batch; assert that trials do not change the state."""
    batch = records(count)
    with pytest.raises(ValueError, match="poison") as first:
        work.compute(batch, Stages())
    result, rejected = quarantine_of(work).compute(batch, Stages(), first.value)
    assert work.state == result.delta == list(range(count))
    return rejected


@pytest.mark.parametrize("count", [1, 2, 3, 64, 1_000])
def test_the_one_record_is_found_wherever_it_is(count: int) -> None:
    for bad in {0, count // 2, count - 1}:
        work = Failing({bad})
        assert list(computed(work, count)) == [bad]
        # A repetition, a search, two confirmations, and the batch without the record.
        assert work.trials <= 5 + int(np.ceil(np.log2(max(count, 1)))) + 1


def test_several_are_found_one_after_the_other() -> None:
    assert sorted(computed(Failing({3, 4, 90}), 100)) == [3, 4, 90]
    assert len(computed(Failing(set(range(0, 80, 10))), 100)) == MOST_RECORDS


def test_of_records_that_fail_together_the_last_is_taken_out() -> None:
    assert list(computed(Failing(set(), together={3, 60}), 100)) == [60]


def test_the_report_of_a_failure_contains_no_record_value() -> None:
    (why,) = computed(Failing({7}), 10).values()
    assert why.startswith("ValueError at ")
    assert "poison" not in why


def test_more_than_eight_of_a_batch_pause_it_and_none_is_lost() -> None:
    work = Failing(set(range(MOST_RECORDS + 1)))
    with pytest.raises(Paused, match="more than 8 records fail") as paused:
        quarantine_of(work).compute(records(50), Stages(), _raised(work))
    assert paused.value.dependency == "computation"
    assert work.state == []


def test_eight_in_a_row_without_one_that_passes_pause_it_too() -> None:
    work = Failing(set(range(100)))
    quarantine = quarantine_of(work)
    for _ in range(MOST_RECORDS):
        _, rejected = quarantine.compute(records(1), Stages(), _raised(work))
        work.state.clear()
        quarantine.passed(1, len(rejected))
    with pytest.raises(Paused, match="more than 8"):
        quarantine.compute(records(1), Stages(), _raised(work))
    quarantine.passed(1, 0)
    assert list(quarantine.compute(records(1), Stages(), _raised(work))[1]) == [0]


def _failure(work: Failing) -> Exception:
    """Return the failure of nine records, with its place."""
    with pytest.raises(ValueError, match=r".") as raised:
        work.compute(records(9), Stages())
    return raised.value


def _raised(work: Failing) -> Exception:
    error = work.error()
    assert isinstance(error, Exception)
    return error


def test_a_failure_that_does_not_repeat_costs_no_record() -> None:
    work = Failing({3})
    first = _raised(work)
    work.bad = set()
    result, rejected = quarantine_of(work).compute(records(9), Stages(), first)
    assert (result.delta, dict(rejected), work.trials) == (list(range(9)), {}, 1)


def test_failures_that_vary_pause_and_blame_no_record() -> None:
    kinds = [KeyError, IndexError, ValueError, TypeError, ZeroDivisionError, KeyError]
    work = Failing({3}, error=lambda: kinds.pop()("x"))
    with pytest.raises(Paused, match="each time otherwise"):
        quarantine_of(work).compute(records(9), Stages(), _raised(work))


def test_what_fails_for_no_single_record_each_time_pauses() -> None:
    """The batch fails unless a record is missing, whichever record that is."""

    class Whole(Failing):
        def compute(
            self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
        ) -> Result[list[int]]:
            if len(raw) == 9:
                raise self.error()
            return super().compute(raw, stages, quarantined)

    text = "no \x1b[31mcolumn\nsecond line"
    work = Whole(set(), error=lambda: ValueError(text))
    first = _failure(work)
    with pytest.raises(Paused, match="not for one record each time") as paused:
        quarantine_of(work).compute(records(9), Stages(), first)
    assert work.state == []
    assert str(paused.value).endswith(": no \\x1b[31mcolumn")
    assert ": ValueError at " in str(paused.value)
    work.error = lambda: ValueError("x" * 10_000)
    with pytest.raises(Paused) as paused:
        quarantine_of(work).compute(records(9), Stages(), _failure(work))
    assert str(paused.value).endswith(": " + "x" * 200)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), OSError(5, "disk"), TimeoutError(), ConnectionResetError(),
        Paused("registry", "gone"), UnavailableError("broker"), StateError("bucket"),
        KafkaException(KafkaError(KafkaError._TRANSPORT)), KeyboardInterrupt(), SystemExit(1),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_not_the_records_fault_is_blamed_on_none(error: BaseException) -> None:
    assert not blames_records(error)


@pytest.mark.parametrize(
    "error", [ValueError(), KeyError("x"), ZeroDivisionError(), RuntimeError()]
)
def test_any_other_exception_is_blamed_on_a_record(error: Exception) -> None:
    assert blames_records(error)
    assert kind_of(error) == type(error).__name__


def test_a_memory_error_in_a_trial_ends_the_process() -> None:
    work = Failing({3}, error=MemoryError)
    with pytest.raises(MemoryError):
        quarantine_of(work).compute(records(9), Stages(), ValueError())


# -- in the loop ----------------------------------------------------------------------------


def scene_of(work: Adding, end: int = 6) -> Scene:
    scene = Scene(FakeSource(end))
    scene.loop._work = scene.work = work
    return scene


def test_the_loop_skips_a_record_and_reports_after_the_commit() -> None:
    scene = scene_of(Failing({3}))
    scene.run()
    assert [each.next_offsets for each in scene.heard(BatchCommitted)] == [{0: 2}, {0: 4}, {0: 6}]
    (said,) = scene.heard(RecordQuarantined)
    assert (said.topic, said.partition, said.offset) == ("t", 0, 3)
    assert said.error.startswith("ValueError at ")
    assert scene.heard(DependencyUnavailable) == []
    kinds = [type(each) for each in scene.cluster.heard]
    assert kinds.index(RecordQuarantined) > kinds.index(BatchCommitted)


def test_an_aborted_quarantine_is_not_reported_and_repeats() -> None:
    scene = scene_of(Failing({1}))
    scene.cluster.raises["commit"] = [ABORT]
    scene.run()
    assert len(scene.heard(BatchAborted)) == 1
    assert len(scene.heard(RecordQuarantined)) == 1
    assert scene.work.state == list(range(6))


def test_too_many_quarantined_pause_the_loop_and_commit_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("stream_scorer.kafka.loop.quarantine.MOST_RECORDS", 1)
    scene = scene_of(Failing({0, 1}))

    def heard(event: Event) -> None:
        scene.cluster.heard.append(event)
        if isinstance(event, DependencyUnavailable):
            scene.loop.stop()

    scene.loop._outage._listener = heard
    scene.loop.run()
    assert [each.name for each in scene.heard(DependencyUnavailable)] == ["computation"]
    assert scene.heard(BatchCommitted) == scene.heard(RecordQuarantined) == []
    assert scene.work.state == []


def test_a_search_ends_when_a_partition_leaves() -> None:
    class Leaving(Failing):
        def compute(
            self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
        ) -> Result[list[int]]:
            if self.trials == 0:
                scene.source.revoke()
                scene.source.owned = set()
            return super().compute(raw, stages, quarantined)

    work = Leaving({0, 1})
    scene = scene_of(work)
    scene.loop.step()
    assert work.trials == 1
    assert scene.heard(BatchCommitted) == scene.heard(DependencyUnavailable) == []
    scene.loop.stop()
    scene.loop.run()


class Hanging(Adding):
    """Work whose first batch hangs until the test ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.go_on = threading.Event(), threading.Event()

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[list[int]]:
        self.hangs.set()
        assert self.go_on.wait(60)
        return super().compute(raw, stages, quarantined)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The loop's time."""
    made = Clock()
    monkeypatch.setattr("stream_scorer.kafka.loop.transaction.time", made)
    return made


def test_a_hanging_batch_is_reported_and_no_longer_alive(clock: Clock) -> None:
    work = Hanging()
    scene = scene_of(work, end=2)
    scene.loop._limits = LoopLimits(maximum_batch=2, slow=0.01, hang=300.0)
    beats: list[int] = []

    def beat() -> None:
        beats.append(scene.source.served)
        if work.hangs.is_set() and not work.go_on.is_set():
            clock.sleep(100.0)

    def heard(event: Event) -> None:
        scene.cluster.heard.append(event)
        if isinstance(event, ComputationHung):
            at_hang.append(len(beats))
            work.go_on.set()
        if isinstance(event, ComputationOver):
            at_end.append(len(beats))

    at_hang: list[int] = []
    at_end: list[int] = []
    scene.loop._heartbeat, scene.loop._listener = beat, heard
    scene.loop.step()
    (hung,) = scene.heard(ComputationHung)
    assert hung.seconds == 300.0
    assert len(beats) >= 3
    assert "compute" in hung.stack
    assert "test_quarantine.py" in hung.stack
    assert len(scene.heard(ComputationOver)) == 1
    assert at_end == at_hang
    assert scene.work.state == [0, 1]
    scene.loop.stop()
    scene.loop.run()


def test_a_hanging_batch_after_an_aborted_one_is_reported(clock: Clock) -> None:
    """The batch before it is aborted: the loop waits for the later batch, and then undoes it."""

    class HangingAhead(Hanging):
        def compute(
            self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
        ) -> Result[list[int]]:
            if raw.offset[0] == 0 or self.go_on.is_set():
                return Adding.compute(self, raw, stages, quarantined)
            return super().compute(raw, stages, quarantined)

    work = HangingAhead()
    scene = scene_of(work, end=4)
    scene.loop._limits = LoopLimits(maximum_batch=2, slow=60.0, hang=300.0)
    scene.cluster.raises["offsets"] = [ABORT]
    beats: list[int] = []

    def beat() -> None:
        beats.append(scene.source.served)
        if work.hangs.is_set() and not work.go_on.is_set():
            clock.sleep(100.0)

    def heard(event: Event) -> None:
        scene.cluster.heard.append(event)
        if isinstance(event, ComputationHung):
            work.go_on.set()

    scene.loop._heartbeat, scene.loop._listener = beat, heard
    scene.loop.step()
    (hung,) = scene.heard(ComputationHung)
    assert "test_quarantine.py" in hung.stack
    assert len(scene.heard(ComputationOver)) == 1
    assert len(beats) >= 3
    assert scene.work.state == []
    scene.loop.stop()
    scene.loop.run()


# -- in a replay ----------------------------------------------------------------------------


class Once:
    """A replay of some records in one step."""

    partition = 0

    def __init__(self, count: int) -> None:
        self.next_offset, self.end = 0, count

    @property
    def done(self) -> bool:
        return self.next_offset == self.end

    def step(self) -> RawRecords | None:
        self.next_offset = self.end
        return records(self.end)

    def close(self) -> None: ...


def replayed(bad: set[int], count: int, heard: list[Event]) -> list[int]:
    folded: list[int] = []

    def fold(raw: RawRecords) -> None:
        if bad & set(raw.offset.tolist()):
            raise ValueError("poison")
        folded.extend(raw.offset.tolist())

    replays = Replays(lambda _, end: Once(end), fold, heard.append)
    replays.begin({0: count})
    while replays.pending:
        replays.step()
    return folded


def test_a_replay_leaves_out_failing_records_and_reports_them() -> None:
    heard: list[Event] = []
    assert replayed({5, 70}, 100, heard) == [n for n in range(100) if n not in {5, 70}]
    left_out = [each for each in heard if isinstance(each, ReplayLeftOut)]
    assert [(each.partition, each.offset) for each in left_out] == [(0, 5), (0, 70)]


def test_a_replay_with_too_many_failures_pauses_and_folds_once() -> None:
    heard: list[Event] = []
    folded: list[int] = []
    bad = set(range(20, 20 + MOST_RECORDS + 1))

    def fold(raw: RawRecords) -> None:
        if bad & set(raw.offset.tolist()):
            raise ValueError("poison")
        folded.extend(raw.offset.tolist())

    replays = Replays(lambda _, end: Once(end), fold, heard.append)
    replays.begin({0: 100})
    for _ in range(2):
        with pytest.raises(Paused, match="more than 8 records cannot be replayed"):
            replays.step()
    assert folded == list(range(20))
    bad.clear()
    while replays.pending:
        replays.step()
    assert folded == [*range(20), *range(20 + MOST_RECORDS, 100)]
