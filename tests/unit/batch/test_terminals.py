"""A batch job's terminal features equal those of the core with complete history."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.batch.job import JobProgress
from stream_scorer.batch.labels import Frauds
from stream_scorer.batch.run import run_batch
from stream_scorer.batch.terminals import Terminals
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.validation import LATEST_MS
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.mapping.mapping import LabelIdentity
from stream_scorer.core.terminals.columns import labels_of, rows_of
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.core.terminals.pending_labels import Pending
from stream_scorer.settings import Settings
from stream_scorer.training.fold import fold
from tests.support.batch.batch_cases import AS_OF, write
from tests.support.batch.terminal_cases import DAY, FEATURES, PLAN, order_of, settings, table

__all__ = ["settings", "table"]


def _features(path: Path) -> bytes:
    columns = pq.read_table(path, columns=[spec["name"] for spec in FEATURES]).columns
    return np.column_stack([column.to_numpy() for column in columns]).tobytes()


@pytest.mark.parametrize("part_rows", [700, 10**6])
def test_the_features_are_those_of_training(
    table: pa.Table, settings: Settings, part_rows: int, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    report = run_batch(
        settings, order_of(source, tmp_path / "out.parquet", source, part_rows=part_rows)
    )
    compiled = compile_features(FEATURES, PLAN)
    expected = fold(table, compiled, PLAN, table["is_fraud"].to_numpy())
    assert report.degraded == 0
    assert len(np.unique(expected.features[:, 5])) > 50
    assert _features(tmp_path / "out.parquet") == expected.features.tobytes()
    out = pq.read_table(tmp_path / "out.parquet")
    delay = out["event_time"].cast(pa.int64()).to_numpy() - PLAN.terminal_delay_ms
    assert out["terminal_watermark"].cast(pa.int64()).to_numpy().tolist() == delay.tolist()


def test_every_decision_without_labels_is_flagged_degraded(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    report = run_batch(settings, order_of(source, tmp_path / "out.parquet", None))
    out = pq.read_table(tmp_path / "out.parquet")
    assert report.degraded == out.num_rows > 0
    assert out["flags"].to_pylist() == [["degraded"]] * out.num_rows
    assert out["terminal_watermark"].null_count == out.num_rows


def test_an_interrupted_job_resumes_with_its_terminals(
    table: pa.Table, settings: Settings, tmp_path: Path
) -> None:
    source = write(table, tmp_path / "in.parquet")
    out, whole = tmp_path / "out.parquet", tmp_path / "whole.parquet"
    run_batch(settings, order_of(source, whole, source, part_rows=500))

    def stop(progress: JobProgress) -> None:
        if progress.rows > table.num_rows * 0.8:
            raise KeyboardInterrupt

    order = order_of(source, out, source, part_rows=500)
    with pytest.raises(KeyboardInterrupt):
        run_batch(settings, order, stop)
    assert run_batch(settings, order).resumed_at > table.num_rows / 2
    assert out.read_bytes() == whole.read_bytes()


def _sent_again(table: pa.Table) -> pa.Table:
    """Return transactions, some of them sent again: with their own, a later or an earlier time.

    After 72 hours the first one's row is pending in the profiler, after 150 hours it is published,
    and after 200 hours the ring has evicted the event too.
    """
    times = table["event_time"].cast(pa.int64()).to_numpy()
    numbers = np.random.default_rng(5)
    source, shown, arrival = [np.arange(len(times))], [times], [times]
    for moved, hours in (
        (0.0, (0.3, 72, 150)), (1.0, (0.3, 72, 150, 200)), (-0.5, (0.3, 72, 150)), (0.5, (72, 150)),
        (1.0, (0.3, 72)), (0.5, (0.3, 72)), (0.01, (150,)),
    ):  # fmt: skip
        rows = numbers.choice(len(times), 200, replace=False)
        ms = (numbers.choice(hours, len(rows)) * 3_600_000).astype(np.int64)
        source.append(rows)
        shown.append(times[rows] + (ms * moved).astype(np.int64))
        arrival.append(times[rows] + ms)
    order = np.argsort(np.concatenate(arrival), kind="stable")
    again = table.take(pa.array(np.concatenate(source)[order]))
    moved_times = pa.array(np.concatenate(shown)[order]).cast(pa.timestamp("ms"))
    return again.set_column(again.schema.get_field_index("event_time"), "event_time", moved_times)


def _profiled(table: pa.Table) -> TerminalTable:
    """Return the profiler's rows of a partition whose labels all come immediately."""
    (records,) = table.combine_chunks().to_batches()
    times = np.asarray(records.column("event_time").cast(pa.int64()))
    count = len(records)
    rows = rows_of(EventBatch(records, np.zeros(count, np.int32), np.arange(count), times))
    named = records.append_column("label_time", records.column("event_time"))
    labels = labels_of(named, np.ones(count, np.int32), np.arange(count))
    hold = PLAN.terminal_delay_ms - PLAN.terminal_slack_ms
    pending = Pending(1, 2, hold, PLAN.lateness_ms)
    found = TerminalTable()
    nothing = np.empty(0, np.int64)
    pending.keep(pending.fold(rows.take(nothing), nothing, nothing, labels, np.arange(count)))
    last = replace(rows.take(np.array([count - 1])), event_time=np.array([times.max() + 10 * DAY]))
    for piece in (*(rows.take(some) for some in np.array_split(np.arange(count), 99)), last):
        at = np.arange(len(piece))
        folded = pending.fold(piece, piece.event_time, at, labels.take(nothing), nothing)
        pending.keep(folded)
        settled = folded.settled
        found.add(settled.rows.terminal_id, settled.rows.event_time, settled.fraud)
    found.watermark = int(times.max())
    return found


