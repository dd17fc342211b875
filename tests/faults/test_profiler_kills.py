"""Killed in open transactions, the profiler still publishes the same rows, each once."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.lag import read_lag
from stream_scorer.kafka.topics.offsets import LATEST, admin, offsets
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.settings import Kafka
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Behind
from tests.support.terminals.stage import PARTITIONS, Sent, expected, month, rows_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

KILLS = 4
PER_SECOND = 500
# More than is sent before the last kill, even on a slow machine.
DAYS = 3_000


class Feed(threading.Thread):
    """Produces transactions and labels in order, at a steady pace."""

    def __init__(self, kafka: Kafka, records: Sequence[Sent]) -> None:
        super().__init__(name="feed")
        self._kafka = kafka
        self._records = records
        self.sent = 0
        self.enough = threading.Event()

    def run(self) -> None:
        producer = Producer(client_options.common(self._kafka) | {"enable.idempotence": True})
        topics = self._kafka.topics
        started = time.monotonic()
        for number, record in enumerate(self._records):
            topic = topics.transactions if record.fraud is None else topics.labels
            partition = partition_of(record.key, PARTITIONS)
            producer.produce(topic, record.value, record.key, partition)
            producer.poll(0)
            self.sent += 1
            if self.enough.wait(max(started + number / PER_SECOND - time.monotonic(), 0)):
                break
        producer.flush(30)


def open_transaction(kafka: Kafka) -> bool:
    """Return whether there are rows in an open transaction."""
    client = admin(kafka)
    wanted = [(kafka.topics.terminal_profiles, p) for p in range(PARTITIONS)]
    high = offsets(client, kafka, wanted, LATEST)
    return high != offsets(client, kafka, wanted, LATEST, stable=True)


def test_kills_change_no_row(
    behind: Behind,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    ours = kafka_topics(kafka_settings(bootstrap=behind.bootstrap))
    group = f"{ours.group}-profiler"
    variables = {"STREAM_SCORER_PROFILER__GROUP": group}
    records = month(days=DAYS)
    feed = Feed(ours, records)
    feed.start()
    total = 0

    def further(than: int) -> bool:
        return committed() > than

    def committed() -> int:
        topics = (ours.topics.transactions, ours.topics.labels)
        return sum(e.committed or 0 for topic in topics for e in read_lag(ours, group, topic))

    try:
        for number in range(KILLS):
            log = tmp_path / f"{number}.log"
            first = ("--from", "earliest") if number == 0 else ()
            with ScorerProcess(
                ours, log, *first, variables=variables, command="profile"
            ) as profiler:
                profiler.wait_ready()
                # From the second start on, there is committed work to continue from.
                before = total
                wait_until(partial(further, before), lambda: f"progress: {profiler.said}")
                total = committed()
                behind.kill_in_a_transaction(profiler)
                assert open_transaction(ours)
    finally:
        feed.enough.set()
        feed.join()

    def all_committed() -> bool:
        return all(each.lag == 0 for each in read_lag(ours, group))

    with ScorerProcess(
        ours, tmp_path / "last.log", variables=variables, command="profile"
    ) as profiler:
        profiler.wait_ready()
        wait_until(all_committed, lambda: f"everything committed: {profiler.said}")
        profiler.send(signal.SIGTERM)
        assert profiler.wait() == 0, profiler.said

    rows, watermark = rows_of(ours)
    sent = records[: feed.sent]
    assert len(rows) > 500
    assert rows == expected(sent, watermark)


def test_a_second_profiler_fences_the_first(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    ours = kafka_topics(kafka_settings())
    variables = {"STREAM_SCORER_PROFILER__GROUP": f"{ours.group}-profiler"}
    feed = Feed(ours, month(days=DAYS))
    feed.start()
    arguments = ("--from", "earliest")
    try:
        with (
            ScorerProcess(
                ours, tmp_path / "1.log", *arguments, variables=variables, command="profile"
            ) as first,
        ):
            first.wait_ready()
            with ScorerProcess(
                ours, tmp_path / "2.log", *arguments, variables=variables, command="profile"
            ) as second:
                assert first.wait() == 6, first.said
                second.wait_ready()
    finally:
        feed.enough.set()
        feed.join()
    rows_of(ours)
