"""Faults, and planned changes, of the group."""

import signal

from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.process import ScorerProcess, wait_until

_FENCED = 6
_BOUNCES = 4


@kind("group")
def join(stage: Stage) -> None:
    """A second instance joins under load."""
    first = stage.start()
    second = stage.scorer(instance="1")
    half = stage.partitions / 2
    wait_until(lambda: stage.assigned(first) == stage.assigned(second) == half, "both have half")
    stage.fired(1, "each has half of the partitions, by metric")
    stage.fault_over()
    stage.finish()


@kind("group")
def leave(stage: Stage) -> None:
    """One of two instances leaves gracefully."""
    first = stage.start()
    second = stage.scorer(instance="1")
    wait_until(lambda: stage.assigned(second) > 0, "the second has partitions")
    stage.stop(second)
    wait_until(lambda: stage.assigned(first) == stage.partitions, "the first has all")
    stage.fired(1, "the first has all partitions, by metric")
    stage.fault_over()
    stage.finish()


@kind("group")
def member_killed(stage: Stage) -> None:
    """SIGKILL of one of two instances: the other takes its partitions over."""
    first = stage.start()
    second = stage.scorer(instance="1")
    wait_until(lambda: stage.assigned(second) > 0, "the second has partitions")
    stage.wait_decided(100)
    second.kill()
    stage.fault_over()
    wait_until(lambda: stage.assigned(first) == stage.partitions, "the first has all")
    stage.fired(1, "SIGKILL, and the first has all partitions")
    stage.finish()


def _wait_for_some(stage: Stage, other: ScorerProcess) -> None:
    wait_until(lambda: stage.assigned(other) > 0, lambda: f"it has some: {other.said}")


@kind("group")
def bounce_storm(stage: Stage) -> None:
    """An instance starts and stops again and again, gracefully or killed."""
    stage.start()
    bounces = 0
    for number in range(_BOUNCES):
        other = stage.scorer(instance=str(number + 1), wait=False)
        _wait_for_some(stage, other)
        bounces += 1
        if stage.random.random() < 0.5:
            other.kill()
        else:
            stage.stop(other)
    stage.fired(bounces, "bounces of an instance that had partitions")
    stage.fault_over()
    stage.finish()


@kind("group")
def two_of_one_name(stage: Stage) -> None:
    """Two instances with one transactional id: the first is fenced and leaves with code 6."""
    first = stage.start()
    stage.scorer()
    assert first.wait() == _FENCED, first.said
    assert "was taken over by another process" in first.said
    assert "do not restart" in first.said
    stage.fired(1, "the first left with exit code 6 and its line")
    stage.fault_over()
    stage.finish()


@kind("group")
def rolling_restart_of_three(stage: Stage) -> None:
    """Each of three instances is restarted in turn."""
    scorers = [stage.start(), *(stage.scorer(instance=str(number)) for number in (1, 2))]
    for number, scorer in enumerate(scorers):
        scorer.send(signal.SIGTERM)
        assert scorer.wait(15) == 0, scorer.said
        stage.scorer(instance=str(number))
    stage.fired(len(scorers), "restarts, each left with 0 and was ready again")
    stage.fault_over()
    stage.finish()
