"""Groups of customers on threads have the same features as customers in turn, bit for bit."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.events.batch import EventBatch, Flag
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.simulator import simulate
from stream_scorer.training import fold as history
from stream_scorer.training import fold_parts
from stream_scorer.training.features import CUSTOMER_FEATURES
from stream_scorer.training.fold import fold

PLAN = Plan()
COMPILED = compile_features(CUSTOMER_FEATURES, PLAN)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Transactions, some of which are out of order, late, repeated, or rejected."""
    table = simulate(days=20, customers=120)
    numbers = np.random.default_rng(0)
    rows = table.num_rows
    order = np.argsort(np.arange(rows) + numbers.integers(0, 40, rows), kind="stable")
    order[numbers.integers(0, rows, 50)] = order[numbers.integers(0, rows, 50)]
    amount = table["amount_minor"].to_numpy().copy()
    amount[numbers.integers(0, rows, 50)] = -1
    at = table.schema.get_field_index("amount_minor")
    spoilt = table.set_column(at, table.schema.field(at), pa.array(amount))
    return spoilt.take(pa.array(order))


def one_after_the_other(table: pa.Table) -> history.FeatureRows:
    (batch,) = table.combine_chunks().to_batches()
    number = np.arange(len(batch))
    time = batch.column("event_time").cast(pa.int64()).to_numpy()
    events = EventBatch(batch, np.zeros(len(batch), np.int32), number, time)
    folded = observe(events, PartitionRings(COMPILED), PLAN, COMPILED)
    kept = folded.accepted
    features = COMPILED.compute(events.take(kept), folded.observed[kept])
    return history.FeatureRows(kept, features)


@pytest.mark.parametrize("rows_at_a_time", [pytest.param(7, marks=pytest.mark.thorough), 50_000])
def test_groups_and_batches_change_no_bit(
    table: pa.Table, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = one_after_the_other(table)
    assert table.num_rows - 150 < len(expected.rows) < table.num_rows - 40
    monkeypatch.setattr(history, "_ROWS_AT_A_TIME", rows_at_a_time)
    whole = fold(table, COMPILED, PLAN)
    monkeypatch.setattr(history, "_batches", lambda table, _: table.to_batches(max_chunksize=333))
    parts = fold(table, COMPILED, PLAN)
    for found in (whole, parts):
        assert found.rows.tolist() == expected.rows.tolist()
        assert found.features.tobytes() == expected.features.tobytes()


AT_TERMINAL = {"key": "terminal_id", "delay": "2d"}
BY_TERMINAL: list[dict[str, Any]] = [
    {"name": "rows", "kind": "count", "window": "3d", **AT_TERMINAL},
    *CUSTOMER_FEATURES[2:5],
    {"name": "risk", "kind": "risk", "window": "8d", **AT_TERMINAL},
    {"name": "odds", "kind": "ratio", "feature": "risk", "to": "rows", "missing": -1},
    {"name": "same risk", "kind": "risk", "window": "192h", **AT_TERMINAL},
    {"name": "odd odds", "kind": "ratio", "field": "amount", "to": "odds"},
]


@pytest.mark.parametrize("rows_at_a_time", [pytest.param(7, marks=pytest.mark.thorough), 50_000])
def test_terminal_columns_equal_those_of_a_table_ahead(
    table: pa.Table, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(terminal_delay_ms=2 * 86_400_000)
    features = compile_features(BY_TERMINAL, plan)
    fraud = np.random.default_rng(1).random(table.num_rows) < 0.3
    (batch,) = table.combine_chunks().to_batches()
    time = batch.column("event_time").cast(pa.int64()).to_numpy()
    events = EventBatch(batch, np.zeros(len(batch), np.int32), np.arange(len(batch)), time)
    kept = observe(events, PartitionRings(features), plan, features).accepted
    terminals, known = TerminalTable(), events.take(kept)
    terminals.add(known.records.column("terminal_id"), time[kept], fraud[kept])
    terminals.watermark = int(time.max())
    folded = observe(events, PartitionRings(features), plan, features, terminals=terminals)
    expected = features.compute(known, folded.observed[kept])
    assert not (folded.flags[kept] & Flag.DEGRADED).any()
    assert np.count_nonzero(expected[:, 4]) > len(kept) / 50
    monkeypatch.setattr(history, "_ROWS_AT_A_TIME", rows_at_a_time)
    whole = fold(table, features, plan, fraud)
    monkeypatch.setattr(history, "_batches", lambda table, _: table.to_batches(max_chunksize=333))
    for found in (whole, fold(table, features, plan, fraud)):
        assert found.rows.tolist() == kept.tolist()
        assert found.features.tobytes() == expected.tobytes()


def test_memory_of_refused_rows_is_not_computed_with(
    table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(terminal_delay_ms=2 * 86_400_000)
    features, fraud = compile_features(BY_TERMINAL, plan), np.zeros(table.num_rows, np.bool_)
    expected = fold(table, features, plan, fraud)
    assert len(expected.rows) < table.num_rows
    # A division by the smallest double overflows, and a warning is an error.
    least = 5e-324
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, least, dtype))
    found = fold(table, features, plan, fraud)
    assert found.features.tobytes() == expected.features.tobytes()


def test_terminals_without_labels_are_refused(table: pa.Table) -> None:
    plan = Plan(terminal_delay_ms=2 * 86_400_000)
    with pytest.raises(ValueError, match="features by terminal need labels"):
        fold(table, compile_features(BY_TERMINAL, plan), plan)


def test_no_rows_have_no_features(table: pa.Table) -> None:
    found = fold(table.slice(0, 0), COMPILED, PLAN)
    assert found.rows.tolist() == []
    assert found.features.shape == (0, 9)


def test_what_fails_in_a_thread_fails_here(
    table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(fold_parts, "validated", fail)
    with pytest.raises(ValueError, match="broken"):
        fold(table, COMPILED, PLAN)
