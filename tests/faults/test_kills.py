"""Killed five times in open transactions, a scorer duplicates nothing and loses nothing."""

import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Behind
from tests.support.faults.reference_run import (
    Span,
    committed,
    everything_once,
    feed,
    open_spans,
    outcome,
    outputs,
    same,
    scored,
    transactions,
)
from tests.support.kafka.tools import run_tool

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

KILLS = 5
_TOOL = "org.apache.kafka.tools.TransactionsCommand"


def offsets_read(kafka: Kafka, isolation: str, spans: list[Span]) -> set[tuple[str, int, int]]:
    """Return which records of the spans a reader with this isolation level gets."""
    consumer = Consumer(client_options.reader(kafka, kafka.group) | {"isolation.level": isolation})
    found = set()
    for topic, partition, first, end in spans:
        consumer.assign([TopicPartition(topic, partition, first)])
        at = first
        while at < end:
            message: Any = consumer.poll(10)
            assert message is not None
            at = message.offset() + 1
            if message.error() is None and message.offset() < end:
                found.add((topic, partition, message.offset()))
    consumer.close()
    return found


def further(kafka: Kafka, begun: Mapping[int, int]) -> bool:
    """Return whether the group has committed records of every partition since then."""
    return all(end > max(begun[p], 0) for p, end in committed(kafka).items())


def test_five_kills_in_open_transactions_double_and_lose_nothing(
    behind: Behind,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    # The group waits for a killed member until its session ends; the broker's minimum is 6 s. An
    # open transaction stays until its owner returns, however slow the tool is.
    ours = kafka_topics(
        kafka_settings(
            bootstrap=behind.bootstrap, session_timeout_ms=6_000, transaction_timeout_ms=120_000
        )
    )
    source = SteadyFeed(ours, transactions(days=300))
    spans: list[Span] = []
    source.start()
    try:
        for number in range(KILLS):
            first = ("--from", "earliest") if number == 0 else ()
            with ScorerProcess(ours, tmp_path / f"{number}.log", *first) as scorer:
                scorer.wait_ready()
                # Before, there are transactions without outputs: the first offsets of a first run,
                # and the mark of each partition's first batch.
                wait_until(partial(further, ours, committed(ours)), "a batch of each partition")
                behind.kill_in_a_transaction(scorer)
            told = run_tool(
                behind.kafka, _TOOL, "--bootstrap-server", "{bootstrap}",
                "describe", "--transactional-id", f"{ours.group}:{ours.instance}",
            ).stdout  # fmt: skip
            assert "Ongoing" in told
            left_open = open_spans(ours)
            assert left_open
            spans += left_open
    finally:
        records = source.stop()
    ends = source.ends
    with ScorerProcess(ours, tmp_path / "last.log") as scorer:
        scorer.wait_ready()
        wait_until(lambda: committed(ours) == ends, lambda: f"everything committed: {scorer.said}")
        scorer.send(signal.SIGTERM)
        assert scorer.wait() == 0, scorer.said

    found = outcome(ours)
    everything_once(found, records)
    # The records of the killed transactions exist, but no read-committed reader gets them.
    written = offsets_read(ours, "read_uncommitted", spans)
    assert len(written) == sum(end - first for *_, first, end in spans)
    visible = {
        (topic, m.partition(), m.offset()) for topic in outputs(ours) for m in read_all(ours, topic)
    }
    assert not written & visible

    undisturbed = kafka_topics(kafka_settings(bootstrap=behind.bootstrap))
    expected, _ = scored(undisturbed, feed(undisturbed, records))
    expected.rings.clear()
    same(found, expected)
