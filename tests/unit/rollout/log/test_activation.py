"""Where revisions begin in a batch, and what an aborted batch leaves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.decision.routing import CHAMPION, Activation, Routing, Version
from stream_scorer.core.events.batch import EventBatch, Rejections
from stream_scorer.ports import BytesColumn, Paused, RawRecords
from stream_scorer.rollout.log.activation import (
    Activations,
    BatchPlan,
    DecodedRecords,
    Reading,
    Refusal,
)
from stream_scorer.rollout.log.ready_versions import ANY_OLDER, ReadyVersions
from tests.support.core.events import NOW, batch, event
from tests.support.effort import examples

VERSION = Version("m", "1")
MODELS: Any = {VERSION: None}


def routing(revision: int, effective_at: int | None = None) -> Routing:
    return Routing(revision, {CHAMPION: VERSION}, effective_at=effective_at)


def fleet(*routings: Routing, **other: Any) -> ReadyVersions:
    return ReadyVersions(MODELS, routings, **other)


def records(times: list[tuple[int, int]], first: int = 0) -> tuple[RawRecords, EventBatch]:
    """Return a batch of (partition, event time) and its events, with offsets per partition."""
    partitions = [p for p, _ in times]
    offsets = [first + partitions[:n].count(p) for n, p in enumerate(partitions)]
    events = batch(
        [
            event(n, partition=p, event_time=NOW + t, timestamp=NOW + t)
            for n, (p, t) in enumerate(times)
        ]
    )
    return raw_of(partitions, offsets), replace(events, offset=np.array(offsets, np.int64))


def raw_of(partitions: list[int], offsets: list[int]) -> RawRecords:
    n = len(partitions)
    return RawRecords(
        BytesColumn.nulls(n), BytesColumn.nulls(n), None, np.array(partitions, np.int32),
        np.array(offsets, np.int64), np.zeros(n, np.int64),
    )  # fmt: skip


def reading(events: EventBatch) -> Reading:
    decoded = DecodedRecords(events, np.arange(len(events)), Rejections.none())
    return lambda _: decoded


def revisions(cut: BatchPlan, events: EventBatch) -> list[int]:
    found = np.full(len(events), -1)
    for piece in cut.pieces:
        rows = cut.rows if piece.rows is None else cut.rows[piece.rows]
        found[rows] = piece.routing.revision
    return found.tolist()


def serving(*partitions: int, revision: int | None = 1) -> Activations:
    made = Activations(lambda *_: "")
    for partition in partitions:
        made.begin(partition, revision)
    return made


def test_a_pinned_version_decides_all_and_records_nothing() -> None:
    raw, events = records([(0, 1), (1, 2)])
    pinned = fleet(routing(0), pinned=True)
    cut = Activations(lambda *_: "never asked").cut(raw, reading(events), pinned)
    assert (revisions(cut, events), cut.activations) == ([0, 0], ())


def test_a_revision_begins_in_each_partition_at_its_first_record() -> None:
    raw, events = records([(0, 1), (1, 9), (0, 8), (1, 2), (0, 3)])
    plans = fleet(routing(1), routing(2, NOW + 5))
    held = serving(0, 1)
    cut = held.cut(raw, reading(events), plans)
    assert revisions(cut, events) == [1, 2, 2, 2, 2]
    assert cut.activations == (Activation(0, 1, 2), Activation(1, 0, 2))
    assert held.cut(raw, reading(events), plans).activations == ()


def test_a_rollback_takes_the_next_offset_even_an_invalid_one() -> None:
    _, events = records([(0, 1), (0, 2), (0, 3)], first=7)
    undecodable = raw_of([0, 0, 0, 0], [6, 7, 8, 9])
    cut = serving(0).cut(undecodable, reading(events), fleet(routing(1), routing(2)))
    assert (revisions(cut, events), cut.activations) == ([2, 2, 2], (Activation(0, 6, 2),))


def test_an_invalid_record_begins_no_plan() -> None:
    raw, events = records([(0, 1), (0, 9), (0, 2)])
    far = batch(
        [
            event(n, event_time=NOW + t, timestamp=NOW + t, amount_minor=amount)
            for n, (t, amount) in enumerate([(1, 1), (9, -1), (2, 1)])
        ]
    )
    cut = serving(0).cut(raw, reading(far), fleet(routing(1), routing(2, NOW + 5)))
    assert (revisions(cut, events), cut.activations) == ([1, 1, 1], ())


def test_where_nothing_has_decided_the_oldest_that_is_ready_does() -> None:
    raw, events = records([(0, 1), (0, 9)])
    plans = fleet(routing(4, NOW + 99), routing(5, NOW + 5))
    cut = serving(0, revision=None).cut(raw, reading(events), plans)
    assert revisions(cut, events) == [4, 5]
    assert cut.activations == (Activation(0, 0, 4), Activation(0, 1, 5))


def test_an_aborted_batch_leaves_the_revisions_as_they_were() -> None:
    held = serving(0)
    held.begin(1, None)
    raw, events = records([(0, 1), (1, 1)])
    plans = fleet(routing(1), routing(2), refused={3: "no such bundle"})
    first = held.cut(raw, reading(events), plans)
    assert len(first.activations) == len(first.refusals) == 2
    held.undo(first)
    again = held.cut(raw, reading(events), plans)
    assert (again.activations, again.refusals) == (first.activations, first.refusals)
    assert held.cut(raw, reading(events), plans).refusals == ()


def test_of_two_open_batches_the_newer_is_undone_first() -> None:
    held = serving(0)
    raw, events = records([(0, 1)])
    first = held.cut(raw, reading(events), fleet(routing(1), routing(2)))
    later, more = records([(0, 1)], first=1)
    second = held.cut(later, reading(more), fleet(routing(1), routing(2), routing(3)))
    assert second.activations == (Activation(0, 1, 3),)
    held.undo(second)
    held.undo(first)
    assert revisions(held.cut(raw, reading(events), fleet(routing(1))), events) == [1]


def test_a_revision_not_served_by_the_history_is_refused_once() -> None:
    held = Activations(
        lambda partition, plan: "warming" if (partition, plan.revision) == (1, 2) else ""
    )
    for partition in (0, 1):
        held.begin(partition, 1)
    raw, events = records([(0, 1), (1, 1)], first=3)
    plans = fleet(routing(1), routing(2))
    cut = held.cut(raw, reading(events), plans)
    assert revisions(cut, events) == [2, 1]
    assert cut.refusals == (Refusal(1, 3, 2, "warming"),)
    assert held.cut(raw, reading(events), plans).refusals == ()


def test_a_revision_that_is_not_ready_here_is_waited_for() -> None:
    held = serving(0)
    raw, events = records([(0, 1)])
    with pytest.raises(Paused, match="revision 1 is not ready here"):
        held.cut(raw, reading(events), fleet(routing(2, NOW + 99)))
    assert revisions(held.cut(raw, reading(events), fleet(routing(1))), events) == [1]


@settings(max_examples=examples(100), deadline=None)
@given(
    times=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20)), min_size=1, max_size=30),
    gates=st.lists(st.one_of(st.none(), st.integers(0, 20)), min_size=1, max_size=4),
)
def test_a_partition_never_goes_back(times: list[tuple[int, int]], gates: list[int | None]) -> None:
    """Whatever the gates are, revisions ascend with offsets, and each has an activation record."""
    raw, events = records(times)
    plans = fleet(
        routing(1), *(routing(n + 2, None if g is None else NOW + g) for n, g in enumerate(gates))
    )
    cut = serving(0, 1, 2).cut(raw, reading(events), plans)
    found = revisions(cut, events)
    for partition in {p for p, _ in times}:
        mine = [(o, r) for (p, _), o, r in zip(times, events.offset, found, strict=True)
                if p == partition]  # fmt: skip
        assert [r for _, r in mine] == sorted(r for _, r in mine)
        told = [(a.offset, a.revision) for a in cut.activations if a.partition == partition]
        for offset, revision in mine:
            assert revision == max([1, *(r for o, r in told if o <= offset)])


def test_any_older_revision_is_requested_if_none_can_decide() -> None:
    asked: list[int] = []
    held = Activations(lambda _, plan: f"cold for {plan.revision}", asked.append)
    held.begin(0, None)
    raw, events = records([(0, 1)])
    with pytest.raises(Paused, match="revision 2: cold for 2"):
        held.cut(raw, reading(events), fleet(routing(2)))
    assert asked == [ANY_OLDER]
    # The refusal was undone, so it is reported later, together with the revision that then decides.
    serving_one = Activations(lambda _, plan: "cold" if plan.revision == 2 else "", asked.append)
    serving_one.begin(0, None)
    cut = serving_one.cut(raw, reading(events), fleet(routing(1), routing(2)))
    assert (revisions(cut, events), cut.refusals) == ([1], (Refusal(0, 0, 2, "cold"),))


def test_an_unready_revision_is_requested_and_its_refusal_shown() -> None:
    asked: list[int] = []
    held = Activations(lambda *_: "", asked.append)
    held.begin(0, 5)
    raw, events = records([(0, 1)])
    plans = fleet(routing(4), routing(7, NOW + 99), refused={5: "bundle x: is missing"})
    with pytest.raises(Paused, match="revision 5 is not ready here: bundle x: is missing"):
        held.cut(raw, reading(events), plans)
    assert asked == [5]
