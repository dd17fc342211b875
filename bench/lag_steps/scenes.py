"""Groups with a topic of their own, and what is done to them."""

import contextlib

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from bench.lag_steps.traffic import ANSWER_SECONDS, Input, Member, commit, end_of
from stream_scorer.closing import Closing
from tests.support.faults.process import wait_until

RATE = 100.0
"""Records per second of each topic."""
SKEW = 120.0
BURST = 20_000
PREFIX = "state-"


class Scene(Closing):
    """One group, its topic, and what is done to them.

    Args:
        name: Of the state.
        bootstrap: The cluster.
        source: Sends the topic's records.
        admin: Creates the topic.
        leader: The broker of the topic's only partition; None: any.
    """

    def __init__(
        self, name: str, bootstrap: str, source: Input, admin: AdminClient, leader: int | None
    ) -> None:
        self.name = name
        self.bootstrap = bootstrap
        self.source = source
        self.admin = admin
        self.topic = self.group = f"{PREFIX}{name.replace(' ', '-')}"
        topic = (
            NewTopic(self.topic, num_partitions=1, replication_factor=1)
            if leader is None
            else NewTopic(self.topic, num_partitions=1, replica_assignment=[[leader]])
        )
        admin.create_topics([topic])[self.topic].result(ANSWER_SECONDS)
        self.member: Member | None = None
        self.upstream: Producer | None = None

    def begin(self, rate: float = RATE) -> None:
        """Send records and read them."""
        self.source.rates[self.topic] = rate
        self.member = Member(self.bootstrap, self.topic, self.group)

    def widen(self) -> None:
        """Add partitions, of which one stays empty and two get a record now and then."""
        asked = self.admin.create_partitions([NewPartitions(self.topic, 4)])
        asked[self.topic].result(ANSWER_SECONDS)
        self.source.spread(self.topic, 4)
        self.source.partitions[self.topic] = [0] * 500 + [1] + [0] * 700 + [2]

    def leave(self) -> None:
        """Let the member leave its group."""
        if self.member is not None:
            self.member.close()
            self.member = None

    def close(self) -> None:
        """Stop what the scene has started."""
        self.source.rates.pop(self.topic, None)
        self.leave()
        if self.upstream is not None:
            with contextlib.suppress(Exception):  # its broker may be gone
                self.upstream.abort_transaction(1)


def nothing(scene: Scene) -> None:
    """Change nothing."""
    del scene


def burst(scene: Scene) -> None:
    """Send many records at once; the member needs 50 s for them."""
    if scene.member is not None:
        scene.member.per_second = 5 * RATE
    scene.source.send(scene.topic, BURST)


def added(scene: Scene) -> None:
    """Add a partition."""
    asked = scene.admin.create_partitions([NewPartitions(scene.topic, 2)])
    asked[scene.topic].result(ANSWER_SECONDS)
    scene.source.spread(scene.topic, 2)


def skewed(scene: Scene) -> None:
    """Let the producer's clock run ahead."""
    scene.source.skews[scene.topic] = SKEW


def slow(scene: Scene) -> None:
    """Let the member read less than is sent."""
    if scene.member is not None:
        scene.member.per_second = RATE / 5


def stalled(scene: Scene) -> None:
    """Let the member read nothing, and stay in its group."""
    if scene.member is not None:
        scene.member.still.set()
        wait_until(scene.member.rests.is_set, f"the member of {scene.group} rests", ANSWER_SECONDS)


def rewound(scene: Scene) -> None:
    """Set the group's offset back."""
    scene.leave()
    commit(scene.bootstrap, scene.group, {(scene.topic, 0): 10})
    scene.begin()
    if scene.member is not None:
        # No look sees the earlier offset if everything is read again before it.
        scene.member.per_second = 2 * RATE


def hanging(scene: Scene) -> None:
    """Leave a transaction open."""
    scene.upstream = Producer(
        {
            "bootstrap.servers": scene.bootstrap, "transactional.id": f"{scene.group}-upstream",
            "transaction.timeout.ms": 600_000, "log_level": 0,
        }
    )  # fmt: skip
    scene.upstream.init_transactions(ANSWER_SECONDS)
    scene.upstream.begin_transaction()
    scene.upstream.produce(scene.topic, b"never committed", partition=0)
    scene.upstream.flush(ANSWER_SECONDS)


def empty(scene: Scene) -> None:
    """Let the group read everything and leave."""
    scene.source.end(scene.topic)
    end = end_of(scene.bootstrap, scene.topic)
    scene.leave()
    commit(scene.bootstrap, scene.group, {(scene.topic, 0): end})


def deleted(scene: Scene) -> None:
    """Delete records that were not read."""
    stalled(scene)
    read = end_of(scene.bootstrap, scene.topic)
    wait_until(
        lambda: end_of(scene.bootstrap, scene.topic) > read,
        f"{scene.topic} has more records",
        ANSWER_SECONDS,
    )
    end = end_of(scene.bootstrap, scene.topic)
    asked = scene.admin.delete_records([TopicPartition(scene.topic, 0, end)])
    for future in asked.values():
        future.result()
