from stream_scorer.happenings import BatchCommitted, Happening, LagObserved, ReplayProgress, Stuck
from stream_scorer.observability.progress import Progress

COMMITTED = BatchCommitted(1, {}, "m", "1")
LAG = LagObserved({0: 9}, {0: 9})


def watch(steps: list[tuple[float, Happening]]) -> list[Stuck]:
    now = [0.0]
    told: list[Happening] = []
    progress = Progress(told.append, 30.0, lambda: now[0])
    for at, happening in steps:
        now[0] = at
        progress(happening)
    return [h for h in told if isinstance(h, Stuck)]


def test_lag_without_movement_is_stuck_and_says_for_how_long() -> None:
    assert watch([(29.0, LAG), (31.0, LAG), (45.0, LAG)]) == [Stuck(31.0), Stuck(45.0)]


def test_a_slow_scorer_is_not_stuck() -> None:
    assert watch([(20.0, COMMITTED), (40.0, LAG), (45.0, COMMITTED), (60.0, LAG)]) == []


def test_a_replay_is_movement() -> None:
    assert watch([(25.0, ReplayProgress(0, 5, 9)), (40.0, LAG)]) == []


def test_an_idle_stream_is_not_stuck_when_work_comes_back() -> None:
    assert watch([(100.0, LagObserved({0: 0}, {0: 0})), (110.0, LAG)]) == []


def test_a_hanging_transaction_upstream_is_not_our_being_stuck() -> None:
    assert watch([(100.0, LagObserved({0: 7}, {0: 0}))]) == []


def test_offsets_that_hold_no_record_are_no_lag() -> None:
    marker_behind_the_last_record = LagObserved({0: 1, 1: 0}, {0: 1, 1: 0}, {0: 0.0, 1: 0.0})
    assert watch([(100.0, marker_behind_the_last_record), (110.0, LAG)]) == []
    assert watch([(100.0, LagObserved({0: 2, 1: 1}, {0: 2, 1: 1}, {0: 99.0, 1: 0.0}))])
