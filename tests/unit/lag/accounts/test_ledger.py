"""The ledger of a partition: which offsets have an output."""

import numpy as np
import pytest

from stream_scorer.lag.accounts import ledger as ledgers
from stream_scorer.lag.accounts.ledger import OutputKind, PartitionLedger, SettledOffsets

DECISION, LETTER = OutputKind.DECISION, OutputKind.DEAD_LETTER


def note(ledger: PartitionLedger, *offsets: int, kind: OutputKind = DECISION) -> None:
    ledger.note(np.array(offsets, np.int64), kind)


def test_each_offset_is_settled_once_by_its_output() -> None:
    ledger = PartitionLedger(100)
    note(ledger, 100, 101, 103)
    note(ledger, 102, kind=LETTER)
    assert ledger.settle(103) == SettledOffsets(2, 1, [])
    assert ledger.settle(104) == SettledOffsets(1, 0, [])
    assert (ledger.done, ledger.doubled) == (104, 0)


def test_offsets_without_an_output_are_runs() -> None:
    ledger = PartitionLedger(0)
    note(ledger, 1, 4, 5)
    assert ledger.settle(8) == SettledOffsets(3, 0, [(0, 1), (2, 4), (6, 8)])


def test_an_end_that_went_back_settles_nothing() -> None:
    ledger = PartitionLedger(0)
    note(ledger, 0, 1)
    ledger.settle(2)
    assert ledger.settle(1) == SettledOffsets(0, 0, [])
    assert ledger.done == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [((7, 7), ()), ((7,), (7,)), ((5, 7), (5,))],
    ids=["in one piece", "in two", "after it was settled"],
)
def test_a_second_output_of_an_offset_is_doubled(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    ledger = PartitionLedger(5)
    note(ledger, *first)
    ledger.settle(6)
    note(ledger, *second, kind=LETTER)
    assert ledger.doubled == 1


def test_outputs_of_records_before_the_begin_do_not_count() -> None:
    ledger = PartitionLedger(10)
    note(ledger, 8, 8, 9)
    assert (ledger.doubled, ledger.settle(10)) == (0, SettledOffsets(0, 0, []))


def test_the_begin_moves_only_before_anything_is_settled() -> None:
    ledger = PartitionLedger(10)
    note(ledger, 11, 12)
    ledger.begin_at(12)
    assert ledger.settle(13) == SettledOffsets(1, 0, [])
    ledger.begin_at(20)
    assert (ledger.began, ledger.done) == (12, 13)


def test_an_offset_far_ahead_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "OFFSETS_MOST", 1_000)
    ledger = PartitionLedger(0)
    note(ledger, 999)
    assert not ledger.overflowed
    note(ledger, 1 << 60)
    assert ledger.overflowed
    other = PartitionLedger(0)
    other.settle(1 << 60)
    assert other.overflowed
