"""The profiler stops before rows whose outcome is not known, and goes on after a restart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.reading.decode import ColumnDecoder, TransactionDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.terminals.undecided import StopBefore
from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.loop.work_interface import Stages
from stream_scorer.ports import BytesColumn, Paused, RawRecords
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.telemetry import Event, Listener, RowsHeld
from stream_scorer.terminals import profiler_work as module
from stream_scorer.terminals.hold_time import HoldTime
from stream_scorer.terminals.label_policies import LabelPolicies
from stream_scorer.terminals.profiler_work import Decoders, ProfilerWork, RowEncoder, SideInput
from tests.support.terminals.outcomes import FakeOutcomes

TIME, DAY = 1_522_540_800_000, 86_400_000
SOURCE = FileRegistry(SCHEMAS_DIRECTORY)
TRANSACTION = RecordCodec(1, reader_schema("transaction.v1"))
SCHEMA = reader_schema("terminal-profile.v2")
ROW = RecordCodec(7, SCHEMA)
PLAN = plan_from({"label_policy": {"unlabelled": "genuine"}})


class Decided(FakeOutcomes):
    """Outcomes of one partition that become known when they are asked for.

    Attributes:
        coming: The offset up to which they are known next.
        forgotten: Offsets before which they were forgotten.
    """

    coming: int = 0
    forgotten: tuple[int, ...] = ()
    followed: int = 0

    def follow(self) -> None:
        self.followed += 1

    def refresh(self, wait: float) -> bool:
        del wait
        moved = bool(self.coming > self.known[0])
        self.known = np.array([max(self.coming, int(self.known[0]))])
        return moved

    def forget(self, first: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        self.forgotten = tuple(first.tolist())

    def close(self) -> None: ...


@pytest.fixture
def decided() -> Decided:
    return Decided(np.zeros(1, np.int64), {(0, 1)})


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.0)


def profiler(
    decided: Decided, notes: dict[int, bytes] | None = None, plan: Plan = PLAN,
    opened: list[int] | None = None, replay: Any = None,
    listener: Listener = lambda _: None,
) -> ProfilerWork:  # fmt: skip
    told = [] if opened is None else opened

    def open_from(since_ms: int) -> Any:
        told.append(since_ms)
        return decided

    decoders = Decoders(
        TransactionDecoder(SOURCE, plan), ColumnDecoder(SOURCE, reader_schema("label.v2"), plan)
    )
    return ProfilerWork(
        plan, 1, 2, decoders, RowEncoder(7, SCHEMA, "rows", 1), notes or {}, listener,
        lambda *_: replay, SideInput(LabelPolicies(plan), open_from),
    )  # fmt: skip


def batch(*days: float, first: int = 0) -> RawRecords:
    """Return transactions on these days, with offsets from ``first`` on."""
    times = np.array([TIME + int(day * DAY) for day in days])
    values = [
        TRANSACTION.encode({
            "transaction_id": f"t-{first + row}", "event_time": int(time), "customer_id": "c",
            "terminal_id": "x", "amount_minor": 1, "currency": "EUR",
        })
        for row, time in enumerate(times)
    ]  # fmt: skip
    n = len(values)
    return RawRecords(
        BytesColumn.of(values), BytesColumn.of([b"c"] * n), None, np.zeros(n, np.int32),
        np.arange(first, first + n), times,
    )  # fmt: skip


def told(outgoing: Sequence[Any]) -> tuple[list[tuple[int, str, bool, int]], int | None]:
    """Return (offset, state, fraud, revision) of the published rows, and the watermark's day."""
    found, mark = [], None
    for sent in outgoing:
        for value in sent.values.to_list():
            row = ROW.decode(value, SOURCE_OF_ROWS)
            if row["terminal_id"] is None:
                mark = round(row["event_time"].timestamp() * 1_000)
            else:
                found.append(
                    (row["source_offset"], row["state"], row["fraud"], row["policy_revision"])
                )
    return found, mark


class Rows:
    """A registry that knows the rows' schema."""

    def writer_schema(self, schema_id: int) -> str:
        assert schema_id == 7
        return SCHEMA


SOURCE_OF_ROWS: Any = Rows()


