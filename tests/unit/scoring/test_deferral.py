"""A scorer leaves out partitions that must wait for rows of terminals, and decides the others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.terminals.history import TerminalTable
from stream_scorer.kafka.loop.work_interface import Deferred, Stages
from stream_scorer.ports import RawRecords
from tests.unit.scoring.test_work import raw, transaction, work


class Rows:
    """What a scorer asks of its follower; the test says who waits.

    Attributes:
        first: By partition, the first offset that must wait.
        waited: How long it waited, each time.
        judged: Offsets of the events that were decided.
    """

    def __init__(self, first: Mapping[int, int]) -> None:
        self.table = TerminalTable()
        self.first = first
        self.waited: list[float] = []
        self.judged: list[int] = []

    def waiting(self, batches: Sequence[EventBatch]) -> dict[int, int]:
        present = {p for events in batches for p in events.partition.tolist()}
        return {p: at for p, at in self.first.items() if p in present}

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)

    def judge(self, events: EventBatch) -> None:
        self.judged += events.offset.tolist()


def batch(*partitions: int) -> RawRecords:
    """Return records with offsets from 100 on, one after the other in all partitions."""
    made = raw([transaction(number) for number in range(len(partitions))])
    return replace(made, partition=np.array(partitions, np.int32))


def scorer(first: Mapping[int, int], partitions: Sequence[int] = (0, 1)) -> tuple[Any, Rows]:
    made, rows = work(partitions=2), Rows(first)
    made.assigned({p: 100 for p in partitions if p})
    while made.restoring():
        made.restore()
    made._held.terminals = rows  # type: ignore[assignment]  # what it calls
    for partition in partitions:
        made.rings.of(partition)
    return made, rows


def test_partitions_that_wait_are_cut_from_the_batch() -> None:
    made, rows = scorer({1: 103})
    result = made.compute(batch(0, 1, 0, 1, 0, 1), Stages())
    assert result.ends == {0: 105, 1: 102}
    assert rows.judged == [100, 101, 102, 104]
    decided = [each.made.accepted for each in result.delta.scored]
    assert sum(map(len, decided)) == 4
    # What was folded before the cut was known is taken back: the same batch once more.
    made.undo(result)
    again = made.compute(batch(0, 1, 0, 1, 0, 1), Stages())
    assert again.ends == result.ends
    assert again.outgoing[0].values.to_list() == result.outgoing[0].values.to_list()


def test_rejected_rows_keep_their_records() -> None:
    made, _ = scorer({0: 101})
    result = made.compute(batch(0, 1, 0, 1), Stages(), {2: "not reached", 3: "ValueError"})
    assert result.ends == {0: 101, 1: 104}
    assert [reason.value for reason in result.delta.rejected] == ["INTERNAL"]


def test_records_without_headers_and_those_that_wait_are_cut() -> None:
    made, rows = scorer({1: 103})
    records = batch(0, 1, 0, 1, 0, 1)
    headless = np.arange(6) == 4
    records = replace(records, headers=[None] * 6, headless=headless)
    failed = dict.fromkeys((0, 3, 4), "ValueError")
    result = made.compute(records, Stages(), failed)
    assert result.ends == {0: 103, 1: 102}
    assert rows.judged == [101, 102]
    assert [reason.value for reason in result.delta.rejected] == ["INTERNAL"]


def test_a_batch_of_which_all_must_wait_is_read_again() -> None:
    for partitions, seconds in (((0, 1), 0.05), ((0,), 0.5)):
        made, rows = scorer({0: 100}, partitions)
        with pytest.raises(Deferred) as deferred:
            made.compute(batch(0, 0), Stages())
        assert deferred.value.partitions == {0}
        # With another partition only a moment: its events may be what the profiler waits for.
        assert rows.waited == [seconds]
        assert rows.judged == []


def test_a_batch_without_waiting_partitions_is_whole() -> None:
    made, rows = scorer({})
    result = made.compute(batch(0, 1), Stages())
    assert result.ends is None
    assert rows.judged == [100, 101]
