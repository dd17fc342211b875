"""Terminal profile rows before publication equal plain Python, in any batches and restarts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.terminals.columns import Labels, PendingTransactions
from stream_scorer.core.terminals.pending_labels import IDLE_MS, NEVER, Clock, Pending
from tests.support.effort import examples

PARTITIONS, SOURCES = 2, 4
HOLD, LATENESS = 600, 100
EARLY = 120
"""How much earlier than its row a label without the row's time may be known."""


@dataclass(frozen=True)
class One:
    """A transaction, or a label if ``fraud`` is not None."""

    partition: int
    number: int
    event_time: int
    sent: int
    fraud: bool | None = None
    label_time: int = 0


@st.composite
def streams(draw: st.DrawFn) -> list[One]:
    found, sent = [], 0
    for _ in range(draw(st.integers(1, 60))):
        sent += draw(st.sampled_from((0, 1, 40, IDLE_MS + 1)))
        number = draw(st.integers(0, 11))
        # A number has its own customer and thus its own partition; its time is its own, or shifted.
        event_time = number * 150 + draw(st.sampled_from((0, 0, 0, 200, -150)))
        if draw(st.booleans()):
            found.append(One(number % PARTITIONS, number, event_time, sent))
        else:
            delay = draw(st.sampled_from((0, 50, HOLD, HOLD + 1)))
            told = (draw(st.booleans()), event_time + delay)
            found.append(One(2 + number % PARTITIONS, number, event_time, sent, *told))
    return found


def oracle(
    records: Sequence[One], *, by_time: bool = True
) -> tuple[set[tuple[int, int, bool]], int]:
    """Return (number, event time, fraud) of the published rows, and the watermark."""
    watermark = NEVER
    newest: dict[int, int] = {}
    heard: dict[int, int] = {}
    pending: list[tuple[int, int]] = []
    labels: list[tuple[tuple[int, int], int, int, bool]] = []
    left = set()
    for at, one in enumerate(records):
        if one.fraud is not None:
            if not by_time:
                if one.label_time + EARLY > watermark:
                    labels.append(((one.number, 0), one.label_time, at, one.fraud))
            elif one.event_time > watermark and one.label_time <= one.event_time + HOLD:
                labels.append(((one.number, one.event_time), one.label_time, at, one.fraud))
            continue
        newest[one.partition] = max(newest.get(one.partition, NEVER), one.event_time)
        heard[one.partition] = max(heard.get(one.partition, NEVER), one.sent)
        active = [p for p in heard if heard[p] >= max(heard.values()) - IDLE_MS]
        least = min(newest[p] for p in active)
        watermark = max(watermark, least - LATENESS - HOLD)
        known = any(n == one.number and t >= one.event_time for n, t in pending)
        if not known and one.event_time > watermark:
            pending.append((one.number, one.event_time))
        for row in [row for row in pending if row[1] <= watermark]:
            pending.remove(row)
            own = row if by_time else (row[0], 0)
            told = sorted(
                label[1:]
                for label in labels
                if label[0] == own and (by_time or label[1] - HOLD <= row[1] <= label[1] + EARLY)
            )
            left.add((*row, bool(told and told[-1][2])))
    return left, watermark


