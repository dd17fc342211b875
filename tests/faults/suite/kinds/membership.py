"""Faults of a scorer's identity at the broker: its membership, its transactional id, its clock."""

import signal
from pathlib import Path

from confluent_kafka import KafkaError

from stream_scorer.kafka.topics.groups import members
from tests.faults.suite.kinds.process import frozen
from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.contract.raw_requests import RawRequests
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.kafka.tools import run_tool

_TOOL = "org.apache.kafka.tools.TransactionsCommand"
_IDLE_TIMES = 2
_KILLS = 3
_NAME = "STREAM_SCORER_KAFKA__FENCED_FILE"
_ABORTED = ("stream_scorer_transactions_total", {"result": "aborted"})


def _transactional_id(stage: Stage) -> str:
    return f"{stage.kafka.group}:{stage.kafka.instance}"


def _known(stage: Stage) -> bool:
    """Return whether the broker's coordinator knows the scorer's transactional id."""
    tool = ("--bootstrap-server", "{bootstrap}", "list")
    listed = run_tool(stage.ground.kafka, _TOOL, *tool)
    assert listed.returncode == 0, listed.stderr
    return any(
        line.split()[:1] == [_transactional_id(stage)] for line in listed.stdout.splitlines()
    )


@kind("broker", cluster="forgetful")
def expired_transactional_id(stage: Stage) -> None:
    """The scorer is idle past transactional.id.expiration.ms: the broker forgets its id."""
    scorer = stage.start()
    for _ in range(_IDLE_TIMES):
        assert _known(stage)
        stage.feed.stop()
        wait_until(lambda: not _known(stage), "the broker has forgotten the transactional id")
        assert scorer.alive, scorer.said
        stage.fault_over()
        stage.feed_on()
        stage.wait_decided(200)
    stage.fired(_IDLE_TIMES, "times that the broker no longer listed the transactional id")
    assert scorer.alive, scorer.said
    stage.finish()


def _member(stage: Stage, scorer: str) -> str:
    """Return the id that the group gave to an instance."""
    name = f"{stage.kafka.group}-{scorer}"
    (member,) = [m for m, each in members(stage.inside, stage.kafka.group) if each == name]
    return member


@kind("group")
def metadata_without_a_member(stage: Stage) -> None:
    """The group expels a scorer that has a batch; the scorer must not send its offsets."""
    stage.settle(transaction_timeout_ms=60_000)
    hold = stage.folder / "hold"
    first = stage.start("--hold-at", "open", str(hold))
    second = stage.scorer(instance="1")
    half = stage.partitions / 2
    wait_until(lambda: stage.assigned(first) == half, "both have half")
    hold.touch()
    held = Path(f"{hold}.held")
    wait_until(held.exists, "it stands between its batch and its offsets")
    requests = RawRequests(stage.inside.bootstrap, stage.source, stage.kafka.group)
    assert requests.expel(_member(stage, "0")) == KafkaError.NO_ERROR
    wait_until(lambda: stage.assigned(second) == stage.partitions, "the other takes all over")
    stage.wait_decided(200)
    # A heartbeat has informed its client by now, so that it no longer has a member id.
    before = first.metric(_ABORTED[0], **_ABORTED[1]) or 0
    hold.unlink()
    stage.fault_over()
    wait_until(
        lambda: (first.metric(_ABORTED[0], **_ABORTED[1]) or 0) > before,
        lambda: f"it gives the transaction up: {stage.said}",
    )
    stage.fired(1, "LeaveGroup in its name, another took over, and the transaction was aborted")
    wait_until(lambda: stage.assigned(first) == half, lambda: f"it is back: {stage.said}")
    stage.finish()


@kind("process")
def suspended_clock(stage: Stage) -> None:
    """The machine is suspended in an open transaction until the broker has aborted it.

    The process is stopped. Its monotonic clock does not count that time, as on a suspended machine.
    """
    stage.settle(transaction_timeout_ms=4_000)
    passes = stage.random.randint(20, 60)
    scorer = stage.scorer(
        "--signal-at", "SIGSTOP", "send", str(passes), "--suspended-clock", wait=False
    )
    stage.feed.start()
    wait_until(lambda: frozen(scorer), lambda: f"it is stopped: {stage.said}")
    before = stage.aborts()
    wait_until(lambda: stage.aborts() > before, "the broker aborts its transaction")
    stage.fired(stage.aborts() - before, "abort markers that the broker wrote at the time limit")
    scorer.send(signal.SIGCONT)
    stage.fault_over()
    stage.wait_decided(200)
    assert scorer.alive, scorer.said
    stage.finish()


def _stays_out(scorer: ScorerProcess) -> bool:
    return any("was fenced and stays out" in reason for reason in scorer.probe()[1])


@kind("group")
def two_of_one_name_restarted(stage: Stage) -> None:
    """Two processes of one name, which are always restarted: the older one stays out."""
    first = {_NAME: str(stage.folder / "first")}
    older = stage.start(variables=first)
    newer = stage.scorer(variables={_NAME: str(stage.folder / "second")})
    wait_until(lambda: _stays_out(older), lambda: f"the older one stays out: {stage.said}")
    for _ in range(_KILLS):
        # The orchestrator restarts it nevertheless.
        older.kill()
        older = stage.scorer(variables=first, wait=False)
        wait_until(lambda: _stays_out(older), lambda: f"it stays out again: {stage.said}")  # noqa: B023 waited for here
        stage.wait_decided(100)
        assert newer.alive, newer.said
        assert not newer.metric("stream_scorer_producer_rebirths_total")
    # The newer one's machine is gone for good, so the older one must take over.
    newer.kill()
    stage.fault_over()
    stage.wait_decided(100)
    assert older.alive, older.said
    stage.fired(_KILLS, "restarts of the older one, which never raised the newer one's epoch")
    stage.finish()
