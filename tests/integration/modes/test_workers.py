"""``run --workers 2`` with four partitions: killed, fenced, and stopped by an operator."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.devkafka import processes
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.settings import Kafka
from tests.support.faults.feeding import SteadyFeed
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.reference_run import (
    committed,
    everything_once,
    feed,
    outcome,
    same,
    scored,
    transactions,
)

pytestmark = pytest.mark.kafka

MANY = transactions(days=300)
WORKERS = 2


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    # The group waits for a killed member until its session ends; the broker's minimum is 6 s.
    return kafka_topics(kafka_settings(session_timeout_ms=6_000))


def supervised(settings: Kafka, output: Path, *arguments: str) -> ScorerProcess:
    return ScorerProcess(settings, output, "--workers", str(WORKERS), *arguments)


def lines(parent: ScorerProcess) -> list[dict[str, Any]]:
    said = [json.loads(line) for line in parent.said.splitlines() if line.startswith("{")]
    return [line for line in said if line["process"] == "supervisor"]


def owned(parent: ScorerProcess) -> list[float | None]:
    return [
        parent.metric("stream_scorer_partitions_assigned", worker=str(n)) for n in range(WORKERS)
    ]


def test_a_killed_worker_is_restarted_and_all_is_decided_once(
    settings: Kafka,
    tmp_path: Path,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with supervised(settings, tmp_path / "log", "--from", "earliest") as parent:
            parent.wait_ready()
            wait_until(lambda: owned(parent) == [2, 2], lambda: f"both have two: {parent.said}")
            victim = parent.workers()[0].pid
            at = committed(settings)
            wait_until(
                lambda: all(end > at[p] for p, end in committed(settings).items()), "both commit"
            )
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: not parent.probe()[0], "the probe says that one is down")
            parent.wait_ready()
            assert processes.started_at(victim) is None
            (line,) = lines(parent)
            assert (line["event"], line["worker"], line["cause"]) == ("worker_left", 0, "SIGKILL")
            exits = parent.metric("stream_scorer_worker_exits_total", worker="0", cause="SIGKILL")
            assert exits == 1
            wait_until(
                lambda: owned(parent) == [2, 2], lambda: f"both have two again: {parent.said}"
            )
            records = source.stop()
            wait_until(lambda: committed(settings) == source.ends, lambda: f"all: {parent.said}")
            pids = [parent.pid, *(worker.pid for worker in parent.workers())]
            parent.send(signal.SIGTERM)
            assert parent.wait() == 0, parent.said
            assert [processes.started_at(pid) for pid in pids] == [None] * 3
    finally:
        source.stop()
    found = outcome(settings)
    everything_once(found, records)
    undisturbed = kafka_topics(kafka_settings())
    expected, _ = scored(undisturbed, feed(undisturbed, records))
    expected.rings.clear()
    same(found, expected)


@pytest.mark.thorough
def test_a_fenced_worker_ends_all_of_them_with_its_exit_code(
    settings: Kafka, tmp_path: Path
) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with supervised(settings, tmp_path / "log", "--from", "earliest") as parent:
            parent.wait_ready()
            pids = [worker.pid for worker in parent.workers()]
            other = TransactionalProducer(settings.worker(1), settings.group, lambda _: None)
            assert parent.wait() == 6, parent.said
            other.close()
            assert [processes.started_at(pid) for pid in pids] == [None, None]
            (line,) = lines(parent)
            assert (line["worker"], line["cause"], line["again_in_seconds"]) == (1, "exit 6", None)
            assert f"worker 1: transactional id {settings.group}:{settings.instance}/1" in (
                parent.said
            )
    finally:
        source.stop()
    found = outcome(settings)
    assert found.doubled == []
    # The other worker exited gracefully: it committed its batch.
    done = found.decisions.keys() | found.dead_letters.keys()
    assert done == {(p, offset) for p, end in found.offsets.items() for offset in range(end)}


@pytest.mark.thorough
def test_workers_end_with_a_killed_parent_and_the_next_resumes(
    settings: Kafka, tmp_path: Path
) -> None:
    source = SteadyFeed(settings, MANY)
    source.start()
    try:
        with supervised(settings, tmp_path / "first", "--from", "earliest") as parent:
            parent.wait_ready()
            pids = [worker.pid for worker in parent.workers()]
            assert len(pids) == WORKERS
            parent.kill()
            wait_until(
                lambda: all(processes.started_at(pid) is None for pid in pids),
                "the workers end with their parent", 30,
            )  # fmt: skip
        with supervised(settings, tmp_path / "second") as parent:
            parent.wait_ready()
            records = source.stop()
            wait_until(lambda: committed(settings) == source.ends, lambda: f"all: {parent.said}")
            parent.send(signal.SIGTERM)
            assert parent.wait() == 0, parent.said
    finally:
        source.stop()
    everything_once(outcome(settings), records)


@pytest.mark.thorough
def test_a_wrong_model_is_one_line_of_a_worker_and_its_exit_code(
    settings: Kafka, tmp_path: Path
) -> None:
    with supervised(settings, tmp_path / "log", "--model", "nobody") as parent:
        assert parent.wait() == 3, parent.said
        assert "stream-scorer: worker " in parent.said
        assert "nobody" in parent.said
        assert "Traceback" not in parent.said


@pytest.mark.thorough
def test_a_spare_worker_is_a_ready_standby(
    tmp_path: Path, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_topics(kafka_settings(session_timeout_ms=6_000), partitions=1)
    with supervised(settings, tmp_path / "log", "--from", "earliest") as parent:

        def taken() -> bool:
            return sorted(map(str, owned(parent))) == ["0.0", "1.0"]

        parent.wait_ready()
        wait_until(taken, lambda: f"one has it: {parent.said}")
        idle = owned(parent).index(0)

        def standing_by() -> list[float | None]:
            name = "stream_scorer_standing_by"
            return [parent.metric(name, worker=str(n)) for n in range(WORKERS)]

        wait_until(
            lambda: standing_by() == [float(n == idle) for n in range(WORKERS)],
            lambda: f"the other one stands by: {standing_by()}",
        )
        os.kill(parent.workers()[1 - idle].pid, signal.SIGKILL)
        wait_until(lambda: parent.metric("stream_scorer_worker_exits_total") == 1, "it is gone")
        # Either the idle worker or the killed one's successor: both are in the group by then.
        wait_until(taken, lambda: f"one of both takes over: {parent.said}")
        parent.wait_ready()
        parent.send(signal.SIGTERM)
        assert parent.wait() == 0, parent.said
