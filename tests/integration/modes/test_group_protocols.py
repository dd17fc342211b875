"""Both group protocols, and static members."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupType
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from stream_scorer.devkafka import DevKafka
from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.loop.source import KafkaSource
from stream_scorer.kafka.membership.join_check import GroupEntry
from stream_scorer.kafka.topics.groups import Groups, refuse_members
from stream_scorer.kafka.topics.offsets import admin
from stream_scorer.settings import Kafka
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    PARTITIONS,
    committed,
    everything_once,
    feed,
    open_spans,
    outcome,
    same,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

MANY = transactions(days=300)

# Under KIP-848, the broker sets the session timeout, here for each group whose test waits for its
# end. Frequent heartbeats inform members of rebalances soon.
_BROKER = {
    "group.consumer.min.session.timeout.ms": 6_000,
    "group.consumer.min.heartbeat.interval.ms": 500,
    "group.consumer.heartbeat.interval.ms": 500,
    # How often the broker aborts transactions past their time limit, such as those of killed
    # producers.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
}


@pytest.fixture(scope="module")
def broker() -> Iterator[DevKafka]:
    with DevKafka(config=_BROKER) as kafka:
        yield kafka


@pytest.fixture
def make(
    broker: DevKafka, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> Callable[..., Kafka]:
    def made(**overrides: Any) -> Kafka:
        return kafka_topics(kafka_settings(bootstrap=broker.bootstrap, **overrides))

    return made


def named(settings: Kafka, name: str) -> Kafka:
    return settings.model_copy(update={"instance": f"{settings.instance}-{name}"})


def sessions_of(settings: Kafka, seconds: int) -> None:
    """Set the broker's session timeout for the members of this group, in seconds."""
    entry = ConfigEntry(
        "consumer.session.timeout.ms",
        str(seconds * 1_000),
        incremental_operation=AlterConfigOpType.SET,
    )
    group = ConfigResource(ResourceType.GROUP, settings.group, incremental_configs=[entry])
    client = admin(settings)
    (done,) = client.incremental_alter_configs([group]).values()
    done.result()


def kind_of(settings: Kafka) -> ConsumerGroupType:
    found = Groups(settings).described(settings.group)
    assert found is not None
    kind: ConsumerGroupType = found.type
    return kind


def both_commit(settings: Kafka) -> None:
    at = committed(settings)
    wait_until(lambda: all(end > at[p] for p, end in committed(settings).items()), "both commit")


def finished(settings: Kafka, source: SteadyFeed, last: ScorerProcess) -> tuple[Any, ...]:
    records = source.stop()
    wait_until(lambda: committed(settings) == source.ends, lambda: f"all: {last.said}")
    last.send(signal.SIGTERM)
    assert last.wait() == 0, last.said
    return records


def share_alike(*scorers: ScorerProcess) -> None:
    share = PARTITIONS / len(scorers)
    wait_until(
        lambda: (
            [s.metric("stream_scorer_partitions_assigned") for s in scorers]
            == [share] * len(scorers)
        ),
        lambda: f"the same share each: {[scorer.said for scorer in scorers]}",
    )


def waits(settings: Kafka, *members: str) -> str:
    return (
        f"group {settings.group} has members of the classic protocol ({', '.join(members)}), "
        "which this one cannot join: it waits until they have left"
    )


