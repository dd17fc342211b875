"""Reconciliation of a real scorer: everything has one output, and planted faults are found."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from bench.lag_steps.traffic import commit
from stream_scorer.errors import StreamScorerError, UnavailableError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import admin
from stream_scorer.lag.watch.output_reader import OutputReader
from stream_scorer.lag.watch.reconciliation import Reconciliation
from stream_scorer.lag.watch.waiting_letters import DeadLetterTopic, LetterWatch
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import Event, LettersCounted, RecordsReconciled, WatermarkSeen
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import PARTITIONS, committed, feed, transactions

pytestmark = pytest.mark.kafka
RECORDS = transactions()[:1_500]
PARTS = ("decided", "rejected", "skipped", "gaps", "missing", "doubled")


class Compared:
    """A reconciliation whose rounds the test makes."""

    def __init__(self, kafka: Kafka) -> None:
        self.heard: list[Event] = []
        self.reader = OutputReader(Settings(kafka=kafka))
        self._work = Reconciliation(
            self.reader, kafka.group, kafka.topics.transactions, self.heard.append
        )
        wait_until(self._begins, "a coordinator: a new broker makes the topic for it first")

    def _begins(self) -> bool:
        try:
            self._work.begin()
        except UnavailableError:
            return False
        return True

    def round(self) -> dict[str, int]:
        """Make a round; return the parts that it settled, of all partitions."""
        self.heard.clear()
        self._work.begin_round()
        deadline = time.monotonic() + 60
        while not self._work.end_round():
            assert time.monotonic() < deadline
            self._work.read(0.1)
        found: Counter[str] = Counter()
        for each in self.heard:
            if isinstance(each, RecordsReconciled):
                found.update({name: getattr(each, name) for name in PARTS})
        return dict(found)


@contextmanager
def running(kafka: Kafka, folder: Path, *arguments: str) -> Iterator[ScorerProcess]:
    variables = {"STREAM_SCORER_KAFKA__STATISTICS_SECONDS": "1"}
    with ScorerProcess(kafka, folder, *arguments, variables=variables) as scorer:
        scorer.wait_ready()
        yield scorer
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said


def send_in_a_transaction(kafka: Kafka, *, ends: bool) -> None:
    """Send one record to partition 0 in a transaction; its end is a marker."""
    producer = Producer(client_options.common(kafka) | {"transactional.id": f"{kafka.group}-up"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(kafka.topics.transactions, RECORDS[0].value, RECORDS[0].key, partition=0)
    assert producer.flush(30) == 0
    (producer.commit_transaction if ends else producer.abort_transaction)(30)


def test_each_record_has_one_output_and_faults_are_found(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    settings = kafka_topics(kafka_settings())
    topics = settings.topics
    compared = Compared(settings)
    with compared.reader:
        ends = feed(settings, RECORDS)
        with running(settings, tmp_path / "first", "--from", "earliest") as scorer:
            wait_until(lambda: committed(settings) == ends, lambda: scorer.said)
            found = compared.round()
            bad = sum(bool(each.bad) for each in RECORDS)
            assert found == {
                "decided": len(RECORDS) - bad, "rejected": bad, "skipped": 0, "gaps": 0,
                "missing": 0, "doubled": 0,
            }  # fmt: skip
            marks = {e.partition for e in compared.heard if isinstance(e, WatermarkSeen)}
            assert marks == set(range(PARTITIONS))
            # An upstream transaction: a record, its marker; an aborted record, its marker.
            send_in_a_transaction(settings, ends=True)
            send_in_a_transaction(settings, ends=False)
            feed(settings, RECORDS[-40:])
            wait_until(lambda: committed(settings)[0] >= ends[0] + 5, lambda: scorer.said)
            found = compared.round()
            assert (found["gaps"], found["missing"], found["doubled"]) == (3, 0, 0)
            statistics_of(scorer)
        # A decision is published a second time.
        message = next(iter(read_all(settings, topics.decisions)))
        producer = Producer(client_options.common(settings))
        producer.produce(topics.decisions, message.value(), message.key())
        assert producer.flush(30) == 0
        found = compared.round()
        assert (found["missing"], found["doubled"]) == (0, 1)
        # Someone moves the group's offset past five records.
        at = committed(settings)[1]
        feed(settings, tuple(each for each in RECORDS if each.partition == 1)[:5])
        commit(settings.bootstrap, settings.group, {(topics.transactions, 1): at + 5})
        found = compared.round()
        assert (found["missing"], found["doubled"]) == (5, 0)


MORE_THAN_A_QUEUE = 40


def read_for_ever(reader: OutputReader) -> None:
    while True:
        reader.read(0.5)


def test_a_comparison_begins_anew_when_outputs_are_gone(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_topics(kafka_settings())
    topic = settings.topics.decisions
    compared = Compared(settings)
    with compared.reader as reader:
        producer = Producer(client_options.common(settings))
        # More than the reader's queue holds, so that some are gone before it has fetched them.
        for _ in range(MORE_THAN_A_QUEUE):
            producer.produce(topic, bytes(900_000), partition=0)
        assert producer.flush(60) == 0
        client = admin(settings)  # its answers end with it
        end = TopicPartition(topic, 0, MORE_THAN_A_QUEUE)
        (gone,) = client.delete_records([end]).values()
        gone.result(30)
        with pytest.raises(StreamScorerError, match="topic "):
            read_for_ever(reader)
        reader.begin()
        producer.produce(topic, b"unreadable", partition=0)
        assert producer.flush(30) == 0
        unreadable = 0
        while not unreadable:
            unreadable = reader.read(0.5).unreadable
        assert unreadable == 1


def test_input_that_is_gone_is_no_gap(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_topics(kafka_settings())
    topic = settings.topics.transactions
    commit(settings.bootstrap, settings.group, {(topic, 1): 0})
    compared = Compared(settings)
    with compared.reader:
        end = feed(settings, RECORDS)[1]
        commit(settings.bootstrap, settings.group, {(topic, 1): end})
        client = admin(settings)  # its answers end with it
        (gone,) = client.delete_records([TopicPartition(topic, 1, end)]).values()
        gone.result(30)
        with pytest.raises(StreamScorerError, match=f"topic {topic}: ") as raised:
            compared.round()
        assert not isinstance(raised.value, UnavailableError)


def test_a_comparison_begins_anew_when_the_input_is_made_again(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_topics(kafka_settings())
    topic = settings.topics.transactions
    feed(settings, RECORDS)
    compared = Compared(settings)
    with compared.reader as reader:
        client = admin(settings)  # its answers end with it
        client.delete_topics([topic])[topic].result(30)
        wait_until(lambda: topic not in client.list_topics(timeout=10).topics, "it is gone")
        client.create_topics([NewTopic(topic, PARTITIONS)])[topic].result(30)
        wait_until(lambda: topic in client.list_topics(timeout=10).topics, "it is there")
        ended = rf"topic {topic}: partition \d ended at \d+, and now at 0"
        with pytest.raises(StreamScorerError, match=ended) as raised:
            made_again(compared)
        assert not isinstance(raised.value, UnavailableError)
        assert reader.begin() == dict.fromkeys(range(PARTITIONS), 0)
        # An offset of the old input is past the end: a round up to it would never end.
        commit(settings.bootstrap, settings.group, {(topic, 0): 5_000})
        assert reader.committed() == {0: 0}


def made_again(compared: Compared) -> None:
    """Make rounds until the brokers report the ends of the new input."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        compared.round()


