"""The schedule: every bucket has its turn, the cost is bounded, and an undo leaves no trace."""

from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.state.checkpoints.schedule import BUCKET_BYTES, UNWRITTEN, Held, Schedule, Turn
from tests.support.effort import examples

SIZE = 500


def labels() -> Any:
    return np.full(BUCKETS, UNWRITTEN, np.int64)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def schedule(bytes_per_event: float = 10.0, free: float = 0.0, clock: Any = None) -> Schedule:
    made = Schedule(bytes_per_event, free, clock or Clock())
    for partition in range(3):
        made.add(partition, 100, 0, labels())
    return made


def write(_: Held, __: int) -> tuple[int, int]:
    return 1, SIZE


def step(made: Schedule, events: int, position: int) -> Turn:
    turn = made.take(events, write)
    made.advance(turn, dict.fromkeys(made.held, position))
    return turn


def standing(made: Schedule) -> Any:
    held = {p: (h.position, h.cursor, h.labels.tobytes()) for p, h in made.held.items()}
    return held, made._account, made._next


def test_partitions_take_turns_and_buckets_cycle_in_order() -> None:
    made = schedule()
    seen: list[tuple[int, int]] = []
    for number in range(400):
        turn = step(made, 1_000, 200 + number)
        made.keep(turn)
        seen += [(each.held.partition, each.bucket) for each in turn.written]
    turns = [list(group) for _, group in groupby(seen, key=lambda one: one[0])]
    assert [turn[0][0] for turn in turns[:6]] == [0, 1, 2, 0, 1, 2]
    for partition in range(3):
        own = [bucket for p, bucket in seen if p == partition]
        assert own == [number % BUCKETS for number in range(len(own))]


def test_writes_are_paid_by_events_and_overdrawn_by_one_bucket() -> None:
    made = schedule()
    spent = 0
    for number in range(500):
        turn = step(made, 100, 200 + number)
        made.keep(turn)
        spent += sum(each.size + BUCKET_BYTES for each in turn.written)
        assert spent <= 10.0 * 100 * (number + 1) + SIZE + BUCKET_BYTES
    assert spent >= 10.0 * 100 * 500 * 0.95


def test_a_quiet_topic_writes_a_bounded_number_a_second() -> None:
    clock = Clock()
    made = schedule(bytes_per_event=0.0, free=4.0, clock=clock)
    written = 0
    for tick in range(100):
        clock.now = tick / 10
        turn = step(made, 1, 200 + tick)
        made.keep(turn)
        written += len(turn.written)
    assert 36 <= written <= 40
    clock.now += 3_600
    assert len(step(made, 1, 1_000).written) == 4


def test_less_than_a_bucket_a_second_is_saved_up_to_one() -> None:
    clock = Clock()
    made = schedule(bytes_per_event=0.0, free=0.25, clock=clock)
    written = []
    for tick in range(1, 13):
        clock.now = float(tick)
        written.append(len(step(made, 1, 200 + tick).written))
    assert written == [0, 0, 0, 1] * 3
    clock.now += 3_600
    assert len(step(made, 1, 1_000).written) == 1


def test_nothing_is_written_twice_without_new_input() -> None:
    made = schedule(bytes_per_event=10_000.0)
    total = 0
    for _ in range(10):
        turn = made.take(5_000, write)
        made.keep(turn)
        total += len(turn.written)
    assert total == 3 * BUCKETS
    assert made._account <= 0
    assert all(held.age == 0 for held in made.held.values())


def test_the_age_is_what_a_restart_would_replay() -> None:
    made = schedule(bytes_per_event=0)
    held = made.held[0]
    assert held.age == 100
    held.labels[:] = 60
    held.labels[7] = 40
    assert held.age == 60
    held.origin = 90
    assert held.age == 10


def test_a_partition_continues_with_its_oldest_bucket() -> None:
    made = schedule()
    known = labels()
    known[:] = 90
    known[600:] = 50
    made.add(1, 100, 0, known)
    assert made.held[1].cursor == 600


def test_an_old_turn_does_not_mark_a_partition_that_returned() -> None:
    made = schedule()
    turn = step(made, 1_000, 200)
    assert {each.held.partition for each in turn.written} >= {0}
    made.remove(0)
    made.add(0, 500, 0, labels())
    made.keep(turn)
    assert (made.held[0].labels == UNWRITTEN).all()
    made.undo(turn)
    assert made.held[0].position == 500


def test_a_store_that_failed_gets_the_same_buckets_again() -> None:
    made = schedule()
    first = step(made, 1_000, 200)
    assert [(each.held.partition, each.bucket) for each in first.written] == [
        (0, 0),
        (0, 1),
        (0, 2),
    ]
    made.failed(first)
    again = [step(made, 3_000, 300 + number) for number in range(4)]
    assert [turn.written[0].held.partition for turn in again] == [1, 2, 0, 1]
    assert [each.bucket for each in again[2].written][:3] == [0, 1, 2]


def test_after_several_failures_the_oldest_buckets_are_next() -> None:
    made = Schedule(10.0, 0, Clock())
    made.add(0, 100, 0, labels())
    waiting = [step(made, 1_000, 200 + number) for number in range(3)]
    assert [each.written[0].bucket for each in waiting] == [0, 3, 5]
    # The first failure is reported before an undone turn, the others after a kept one.
    ahead = step(made, 1_000, 300)
    made.failed(waiting[0])
    made.undo(ahead)
    again = step(made, 1_000, 301)
    made.failed(waiting[1])
    made.failed(waiting[2])
    assert again.written[0].bucket == 0
    assert made.held[0].cursor == again.written[-1].bucket + 1
    # A later turn fails separately.
    made.failed(again)
    assert made.held[0].cursor == 0


def test_a_cycle_is_timed() -> None:
    clock = Clock()
    made = schedule(bytes_per_event=10_000.0, clock=clock)
    for number in range(4):
        clock.now = 5.0 if number < 3 else 12.0
        made.keep(step(made, 5_000, 200 + number))
    assert made.held[0].cycle_seconds == 7.0


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2_000), st.booleans(), st.booleans()), max_size=30))
def test_aborts_leave_no_trace(batches: list[tuple[int, bool, bool]]) -> None:
    """With turns that are computed ahead and undone, the schedule equals one without them."""
    disturbed, calm = schedule(), schedule()
    position = 100
    for events, aborted, ahead in batches:
        if aborted:
            before = standing(disturbed)
            turn = step(disturbed, events, position + events)
            second = step(disturbed, 77, position + events + 77) if ahead else None
            if second is not None:
                disturbed.undo(second)
            disturbed.undo(turn)
            assert standing(disturbed) == before
        position += events
        turns = [step(made, events, position) for made in (disturbed, calm)]
        for made, turn in zip((disturbed, calm), turns, strict=True):
            made.keep(turn)
        assert standing(disturbed) == standing(calm)
        for held in calm.held.values():
            assert held.labels.max() <= position