@pytest.mark.thorough
def test_instances_join_and_leave_and_decide_exactly_once(
    make: Callable[..., Kafka], tmp_path: Path
) -> None:
    settings = make(group_protocol="consumer", transaction_timeout_ms=10_000)
    sessions_of(settings, 6)
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with ScorerProcess(settings, tmp_path / "first", "--from", "earliest") as first:
            first.wait_ready()
            assert kind_of(settings) == ConsumerGroupType.CONSUMER
            with ScorerProcess(
                named(settings, "b"), tmp_path / "second", "--from", "earliest"
            ) as second:
                second.wait_ready()
                wait_until(
                    lambda: second.metric("stream_scorer_partitions_assigned") == 2,
                    lambda: f"the second has its share: {second.said}",
                )
                both_commit(settings)
                second.send(signal.SIGTERM)
                assert second.wait() == 0, second.said
            wait_until(
                lambda: first.metric("stream_scorer_partitions_assigned") == 4,
                "the first takes all over",
            )
            # One more member joins and crashes. The broker ends its session.
            with ScorerProcess(named(settings, "c"), tmp_path / "third") as third:
                third.wait_ready()
                both_commit(settings)
                third.kill()
            records = finished(settings, source, first)
            assert first.said == ""
    finally:
        source.stop()
    # Records after its open transaction are not readable until the broker aborts it.
    wait_until(lambda: not open_spans(settings), "every transaction in the outputs has ended")
    found = outcome(settings)
    everything_once(found, records)
    undisturbed = make()
    expected, _ = scored(undisturbed, feed(undisturbed, records))
    expected.rings.clear()
    same(found, expected)


@pytest.mark.thorough
def test_a_group_changes_over_one_instance_at_a_time(
    make: Callable[..., Kafka], tmp_path: Path
) -> None:
    before = make()
    after = before.model_copy(update={"group_protocol": "consumer"})
    source = SteadyFeed(before, MANY)
    source.start()
    try:
        with ExitStack() as stack:

            def begin(settings: Kafka, number: int) -> ScorerProcess:
                log = tmp_path / f"{settings.group_protocol}-{number}"
                scorer = ScorerProcess(named(settings, str(number)), log, "--from", "earliest")
                return stack.enter_context(scorer)

            def start(settings: Kafka, number: int) -> ScorerProcess:
                scorer = begin(settings, number)
                scorer.wait_ready()
                return scorer

            old = [start(before, number) for number in (0, 1)]
            share_alike(*old)
            assert kind_of(before) == ConsumerGroupType.CLASSIC
            old[0].send(signal.SIGTERM)
            assert old[0].wait() == 0, old[0].said
            first = begin(after, 0)
            # The broker refuses it as long as the classic member is in the group.
            member = f"{before.group}-{before.instance}-1"
            wait_until(
                lambda: first.probe()[1][-1:] == [f"paused: group: {waits(before, member)}"],
                lambda: f"it waits: {first.probe()}",
            )
            assert first.metric("stream_scorer_dependency_up", dependency="group") == 0
            both_commit(before)
            assert first.alive
            assert kind_of(before) == ConsumerGroupType.CLASSIC
            old[1].send(signal.SIGTERM)
            assert old[1].wait() == 0, old[1].said
            first.wait_ready()
            assert first.metric("stream_scorer_dependency_up", dependency="group") == 1
            second = start(after, 1)
            share_alike(first, second)
            assert kind_of(before) == ConsumerGroupType.CONSUMER
            both_commit(before)
            first.send(signal.SIGTERM)
            assert first.wait() == 0, first.said
            records = finished(before, source, second)
    finally:
        source.stop()
    everything_once(outcome(before), records)


