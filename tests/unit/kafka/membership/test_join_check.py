"""When a process may join a group, and when a member without partitions is one too many."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.consumer import ConsumerError, Polled
from stream_scorer.kafka.loop import source as module
from stream_scorer.kafka.loop.source import KafkaSource
from stream_scorer.kafka.membership import standby
from stream_scorer.kafka.membership.join_check import GroupEntry
from stream_scorer.kafka.membership.standby import Standby, spare
from stream_scorer.ports import Paused
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Event, PartitionsAssigned, PartitionsRevoked, StandingBy

CLASSIC, NEW = ConsumerGroupType.CLASSIC, ConsumerGroupType.CONSUMER
STABLE, MOVING = ConsumerGroupState.STABLE, ConsumerGroupState.PREPARING_REBALANCING
KAFKA = Kafka(bootstrap="127.0.0.1:1", group="g", instance="i", group_protocol="consumer")


def group(
    owned: dict[str, tuple[int, ...]], kind: Any = CLASSIC, state: Any = STABLE, topic: str = "t"
) -> Any:
    """Return a description of a group with these members and their partitions."""
    members = [
        SimpleNamespace(
            client_id=name,
            assignment=SimpleNamespace(
                topic_partitions=[SimpleNamespace(topic=topic, partition=p) for p in places]
            ),
        )
        for name, places in owned.items()
    ]
    return SimpleNamespace(type=kind, state=state, members=members)


class Broker:
    """Answers with a group that a test sets, and counts the requests."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0
        self.now = 100.0

    def __call__(self, name: str) -> Any:
        assert name == "g"
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def entry(self) -> GroupEntry:
        return GroupEntry(KAFKA, "g", self, lambda: self.now)


@pytest.mark.parametrize(
    "found", [None, group({}), group({}, NEW), group({"g-a": (0,), "g-b": ()}, NEW)]
)
def test_a_new_empty_or_compatible_group_is_joined(found: Any) -> None:
    assert Broker(found).entry().hindrance() == ""


def test_classic_members_are_named_and_awaited_until_all_left() -> None:
    broker = Broker(group({"g-b": (), "g-a": (0,)}))
    entry = broker.entry()
    assert "classic protocol (g-a, g-b)" in entry.hindrance()
    broker.answer = group({})
    assert entry.hindrance()
    assert broker.asked == 1
    broker.now += 1.0
    assert entry.hindrance() == ""


def test_a_broker_that_does_not_answer_is_waited_for() -> None:
    broker = Broker(UnavailableError("broker b:1: gone", "start it"))
    assert "broker b:1: gone" in broker.entry().hindrance()


class FakeConsumer:
    def __init__(self, *_: object) -> None:
        self.subscribed = 0
        self.found = Polled(None, ())

    def partition_count(self, _: float) -> int:
        return 1

    def subscribe(self, rebalance: Any) -> None:
        self.subscribed += 1
        self.rebalance = rebalance

    def committed(self, partitions: tuple[int, ...], _: float) -> dict[int, int]:
        return dict.fromkeys(partitions, 5)

    def noted(self, partitions: tuple[int, ...], _: float) -> dict[int, tuple[int, bytes]]:
        return dict.fromkeys(partitions, (5, b""))

    def add(self, _: object) -> None: ...

    def pause(self, _: object) -> None: ...

    def poll(self, *_: float) -> Polled:
        return self.found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Kafka], tuple[KafkaSource, Any]]:
    def make(found: Any, kafka: Kafka = KAFKA) -> tuple[KafkaSource, Any]:
        broker = Broker(found)
        monkeypatch.setattr(module, "PassingConsumer", FakeConsumer)
        monkeypatch.setattr(module, "GroupEntry", lambda *_: broker.entry())
        source = KafkaSource(kafka, "t", "g")
        return source, broker

    return make


def test_a_source_joins_once_the_classic_members_have_left(made: Any) -> None:
    source, broker = made(group({"g-a": (0,)}))
    with pytest.raises(Paused, match="g-a") as paused:
        source.poll(1, 0.0, 0.0)
    assert paused.value.dependency == "group"
    assert source._consumer.subscribed == 0
    broker.answer, broker.now = None, 200.0
    assert source.poll(1, 0.0, 0.0) is None
    assert source.poll(1, 0.0, 0.0) is None
    assert (source._consumer.subscribed, broker.asked) == (1, 2)


def test_a_refused_assignor_is_reported_until_it_is_accepted(made: Any) -> None:
    source, _ = made(None, KAFKA.model_copy(update={"group_protocol": "classic"}))
    consumer = source._consumer
    assert consumer.subscribed == 1
    error = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL, "JoinGroup failed: Inconsistent")
    consumer.found = Polled(None, (ConsumerError(-1, -1, error),))
    for _ in range(2):
        with pytest.raises(Paused, match="does not take member g-i: JoinGroup failed"):
            source.poll(1, 0.0, 0.0)
        consumer.found = Polled(None, ())
    consumer.rebalance.assigned((0,))
    assert source.poll(1, 0.0, 0.0) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (group({"g-a": (0, 1), "g-i": ()}), True),
        (group({"g-a": (0,), "g-b": (1,), "g-i": ()}, NEW), True),
        (group({"g-a": (0, 1), "g-i": ()}, state=MOVING), False),
        (group({"g-a": (0,), "g-i": ()}), False),
        (group({"g-a": (0,), "g-i": (1,)}), False),
        (group({"g-a": (0, 1)}), False),
        (group({"g-a": (0, 1), "g-i": ()}, topic="another"), False),
        (None, False),
    ],
)
def test_a_spare_joins_a_stable_group_with_all_partitions_taken(found: Any, expected: Any) -> None:
    assert spare(found, "g-i", "t", (0, 1)) is expected


def test_only_a_process_without_partitions_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    answers = [True, False]
    asked: list[bool] = []
    watch = Standby(KAFKA, "t", told.append, 0.01)

    def ask() -> bool:
        asked.append(answers.pop(0))
        if not answers:
            # Partitions are assigned during the request, so its answer is outdated.
            watch(PartitionsAssigned((0,)))
        return asked[-1]

    monkeypatch.setattr(standby.Standby, "_question", lambda _: ask)
    watch(PartitionsAssigned((3,)))
    watch(PartitionsRevoked((3,)))
    with watch:
        while answers:
            assert watch._thread.is_alive()
    assert asked == [True, False]
    assert told == [StandingBy(True)]