def columns(
    records: Sequence[One], first: int, *, by_time: bool = True
) -> tuple[PendingTransactions, Labels, list[int], list[int]]:
    paid = [at for at, one in enumerate(records) if one.fraud is None]
    told = [at for at, one in enumerate(records) if one.fraud is not None]

    def numbers(rows: list[int], name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([getattr(records[row], name) for row in rows], np.int64)

    def match(rows: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        known = numbers(rows, "number") * 1_000_000
        return (known + (numbers(rows, "event_time") if by_time else 0)).astype(np.uint64)

    rows = PendingTransactions(
        match(paid), numbers(paid, "number").astype(np.uint64), numbers(paid, "event_time"),
        pa.array([str(records[row].number) for row in paid], pa.string()),
        numbers(paid, "partition").astype(np.int32), np.array(paid, np.int64) + first,
    )  # fmt: skip
    labels = Labels(
        match(told),
        numbers(told, "event_time") if by_time else numbers(told, "label_time") + EARLY,
        numbers(told, "label_time"),
        numbers(told, "fraud").astype(np.bool_),
        numbers(told, "partition").astype(np.int32), np.array(told, np.int64) + first,
    )  # fmt: skip
    return rows, labels, paid, told


def new(*, by_time: bool = True) -> Pending:
    return Pending(PARTITIONS, SOURCES, HOLD, LATENESS, by_time=by_time)


@pytest.mark.parametrize("by_time", [True, False])
@settings(max_examples=examples(300), deadline=None)
@given(streams(), st.data())
def test_rows_are_the_oracles_in_any_batches_and_restarts(
    by_time: bool,  # noqa: FBT001 a case
    records: list[One],
    data: st.DataObject,
) -> None:
    expected, watermark = oracle(records, by_time=by_time)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(records)), max_size=5)) | {len(records)})
    pending = new(by_time=by_time)
    found: list[tuple[int, int, bool]] = []
    begin = 0
    for cut in cuts:
        batch = records[begin:cut]
        rows, labels, paid, told = columns(batch, begin, by_time=by_time)
        sent = np.array([batch[row].sent for row in paid], np.int64)
        places = np.array(paid, np.int64), np.array(told, np.int64)
        folded = pending.fold(rows, sent, places[0], labels, places[1])
        if data.draw(st.booleans()):
            # The batch is aborted, and computed again.
            again = pending.fold(rows, sent, places[0], labels, places[1])
            assert again.clock.watermark == folded.clock.watermark
        pending.keep(folded)
        settled = folded.settled
        found += zip(
            map(int, settled.rows.terminal_id.to_pylist()),
            settled.rows.event_time.tolist(),
            settled.fraud.tolist(),
            strict=True,
        )
        begin = cut
        if data.draw(st.booleans()):
            clock, first = pending.clock, folded.first
            pending = new(by_time=by_time)
            pending.clock = Clock(clock.newest.copy(), clock.heard.copy(), clock.watermark)
            # One partition after the other, each from its oldest needed offset.
            for partition in data.draw(st.permutations(range(SOURCES))):
                mine = [
                    one if one.partition == partition and at >= first[partition] else None
                    for at, one in enumerate(records[:begin])
                ]
                for at, one in enumerate(mine):
                    if one is not None:
                        pending.remember(*columns([one], at, by_time=by_time)[:2])
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert pending.clock.watermark == watermark


def test_what_changed_nothing_is_counted() -> None:
    pending = new()
    first = [One(0, 1, 1_000, 0), One(0, 1, 1_000, 0), One(0, 9, 5_000, 1)]
    late = [
        One(0, 2, 2_000, 2),
        One(2, 1, 1_000, 3, fraud=True, label_time=1_100),
        One(2, 9, 5_000, 3, fraud=True, label_time=5_000 + HOLD + 1),
    ]
    for begin, batch, told in ((0, first, (1, 0, 0, 0)), (3, late, (0, 1, 1, 1))):
        rows, labels, paid, of = columns(batch, begin)
        folded = pending.fold(
            rows, np.array([batch[p].sent for p in paid]), np.array(paid), labels, np.array(of)
        )
        pending.keep(folded)
        counts = folded.counts
        assert told == (
            counts.duplicates, counts.late_rows, counts.late_labels, counts.after_cutoff
        )  # fmt: skip
    assert len(pending) == 1


def taken(pending: Pending, records: Sequence[One], first: int) -> list[tuple[int, int, bool]]:
    """Fold a batch and keep it; return (number, event time, fraud) of the published rows."""
    rows, labels, paid, told = columns(records, first)
    sent = np.array([records[row].sent for row in paid], np.int64)
    folded = pending.fold(rows, sent, np.array(paid), labels, np.array(told))
    pending.keep(folded)
    settled = folded.settled
    return list(
        zip(
            map(int, settled.rows.terminal_id.to_pylist()),
            settled.rows.event_time.tolist(),
            settled.fraud.tolist(),
            strict=True,
        )
    )