def statistics_of(scorer: ScorerProcess) -> None:
    """Check what the scorer reports of its clients, its start and its partitions."""

    def metric(name: str, **labels: str) -> float | None:
        return scorer.metric(f"stream_scorer_{name}", **labels)

    wait_until(
        lambda: metric("kafka_round_trip_seconds", type="consumer", share="p99") is not None,
        "the consumer has reported",
    )
    wait_until(
        lambda: metric("kafka_throttle_seconds", type="producer") is not None,
        "the producer has reported",
    )
    trip = metric("kafka_round_trip_seconds", type="consumer", share="p50")
    assert trip is not None
    assert 0 < trip < 10
    assert metric("kafka_throttle_seconds", type="producer") == 0
    assert metric("kafka_queue_records", type="consumer") is not None
    assert (metric("compile_seconds") or 0) > 0
    assert (metric("restore_seconds", partition="0") or 0) > 0
    reads = metric(
        "service_request_seconds_count", service="checkpoint_store", operation="read_partition"
    )
    assert reads == PARTITIONS


def test_dead_letters_wait_until_they_are_replayed(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    settings = kafka_topics(kafka_settings())
    records = RECORDS[:300]
    ends = feed(settings, records)
    with running(settings, tmp_path / "scorer", "--from", "earliest") as scorer:
        wait_until(lambda: committed(settings) == ends, lambda: scorer.said)
    own = Settings(kafka=settings)
    own = own.model_copy(
        update={"replay": own.replay.model_copy(update={"group": f"{settings.group}-replay"})}
    )
    expected = Counter(each.bad for each in records if each.bad)
    heard: list[Event] = []
    source = DeadLetterTopic(own)
    with LetterWatch(source, source.topic, heard.append, 30.0) as watch:
        counts = waiting(watch, heard)
        assert counts == expected
        # As after `dlq replay`: everything but what it leaves.
        at = {(source.topic, p): end for p, end in ends_of(settings, source.topic).items()}
        commit(settings.bootstrap, own.replay.group, at)
        assert sum(waiting(watch, heard).values()) == 0


def waiting(watch: LetterWatch, heard: list[Event]) -> Counter[str]:
    heard.clear()
    watch.count()
    found: Counter[str] = Counter()
    for each in heard:
        assert isinstance(each, LettersCounted)
        found.update(each.waiting)
    return found


def ends_of(settings: Kafka, topic: str) -> dict[int, int]:
    ends: dict[int, int] = {}
    for message in read_all(settings, topic):
        ends[message.partition()] = message.offset() + 1
    return ends
