"""The process on librdkafka's own broker: ended anywhere, it publishes the same bytes once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import StateError
from stream_scorer.performance.process import process
from stream_scorer.performance.process.process import PerformanceLoop
from stream_scorer.settings import Kafka, Performance, Settings, Topics
from stream_scorer.telemetry import Event, PerformanceMeasured, PerformanceSent
from tests.support.kafka.mock_broker import mock_broker
from tests.support.performance.published import (
    FILES,
    PARTITIONS,
    WINDOW,
    SentRecord,
    city,
    published,
)

NAMES = Topics()
TOPICS = {
    NAMES.decisions: PARTITIONS, NAMES.labels: PARTITIONS, NAMES.rollout: 1, NAMES.performance: 1,
    NAMES.drift_events: 1,
}  # fmt: skip
NO_PLAN = Plan()
ENDS = ("early", "unsent", "sent", "lost", "early", "unsent", "sent")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(process, "_LINGER_SECONDS", 0.05)


def send(kafka: Kafka, records: Sequence[SentRecord]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for each in records:
        topic = NAMES.labels if each.label else NAMES.decisions
        producer.produce(
            topic, each.value, partition=each.partition, timestamp=each.timestamp
        )  # fmt: skip
        producer.poll(0)
    assert producer.flush(30) == 0


@contextmanager
def running(
    kafka: Kafka, file: Path, told: list[Event], other: Plan = NO_PLAN
) -> Iterator[PerformanceLoop]:
    """Yield a process's loop; it ends without a word, as if it was killed."""
    settings = Settings(kafka=kafka, performance=Performance(state=file))
    loop = PerformanceLoop(settings.of_process("performance"), told.append, other)
    try:
        yield loop
    finally:
        loop.close()


def read_all_of(loop: PerformanceLoop) -> None:
    """Take all records that exist; commit and send as the process does."""
    ends = loop._source.ends()
    while not loop._source.reached(ends):
        loop.step()


def test_ends_anywhere_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, told = city(14), list[Event]()
    with mock_broker(topics=TOPICS) as calm, mock_broker(topics=TOPICS) as rough:
        kafka = Kafka(bootstrap=calm, instance="i")
        send(kafka, records)
        with running(kafka, tmp_path / "calm.sqlite", told) as loop:
            read_all_of(loop)
            loop.step()
        expected = published(kafka)
        assert len(expected[0]) > 10
        kinds = [WINDOW.decode(value, FILES)["kind"] for value in expected[0]]
        assert set(kinds) == {"DAY", "WEEK", "LOSS"}
        assert sum(isinstance(each, PerformanceMeasured) for each in told) > 4
        assert next(e for e in reversed(told) if isinstance(e, PerformanceSent)).waiting == 0

        kafka, file = Kafka(bootstrap=rough, instance="i"), tmp_path / "rough.sqlite"
        size = len(records) // len(ENDS) + 1
        for number, end in enumerate(ENDS):
            send(kafka, records[number * size : (number + 1) * size])
            if end == "lost":
                for each in tmp_path.glob("rough.sqlite*"):
                    each.unlink()
            with running(kafka, file, told) as loop, monkeypatch.context() as killed:
                if end == "early":
                    killed.setattr(process, "_COMMIT_SECONDS", 1e9)
                if end == "unsent":
                    killed.setattr(PerformanceLoop, "_send", lambda _: None)
                read_all_of(loop)
        with running(kafka, file, told) as loop:
            read_all_of(loop)
            loop.step()
        assert published(kafka) == expected


def test_what_no_rollout_decided_has_the_deployed_plan(tmp_path: Path) -> None:
    unlabelled = dict[str, tuple[int, int]]()
    for name, plan in {"none": NO_PLAN, "own": Plan(label_policy={"unlabelled": "ignore"})}.items():
        with mock_broker(topics=TOPICS) as address:
            kafka = Kafka(bootstrap=address, instance="i")
            send(kafka, city(10))
            with running(kafka, tmp_path / f"{name}.sqlite", [], plan) as loop:
                read_all_of(loop)
                loop.step()
            rows = [WINDOW.decode(value, FILES) for value in published(kafka)[0]]
            days = [row for row in rows if row["kind"] == "DAY"]
            unlabelled[name] = sum(row["unknown"] for row in days), sum(r["genuine"] for r in days)
    assert unlabelled["none"][0] == 0
    assert unlabelled["own"][0] > 0
    assert unlabelled["own"][1] < unlabelled["none"][1]


def test_a_second_process_does_not_get_the_file(tmp_path: Path) -> None:
    file, told = tmp_path / "performance.sqlite", list[Event]()
    with mock_broker(topics=TOPICS) as address:
        kafka = Kafka(bootstrap=address, instance="i")
        with (
            running(kafka, file, told) as first,
            pytest.raises(StateError, match="another process has the file"),
            running(kafka, file, told),
        ):
            pass
        # The first one was not fenced.
        assert first is not None
