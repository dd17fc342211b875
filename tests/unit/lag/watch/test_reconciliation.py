"""Rounds of reconciliation, with scripted outputs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.lag.accounts.balance import CommittedRanges
from stream_scorer.lag.accounts.ledger import OFFSETS_MOST, Int64, OutputKind, Run
from stream_scorer.lag.watch import reconciliation
from stream_scorer.lag.watch.reconciliation import (
    OutputPiece,
    Reconciliation,
    ReconciliationWatch,
)
from stream_scorer.telemetry import (
    Event,
    LagFailed,
    OutputsUnreadable,
    RecordsReconciled,
    WatermarkSeen,
)
from stream_scorer.telemetry.event import History

DECISION, LETTER = OutputKind.DECISION, OutputKind.DEAD_LETTER


@dataclass
class ScriptedOutputs:
    """One scorer's outputs, as the test sets them."""

    ends: dict[int, int] = field(default_factory=lambda: {0: 100})
    pieces: list[OutputPiece] = field(default_factory=list)
    done: dict[int, int] = field(default_factory=dict)
    input_records: set[tuple[int, int]] = field(default_factory=set)
    there: bool = True
    down: bool = False
    failing: int = 0
    order: list[str] = field(default_factory=list)
    closed: int = 0
    begun: int = 0

    def begin(self) -> Mapping[int, int]:
        self.begun += 1
        if self.down:
            raise UnavailableError("broker: timed out", "start it")
        return dict(self.ends)

    def read(self, seconds: float) -> OutputPiece:
        del seconds
        return self.pieces.pop(0) if self.pieces else OutputPiece()

    def committed(self) -> Mapping[int, int]:
        self.order.append("committed")
        if self.failing and len(self.order) > 1:  # the first is asked for at the begin
            self.failing -= 1
            raise UnavailableError("group g: its coordinator does not answer", "check the brokers")
        return dict(self.done)

    def mark(self) -> None:
        """Nothing to remember: the test decides what is reached."""
        self.order.append("mark")

    def reached(self) -> bool:
        return self.there and not self.pieces

    def records(self, runs: Mapping[int, Sequence[Run]]) -> Mapping[int, Int64]:
        if self.down:
            raise UnavailableError("broker: timed out", "start it")
        return {
            partition: np.array(
                [o for first, after in found for o in range(first, after)
                 if (partition, o) in self.input_records], np.int64,
            )
            for partition, found in runs.items()
        }  # fmt: skip

    def close(self) -> None:
        self.closed += 1

    def publish(
        self, first: int, after: int, skipped: int = 0, without: Sequence[int] = (),
        partition: int = 0, letters: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """Publish one transaction, without the outputs of some offsets."""
        rows = [each for each in range(first, after) if each not in {*without, *letters}]
        self.pieces.append(
            OutputPiece(
                {
                    (DECISION, partition): np.array(rows, np.int64),
                    (LETTER, partition): np.array(letters, np.int64),
                },
                [CommittedRanges({partition: (first, after)}, skipped)],
                {partition: float(after)},
            )
        )
        self.done[partition] = after


class Rounds:
    def __init__(self) -> None:
        self.outputs = ScriptedOutputs()
        self.heard: list[Event] = []
        self.work = Reconciliation(
            self.outputs, "g", "transactions", self.heard.append, lambda: 7.0
        )
        self.work.begin()
        self.heard.clear()

    def run(self) -> list[RecordsReconciled]:
        self.work.begin_round()
        for _ in range(len(self.outputs.pieces) + 1):
            self.work.read(0)
        assert self.work.end_round()
        found = compared(self.heard)
        self.heard.clear()
        return found


def compared(heard: Sequence[Event]) -> list[RecordsReconciled]:
    """Return what was compared in each partition."""
    return [each for each in heard if isinstance(each, RecordsReconciled)
            and each.partition is not None]  # fmt: skip


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def test_every_record_has_an_output(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200, letters=[150])
    (found,) = rounds.run()
    assert found == RecordsReconciled("g", "transactions", 0, decided=99, rejected=1, offset=200)


def test_a_record_without_an_output_is_missing(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200, without=[150, 151])
    rounds.outputs.input_records = {(0, 150)}  # and 151 is a marker
    (found,) = rounds.run()
    assert (found.decided, found.gaps, found.missing, found.doubled) == (98, 1, 1, 0)


@pytest.mark.parametrize("summary", [True, False])
def test_a_group_that_begins_later_leaves_nothing_out(rounds: Rounds, *, summary: bool) -> None:
    # `run --from latest` begins at an end that is after the begin of the count.
    rounds.outputs.done[0] = 150
    if summary:
        rounds.outputs.publish(150, 200, without=[170])
    rounds.outputs.input_records = {(0, offset) for offset in range(100, 200)}
    (found,) = rounds.run()
    assert (found.decided, found.missing) == ((49, 1) if summary else (0, 0))
    # From then on, offsets that are left out count.
    rounds.outputs.done[0] = 205
    rounds.outputs.input_records |= {(0, 201)}
    (found,) = rounds.run()
    assert found.missing == (1 if summary else 51)


def test_a_record_that_is_decided_twice_is_doubled(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200)
    rounds.outputs.publish(190, 210)
    (found,) = rounds.run()
    assert (found.decided, found.missing, found.doubled) == (110, 0, 10)


def test_skips_are_part_of_the_sum(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200, skipped=2, without=[150, 151])
    (found,) = rounds.run()
    assert (found.decided, found.skipped, found.missing) == (98, 2, 0)


def test_a_skip_more_than_records_is_found(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200, skipped=2)
    (found,) = rounds.run()
    assert (found.missing, found.doubled) == (0, 2)


def test_a_round_waits_for_the_outputs_of_its_offsets(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200)
    rounds.work.begin_round()
    assert not rounds.work.end_round()
    rounds.work.read(0)
    assert rounds.work.end_round()
    assert not rounds.work.open


def test_what_was_decided_after_the_begin_of_a_round_waits(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 150)
    rounds.work.begin_round()
    rounds.outputs.publish(150, 200)
    rounds.work.read(0)
    rounds.work.read(0)
    assert rounds.work.end_round()
    assert [each.decided for each in compared(rounds.heard)] == [50]
    rounds.heard.clear()
    assert [each.decided for each in rounds.run()] == [50]


def test_a_transaction_in_which_the_count_begins_is_left_out(rounds: Rounds) -> None:
    # Its skips may be before the begin.
    rounds.outputs.publish(90, 120, skipped=3, without=[91, 92, 93])
    rounds.outputs.publish(120, 130)
    (found,) = rounds.run()
    assert (found.decided, found.missing, found.doubled, found.offset) == (10, 0, 0, 130)


def test_a_new_partition_counts_from_its_first_record(rounds: Rounds) -> None:
    rounds.outputs.publish(0, 5, partition=1, without=[0])
    rounds.outputs.input_records = {(1, 0)}
    found = {each.partition: each for each in rounds.run()}
    assert (found[1].decided, found[1].missing) == (4, 1)


def test_a_failed_reading_of_the_input_loses_no_count(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200, without=[150])
    rounds.outputs.input_records = {(0, 150)}
    rounds.work.begin_round()
    rounds.work.read(0)
    rounds.outputs.down = True
    with pytest.raises(UnavailableError):
        rounds.work.end_round()
    rounds.outputs.down = False
    assert rounds.work.end_round()
    (found,) = compared(rounds.heard)
    assert (found.decided, found.missing) == (99, 1)


def test_watermarks_and_unreadable_records_are_reported(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200)
    rounds.outputs.pieces.append(OutputPiece(unreadable=3))
    rounds.work.read(0)
    rounds.work.read(0)
    assert WatermarkSeen("g", "transactions", 0, 200.0) in rounds.heard
    assert OutputsUnreadable(3) in rounds.heard


def too_far(outputs: ScriptedOutputs) -> None:
    """Publish a decision that is too far ahead, together with others."""
    outputs.publish(100, 200)
    far = np.array([*range(200, 210), 200 + OFFSETS_MOST], np.int64)
    outputs.pieces.append(OutputPiece({(DECISION, 0): far}))
    outputs.done[0] = 210


def too_much(outputs: ScriptedOutputs) -> None:
    """Commit more offsets in one round than can wait."""
    outputs.publish(100, 200)
    outputs.done[0] = 101 + OFFSETS_MOST


@pytest.mark.parametrize("script", [too_far, too_much])
def test_too_many_waiting_outputs_begin_again(
    script: Callable[[ScriptedOutputs], None], rounds: Rounds
) -> None:
    script(rounds.outputs)
    rounds.outputs.input_records = {(0, offset) for offset in range(200, 210)}
    rounds.work.begin_round()
    while rounds.outputs.pieces:
        rounds.work.read(0)
    rounds.outputs.ends = {0: 500}
    assert not rounds.work.end_round()
    (failed,) = [each for each in rounds.heard if isinstance(each, LagFailed)]
    assert "too many outputs wait, more than 50,000,000 of a partition" in failed.detail
    # Outputs that were not noted are not missing records: that would page.
    found = compared(rounds.heard)
    assert [(each.decided, each.missing, each.offset) for each in found] == [(0, 0, None)]
    assert not rounds.work.open
    # It counts again from the input's end on.
    rounds.heard.clear()
    rounds.outputs.publish(500, 510)
    assert [(each.decided, each.missing, each.offset) for each in rounds.run()] == [(10, 0, 510)]
    assert rounds.outputs.begun == 2


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_thread_reconciles_until_it_is_closed() -> None:
    outputs, heard = ScriptedOutputs(), list[Event]()
    outputs.publish(100, 200)
    with ReconciliationWatch(outputs, "g", "transactions", heard.append, 0.01).start():
        wait_for(lambda: any(isinstance(e, RecordsReconciled) and e.decided for e in heard))
    assert outputs.closed == 1


def times(heard: Sequence[Event]) -> list[object]:
    """Return the times that an alert on the age of the last comparison sees."""
    effects = [effect for each in heard for effect in each.effects(History())]
    return [effect[1] for effect in effects
            if isinstance(effect, tuple) and effect[0] is RecordsReconciled.TIME]  # fmt: skip


def test_only_a_settled_round_moves_the_time(rounds: Rounds) -> None:
    rounds.outputs.publish(100, 200)
    rounds.outputs.publish(0, 10, partition=1)
    rounds.work.begin_round()
    while rounds.outputs.pieces:
        rounds.work.read(0)
    assert times(rounds.heard) == []
    assert rounds.work.end_round()
    assert times(rounds.heard) == [pytest.approx(7.0, abs=1e-3)]


def test_a_round_of_a_group_without_offsets_moves_the_time(rounds: Rounds) -> None:
    # A new deployment would have a ticket, and no line that says why.
    assert rounds.run() == []
    rounds.work.begin_round()
    assert rounds.work.end_round()
    assert times(rounds.heard) == [pytest.approx(7.0, abs=1e-3)]


def test_committed_offsets_are_read_before_the_ends_of_outputs(rounds: Rounds) -> None:
    # The other way round, an output that comes in between would be missing.
    rounds.work.begin_round()
    assert rounds.outputs.order[-2:] == ["committed", "mark"]


def test_beginning_again_after_failures_hides_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "_AGAIN_SECONDS", 0.001)
    outputs, heard = ScriptedOutputs(), list[Event]()
    outputs.read = lambda _: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    with ReconciliationWatch(outputs, "g", "transactions", heard.append, 0.01).start():
        wait_for(lambda: sum(isinstance(each, LagFailed) for each in heard) >= 3)
    assert outputs.begun >= 3
    assert times(heard) == []