def test_a_repeated_transaction_outlives_its_first_record() -> None:
    pending = new()
    behind = LATENESS + HOLD
    assert taken(pending, [One(0, 2, 1_000, 0)], 0) == []
    assert taken(pending, [One(0, 2, 1_500, 1)], 1) == []
    assert taken(pending, [One(0, 4, 1_000 + behind, 2)], 2) == [(2, 1_000, False)]
    # The later one is pending. The same one again is a duplicate, and has no second row.
    assert taken(pending, [One(0, 2, 1_500, 3)], 3) == []
    assert taken(pending, [One(0, 6, 1_500 + behind, 4)], 4) == [(2, 1_500, False)]


def test_a_label_at_the_cut_off_counts_but_not_after_it() -> None:
    for after, fraud in ((0, True), (1, False)):
        pending = new()
        paid = One(0, 2, 1_000, 0)
        label = One(2, 2, 1_000, 1, fraud=True, label_time=1_000 + HOLD + after)
        later = One(0, 4, 1_000 + LATENESS + HOLD, 2)
        assert taken(pending, [paid, label, later], 0) == [(2, 1_000, fraud)]


def test_a_partition_silent_past_the_limit_is_idle() -> None:
    for beyond, expected in ((0, 1_000), (1, 9_000)):
        pending = new()
        taken(pending, [One(1, 1, 1_000, 0), One(0, 2, 9_000, IDLE_MS + beyond)], 0)
        assert pending.clock.watermark == expected - LATENESS - HOLD


def test_a_label_without_its_rows_time_is_forgotten_in_time() -> None:
    pending = new(by_time=False)

    def told(at: int, number: int, label_time: int) -> Labels:
        one = One(2, number, 0, 0, fraud=True, label_time=label_time)
        return columns([one], at, by_time=False)[1]

    nothing = columns([], 0)[0]
    for at, label_time in enumerate((1_000, 1_000, 1_300)):
        pending.remember(nothing, told(at, 7, label_time))
    later = 1_000 + EARLY + LATENESS + HOLD
    rows, labels, _, _ = columns([One(0, 1, later, 0)], 9, by_time=False)
    one = np.zeros(1, np.int64)
    pending.keep(pending.fold(rows, one, one, labels, np.empty(0, np.int64)))
    assert [len(kept) for kept in pending._told._labels.values()] == [1]
    rows, labels, _, _ = columns([One(0, 3, later + 10_000, 0)], 10, by_time=False)
    pending.keep(pending.fold(rows, one, one, labels, np.empty(0, np.int64)))
    assert pending._told._labels == {}


def test_many_labels_of_one_id_do_not_slow_many_rows_of_it_down() -> None:
    count = 20_000
    moments = np.arange(count) % 100
    one = np.zeros(count, np.uint64)
    at = np.arange(count)
    source = np.zeros(count, np.int32)
    rows = PendingTransactions(
        one, at.astype(np.uint64), moments, pa.array(["x"] * count), source, at
    )
    labels = Labels(one, moments + EARLY, moments, np.ones(count, np.bool_), source + 2, at)
    pending = new(by_time=False)
    nothing = np.empty(0, np.int64)
    pending.keep(pending.fold(rows, at, at, labels.take(nothing), nothing))
    begun = time.thread_time()
    pending.keep(pending.fold(rows.take(nothing), nothing, nothing, labels, at))
    last, told, paid, heard = columns([One(0, 1, 1_000 + LATENESS + HOLD, 0)], count, by_time=False)
    assert heard == []
    settled = pending.fold(last, np.zeros(1, np.int64), np.array(paid), told, nothing).settled
    assert settled.fraud.tolist() == [True] * count
    assert time.thread_time() - begun < 10.0
