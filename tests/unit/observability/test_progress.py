from stream_scorer.observability.progress import Progress
from stream_scorer.telemetry import (
    BatchCommitted,
    Event,
    LagObserved,
    Moving,
    PartitionsAssigned,
    PartitionsRevoked,
    ReplayProgress,
    Stuck,
    TerminalsRead,
)

OURS = PartitionsAssigned((0,))
LAG = LagObserved({0: 9}, {0: 9})
BOTH = LagObserved({0: 9, 1: 9}, {0: 9, 1: 9})


def committed(*partitions: int) -> BatchCommitted:
    return BatchCommitted(1, {}, "m", "1", next_offsets=dict.fromkeys(partitions, 5))


def watch(
    steps: list[tuple[float, Event]],
    assigned: PartitionsAssigned = OURS,
    *,
    together: bool = False,
) -> list[Event]:
    now = [0.0]
    told: list[Event] = []
    progress = Progress(told.append, 30.0, lambda: now[0], together=together)
    for at, event in [(0.0, assigned), *steps]:
        now[0] = at
        progress(event)
    return told


def test_lag_without_movement_is_stuck_with_its_duration() -> None:
    assert watch([(29.0, LAG), (31.0, LAG), (45.0, LAG)]) == [Stuck(31.0, (0,)), Stuck(45.0, (0,))]


def test_a_slow_scorer_is_not_stuck() -> None:
    assert watch([(20.0, committed(0)), (40.0, LAG), (45.0, committed(0)), (60.0, LAG)]) == []


def test_one_partition_is_stuck_although_another_moves() -> None:
    told = watch(
        [(20.0, committed(0)), (31.0, BOTH), (32.0, committed(0)), (33.0, committed(1))],
        PartitionsAssigned((0, 1)),
    )
    assert told == [Stuck(31.0, (1,)), Moving()]


def test_partitions_that_wait_for_each_other_are_not_stuck() -> None:
    assert (
        watch([(20.0, committed(0)), (31.0, BOTH)], PartitionsAssigned((0, 1)), together=True) == []
    )
    told = watch([(20.0, committed(0)), (51.0, BOTH)], PartitionsAssigned((0, 1)), together=True)
    assert told == [Stuck(31.0, (0, 1))]


def test_the_lag_of_other_members_partitions_does_not_count() -> None:
    assert watch([(31.0, LAG)], PartitionsAssigned((1,))) == []
    assert watch([(31.0, LAG)], PartitionsAssigned(())) == []


def test_a_revoked_partition_is_no_longer_stuck() -> None:
    told = watch([(31.0, LAG), (32.0, PartitionsRevoked((0,))), (80.0, LAG)])
    assert told == [Stuck(31.0, (0,)), Moving()]


def test_a_replay_and_terminals_rows_are_movement() -> None:
    assert watch([(25.0, ReplayProgress(0, 5, 9)), (40.0, LAG)]) == []
    assert watch([(25.0, TerminalsRead(1, None)), (40.0, LAG)]) == []


def test_an_idle_stream_is_not_stuck_when_work_comes_back() -> None:
    assert watch([(100.0, LagObserved({0: 0}, {0: 0})), (110.0, LAG)]) == []


def test_unanswered_lag_reads_hide_nothing_and_end_nothing() -> None:
    looks = [(at, LagObserved({}, {}) if at % 25 == 0 else LAG) for at in range(5, 301, 5)]
    told = watch([(float(at), look) for at, look in looks])
    answered = [float(at) for at, look in looks if at >= 30 and look is LAG]
    assert told == [Stuck(at, (0,)) for at in answered]


def test_movement_counts_between_unanswered_lag_reads() -> None:
    none = LagObserved({}, {})
    told = watch([(5.0, LAG), (20.0, committed(0)), (25.0, none), (45.0, LAG), (51.0, LAG)])
    assert told == [Stuck(31.0, (0,))]
    # A partition without lag at the last look may have had lag only since then, so the time without
    # looks does not count.
    assert watch([(5.0, LagObserved({0: 0}, {0: 0})), (50.0, none), (55.0, LAG)]) == []
    told = watch([(31.0, LAG), (35.0, none), (36.0, committed(0)), (40.0, none)])
    assert told == [Stuck(31.0, (0,)), Moving()]


def test_a_partition_that_a_look_leaves_out_stays_as_it_was() -> None:
    other = LagObserved({1: 9}, {1: 9})
    told = watch(
        [(20.0, committed(1)), (31.0, BOTH), (40.0, committed(1)), (45.0, other), (71.0, other)],
        PartitionsAssigned((0, 1)),
    )
    assert told == [Stuck(31.0, (0,)), Stuck(71.0, (0, 1))]


def test_a_regained_partition_is_watched_from_its_return() -> None:
    none = LagObserved({0: 0}, {0: 0})
    away = [(5.0, none), (6.0, PartitionsRevoked((0,))), (7.0, OURS)]
    assert watch([*away, (38.0, LagObserved({}, {})), (40.0, LAG)]) == [Stuck(33.0, (0,))]


def test_a_partition_without_lag_is_no_longer_stuck() -> None:
    told = watch([(31.0, LAG), (36.0, LagObserved({0: 0}, {0: 0})), (41.0, LAG)])
    assert told == [Stuck(31.0, (0,)), Moving()]


def test_a_hanging_upstream_transaction_does_not_count_as_stuck() -> None:
    assert watch([(100.0, LagObserved({0: 7}, {0: 0}))]) == []


def test_offsets_without_a_record_are_not_lag() -> None:
    both = PartitionsAssigned((0, 1))
    marker_behind_the_last_record = LagObserved({0: 1, 1: 0}, {0: 1, 1: 0}, {0: 0.0, 1: 0.0})
    assert watch([(100.0, marker_behind_the_last_record), (110.0, LAG)], both) == []
    told = watch([(100.0, LagObserved({0: 2, 1: 1}, {0: 2, 1: 1}, {0: 99.0, 1: 0.0}))], both)
    assert told == [Stuck(100.0, (0,))]
