"""When a scorer reports that history is missing, and when it stops."""

from typing import Any

import numpy as np
import pytest

from stream_scorer.state.checkpoints import history_start
from stream_scorer.state.checkpoints.history_coverage import CAP, INPUT, NOT_YET
from stream_scorer.state.checkpoints.history_start import Beginning
from stream_scorer.state.checkpoints.ownership import Assembly
from stream_scorer.state.partitions.coverage_tracker import Histories
from stream_scorer.telemetry import StateComplete, StateIncomplete
from tests.support.state.checkpoint_process import (
    LENGTH,
    OWNER,
    PARTITIONS,
    START,
    TRANSACTION,
    VALUES,
    Process,
)
from tests.support.state.stores import MemoryStore

LOW = 100
FIRST = 20
_DAY = 86_400_000
_APART = _DAY // 4
_YEAR = 365 * _DAY


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input in order, with one old event and one rejected record where it was deleted."""
    monkeypatch.setattr(history_start, "FIRST", FIRST)
    for partition in range(PARTITIONS):
        for offset in range(LENGTH):
            put(monkeypatch, partition, offset)
        put(monkeypatch, partition, LOW, event_time=START - _YEAR)
        put(monkeypatch, partition, LOW + 1, event_time=START + _YEAR, amount_minor=-1)


def put(monkeypatch: pytest.MonkeyPatch, partition: int, offset: int, **changes: Any) -> None:
    value = TRANSACTION.encode(
        {
            "transaction_id": f"{partition}-{offset}", "event_time": START + offset * _APART,
            "customer_id": f"c{partition}-{offset % 7}", "terminal_id": "x", "amount_minor": 1,
            "currency": "EUR",
        }
        | changes
    )  # fmt: skip
    monkeypatch.setitem(VALUES, (partition, offset), value)


def process(committed: int, low: int = LOW, store: MemoryStore | None = None) -> Process:
    return Process(store or MemoryStore(), {0: committed, 1: committed}, low=low)


def told(found: Process) -> list[StateIncomplete | StateComplete]:
    return [h for h in found.heard
            if isinstance(h, StateIncomplete | StateComplete) and h.partition == 0]  # fmt: skip


def go_on(found: Process, until: int) -> None:
    """Commit one record of each partition at a time."""
    for _ in range(found.committed[0], until):
        batch = found.compute((1, 1))
        assert batch is not None
        found.commit(batch)


def kept(store: MemoryStore, offset: int) -> set[int | None]:
    """Return since when the buckets of an offset claim the input's complete history.

    Partitions take turns, so the buckets' offset is that one or the one before it.
    """
    assembly = Assembly(OWNER, 0)
    assembly.add(store.records[0])
    found = [each for each in assembly.buckets().values() if each.offset in (offset - 1, offset)]
    assert found
    return {each.since.get(INPUT) for each in found}


def since() -> int:
    """Return the newest of the first valid events, without the rejected one, plus the lateness."""
    return START + (LOW + FIRST) * _APART + 3_600_000


def covered(found: Process) -> int:
    """Return the first offset after which no window reaches back to the missing history."""
    horizon = found.work.rings.of(0).retention.horizon_ms
    return next(o + 1 for o in range(LOW, 300) if START + o * _APART - horizon >= since())


def test_one_old_event_at_the_beginning_does_not_hide_a_gap() -> None:
    assert told(process(LOW + 60)) == [StateIncomplete(0, LOW)]


def test_a_complete_input_misses_nothing() -> None:
    assert told(process(LOW + 60, low=0)) == []


def test_it_is_over_when_the_watermark_has_passed_it() -> None:
    store = MemoryStore()
    found = process(LOW + 60, store=store)
    end = covered(found)
    go_on(found, end - 1)
    assert told(found) == [StateIncomplete(0, LOW)]
    go_on(found, end)
    assert told(found) == [StateIncomplete(0, LOW), StateComplete(0)]
    go_on(found, end + 9)
    assert len(told(found)) == 2
    assert kept(store, end - 1) == {since()}
    assert kept(store, end + 7) == {None}
    assert told(process(end + 9, store=store)) == []


def test_a_few_retained_events_claim_nothing_until_more_arrive() -> None:
    store = MemoryStore()
    found = process(LOW + 6, store=store)
    assert told(found) == [StateIncomplete(0, LOW)]
    go_on(found, LOW + FIRST)
    go_on(found, LOW + FIRST + 8)
    assert kept(store, LOW + FIRST - 2) == {NOT_YET}
    assert kept(store, LOW + FIRST + 6) == {since()}
    go_on(found, covered(found) - 1)
    assert told(found) == [StateIncomplete(0, LOW)]
    go_on(found, covered(found))
    assert told(found) == [StateIncomplete(0, LOW), StateComplete(0)]


def test_empty_input_and_aborted_batches_claim_nothing() -> None:
    store = MemoryStore()
    found = process(LOW, store=store)
    assert told(found) == [StateIncomplete(0, LOW)]
    for _ in range(2 * FIRST):
        found.abort(found.compute((1, 1)))
    go_on(found, LOW + FIRST + 1)
    assert kept(store, LOW + FIRST) == {NOT_YET}


def test_a_smaller_cap_degrades_until_it_is_outlived() -> None:
    heard: list[Any] = []
    changed: list[Any] = []
    histories = Histories(heard.append, lambda *told: changed.append(told))
    rings = process(LOW).work.rings.of(0)
    horizon = rings.retention.horizon_ms
    nothing: Any = None
    known = Beginning()
    known.see(np.arange(FIRST))
    histories.begin(0, {CAP: 10, INPUT: 20, "mcc": 30}, known, LOW)
    for watermark in (horizon + 9, horizon + 10, horizon + 20, horizon + 30, horizon + 40):
        rings.watermark = watermark
        histories.committed(0, rings, nothing, nothing)
    assert heard == [
        StateIncomplete(0, LOW, (INPUT, CAP)), StateIncomplete(0, LOW, (INPUT,)), StateComplete(0)
    ]  # fmt: skip
    assert changed == [(0, {INPUT: 20, "mcc": 30}), (0, {"mcc": 30}), (0, {})]


def test_a_partition_that_left_is_no_longer_reported() -> None:
    found = process(LOW + 60)
    found.work.revoked((0,))
    found.held.histories.committed(0, found.work.rings.of(1), None, None)  # type: ignore[arg-type]
    assert told(found) == [StateIncomplete(0, LOW)]
