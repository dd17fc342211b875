"""Faults of a scorer's process."""

import signal
from pathlib import Path

from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.process import ScorerProcess, wait_until

_GONE = -signal.SIGKILL
_FENCED = 6
_SHUTDOWN_SECONDS = 10


def frozen(scorer: ScorerProcess) -> bool:
    """Return whether a process is stopped by a signal, by its status in the kernel."""
    fields = Path(f"/proc/{scorer.pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "T"


def _killed_at(stage: Stage, at: str) -> None:
    passes = stage.random.randint(20, 60)
    scorer = stage.scorer("--signal-at", "SIGKILL", at, str(passes), wait=False)
    stage.feed.start()
    assert scorer.wait() == _GONE, scorer.said
    stage.fired(1, f"SIGKILL at {at} of transaction {passes}")
    stage.fault_over()
    stage.scorer()
    stage.finish()


@kind("process")
def kill_before_offsets(stage: Stage) -> None:
    """SIGKILL when a batch is being computed and the broker has nothing of it."""
    _killed_at(stage, "open")


@kind("process")
def kill_after_offsets(stage: Stage) -> None:
    """SIGKILL when the broker has the offsets, without the decisions."""
    _killed_at(stage, "offsets")


@kind("process")
def kill_after_produce(stage: Stage) -> None:
    """SIGKILL when the broker has offsets and decisions, before the commit."""
    _killed_at(stage, "send")


@kind("process")
def kill_during_commit(stage: Stage) -> None:
    """SIGKILL while the request to commit is on its way, and never arrives."""
    proxy = stage.proxy
    scorer = stage.start()
    end = stage.lose_end_of_transaction()
    wait_until(end.hit.is_set, lambda: f"a commit: {stage.said}")
    scorer.kill()
    proxy.forget(end)
    stage.fired(1, "EndTxn dropped by the proxy, then SIGKILL")
    stage.fault_over()
    stage.scorer()
    stage.finish()


@kind("process")
def kills_at_random_moments(stage: Stage) -> None:
    """SIGKILL three times at random moments under load."""
    for number in range(3):
        scorer = stage.scorer() if number else stage.start()
        stage.wait_decided(stage.random.randint(20, 400))
        scorer.kill()
    stage.fired(3, "SIGKILL, each after further decisions")
    stage.fault_over()
    stage.scorer()
    stage.finish()


@kind("process")
def sigterm(stage: Stage) -> None:
    """SIGTERM under load: the scorer finishes its batch, commits and leaves in time."""
    scorer = stage.start()
    scorer.send(signal.SIGTERM)
    assert scorer.wait(_SHUTDOWN_SECONDS) == 0, scorer.said
    stage.fired(1, "SIGTERM, left with 0")
    stage.fault_over()
    stage.scorer()
    stage.finish()


@kind("process")
def sigstop_past_the_poll_interval(stage: Stage) -> None:
    """SIGSTOP past session and poll interval: another takes over, then the first continues."""
    stage.settle(max_poll_interval_ms=6_000)
    first = stage.start()
    second = stage.scorer(instance="1")
    first.send(signal.SIGSTOP)
    wait_until(lambda: frozen(first), "it is stopped")
    wait_until(lambda: stage.assigned(second) == stage.partitions, "the other takes all over")
    stage.fired(1, "SIGSTOP until the group had given its partitions away")
    first.send(signal.SIGCONT)
    stage.fault_over()
    # Scrapes have queued up meanwhile, and its endpoint refuses more connections until they are
    # answered.
    wait_until(lambda: first.health()["ready"], lambda: f"it answers: {stage.said}")
    lost = "stream_scorer_partitions_lost_total"
    wait_until(
        lambda: bool(first.metric(lost)), lambda: f"it knows that it lost them: {stage.said}"
    )
    wait_until(
        lambda: stage.assigned(first) == stage.partitions / 2, lambda: f"it is back: {stage.said}"
    )
    stage.finish()


@kind("process")
def sigstop_past_the_transaction_timeout(stage: Stage) -> None:
    """SIGSTOP in an open transaction until the broker has aborted it."""
    stage.settle(transaction_timeout_ms=4_000)
    passes = stage.random.randint(20, 60)
    scorer = stage.scorer("--signal-at", "SIGSTOP", "send", str(passes), wait=False)
    stage.feed.start()
    wait_until(lambda: frozen(scorer), lambda: f"it is stopped: {stage.said}")
    before = stage.aborts()
    wait_until(lambda: stage.aborts() > before, "the broker aborts its transaction")
    stage.fired(stage.aborts() - before, "abort markers that the broker wrote at the time limit")
    scorer.send(signal.SIGCONT)
    stage.fault_over()
    stage.finish()


@kind("process")
def model_raises(stage: Stage) -> None:
    """The model raises for every row for some seconds."""
    broken = stage.folder / "broken"
    scorer = stage.start("--model-fails-while", str(broken))
    broken.touch()
    name, labels = "stream_scorer_model_error_rows_total", {"model": "fraud"}

    def told() -> bool:
        _, reasons = scorer.probe()
        return any(reason.startswith("paused: model") for reason in reasons)

    wait_until(lambda: told() or (scorer.metric(name, **labels) or 0) > 20, "it is told")
    stage.fired(1, "model failures shown by probe or metric")
    broken.unlink()
    stage.fault_over()
    stage.finish()


@kind("process")
def model_slower_than_the_poll_interval(stage: Stage) -> None:
    """The model takes longer than the poll interval: reported as stuck, still a member."""
    stage.settle(max_poll_interval_ms=6_000)
    slow = stage.folder / "slow"
    scorer = stage.start(
        *("--model-sleeps-while", str(slow), "--model-sleeps-seconds", "9"),
        variables={"STREAM_SCORER_SCORER__STUCK_SECONDS": "3"},
    )
    slow.touch()

    def stuck() -> bool:
        _, reasons = scorer.probe()
        return any(reason.startswith("stuck") for reason in reasons)

    wait_until(stuck, lambda: f"it says that it is stuck: {stage.said}")
    assert (scorer.metric("stream_scorer_stuck_seconds") or 0) >= 3
    slow.unlink()
    stage.fired(1, "stuck, shown by probe and metric")
    stage.fault_over()
    stage.wait_resumed()
    assert stage.assigned(scorer) == stage.partitions
    assert not scorer.metric("stream_scorer_partitions_lost_total")
    stage.finish()
