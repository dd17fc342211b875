"""A partial result: its part of the batch is committed and kept, and the rest is read again."""

from collections.abc import Mapping

import numpy as np
import pytest

from stream_scorer.kafka.loop.attempts import Attempts, Note
from stream_scorer.kafka.loop.work_interface import (
    NO_ROWS,
    Deferred,
    PolledBatch,
    Result,
    Stages,
)
from stream_scorer.ports import BytesColumn, Outgoing, RawRecords
from stream_scorer.telemetry import BatchCommitted, DependencyUnavailable
from tests.support.kafka.fake_cluster import ABORT
from tests.unit.kafka.loop.test_transaction import Adding, Scene


class Halving(Adding):
    """Work that computes the first record of a batch of two; its turn may also do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[list[int]] = []
        self.defers = 0

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[list[int]]:
        del quarantined
        stages.lap("decode")
        if self.defers:
            self.defers -= 1
            raise Deferred("terminals", frozenset({0}))
        delta = raw.offset[:1].tolist()
        self.state += delta
        ends = {0: delta[0] + 1} if len(raw) > 1 else None
        out = [Outgoing("t", BytesColumn.of([b"v"]), BytesColumn.nulls(1))]
        return Result(out, delta, ends=ends)

    def keep(self, result: Result[list[int]], stages: Stages, raw: RawRecords) -> BatchCommitted:
        self.kept.append(raw.offset.tolist())
        return super().keep(result, stages, raw)


@pytest.fixture(params=[False, True], ids=["late-offsets", "early-offsets"])
def scene(request: pytest.FixtureRequest) -> Scene:
    made = Scene()
    made.work = made.loop._work = Halving()
    made.loop._limits.guarded = request.param
    return made


def halving(scene: Scene) -> Halving:
    assert isinstance(scene.work, Halving)
    return scene.work


def test_the_rest_is_read_again_and_each_record_is_kept_once(scene: Scene) -> None:
    scene.run()
    assert halving(scene).kept == [[n] for n in range(6)]
    assert scene.source.sought == [1, 2, 3, 4, 5]
    # Never computed ahead of a result that may be partial.
    assert scene.work.state == list(range(6))
    assert [each.records for each in scene.heard(BatchCommitted)] == [1] * 6


def test_an_aborted_partial_result_is_undone(scene: Scene) -> None:
    scene.cluster.raises["commit"] = [ABORT]
    scene.run()
    assert scene.source.sought[:2] == [0, 1]
    assert halving(scene).kept == [[n] for n in range(6)]


def test_a_batch_that_must_wait_leaves_no_trace(scene: Scene) -> None:
    halving(scene).defers = 2
    scene.loop.step()
    assert (scene.source.sought, scene.work.state) == ([0], [])
    assert (0, "commit") not in scene.cluster.calls
    scene.run()
    assert scene.work.state == list(range(6))
    # It is no outage.
    assert not scene.heard(DependencyUnavailable)


def raw_of(*places: tuple[int, int]) -> RawRecords:
    offsets = np.array([offset for _, offset in places])
    partitions = np.array([partition for partition, _ in places], np.int32)
    n = len(places)
    return RawRecords(
        BytesColumn.of([b"v"] * n), BytesColumn.nulls(n), None, partitions, offsets, offsets
    )


def test_a_batch_is_cut_to_the_part_of_its_result() -> None:
    raw = raw_of((2, 7), (0, 3), (2, 8), (1, 5), (0, 4))
    quarantined = {0: "first", 3: "not reached", 4: "last"}
    result: Result[None] = Result([], None, ends={0: 5, 2: 8})
    batch = PolledBatch(raw, raw.next_offsets(), Stages(), result=result, quarantined=quarantined)
    assert batch.cut() == {1, 2}
    assert list(zip(batch.raw.partition.tolist(), batch.raw.offset.tolist(), strict=True)) == [
        (2, 7), (0, 3), (0, 4)
    ]  # fmt: skip
    assert batch.ends == {0: 5, 2: 8}
    assert batch.quarantined == {0: "first", 2: "last"}
    nothing: Result[None] = Result([], None, ends={})
    batch = PolledBatch(raw, raw.next_offsets(), Stages(), result=nothing)
    assert batch.cut() == {0, 1, 2}
    assert (len(batch.raw), batch.ends) == (0, {})
    whole: Result[None] = Result([], None)
    batch = PolledBatch(raw, raw.next_offsets(), Stages(), result=whole)
    assert batch.cut() == set()
    assert len(batch.raw) == len(raw)


def test_records_that_wait_are_not_suspected() -> None:
    attempts = Attempts(guarded=True)
    attempts.begin({0: 10, 1: 20}, {1: Note(2, 25, 1).write()})
    ends = {0: 14, 1: 25}
    assert Note.read(attempts.marks(ends)[1]) == Note(3, 25, 2)
    attempts.marked(ends)
    # Partition 1 had no part in the commit: its offset stays, and the count begins again.
    carried = attempts.carried({0: 12, 1: 20})
    assert {p: Note.read(note) for p, note in carried.items()} == {
        0: Note(1, 14, 0), 1: Note(1, 25, 2)
    }  # fmt: skip


def test_partitions_that_wait_are_left_out_of_the_next_poll() -> None:
    scene = Scene()
    loop = scene.loop
    loop._waiting = frozenset({0})
    loop._most_records()
    # With no other partition, all are read.
    assert scene.source.narrowed[-1] == frozenset()
