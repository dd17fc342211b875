import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.lag import LagWatch, read_lag
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Event, LagObserved
from tests.support.faults.process import wait_until
from tests.support.kafka.tools import run_tool

pytestmark = pytest.mark.kafka
_TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


def produce(settings: Kafka, partition: int, count: int, age_seconds: float = 0) -> None:
    producer = Producer(client_options.common(settings))
    stamp = int((time.time() - age_seconds) * 1_000)
    for _ in range(count):
        producer.produce(settings.topics.transactions, b"x", partition=partition, timestamp=stamp)
    assert producer.flush(10) == 0


@pytest.fixture
def open_transaction(settings: Kafka) -> Iterator[Any]:
    producer = Producer(client_options.producer(settings, f"{settings.instance}-upstream"))
    producer.init_transactions(10)
    producer.begin_transaction()
    yield producer
    producer.abort_transaction(10)


@pytest.fixture
def member(settings: Kafka) -> Iterator[Any]:
    """A member of the group that owns every partition, so that Kafka's tool lists them all."""
    consumer = Consumer(client_options.consumer(settings) | {"auto.offset.reset": "earliest"})
    consumer.subscribe([settings.topics.transactions])
    deadline = time.monotonic() + 30
    while not consumer.assignment():
        consumer.poll(0.1)
        assert time.monotonic() < deadline
    yield consumer
    consumer.close()


def commit(consumer: Any, settings: Kafka, offsets: dict[int, int]) -> None:
    topic = settings.topics.transactions
    at = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    consumer.commit(offsets=at, asynchronous=False)


@pytest.mark.thorough
def test_equals_kafkas_own_tool(kafka: Any, settings: Kafka, member: Any) -> None:
    if kafka.devkafka is None:
        pytest.skip("Kafka's own tools come with devkafka, and --bootstrap names another cluster")
    for partition, count in ((0, 7), (1, 40), (3, 5)):
        produce(settings, partition, count)
    commit(member, settings, {0: 7, 1: 13, 2: 0})

    told = run_tool(
        kafka.devkafka,
        _TOOL,
        *("--bootstrap-server", "{bootstrap}", "--describe", "--group", settings.group),
    ).stdout
    theirs = {
        int(number): (committed, end, lag)
        for number, committed, end, lag in re.findall(
            rf"{settings.topics.transactions}\s+(\d+)\s+(\S+)\s+(\d+)\s+(\S+)", told
        )
    }
    ours = {
        lag.partition: (
            "-" if lag.committed is None else str(lag.committed),
            str(lag.high),
            "-" if lag.lag is None else str(lag.lag),
        )
        for lag in read_lag(settings, settings.group)
    }
    assert theirs == ours
    assert ours == {
        0: ("7", "7", "0"),
        1: ("13", "40", "27"),
        2: ("0", "0", "0"),
        3: ("-", "5", "-"),
    }


def test_an_open_transaction_keeps_the_stable_end_below_the_end(
    settings: Kafka, open_transaction: Any
) -> None:
    topic = settings.topics.transactions
    produce(settings, 0, 3, age_seconds=10_000)
    stamp = int((time.time() - 5_000) * 1_000)
    open_transaction.produce(topic, b"x", partition=0, timestamp=stamp)
    assert open_transaction.flush(10) == 0
    produce(settings, 0, 2)

    first = read_lag(settings, settings.group, topic, seconds=True)[0]
    assert (first.committed, first.start, first.stable, first.high) == (None, 0, 3, 6)
    assert (first.lag, first.to_stable, first.to_high) == (None, 3, 6)
    assert first.seconds == pytest.approx(10_000, abs=300)

    consumer = Consumer(client_options.reader(settings, settings.group))
    commit(consumer, settings, {0: 3})
    consumer.close()
    second = read_lag(settings, settings.group, topic, seconds=True)[0]
    assert (second.lag, second.to_stable, second.to_high) == (3, 0, 3)
    assert second.seconds == pytest.approx(5_000, abs=300)


