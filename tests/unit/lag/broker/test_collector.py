"""A look takes a bounded time, however many groups do not answer; with a scripted cluster."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from stream_scorer.lag.broker import collector, group_offsets
from stream_scorer.lag.broker.collector import Collector
from stream_scorer.lag.broker.group_offsets import GroupOffsets
from stream_scorer.lag.broker.looks import GroupLook, PartitionLook, Place
from stream_scorer.settings import Kafka

AT: Place = ("transactions", 0)
NAMES = ["a", "b", "c", "d"]


class ScriptedTopic:
    """One partition with ten records."""

    def __init__(self, *_: object) -> None: ...

    def leaders(self) -> dict[Place, int]:
        return {AT: 1}

    def starts(self, leaders: Mapping[Place, int]) -> dict[Place, int | str]:
        return dict.fromkeys(leaders, 0)

    def ends(
        self, leaders: Mapping[Place, int], _: Mapping[Place, int | str]
    ) -> dict[Place, PartitionLook]:
        return dict.fromkeys(leaders, PartitionLook(0, 10, 10))

    def close(self) -> None: ...


class Clock:
    """A clock that only slow answers move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class ScriptedConsumers:
    """Makes the consumer of each group; an answer takes the seconds that the test sets."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.01
        self.asked: list[str] = []

    def __call__(self, options: Mapping[str, Any]) -> Any:
        cluster = self

        class Consumer:
            def committed(self, wanted: list[Any], timeout: float) -> list[Any]:
                cluster.asked.append(options["group.id"])
                cluster.clock.now += min(cluster.seconds, timeout)
                for each in wanted:
                    each.offset = 7
                return wanted

            def close(self) -> None: ...

        return Consumer()


class Cluster:
    """A collector of four groups.

    Attributes:
        silent: Groups whose coordinator does not answer.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.silent: set[str] = set()
        self.clock = Clock()
        self.consumers = ScriptedConsumers(self.clock)
        monkeypatch.setattr(collector, "PartitionOffsets", ScriptedTopic)
        monkeypatch.setattr(collector, "time", self.clock)
        monkeypatch.setattr(group_offsets, "time", self.clock)
        monkeypatch.setattr(group_offsets, "Consumer", self.consumers)
        monkeypatch.setattr(group_offsets, "admin", lambda _: None)
        monkeypatch.setattr(GroupOffsets, "members", lambda _, names: self.members(names))
        self.interval(0.0)

    def interval(self, seconds: float) -> None:
        """Make looks so many seconds after each other."""
        kafka = Kafka(bootstrap="127.0.0.1:1")
        self.collector = Collector(kafka, NAMES, 2.5, interval=seconds, clock=time.time)

    def members(self, names: Iterable[str]) -> dict[str, GroupLook]:
        return {
            name: GroupLook(error="it does not answer") if name in self.silent else GroupLook()
            for name in names
        }

    def errors(self) -> set[str]:
        """Look once; return the groups whose offsets are missing."""
        self.consumers.asked.clear()
        look = self.collector.look()
        assert look.groups.keys() == set(NAMES)
        return {name for name, group in look.groups.items() if not group.committed}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_a_silent_coordinator_is_asked_for_no_offsets(cluster: Cluster) -> None:
    assert cluster.errors() == set()
    cluster.silent = {"b"}
    cluster.clock.now += 1_000  # all partitions are due to be asked for again
    assert cluster.errors() == {"b"}
    assert "b" not in cluster.consumers.asked
    found = cluster.collector.look().groups["b"]
    # Its partitions are known, so that they are UNKNOWN, not gone.
    assert (found.places, found.error) == (frozenset({AT}), "it does not answer")


def test_a_look_reports_how_far_apart_its_numbers_are(cluster: Cluster) -> None:
    # Lag is overstated by what is appended meanwhile, and a slow look does not count as slowness.
    cluster.errors()
    cluster.consumers.seconds = 0.5
    clock = cluster.collector
    clock._clock = cluster.clock.monotonic
    assert clock.look().spread == pytest.approx(len(NAMES) * 0.5)


def test_all_groups_share_a_time_limit(cluster: Cluster) -> None:
    assert cluster.errors() == set()
    cluster.consumers.seconds = 2.5
    began = cluster.clock.now
    late = cluster.errors()
    assert cluster.clock.now - began == pytest.approx(3 * 2.5)
    assert late == {"d"}
    # It comes first in the next look.
    assert cluster.errors() == {"c"}
    assert cluster.consumers.asked == ["d", "a", "b"]


def test_all_groups_share_a_time_limit_for_new_topics(cluster: Cluster) -> None:
    cluster.consumers.seconds = 2.5
    began = cluster.clock.now
    cluster.errors()
    assert cluster.clock.now - began == pytest.approx(2 * 3 * 2.5)


def test_slow_answers_have_the_time_of_an_interval(cluster: Cluster) -> None:
    cluster.interval(30.0)
    cluster.consumers.seconds = 2.5
    assert cluster.errors() == set()
