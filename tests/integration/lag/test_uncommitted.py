"""Groups that read uncommitted records, as Java clients do by default, by a real broker."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from bench.lag_steps.traffic import Input, commit
from stream_scorer.kafka.topics import client_options
from stream_scorer.lag.verdicts.sample import LagVerdict
from stream_scorer.lag.watch.process import open_passes
from stream_scorer.settings import Kafka, Lag, Settings
from tests.support.faults.process import wait_until

pytestmark = pytest.mark.kafka
ANSWER_SECONDS = 30.0


def upstream(kafka: Kafka, topic: str, name: str) -> Producer:
    """Return a producer with a record in an open transaction."""
    options = {"transactional.id": f"{kafka.group}-{name}", "log_level": 0}
    producer = Producer(client_options.common(kafka) | options)
    producer.init_transactions(ANSWER_SECONDS)
    producer.begin_transaction()
    producer.produce(topic, name.encode(), partition=0)
    assert producer.flush(ANSWER_SECONDS) == 0
    return producer


def test_a_group_past_an_open_transaction_can_stop(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    topic = kafka.topics.transactions
    left, done = f"{kafka.group}-left", f"{kafka.group}-done"
    with Input(kafka.bootstrap) as source:
        source.send(topic, 10)
        hanging = upstream(kafka, topic, "hanging")  # at offset 10
        source.send(topic, 10)  # its records are after it
    ended = upstream(kafka, topic, "ended")  # at offset 21; its marker is at 22
    ended.commit_transaction(ANSWER_SECONDS)
    commit(kafka.bootstrap, left, {(topic, 0): 15})
    commit(kafka.bootstrap, done, {(topic, 0): 22})
    lag = Lag(groups=[left, done], interval_seconds=1.0, request_seconds=5.0)
    with open_passes(Settings(kafka=kafka, lag=lag)) as passes:
        wait_until(lambda: passes.run().worst().get(left) is LagVerdict.STOPPED, "a verdict")
        found = passes.snapshot.judgements
        assert (found[left, (topic, 0)].to_stable, found[left, (topic, 0)].to_high) == (8, 8)
        # Only the marker is after it.
        marker = found[done, (topic, 0)]
        assert (marker.verdict, marker.to_stable, marker.to_high) == (LagVerdict.OK, 0, 1)
    hanging.abort_transaction(ANSWER_SECONDS)
