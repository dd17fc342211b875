"""Faults of a scorer's process."""

import signal

from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage

_GONE = -signal.SIGKILL


def _killed_at(stage: Stage, at: str) -> None:
    passes = stage.random.randint(20, 60)
    scorer = stage.scorer("--signal-at", "SIGKILL", at, str(passes), wait=False)
    stage.feed.start()
    assert scorer.wait() == _GONE, scorer.said
    stage.fired(1, f"SIGKILL after stage {at} of transaction {passes}")
    stage.fault_over()
    stage.scorer()
    stage.finish()


@kind("process")
def kill_before_produce(stage: Stage) -> None:
    """SIGKILL when the transaction has begun and nothing is produced."""
    _killed_at(stage, "begin")


@kind("process")
def kill_after_produce(stage: Stage) -> None:
    """SIGKILL when the decisions lie at the broker, without the offsets."""
    _killed_at(stage, "send")


@kind("process", quick=True)
def kill_after_offsets(stage: Stage) -> None:
    """SIGKILL when decisions and offsets lie at the broker, before the commit."""
    _killed_at(stage, "offsets")
