"""Faults of brokers: one of three, each of them, or all.

They need three brokers: while a partition has no leader, Kafka itself drops the markers of a
transaction that ends (docs/adr/0015).
"""

import json
import time
from collections.abc import Iterable

from confluent_kafka.admin import AdminClient

from stream_scorer.devkafka.broker import Broker
from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.process import wait_until
from tests.support.kafka.tools import run_tool

_PAUSE_SECONDS = 30
_DOWN_SECONDS = 60
_REASSIGN = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
_UP = "Kafka Server started"
_TRANSACTIONS = "__transaction_state"


def _leaders(stage: Stage, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    client = AdminClient({"bootstrap.servers": stage.inside.bootstrap, "log_level": 0})
    known = client.list_topics(timeout=20).topics
    return {
        (topic, number): partition.leader
        for topic in topics
        for number, partition in known[topic].partitions.items()
    }


def _coordinator(stage: Stage, topic: str, name: str) -> Broker:
    """Return the broker that coordinates a group or a transactional id.

    It leads the partition of the coordinator's topic that the name's Java hash selects.
    """
    value = 0
    for unit in name.encode("utf-16-be")[1::2]:
        value = (31 * value + unit) & 0xFFFFFFFF
    leaders = _leaders(stage, [topic])
    return stage.ground.kafka.brokers[leaders[topic, (value & 0x7FFFFFFF) % len(leaders)]]


def _transaction_coordinator(stage: Stage) -> Broker:
    return _coordinator(stage, _TRANSACTIONS, f"{stage.kafka.group}:{stage.kafka.instance}")


def _leader(stage: Stage) -> Broker:
    """Return the broker that leads the first partition of the decisions."""
    topic = stage.kafka.topics.decisions
    return stage.ground.kafka.brokers[_leaders(stage, [topic])[topic, 0]]


def _killed(stage: Stage, broker: Broker, what: str, watched: Iterable[str]) -> None:
    watched = tuple(watched)
    before = {at for at, leader in _leaders(stage, watched).items() if leader == broker.node}
    assert before, f"broker {broker.node} leads nothing of {watched}"
    broker.kill()
    wait_until(
        lambda: not any(_leaders(stage, watched)[at] == broker.node for at in before),
        "others lead what it led",
    )
    stage.fired(len(before), f"partitions that another broker leads since the {what} was killed")
    stage.fault_over()
    stage.wait_resumed()
    broker.restart()
    stage.finish()


def _restarted(stage: Stage, brokers: Iterable[Broker]) -> None:
    before = stage.ground.broker_said(_UP)
    for broker in brokers:
        broker.restart()
    stage.fired(stage.ground.broker_said(_UP) - before, "starts in the brokers' logs")
    stage.fault_over()
    stage.finish()


@kind("broker", cluster="three")
def broker_restart(stage: Stage) -> None:
    """The broker that coordinates the transactions is stopped gracefully and started again."""
    stage.start()
    _restarted(stage, [_transaction_coordinator(stage)])


@kind("broker", cluster="three")
def broker_killed(stage: Stage) -> None:
    """SIGKILL of a broker that leads outputs, which is restarted immediately."""
    stage.start()
    broker = _leader(stage)
    broker.kill()
    _restarted(stage, [broker])


@kind("broker", cluster="three")
def broker_paused(stage: Stage) -> None:
    """A broker that leads outputs is suspended for 30 s; connections stay open, unanswered."""
    stage.start()
    broker = _leader(stage)
    topics = [stage.kafka.topics.decisions]
    led = {at for at, leader in _leaders(stage, topics).items() if leader == broker.node}
    broker.pause()
    try:
        time.sleep(_PAUSE_SECONDS)
        now = _leaders(stage, topics)
    finally:
        broker.resume()
    moved = sum(now[at] != broker.node for at in led)
    stage.fired(
        moved, f"partitions that another broker leads after a SIGSTOP of {_PAUSE_SECONDS} s"
    )
    stage.fault_over()
    stage.finish()


@kind("broker", cluster="three")
def leader_killed(stage: Stage) -> None:
    """SIGKILL of a broker that leads input and outputs."""
    stage.start()
    _killed(stage, _leader(stage), "leader", [stage.kafka.topics.decisions, stage.source])


@kind("broker", cluster="three")
def transaction_coordinator_killed(stage: Stage) -> None:
    """SIGKILL of the broker that coordinates the scorer's transactions."""
    stage.start()
    broker = _transaction_coordinator(stage)
    _killed(stage, broker, "transaction coordinator", [_TRANSACTIONS])


@kind("broker", cluster="three")
def group_coordinator_killed(stage: Stage) -> None:
    """SIGKILL of the broker that coordinates the scorers' group."""
    stage.start()
    topic = "__consumer_offsets"
    _killed(stage, _coordinator(stage, topic, stage.kafka.group), "group coordinator", [topic])


@kind("broker", cluster="three")
def leader_moved(stage: Stage) -> None:
    """The leaders of input and outputs are moved to other brokers."""
    stage.start()
    topics = [stage.source, stage.kafka.topics.decisions, stage.kafka.topics.dead_letters]
    before = _leaders(stage, topics)
    plan = {
        "version": 1,
        "partitions": [
            {"topic": topic, "partition": number, "replicas": [(leader + n) % 3 for n in (1, 2, 3)]}
            for (topic, number), leader in before.items()
        ],
    }
    path = stage.folder / "plan.json"
    path.write_text(json.dumps(plan))
    done = run_tool(
        stage.ground.kafka, _REASSIGN, "--bootstrap-server", "{bootstrap}",
        "--reassignment-json-file", str(path), "--execute",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    done = run_tool(
        stage.ground.kafka,
        "org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server", "{bootstrap}",
        "--election-type", "preferred", "--all-topic-partitions",
    )  # fmt: skip

    def moved() -> int:
        return sum(before[at] != leader for at, leader in _leaders(stage, topics).items())

    wait_until(lambda: moved() == len(before), f"all leaders are others: {done.stderr}")
    stage.fired(moved(), "partitions with another leader, by the cluster's metadata")
    stage.fault_over()
    stage.finish()


@kind("broker", cluster="three")
def rolling_broker_restart(stage: Stage) -> None:
    """Each of three brokers is restarted gracefully, one after the other."""
    stage.start()
    _restarted(stage, stage.ground.kafka.brokers)


@kind("broker", cluster="three")
def all_brokers_down(stage: Stage) -> None:
    """All three brokers are down for 60 s."""
    stage.start()
    brokers = stage.ground.kafka.brokers
    before = stage.ground.broker_said(_UP)
    for broker in brokers:
        broker.kill()
    time.sleep(_DOWN_SECONDS)
    for broker in brokers:
        broker.start()
    for broker in brokers:
        broker.wait_ready(len(brokers))
    stage.fired(stage.ground.broker_said(_UP) - before, f"starts after {_DOWN_SECONDS} s without")
    stage.fault_over()
    stage.finish()
