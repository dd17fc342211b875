"""A partition moves to another member with its state, and pauses for only a few seconds."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.verdicts.handover import MOST_PAUSE_SECONDS, counted
from stream_scorer.dead_letters.format import parse
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.scoring.process import scorer_loop
from stream_scorer.settings import Kafka
from stream_scorer.state.partitions import checkpoint_writer
from stream_scorer.telemetry import CheckpointWritten, PartitionsRevoked
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    DEADLINE_SECONDS,
    Heard,
    committed,
    decision,
    everything_once,
    feed,
    outcome,
    transactions,
)
from tests.support.state.stage import restored_only, settings_of

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("where", ["topic", pytest.param("files", marks=pytest.mark.thorough)])
def test_what_is_revoked_is_flushed_first(
    where: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A flush that takes longer than the product's two seconds leaves the rest to a replay.
    monkeypatch.setattr(checkpoint_writer, "_FLUSH_SECONDS", DEADLINE_SECONDS)
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=4))
    state: dict[str, Any] = {"bytes_per_event": 0, "buckets_per_second": 0}
    if where == "files":
        state["url"] = f"file://{tmp_path}"
    heard = Heard(ends)
    settings = settings_of(ours, **state)
    loop, work = scorer_loop(settings, Deployment("fraud:1.0.0", start="earliest"), heard)
    first = threading.Thread(target=loop.run)
    first.start()
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not heard.done:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other = ours.model_copy(update={"instance": f"{ours.instance}-2"})
        second = restored_only(settings_of(other, **state), partitions=2)
    finally:
        loop.stop()
        first.join(DEADLINE_SECONDS)
    assert heard.of(CheckpointWritten) == []
    gone = {p for each in heard.of(PartitionsRevoked) for p in each.partitions}
    assert len(second.restored) == 2
    assert second.restored.keys() <= gone
    for partition, each in second.restored.items():
        assert (each.buckets, each.first_offset, each.end_offset) == (
            1024, ends[partition], ends[partition],
        )  # fmt: skip
    assert work.rings.partitions() != ()


def assigned(scorer: ScorerProcess) -> float:
    """Return a scorer's number of partitions; 0 while it starts."""
    try:
        return scorer.metric("stream_scorer_partitions_assigned") or 0
    except OSError:
        return 0


def longest_pause(kafka: Kafka) -> float:
    """Return the longest time, in seconds, for which a partition had records but no outcome."""
    topics = kafka.topics
    arrived = {
        (message.partition(), message.offset()): message.timestamp()[1]
        for message in read_all(kafka, topics.transactions)
    }
    outcomes = []
    for message in read_all(kafka, topics.decisions):
        row = decision(message.value())
        outcomes.append(((row["source_partition"], row["source_offset"]), message.timestamp()[1]))
    for message in read_all(kafka, topics.dead_letters):
        letter = parse(message)
        at = letter.source_partition, letter.source_offset
        outcomes.append((at, message.timestamp()[1]))
    found = counted(arrived, outcomes)
    assert (found.lost, found.duplicates) == (0, 0)
    return max(float(each.pauses().max()) for each in found.partitions.values()) / 1_000


@pytest.mark.thorough
def test_scaling_and_restarts_decide_once_and_pause_for_seconds(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    other = ours.model_copy(update={"instance": f"{ours.instance}-2"})
    with ScorerProcess(ours, tmp_path / "first", "--from", "earliest") as first:
        first.wait_ready()
        # Started only now, because the input would otherwise wait for the first scorer's start.
        source = SteadyFeed(ours, transactions(days=300))
        source.start()
        try:
            with ScorerProcess(other, tmp_path / "second") as second:
                wait_until(lambda: assigned(first) == assigned(second) == 2, "each has two")
                second.wait_ready()
                first.send(signal.SIGTERM)
                assert first.wait() == 0, first.said
                with ScorerProcess(ours, tmp_path / "again") as again:
                    wait_until(lambda: assigned(again) == assigned(second) == 2, "each has two")
                    again.wait_ready()
                    records = source.stop()
                    wait_until(lambda: committed(ours) == source.ends, "all is committed")
        finally:
            source.stop()
    everything_once(outcome(ours), records)
    assert longest_pause(ours) < MOST_PAUSE_SECONDS