def test_it_stops_before_what_is_not_decided_and_waits(decided: Decided) -> None:
    events: list[Event] = []
    work = profiler(decided, listener=events.append)
    raw = batch(0, 1, 2, 20, 21)
    result = work.compute(raw, Stages())
    assert result.ends == {0: 3}
    assert told(result.outgoing) == ([], TIME - 1)
    work.keep(result, Stages(), raw.between(0, 3))
    with pytest.raises(Paused, match="until scorers have decided them") as paused:
        work.compute(batch(20, 21, first=3), Stages())
    assert paused.value.dependency == "scorers"
    decided.coming = 2
    result = work.compute(batch(20, 21, first=3), Stages())
    # The rows of the decided ones leave, though no record is taken.
    assert result.ends == {}
    assert told(result.outgoing) == (
        [(0, "GENUINE", False, 3), (1, "UNKNOWN", False, 3)], TIME + 2 * DAY - 1
    )  # fmt: skip
    work.keep(result, Stages(), raw.between(0, 0))
    decided.coming = 5
    result = work.compute(batch(20, 21, first=3), Stages())
    assert result.ends is None
    assert [row[0] for row in told(result.outgoing)[0]] == [2]
    assert decided.followed == 4
    held = [each.seconds for each in events if isinstance(each, RowsHeld)]
    # One row waited, through two batches; then a later one did; then none.
    assert held[0] == 0
    assert held[1] > 0
    assert held[-1] == 0
    assert len(held) > 3


def test_each_row_that_waits_is_timed_by_itself() -> None:
    events: list[Event] = []
    now = [10.0]
    hold = HoldTime(events.append, lambda: now[0])
    hold.note(None)
    for at, watermark in ((10.0, 5), (13.0, 5), (14.0, 6), (16.5, 6)):
        now[0] = at
        hold.note(StopBefore(0, watermark))
    hold.note(None)
    hold.note(None)
    assert events == [RowsHeld(0.0), RowsHeld(3.0), RowsHeld(0.0), RowsHeld(2.5), RowsHeld(0.0)]


def test_a_quarantined_record_after_the_stop_is_not_taken(decided: Decided) -> None:
    work = profiler(decided)
    result = work.compute(batch(0, 1, 20, 21), Stages(), {1: "ValueError", 3: "ValueError"})
    assert result.ends == {0: 2}
    assert result.delta.rejected == {"INTERNAL": 1}


def test_outcomes_are_kept_until_their_rows_leave(decided: Decided) -> None:
    work = profiler(decided)
    decided.coming = 9
    raw = batch(0, 1, 2)
    work.keep(work.compute(raw, Stages()), Stages(), raw)
    assert decided.forgotten == (0,)
    later = batch(20, first=3)
    work.keep(work.compute(later, Stages()), Stages(), later)
    # The next record's outcome may be read already.
    assert decided.forgotten == (3,)


def test_the_decisions_are_read_once_there_is_a_policy(decided: Decided) -> None:
    opened: list[int] = []
    work = profiler(decided, plan=Plan(), opened=opened)
    raw = batch(5, 0)
    result = work.compute(raw, Stages())
    assert result.ends is None
    assert opened == []
    assert result.notes[0].startswith(b"1 ")
    work = profiler(decided, opened=opened)
    work.compute(raw, Stages())
    work.compute(raw, Stages())
    # Once, from an hour before the oldest record on.
    assert opened == [TIME - 3_600_000]


def test_a_restart_knows_what_was_before_its_oldest_row(decided: Decided) -> None:
    decided.coming = 9
    work = profiler(decided)
    raw = batch(30, 26)
    result = work.compute(raw, Stages())
    work.keep(result, Stages(), raw)
    version, first, newest, _, _, before = result.notes[0].split(b" ")
    assert (version, first, int(newest), int(before)) == (b"2", b"0", TIME + 30 * DAY, -(2**62))
    later = batch(40, first=2)
    result = work.compute(later, Stages())
    work.keep(result, Stages(), later)
    assert result.notes[0].split(b" ")[5] == str(TIME + 30 * DAY).encode()
    again = profiler(decided, dict(result.notes))
    assert again.pending.clock.watermark == work.pending.clock.watermark


def test_decisions_that_cannot_be_opened_are_an_outage(decided: Decided) -> None:
    work = profiler(decided)

    def fails(since_ms: int) -> Any:
        raise UnavailableError(f"no answer {since_ms}", "wait")

    work._side = SideInput(LabelPolicies(PLAN), fails)
    with pytest.raises(Paused, match="no answer"):
        work.compute(batch(0), Stages())