@pytest.mark.parametrize("part_rows", [700, 10**6])
def test_a_repeated_transaction_counts_as_in_the_profiler(
    table: pa.Table, settings: Settings, part_rows: int, tmp_path: Path
) -> None:
    again = _sent_again(table)
    source = write(again, tmp_path / "in.parquet")
    report = run_batch(
        settings, order_of(source, tmp_path / "out.parquet", source, part_rows=part_rows)
    )
    assert set(report.rejected) == {"DUPLICATE"}
    out = pq.read_table(tmp_path / "out.parquet")
    delayed = compile_features(FEATURES, PLAN).engine.delayed
    observed = np.zeros((out.num_rows, 16))
    times = out["event_time"].cast(pa.int64()).to_numpy()
    terminals = out["terminal_id"].combine_chunks().cast(pa.string())
    told = _profiled(again)
    assert len(told) > table.num_rows + 100
    told.observe(delayed, terminals, times, observed)
    for kind, window, column in delayed.operations.tolist():
        name = f"{('count', 'risk')[kind]}_{(1, 30)[window]}"
        assert out[name].to_numpy().tolist() == observed[:, column].tolist(), name


def _terminals() -> Terminals:
    nothing = np.empty(0, np.uint64)
    frauds = Frauds(nothing, identity=LabelIdentity(), sample=nothing, read=0, in_time=0)
    return Terminals(compile_features(FEATURES, PLAN).engine.delayed, frauds, PLAN)


def test_no_event_shares_a_piece_with_what_it_sees() -> None:
    terminals = _terminals()
    delay = PLAN.terminal_delay_ms
    numbers = np.random.default_rng(0)
    for _ in range(200):
        rows = int(numbers.integers(1, 40))
        time = np.sort(numbers.integers(0, 6 * delay, rows)) + numbers.integers(0, 1_000, rows)
        cuts = terminals.pieces(time, LATEST_MS)
        assert [row for cut in cuts for row in range(rows)[cut]] == list(range(rows))
        for cut in cuts:
            assert time[cut].max() - time[cut].min() < delay
    assert terminals.pieces(np.empty(0, np.int64), LATEST_MS) == []
    # An event that is exactly as old as the delay is seen; one a millisecond younger is not.
    assert terminals.pieces(np.array([5, 5 + delay]), LATEST_MS) == [slice(0, 1), slice(1, 2)]
    assert terminals.pieces(np.array([5, 4 + delay]), LATEST_MS) == [slice(0, 2)]


def test_a_time_that_is_rejected_cuts_nothing() -> None:
    """Nor does it overflow, although its distance to the smallest valid time would."""
    delay, day = PLAN.terminal_delay_ms, 1_600_000_000_000
    bad = [-(2**63), -1, day + 9 * delay, LATEST_MS + 1, 2**63 - 1]
    time = np.array([day, *bad, day + 1, *bad, day + delay, *bad])
    assert _terminals().pieces(time, day + 2 * delay) == [slice(0, 12), slice(12, 18)]


def test_an_event_sees_what_is_exactly_as_old_as_the_delay(
    settings: Settings, tmp_path: Path
) -> None:
    """Both are in one chunk; an event a millisecond younger is not seen."""
    delay, start = PLAN.terminal_delay_ms, AS_OF - 30 * DAY
    rows = [("a", start), ("b", start + 1), ("c", start + delay)]
    lines = [
        json.dumps({
            "transaction_id": name, "event_time": time, "customer_id": name, "terminal_id": "x",
            "amount_minor": 5, "currency": "EUR", "is_fraud": name == "a",
        })
        for name, time in rows
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    source = tmp_path / "in.jsonl"
    run_batch(settings, order_of(source, tmp_path / "out.parquet", source))
    out = pq.read_table(tmp_path / "out.parquet", columns=["count_1", "risk_1"])
    assert out.to_pylist() == [
        {"count_1": 0.0, "risk_1": 0.0}, {"count_1": 0.0, "risk_1": 0.0},
        {"count_1": 1.0, "risk_1": 1.0},
    ]  # fmt: skip
