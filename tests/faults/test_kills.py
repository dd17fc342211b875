"""Killed with -9 five times, each time with a transaction open: nothing doubled, nothing lost."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scorer.kafka import config
from stream_scorer.kafka.offsets import LATEST, admin, offsets
from stream_scorer.kafka.reading import read_all
from stream_scorer.settings import Kafka
from tests.faults.feeding import SteadyFeed
from tests.faults.process import ScorerProcess, wait_until
from tests.faults.scene import (
    PARTITIONS,
    committed,
    everything_once,
    feed,
    outcome,
    same,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

KILLS = 5
_TOOL = "org.apache.kafka.tools.TransactionsCommand"

Span = tuple[int, int, int]


def open_spans(kafka: Kafka) -> list[Span]:
    """Return (partition, first, end) of decisions that lie in an open transaction."""
    client = admin(kafka)
    wanted = [(kafka.topics.decisions, p) for p in range(PARTITIONS)]
    high = offsets(client, kafka, wanted, LATEST)
    stable = offsets(client, kafka, wanted, LATEST, stable=True)
    return [(at[1], stable[at], high[at]) for at in wanted if stable[at] < high[at]]


def kill_in_a_transaction(kafka: Kafka, scorer: ScorerProcess, run_tool: Any) -> list[Span]:
    """Kill it while its transaction is open; return where that transaction's decisions lie."""
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, "no transaction was open when it was stopped"
        scorer.send(signal.SIGSTOP)
        if open_spans(kafka):
            # A commit that the coordinator had in hand already would be over by the time that
            # the tool asks; so would our hope.
            told = run_tool(
                _TOOL, "--bootstrap-server", "{bootstrap}",
                "describe", "--transactional-id", f"{kafka.group}-{kafka.instance}",
            ).stdout  # fmt: skip
            if "Ongoing" in told:
                scorer.kill()
                return open_spans(kafka)
        scorer.send(signal.SIGCONT)
        time.sleep(0.013)


def offsets_read(kafka: Kafka, isolation: str, spans: list[Span]) -> set[tuple[int, int]]:
    """Return which records of the spans a reader with this isolation is given."""
    consumer = Consumer(config.reader(kafka, kafka.group) | {"isolation.level": isolation})
    found = set()
    for partition, first, end in spans:
        consumer.assign([TopicPartition(kafka.topics.decisions, partition, first)])
        at = first
        while at < end:
            message: Any = consumer.poll(10)
            assert message is not None
            at = message.offset() + 1
            if message.error() is None and message.offset() < end:
                found.add((partition, message.offset()))
    consumer.close()
    return found


def test_five_kills_in_open_transactions_double_and_lose_nothing(
    kafka: Any,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    if kafka.devkafka is None:
        pytest.skip("Kafka's own tools come with devkafka, and --bootstrap names another cluster")
    # A killed member is waited for until its session ends; the broker takes no shorter one.
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    source = SteadyFeed(ours, transactions(days=300))
    spans: list[Span] = []
    source.start()
    try:
        for number in range(KILLS):
            first = ("--from", "earliest") if number == 0 else ()
            with ScorerProcess(ours, tmp_path / f"{number}.log", *first) as scorer:
                scorer.wait_ready()
                spans += kill_in_a_transaction(ours, scorer, kafka.devkafka.run_tool)
    finally:
        records = source.stop()
    ends = source.ends
    with ScorerProcess(ours, tmp_path / "last.log") as scorer:
        scorer.wait_ready()
        wait_until(lambda: committed(ours) == ends, f"everything committed: {scorer.said}")
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said

    found = outcome(ours)
    everything_once(found, records)
    # What the killed transactions had written is there, and no read-committed reader is given it.
    written = offsets_read(ours, "read_uncommitted", spans)
    assert len(written) == sum(end - first for _, first, end in spans)
    visible = {(m.partition(), m.offset()) for m in read_all(ours, ours.topics.decisions)}
    assert not written & visible

    undisturbed = kafka_topics(kafka_settings())
    expected, _ = scored(undisturbed, feed(undisturbed, records))
    expected.rings.clear()
    same(found, expected)
