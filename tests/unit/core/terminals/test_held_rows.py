"""Rows wait for their outcomes, and then are what they are without the wait."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN, LabelPolicy
from stream_scorer.core.terminals.columns import Labels, labels_of, source_hash
from stream_scorer.core.terminals.pending_labels import NEVER, Clock, Pending
from stream_scorer.core.terminals.undecided import NOWHERE, Undecided
from tests.support.effort import examples
from tests.support.terminals.outcomes import FakeOutcomes
from tests.unit.core.terminals.test_pending_labels import (
    HOLD,
    LATENESS,
    PARTITIONS,
    SOURCES,
    One,
    columns,
    streams,
)

DELAY = HOLD + 100
Rows = list[tuple[int, int, int, int]]


def pending() -> Pending:
    return Pending(PARTITIONS, SOURCES, HOLD, LATENESS, delay_ms=DELAY)


def folded(
    state: Pending, batch: Sequence[One], first: int, outcomes: FakeOutcomes, *, held: bool
) -> tuple[Rows, int, tuple[np.ndarray, np.ndarray]]:
    """Fold a batch as the profiler does; return its rows, records taken, and what is needed."""
    rows, labels, paid, told = columns(batch, first)
    sent = np.array([batch[row].sent for row in paid], np.int64)
    at, least = len(batch), NEVER
    stop = state.held(rows, sent, np.array(paid, np.int64), outcomes.known) if held else None
    if stop is not None:
        at, least = stop.taken, stop.watermark
        rows, labels, paid, told = columns(batch[:at], first)
        sent = sent[: len(paid)]
    result = state.fold(
        rows, sent, np.array(paid, np.int64), labels, np.array(told, np.int64), outcomes, least
    )
    state.keep(result)
    left = result.settled
    found = list(
        zip(
            left.rows.partition.tolist(), left.rows.offset.tolist(), left.state.tolist(),
            left.revision.tolist(), strict=True,
        )
    )  # fmt: skip
    return found, at, (result.first, result.before)


def restarted(
    state: Pending, records: Sequence[One], needed: tuple[np.ndarray, np.ndarray],
    order: Sequence[int],
) -> Pending:  # fmt: skip
    """Return the state after a restart: one partition after the other, from what is needed."""
    clock, fresh = state.clock, pending()
    fresh.clock = Clock(clock.newest.copy(), clock.heard.copy(), clock.watermark)
    before = needed[1][:PARTITIONS]
    fresh.begin_replay(np.where(before < NOWHERE, before, clock.newest))
    for partition in order:
        for at, one in enumerate(records):
            if one.partition == partition and at >= needed[0][partition]:
                fresh.remember(*columns([one], at)[:2])
    return fresh


@settings(max_examples=examples(400), deadline=None)
@given(streams(), st.data())
def test_a_wait_changes_no_row(records: list[One], data: st.DataObject) -> None:
    paid = [(one.partition, at) for at, one in enumerate(records) if one.fraud is None]
    blocks = {place for place in paid if data.draw(st.integers(0, 3)) == 0}
    unlabelled = data.draw(st.sampled_from(["genuine", "ignore"]))
    policy = LabelPolicy(unlabelled_in_risk=unlabelled, on=True)
    end = np.full(PARTITIONS, len(records))
    known_all = FakeOutcomes(end, blocks, policy, {0: 7})
    expected, _, _ = folded(pending(), records, 0, known_all, held=False)

    state, found = pending(), []
    outcomes = FakeOutcomes(np.zeros(PARTITIONS, np.int64), blocks, policy, {0: 7})
    begin, idle = 0, 0
    while begin < len(records):
        batch = records[begin : begin + data.draw(st.integers(1, 20))]
        before = state.clock.watermark
        rows, at, needed = folded(state, batch, begin, outcomes, held=True)
        # A row that leaves has its outcome, or is exempt and none the less unknown.
        for partition, offset, _, _ in rows:
            assert offset < outcomes.known[partition] or exempt(records, offset)
        found += rows
        begin += at
        assert state.clock.watermark >= before
        idle = 0 if at or state.clock.watermark > before else idle + 1
        # Scorers decide some of what was read; they need nothing later than the watermark here.
        for partition in range(PARTITIONS):
            if data.draw(st.booleans()) or idle > 1:
                outcomes.known[partition] = data.draw(st.integers(outcomes.known[partition], begin))
        if idle > 2:
            outcomes.known[:] = begin
        assert idle < 10, "it stands still"
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(SOURCES)))
            state = restarted(state, records[:begin], needed, order)
    assert len(found) == len(set(found))
    settle = {(p, o): (s, r) for p, o, s, r in expected}
    assert {(p, o): (s, r) for p, o, s, r in found} == settle


def exempt(records: Sequence[One], offset: int) -> bool:
    one = records[offset]
    before = [
        each.event_time
        for each in records[:offset]
        if each.partition == one.partition and each.fraud is None
    ]
    return one.event_time <= max(before, default=NEVER) - DELAY


def row(number: int, time: int, sent: int = 0) -> One:
    return One(number % PARTITIONS, number, time, sent)


def test_the_watermark_stops_before_an_undecided_row() -> None:
    state, outcomes = pending(), FakeOutcomes(np.zeros(PARTITIONS, np.int64))
    behind = HOLD + LATENESS
    batch = [row(0, 1_000), row(2, 1_200), row(4, 5_000)]
    # The first mark is published although nothing is decided: a cold start.
    rows, taken, _ = folded(state, batch, 0, outcomes, held=True)
    assert (rows, taken, state.clock.watermark) == ([], 2, 999)
    again, taken, _ = folded(state, batch[2:], 2, outcomes, held=True)
    assert (again, taken) == ([], 0)
    outcomes.known[0] = 1
    rows, taken, _ = folded(state, batch[2:], 2, outcomes, held=True)
    assert (rows, taken, state.clock.watermark) == ([(0, 0, GENUINE, 3)], 0, 1_199)
    outcomes.known[0] = 2
    rows, taken, _ = folded(state, batch[2:], 2, outcomes, held=True)
    assert (rows, taken) == ([(0, 1, GENUINE, 3)], 1)
    assert state.clock.watermark == 5_000 - behind


def test_a_cold_start_publishes_a_watermark_before_any_decision() -> None:
    state, outcomes = pending(), FakeOutcomes(np.zeros(PARTITIONS, np.int64))
    _, taken, _ = folded(state, [row(0, 1_000), row(2, 1_010)], 0, outcomes, held=True)
    assert (taken, state.clock.watermark) == (2, 1_010 - HOLD - LATENESS)


def test_a_row_far_behind_its_own_partition_does_not_hold() -> None:
    for late, holds in ((DELAY - 1, True), (DELAY, False)):
        state, outcomes = pending(), FakeOutcomes(np.array([2, 0], np.int64))
        # The second partition is behind, so the row is pending.
        batch = [row(1, 5_000 - late, 0), row(0, 5_000, 0), row(0, 5_000, 0), row(2, 5_000 - late)]
        _, taken, needed = folded(state, batch, 0, outcomes, held=True)
        assert taken == 4
        outcomes.known[1] = 9
        rows, taken, _ = folded(state, [row(1, 9_000), row(4, 9_000)], 4, outcomes, held=True)
        assert (taken < 2) == holds
        if not holds:
            assert (0, 3, UNKNOWN, 3) in rows
            # The same after a restart, which does not read what came before.
            assert needed[1][0] in (5_000, NEVER)


def labels(*told: tuple[str, str, int, str, str], number: int = 0, time: int = 1_000) -> Labels:
    """Return labels of (source, state, label time, id, retracted id) of one transaction."""
    records = pa.RecordBatch.from_pylist(
        [
            {
                "transaction_id": str(number), "customer_id": "c", "event_time": time,
                "is_fraud": state == "FRAUD", "label_time": at, "source": source, "state": state,
                "label_id": name, "retracts": retracts,
            }
            for source, state, at, name, retracts in told
        ],
        pa.schema({
            "transaction_id": pa.string(), "customer_id": pa.string(),
            "event_time": pa.timestamp("ms"), "is_fraud": pa.bool_(),
            "label_time": pa.timestamp("ms"), "source": pa.string(), "state": pa.string(),
            "label_id": pa.string(), "retracts": pa.string(),
        }),
    )  # fmt: skip
    found = labels_of(records, np.full(len(told), 2, np.int32), np.arange(len(told)))
    return replace(found, match=np.full(len(told), 1_000, np.uint64))


SOURCES_OF_PLAN = LabelPolicy(sources=("bank", "shop"), on=True)


def settled_by(*told: tuple[str, str, int, str, str], policy: LabelPolicy = SOURCES_OF_PLAN) -> int:
    state = Pending(PARTITIONS, SOURCES, HOLD, LATENESS)
    rows, _, _, _ = columns([row(0, 1_000)], 0)
    rows = replace(rows, match=np.full(1, 1_000, np.uint64))
    one, none = np.zeros(1, np.int64), np.empty(0, np.int64)
    outcomes = FakeOutcomes(np.full(PARTITIONS, 99), policy=policy)
    given = labels(*told)
    result = state.fold(rows, one, one, given, np.arange(1, len(given) + 1), outcomes)
    state.keep(result)
    later, _, _, _ = columns([row(0, 9_000)], 9)
    last = state.fold(later, one, one, given.take(none), none, outcomes)
    return int(last.settled.state[0])


def test_a_row_takes_the_best_statement_of_the_plans_sources() -> None:
    bank, shop = ("bank", "FRAUD", 1_100, "b", ""), ("shop", "GENUINE", 1_200, "s", "")
    assert settled_by(bank, shop) == FRAUD
    # Without ranks the newest one counts.
    assert settled_by(bank, shop, policy=LabelPolicy(on=True)) == GENUINE
    assert settled_by(bank, shop, policy=LabelPolicy.absent()) == GENUINE
    assert settled_by(bank, shop, ("bank", "GENUINE", 1_300, "", "b")) == GENUINE
    # A shop cannot take back what a bank says.
    assert settled_by(bank, ("shop", "GENUINE", 1_300, "", "b")) == FRAUD
    assert settled_by(bank, ("bank", "DISPUTED", 1_150, "d", "")) == UNKNOWN
    assert settled_by(("bank", "UNKNOWN", 1_150, "d", "")) == UNKNOWN
    assert source_hash("bank") != source_hash("shop")


def test_a_blocked_row_is_unknown_without_a_label() -> None:
    for blocked, told, expected in (
        (True, [], UNKNOWN), (False, [], GENUINE),
        (True, [One(2, 0, 1_000, 1, fraud=True, label_time=1_050)], FRAUD),
        (True, [One(2, 0, 1_000, 1, fraud=False, label_time=1_050)], GENUINE),
    ):  # fmt: skip
        state = pending()
        outcomes = FakeOutcomes(np.full(PARTITIONS, 9), {(0, 0)} if blocked else set())
        folded(state, [row(0, 1_000), *told], 0, outcomes, held=True)
        rows, _, _ = folded(state, [row(2, 5_000)], 5, outcomes, held=True)
        assert rows == [(0, 0, expected, 3)]


def test_outcomes_are_forgotten_once_they_are_known() -> None:
    waits = Undecided(2)
    waits.add(np.array([0, 0, 1, 0], np.int32), np.array([3, 1, 1, 5]), np.array([30, 10, 20, 5]))
    waits.add(np.array([0], np.int32), np.array([8]), np.array([7]))
    assert len(waits) == 5
    assert waits.first_ms(np.array([0, 0])) == 5
    assert waits.first_ms(np.array([6, 0])) == 7
    assert waits.first_ms(np.array([9, 0])) == 20
    assert len(waits) == 1
    assert waits.first_ms(np.array([9, 2])) == NOWHERE
