"""The watch on the scorers: what is down and what is not, and that neither lasts too long."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics.lag import PartitionLag
from stream_scorer.serving.following.scorers_watch import NO_BROKER, NO_SCORER, ScorersWatch
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable

AWAY = UnavailableError("broker 127.0.0.1:1: no answer", "start it")


class FakeCluster:
    """What the brokers answer, in the place of both clients of a watch.

    Attributes:
        members: Topics that each member of the group has.
        state: Of the group.
        away: Whether no broker answers about the group.
        leaderless: What reading the lag raises; None: nothing.
    """

    def __init__(self) -> None:
        self.members: tuple[tuple[str, ...], ...] = (("transactions",),)
        self.state = ConsumerGroupState.STABLE
        self.away: Exception | None = None
        self.leaderless: Exception | None = None
        self.offsets = (7, 9)

    def described(self, group: str, seconds: float) -> Any:
        assert (group, seconds) == ("stream-scorer", 0.0)
        if self.away is not None:
            raise self.away
        members = [
            SimpleNamespace(
                assignment=SimpleNamespace(
                    topic_partitions=[SimpleNamespace(topic=topic) for topic in topics]
                )
            )
            for topics in self.members
        ]
        return SimpleNamespace(members=members, state=self.state)

    def read(self) -> list[PartitionLag]:
        if self.leaderless is not None:
            raise self.leaderless
        committed, high = self.offsets
        return [PartitionLag("transactions", 0, committed, 0, high, high)]

    def close(self) -> None: ...


class Watched:
    """A watch, its cluster, and what it has reported."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.events: list[Any] = []
        self.ages: list[float] = []
        self.answers = 0
        kafka = Kafka(bootstrap="127.0.0.1:1")
        self.watch = ScorersWatch(kafka, self._answered, self.ages.append, self.events.append)
        self.watch._lag.close()
        self.watch._groups = self.watch._lag = self.cluster  # type: ignore[assignment]

    def _answered(self) -> None:
        self.answers += 1

    def observe(self, times: int = 1) -> str:
        for _ in range(times):
            self.watch._observe()
        return self.watch.down


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    yield found
    found.watch.close()


def test_without_an_answer_about_the_group_there_is_no_broker(watched: Watched) -> None:
    watched.cluster.away = AWAY
    assert watched.observe(3) == NO_BROKER
    assert watched.events == [DependencyUnavailable("scorers' group", str(AWAY))]
    assert (watched.answers, watched.ages) == (0, [])
    watched.cluster.away = None
    assert watched.observe(2) == ""
    assert watched.events[1:] == [DependencyBack("scorers' group")]
    assert (watched.answers, len(watched.ages)) == (2, 2)


@pytest.mark.parametrize("error", [AWAY, SettingsError("topic transactions: no", "create it")])
def test_a_lag_that_cannot_be_read_is_not_a_missing_broker(
    watched: Watched, error: Exception
) -> None:
    assert watched.observe() == ""
    assert watched.watch.committed(0) == 7
    watched.cluster.leaderless = error
    assert watched.observe(3) == ""
    assert watched.events == [DependencyUnavailable("scorers' lag", str(error))]
    # The last known numbers stay, and the producer is not taken for disconnected.
    assert watched.watch.committed(0) == 7
    assert (watched.answers, len(watched.ages)) == (4, 1)
    watched.cluster.leaderless = None
    watched.cluster.offsets = (8, 9)
    assert watched.observe() == ""
    assert watched.events[1:] == [DependencyBack("scorers' lag")]
    assert watched.watch.committed(0) == 8


def test_members_without_the_topic_decide_nothing(watched: Watched) -> None:
    watched.cluster.members = ((), ("another",))
    assert watched.observe() == NO_SCORER
    assert (watched.answers, watched.ages) == (1, [])
    watched.cluster.members = ((), ("another", "transactions"))
    assert watched.observe() == ""


@pytest.mark.parametrize(
    "state",
    [ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING],
)
def test_a_rebalance_changes_nothing(watched: Watched, state: ConsumerGroupState) -> None:
    deciding = watched.cluster.members
    watched.cluster.members, watched.cluster.state = ((),), state
    assert watched.observe(2) == NO_SCORER
    watched.cluster.members, watched.cluster.state = deciding, ConsumerGroupState.STABLE
    assert watched.observe() == ""
    # The broker names no assignment until the rebalance is over.
    watched.cluster.members, watched.cluster.state = ((),), state
    assert watched.observe(2) == ""
    watched.cluster.members = ()
    assert watched.observe() == NO_SCORER


def test_what_ends_the_thread_is_a_failure(watched: Watched) -> None:
    watched.watch.start()
    assert watched.watch.failure is None
    watched.cluster.away = MemoryError()
    watched.watch._thread.join(10.0)
    assert isinstance(watched.watch.failure, MemoryError)