@pytest.mark.thorough
def test_a_consumer_member_among_classic_ones_is_refused(
    make: Callable[..., Kafka], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason of the wait. If this test fails because a broker accepts it, remove the wait."""
    settings = make()
    feed(settings, transactions()[:40])
    with (
        ScorerProcess(named(settings, "a"), tmp_path / "a", "--from", "earliest") as first,
        ScorerProcess(named(settings, "b"), tmp_path / "b", "--from", "earliest") as second,
    ):
        for scorer in (first, second):
            scorer.wait_ready()
        share_alike(first, second)
        monkeypatch.setattr(GroupEntry, "hindrance", lambda _: "")
        after = named(settings, "c").model_copy(update={"group_protocol": "consumer"})
        source = KafkaSource(after, after.topics.transactions, after.group)

        def polls() -> bool:
            source.poll(1, 0.0, 0.1)
            return False

        try:
            with pytest.raises(UnavailableError, match="was not joined: members of the classic"):
                wait_until(polls, "it is refused", 30)
        finally:
            source.close()
        assert (first.probe()[0], second.probe()[0]) == (True, True)


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_topic_that_does_not_exist_is_named(
    protocol: str,
    broker: DevKafka,
    kafka_settings: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    settings = kafka_settings(bootstrap=broker.bootstrap, group_protocol=protocol)
    with ScorerProcess(settings, tmp_path / "log", "--from", "earliest") as scorer:
        assert scorer.wait() == 2, scorer.said
        assert f"topic {settings.topics.transactions}: does not exist" in scorer.said


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_an_empty_group_check_sees_members_of_either_protocol(
    protocol: str, make: Callable[..., Kafka], tmp_path: Path
) -> None:
    settings = make(group_protocol=protocol)
    refuse_members(settings)
    feed(settings, transactions()[:40])
    with ScorerProcess(settings, tmp_path / "log", "--from", "earliest") as scorer:
        scorer.wait_ready()
        with pytest.raises(StateError, match="has 1 members"):
            refuse_members(settings)
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said
    refuse_members(settings)


@pytest.mark.thorough
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_static_restart_moves_no_partition_of_other_members(
    protocol: str, make: Callable[..., Kafka], tmp_path: Path
) -> None:
    timeouts = {"session_timeout_ms": 30_000} if protocol == "classic" else {}
    settings = make(group_protocol=protocol, static_membership=True, **timeouts)
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with ScorerProcess(named(settings, "a"), tmp_path / "a", "--from", "earliest") as other:
            other.wait_ready()
            b = named(settings, "b")
            with ScorerProcess(b, tmp_path / "b1", "--from", "earliest") as scorer:
                scorer.wait_ready()
                wait_until(
                    lambda: other.metric("stream_scorer_partitions_assigned") == 2, "two each"
                )
                both_commit(settings)
                moved = other.metric("stream_scorer_rebalances_total")
                scorer.send(signal.SIGTERM)
                assert scorer.wait() == 0, scorer.said
            with ScorerProcess(b, tmp_path / "b2") as scorer:
                scorer.wait_ready()
                wait_until(
                    lambda: scorer.metric("stream_scorer_partitions_assigned") == 2,
                    lambda: f"it has its own again: {scorer.said}",
                )
                both_commit(settings)
                assert other.metric("stream_scorer_rebalances_total") == moved
                assert other.metric("stream_scorer_partitions_assigned") == 2
                assert scorer.metric("stream_scorer_rebalances_total") == 1
                records = source.stop()
                wait_until(
                    lambda: committed(settings) == source.ends, lambda: f"all: {scorer.said}"
                )
                for each in (scorer, other):
                    each.send(signal.SIGTERM)
                    assert each.wait() == 0, each.said
    finally:
        source.stop()
    everything_once(outcome(settings), records)


@pytest.mark.thorough
def test_a_killed_static_member_resumes_its_place_under_classic(
    make: Callable[..., Kafka], tmp_path: Path
) -> None:
    settings = make(static_membership=True, session_timeout_ms=60_000)
    feed(settings, transactions()[:40])
    with ScorerProcess(settings, tmp_path / "1", "--from", "earliest") as scorer:
        scorer.wait_ready()
        scorer.kill()
    with ScorerProcess(settings, tmp_path / "2") as scorer:
        # Long before the killed member's session would end.
        wait_until(lambda: scorer.probe()[0], lambda: f"ready: {scorer.said}", 40)
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said


@pytest.mark.thorough
def test_a_killed_static_member_rejoins_after_its_session(
    make: Callable[..., Kafka], tmp_path: Path
) -> None:
    settings = make(group_protocol="consumer", static_membership=True)
    sessions_of(settings, 20)
    feed(settings, transactions()[:40])
    with ScorerProcess(settings, tmp_path / "1", "--from", "earliest") as scorer:
        scorer.wait_ready()
        scorer.kill()
    with ScorerProcess(settings, tmp_path / "2") as scorer:
        assert scorer.wait() == 5, scorer.said
        assert f"still holds member {settings.group}-{settings.instance}" in scorer.said
    client = admin(settings)
    wait_until(
        lambda: (
            not client.describe_consumer_groups([settings.group])[settings.group].result().members
        ),
        "its session has ended",
    )
    with ScorerProcess(settings, tmp_path / "3") as scorer:
        scorer.wait_ready()
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said
