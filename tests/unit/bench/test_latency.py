"""The latency bench: stages of an age, the producer's slip, the report and its gates."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bench.latency_steps import summaries, verdict
from bench.latency_steps.send import Schedule
from bench.latency_steps.stages import (
    STAGES,
    Batch,
    Logged,
    Sent,
    batch_of,
    batches_of,
    counted,
    percentiles,
    read_batches,
    row_number,
    slip_ms,
    stages_ms,
    table_of,
    write_batches,
)
from bench.latency_steps.summaries import Summary
from bench.latency_steps.trace import Trace
from bench.latency_steps.traffic import Traffic, customers_of, history_of, in_order, labels_between
from bench.latency_steps.turn import BARE, BEFORE, NEIGHBOURS, OURS, TODAYS, Turn
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import BytesColumn
from stream_scorer.telemetry import BatchCommitted, Event, FirstOffsetsCommitted

LAPS = {
    "poll": 0.5, "decode": 0.001, "score": 0.002, "wait": 0.001, "begin": 0.0005, "send": 0.0005,
    "offsets": 0.003, "commit": 0.004,
}  # fmt: skip
FIRST = Batch(100.020, 2, {0: 1, 1: 1}, LAPS)
SECOND = Batch(100.040, 2, {0: 3}, LAPS)


def _sent() -> Sent:
    due = np.array([100.0, 100.001, 100.002, 100.003])
    return Sent(due, due + 0.001, np.full(4, np.nan))


def _logged() -> Logged:
    # Two records in partition 0 before the third, which shares its batch with the fourth.
    return Logged(
        np.array([0, 1, 0, 0]),
        np.array([0, 0, 1, 2]),
        np.array([100.002, 100.003, 100.004, 100.005]),
    )


def test_each_record_is_in_the_first_batch_that_ends_after_it() -> None:
    assert batch_of(_logged(), [FIRST, SECOND]).tolist() == [0, 0, 1, 1]


def test_a_record_without_a_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 records are in no batch"):
        batch_of(_logged(), [FIRST])
    with pytest.raises(ValueError, match="1 records are in no batch"):
        batch_of(_logged(), [replace(FIRST, ends={0: 1}), SECOND])


def test_stages_are_counted_back_from_the_commit_and_add_up() -> None:
    seen = np.array([100.021, 100.021, 100.042, 100.042])
    found = stages_ms(_sent(), _logged(), seen, [FIRST, SECOND])
    assert tuple(found) == STAGES
    first = {name: float(values[0]) for name, values in found.items()}
    assert first == pytest.approx(
        {
            "producer": 1, "broker": 1, "poll": 6, "compute": 3, "wait": 1, "produce": 1,
            "offsets": 3, "end_txn": 4, "visible": 1,
        }
    )  # fmt: skip
    assert sum(found.values()) == pytest.approx((seen - _sent().due) * 1_000)


def test_the_loops_own_stages_are_not_computation() -> None:
    bare = replace(FIRST, seconds={"send": 0.001, "offsets": 0.001, "commit": 0.002})
    found = stages_ms(_sent(), _logged(), np.full(4, 101.0), [bare, SECOND])
    assert found["compute"][0] == pytest.approx(0.0)
    assert found["poll"][0] == pytest.approx(14.0)
    assert found["compute"][3] == pytest.approx(3.0)


def test_tables_have_percentiles_and_means_of_chosen_records() -> None:
    values = np.concatenate([np.arange(1_001.0), [1e9]])
    (found,) = table_of({"poll": values}, np.arange(1_002) < 1_001).values()
    assert found == {"p50": 500.0, "p99": 990.0, "p999": 999.0, "mean": 500.0}
    assert percentiles(np.array([3.0])) == {"p50": 3.0, "p99": 3.0, "p999": 3.0}


def test_slip_is_the_clients_delay_without_the_warm_up() -> None:
    due = np.array([5.0, 6.0, 8.0])
    sent = Sent(due, due + np.array([0.001, 0.0, 0.25]), due)
    assert slip_ms(sent) == pytest.approx([1.0, 0.0, 250.0])
    assert counted(due, 3.0).tolist() == [False, False, True]


def test_transactions_are_described_after_the_warm_up() -> None:
    batches = [replace(FIRST, at=second, records=second) for second in (1, 10, 11, 14)]
    found = batches_of(batches, 5.0)
    assert found["per_second"] == 0.5
    assert found["records"] == pytest.approx(11.7)
    assert found["lap_ms"]["offsets"] == 3.0
    assert batches_of(batches[:1], 0.0)["per_second"] is None


def test_a_trace_survives_its_file(tmp_path: Path) -> None:
    write_batches(tmp_path / "trace", [FIRST, SECOND])
    assert read_batches(tmp_path / "trace") == [FIRST, SECOND]


def test_a_trace_joins_each_commit_with_its_own_event() -> None:
    times = iter([1.0, 2.0])
    trace, passed = Trace(lambda: next(times)), list[Event]()
    listener = trace.listening(passed.append)
    events = [
        BatchCommitted(n, {}, "m", "1", stage_seconds={"commit": n}, next_offsets={0: n})
        for n in (3, 4)
    ]
    # With look-ahead, a commit can return before the event of the one before it is reported.
    for stage in ("poll", "commit", "poll", "commit"):
        trace.hook(stage)
    listener(FirstOffsetsCommitted((0,)))
    for event in events:
        listener(event)
    assert trace.batches == [
        Batch(1.0, 3, {0: 3}, {"commit": 3}),
        Batch(2.0, 4, {0: 4}, {"commit": 4}),
    ]
    assert passed[1:] == events


def test_a_schedule_does_not_wait_for_late_records() -> None:
    schedule = Schedule(1_000, 5, 10.0)
    assert schedule.end_at(9.999) == 0
    assert schedule.end_at(10.0) == 1
    # The producer stalled for a second: all are due at once, and their times stay as they were.
    assert schedule.end_at(11.0) == 5
    assert schedule.due == pytest.approx([10.0, 10.001, 10.002, 10.003, 10.004])
    assert schedule.wait_at(9.5, 0) == pytest.approx(0.5)
    assert schedule.wait_at(10.0009, 1) == 0.001
    assert schedule.wait_at(10.5, 1) == 0.0


def test_labels_are_sent_right_before_their_transaction() -> None:
    before = np.array([1, 1, 3, 9])
    sent = [
        step
        for first, end in ((0, 1), (1, 3), (3, 4))
        for step in in_order(before.tolist(), first, end, labels_between(before, first, end))
    ]
    assert sent == [
        (False, 0), (True, 0), (True, 1), (False, 1), (False, 2), (True, 2), (False, 3),
    ]  # fmt: skip


def test_traffic_is_read_up_to_a_count(tmp_path: Path) -> None:
    column = BytesColumn.of([b"a", b"bc", b"d"])
    history = BytesColumn.of([b"old"])
    Traffic(column, column, column, np.array([1, 3, 3]), history).write(tmp_path / "t.npz")
    found = Traffic.read(tmp_path / "t.npz", 2)
    assert found.values.to_list() == [b"a", b"bc"]
    assert found.before.tolist() == [1, 2]
    assert found.history.to_list() == [b"old"]
    with pytest.raises(ValueError, match="has 3 rows, not 4"):
        Traffic.read(tmp_path / "t.npz", 4)
    assert customers_of(36_000) == 20_000


def test_the_history_is_as_old_as_rows_are_held() -> None:
    times = pa.array([10**12, 10**12 + 5], pa.timestamp("ms"))
    table = pa.table({"transaction_id": ["0", "1"], "event_time": times, "customer_id": ["a", "b"]})
    found = history_of(table, Plan(terminal_delay_ms=100, terminal_slack_ms=40, lateness_ms=7))
    assert found.column("transaction_id").to_pylist() == ["100000000", "100000001"]
    earlier = found.column("event_time").cast(pa.int64()).to_pylist()
    assert earlier == [10**12 - 67, 10**12 - 62]
    assert found.column("customer_id").to_pylist() == ["a", "b"]


def test_a_recording_begins_with_the_schedule() -> None:
    class Message:
        def __init__(self, at: int) -> None:
            self._at = at

        def timestamp(self) -> tuple[int, int]:
            return 2, self._at

        def key(self) -> None:
            return None

        def value(self) -> bytes:
            return b"%d" % self._at

    found = summaries.recorded(map(Message, (999, 1_000, 2_500)), 1.0)
    assert found == [Summary(0.0, None, b"1000"), Summary(1.5, None, b"2500")]


def test_a_recording_keeps_keys_bytes_and_times(tmp_path: Path) -> None:
    rows = [Summary(0.25, None, b"\0\xff"), Summary(1.5, b"key", b"")]
    summaries.write(tmp_path / "recording", rows)
    assert summaries.read(tmp_path / "recording") == rows


def test_row_numbers_are_read_from_the_first_field() -> None:
    assert row_number(b"\0\0\0\0\1\x04" + b"17rest") == 17
    assert row_number(b"\0\0\0\0\1\x04" + b"x7rest") is None
    assert row_number(b"") is None


def _turn(age: float, slip: float = 1.0) -> Turn:
    table = {stage: {"p50": age, "p99": age, "p999": age, "mean": age} for stage in STAGES}
    return Turn(np.full(10, age), np.full(10, slip), np.full(10, 2.0), table, {"records": 7})


def _turns(**ages: float) -> dict[str, list[Turn]]:
    found = {way: [_turn(ages[way])] for way in (OURS, NEIGHBOURS, BARE, TODAYS)}
    return found | ({BEFORE: [_turn(ages[BEFORE])]} if BEFORE in ages else {})


AT_MOST = {OURS: 125.0, NEIGHBOURS: 100.0, BARE: 50.0, TODAYS: 134.0, BEFORE: 179.0}


def _missed(rate: int = 5_000, **changes: float) -> list[str]:
    return verdict.failures([verdict.row(rate, _turns(**(AT_MOST | changes)))])


def test_gates_pass_at_their_bounds_and_fail_past_them() -> None:
    assert _missed() == []
    assert len(_missed(ours=125.1)) == 1
    assert len(_missed(bare_before=133.0)) == 2
    assert len(_missed(before=178.0)) == 2
    (line,) = _missed(10_000, ours=126.0, before=1_000.0)
    assert line.startswith("10,000 events/s, p50: ours 126.0 ms / bare_neighbours 100.0 ms = 1.26")


def test_only_the_named_rates_are_judged() -> None:
    assert _missed(1_000, ours=1_000.0) == []


def test_without_an_earlier_checkout_its_gate_is_left_out() -> None:
    ages = {way: age for way, age in AT_MOST.items() if way != BEFORE}
    assert verdict.failures([verdict.row(5_000, _turns(**ages))]) == []


def test_a_row_keeps_the_keys_of_earlier_reports() -> None:
    found: dict[str, Any] = verdict.row(
        1_000, {way: [_turn(age) for age in (1.0, 2.0, 9.0)] for way in (OURS, BARE)}
    )
    assert found["rate"] == 1_000
    for key in ("bare_p50_ms", "bare_p99_ms", "ours_p50_ms", "ours_p99_ms", "ours_p999_ms"):
        assert found[key] == 2.0
    assert found["ratios"] == {"ours_to_bare_p50": 1.0, "ours_to_bare_p99": 1.0}
    assert found["producer_slip_p99_ms"] == {OURS: 1.0, BARE: 1.0}
    assert found["stages"][OURS]["poll"]["mean"] == 2.0
    assert found["transactions"][BARE] == {"records": 7}


def test_a_producer_keeps_its_schedule_up_to_five_milliseconds() -> None:
    assert verdict.keeps(_turn(1.0, slip=5.0))
    assert not verdict.keeps(_turn(1.0, slip=5.1))