def test_offsets_of_an_open_transaction_are_not_committed_yet(
    settings: Kafka, open_transaction: Any, member: Any
) -> None:
    topic = settings.topics.transactions
    produce(settings, 0, 9)
    commit(member, settings, {0: 2})
    open_transaction.send_offsets_to_transaction(
        [TopicPartition(topic, 0, 9)], member.consumer_group_metadata(), 10
    )
    assert read_lag(settings, settings.group)[0].lag == 7
    open_transaction.commit_transaction(10)
    # The offsets become visible by the transaction's marker, which is written after the answer.
    wait_until(lambda: read_lag(settings, settings.group)[0].lag == 0, "they are visible")
    open_transaction.begin_transaction()


def test_markers_alone_have_no_age(settings: Kafka) -> None:
    producer = Producer(client_options.producer(settings, f"{settings.instance}-upstream"))
    producer.init_transactions(10)
    # Old, but within the topic's retention.
    stamp = int((time.time() - 3_600) * 1_000)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(settings.topics.transactions, b"x", partition=0, timestamp=stamp)
        assert producer.flush(10) == 0
        end(10)
    consumer = Consumer(client_options.reader(settings, settings.group))
    commit(consumer, settings, {0: 1})
    consumer.close()
    # The last marker is written after the answer.
    wait_until(lambda: read_lag(settings, settings.group)[0].to_stable == 3, "it is written")
    lag = read_lag(settings, settings.group, seconds=True)[0]
    # A marker, an aborted record and its marker: three offsets without a readable record.
    assert (lag.lag, lag.to_stable, lag.seconds) == (3, 3, 0.0)


def test_an_unknown_group_is_named(settings: Kafka) -> None:
    with pytest.raises(SettingsError, match="group nobody: has neither committed offsets"):
        read_lag(settings, "nobody")


def test_an_unknown_topic_is_named_and_not_created(settings: Kafka) -> None:
    for _ in range(2):
        with pytest.raises(SettingsError, match="topic no-such: does not exist"):
            read_lag(settings, settings.group, "no-such")


@pytest.mark.thorough
def test_a_broker_that_is_not_there_is_named_within_ten_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"broker 127\.0\.0\.1:1: "):
        read_lag(Kafka(bootstrap="127.0.0.1:1"), "group")
    assert time.monotonic() - started < 10


class Listener:
    """Collects what the watch reports, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._more:
            self.heard.append(event)
            self._more.notify_all()

    def wait(self, condition: Callable[[LagObserved], bool]) -> LagObserved:
        """Return the first report from now on for which a condition holds."""

        def holds() -> bool:
            return isinstance(last := self.heard[-1], LagObserved) and condition(last)

        with self._more:
            assert self._more.wait_for(lambda: bool(self.heard) and holds(), 90)
            last = self.heard[-1]
        assert isinstance(last, LagObserved)
        return last


def test_the_watch_reports_every_few_seconds_until_closed(settings: Kafka) -> None:
    listener = Listener()
    produce(settings, 1, 4, age_seconds=10_000)
    with LagWatch(settings, settings.topics.transactions, listener, every_seconds=0.05):
        observed = listener.wait(lambda lag: lag.to_high.get(1) == 4)
        assert observed.to_high == observed.to_stable == {0: 0, 1: 4, 2: 0, 3: 0}
        assert observed.seconds[1] == pytest.approx(10_000, abs=300)
        assert observed.seconds[0] == 0
        produce(settings, 0, 1)
        listener.wait(lambda lag: lag.to_high.get(0) == 1)
    told = len(listener.heard)
    assert "lag-watch" not in {thread.name for thread in threading.enumerate()}
    assert len(listener.heard) == told


@pytest.mark.thorough
def test_the_watch_shows_no_old_numbers_while_the_broker_is_gone() -> None:
    listener = Listener()
    gone = Kafka(bootstrap="127.0.0.1:1")
    with LagWatch(gone, gone.topics.transactions, listener, every_seconds=0.05):
        listener.wait(lambda lag: lag == LagObserved({}, {}))
