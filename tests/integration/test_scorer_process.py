"""The scorer as an operator runs it: first starts, refusals, signals, and a second instance."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.settings import Kafka
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    committed,
    everything_once,
    feed,
    outcome,
    transactions,
)

pytestmark = pytest.mark.kafka

MANY = transactions(days=300)


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


def refused(scorer: ScorerProcess, code: int) -> str:
    """Return the single line that a scorer printed before it exited."""
    assert scorer.wait() == code, scorer.said
    (line,) = scorer.said.splitlines()
    assert scorer.told_its_mode
    assert line.startswith("stream-scorer: ")
    return line


def test_only_a_first_run_must_name_where_it_begins(settings: Kafka, tmp_path: Path) -> None:
    records = transactions()[:600]
    ends = feed(settings, records)
    with ScorerProcess(settings, tmp_path / "refused") as scorer:
        line = refused(scorer, 7)
    assert "has no committed offset" in line
    assert "--from earliest" in line
    for number, arguments in enumerate([("--from", "earliest"), ()]):
        with ScorerProcess(settings, tmp_path / str(number), *arguments, fresh=True) as scorer:
            scorer.wait_ready()
            wait_until(lambda: committed(settings) == ends, lambda: f"all committed: {scorer.said}")
            scorer.send(signal.SIGTERM)
            assert scorer.wait() == 0
            assert scorer.said == ""
    everything_once(outcome(settings), records)


def test_what_is_not_there_is_named_in_one_line(
    kafka_settings: Callable[..., Kafka], settings: Kafka, tmp_path: Path
) -> None:
    gone = kafka_settings(bootstrap="127.0.0.1:1")
    no_topic = kafka_settings()
    with (
        ScorerProcess(gone, tmp_path / "broker", "--from", "earliest") as without_broker,
        ScorerProcess(no_topic, tmp_path / "topic", "--from", "earliest") as without_topic,
        ScorerProcess(settings, tmp_path / "model", "--model", "nobody") as without_model,
    ):
        broker = refused(without_broker, 5)
        topic = refused(without_topic, 2)
        model = refused(without_model, 3)
    assert "127.0.0.1:1" in broker
    assert f"topic {no_topic.topics.transactions}: does not exist" in topic
    assert "nobody" in model


def test_a_signal_under_load_commits_all_and_ends_in_time(settings: Kafka, tmp_path: Path) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with ScorerProcess(settings, tmp_path / "log", "--from", "earliest", fresh=True) as scorer:
            scorer.wait_ready()
            wait_until(lambda: sum(committed(settings).values()) > 500, "some are committed")
            scorer.send(signal.SIGTERM)
            started = time.monotonic()
            assert scorer.wait() == 0
            assert time.monotonic() - started < 10
    finally:
        source.stop()
    found = outcome(settings)
    assert found.doubled == []
    done = found.decisions.keys() | found.dead_letters.keys()
    assert done == {(p, offset) for p, end in found.offsets.items() for offset in range(end)}


def test_of_two_with_one_name_the_first_leaves(settings: Kafka, tmp_path: Path) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with ScorerProcess(settings, tmp_path / "first", "--from", "earliest") as first:
            first.wait_ready()
            with ScorerProcess(settings, tmp_path / "second", "--from", "earliest") as second:
                line = refused(first, 6)
                assert f"{settings.group}:{settings.instance}" in line
                second.wait_ready()
                records = source.stop()
                wait_until(lambda: committed(settings) == source.ends, "the second goes on")
                second.send(signal.SIGTERM)
                assert second.wait() == 0
    finally:
        source.stop()
    everything_once(outcome(settings), records)


def test_an_instance_that_joins_and_leaves_loses_nothing(settings: Kafka, tmp_path: Path) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    other = settings.model_copy(update={"instance": f"{settings.instance}-b"})
    try:
        with ScorerProcess(settings, tmp_path / "first", "--from", "earliest") as first:
            first.wait_ready()
            with ScorerProcess(other, tmp_path / "second", "--from", "earliest") as second:
                second.wait_ready()
                at = committed(settings)
                wait_until(
                    lambda: all(end > at[p] for p, end in committed(settings).items()),
                    "both commit",
                )
                second.send(signal.SIGTERM)
                assert second.wait() == 0, second.said
            records = source.stop()
            wait_until(lambda: committed(settings) == source.ends, "the first takes all over")
            first.send(signal.SIGTERM)
            assert first.wait() == 0, first.said
    finally:
        source.stop()
    everything_once(outcome(settings), records)
