"""What happens after a worker has exited."""

import signal

import pytest

from stream_scorer import errors
from stream_scorer.processes.restart_policy import (
    MOST_SECONDS,
    STEADY_SECONDS,
    EndAll,
    Restart,
    Supervision,
    cause_of,
    parting_code,
)


@pytest.mark.parametrize("code", [-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGTERM, 0, 1, 5])
def test_a_dead_worker_is_restarted(code: int) -> None:
    assert Supervision().left(0, code, 100.0) == Restart(0.5)


@pytest.mark.parametrize("code", [2, 3, 4, 6, 7, 8, 9, 10, 14])
def test_a_permanent_error_ends_all_workers_with_its_code(code: int) -> None:
    assert Supervision().left(0, code, 100.0) == EndAll(code)


def test_every_exit_code_of_ours_is_one_or_the_other() -> None:
    def codes(kind: type[errors.StreamScorerError]) -> set[int]:
        return {kind.exit_code}.union(*map(codes, kind.__subclasses__()))

    ours = codes(errors.StreamScorerError)
    again = {c for c in ours if isinstance(Supervision().left(0, c, 0.0), Restart)}
    assert again == {1, 5}
    assert len(ours) == 17


def test_a_worker_that_dies_repeatedly_waits_longer_to_a_bound() -> None:
    supervision = Supervision()
    waits = [supervision.left(0, -9, 1.0) for _ in range(100)]
    assert waits[:7] == [Restart(s) for s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, MOST_SECONDS)]
    assert waits[-1] == Restart(MOST_SECONDS)
    # Each worker has a separate delay.
    assert supervision.left(1, -9, 1.0) == Restart(0.5)


def test_a_steady_run_resets_the_restart_delay() -> None:
    supervision = Supervision()
    for _ in range(5):
        supervision.left(0, 1, 1.0)
    assert supervision.left(0, 1, STEADY_SECONDS) == Restart(0.5)
    assert supervision.left(0, 1, 1.0) == Restart(1.0)


def test_causes_are_a_small_set_of_words() -> None:
    assert [cause_of(code) for code in (0, 6, -9, -15)] == [
        "exit 0",
        "exit 6",
        "SIGKILL",
        "SIGTERM",
    ]
    assert cause_of(-250) == "signal 250"


@pytest.mark.parametrize(
    ("asked", "codes", "expected"),
    [
        (0, {0: 0, 1: 0}, 0),
        (0, {}, 0),
        # A worker that is still starting has no signal handler.
        (0, {0: 0, 1: -signal.SIGTERM}, 0),
        (0, {0: 0, 1: 1}, 1),
        (0, {0: -signal.SIGKILL, 1: 0}, 1),
        (0, {0: 1, 1: 6}, 6),
        (9, {0: 0, 1: 1}, 9),
    ],
)
def test_the_parent_exits_with_the_most_informative_code(
    asked: int, codes: dict[int, int], expected: int
) -> None:
    assert parting_code(asked, codes) == expected