def test_an_outage_leaves_no_record_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "_AGAIN_SECONDS", 0.001)
    outputs, heard = ScriptedOutputs(failing=2), list[Event]()
    outputs.input_records = {(0, offset) for offset in range(100, 200)}
    outputs.publish(100, 200, without=range(110, 120))
    with ReconciliationWatch(outputs, "g", "transactions", heard.append, 0.01).start():
        # What is appended in the outage is not before the count's begin.
        outputs.ends = {0: 200}
        wait_for(lambda: any(each.decided for each in compared(heard)))
    assert outputs.begun == 1
    found = next(each for each in compared(heard) if each.decided)
    assert (found.decided, found.missing, found.offset) == (90, 10, 200)
    assert len([each for each in heard if isinstance(each, LagFailed)]) == 2


def test_an_outage_that_lasts_hides_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "_AGAIN_SECONDS", 0.001)
    outputs, heard = ScriptedOutputs(failing=10**9), list[Event]()
    with ReconciliationWatch(outputs, "g", "transactions", heard.append, 0.01).start():
        wait_for(lambda: sum(isinstance(each, LagFailed) for each in heard) >= 3)
    assert times(heard) == []


def test_brokers_that_do_not_answer_are_reported() -> None:
    outputs, heard = ScriptedOutputs(down=True), list[Event]()
    with ReconciliationWatch(outputs, "g", "transactions", heard.append, 0.01).start():
        wait_for(lambda: any(isinstance(each, LagFailed) for each in heard))
    assert outputs.closed == 1


def test_the_counts_of_an_added_partition_begin_at_zero() -> None:
    # A series that begins with a number does not increase, so nothing would page.
    rounds = Rounds()
    rounds.outputs.publish(0, 10, without=[3], partition=5)
    rounds.outputs.input_records = {(5, 3)}
    first, second = (each for each in rounds.run() if each.partition == 5)
    assert (first.decided, first.missing, first.doubled) == (0, 0, 0)
    assert (second.decided, second.missing) == (9, 1)


def test_transactions_without_skips_are_not_kept(rounds: Rounds) -> None:
    # After a long outage there are many.
    rounds.outputs.publish(100, 110)
    rounds.outputs.publish(110, 120, skipped=1, without=[112])
    rounds.work.read(0)
    rounds.work.read(0)
    assert [each.skipped for each in rounds.work._commits] == [1]
