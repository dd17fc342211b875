"""The ``drift`` commands on a real Kafka: they read snapshot and events, and write commands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.drift.state.chunks import chunks_of, key_of
from stream_scorer.drift.state.snapshot import pack
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Kafka, Settings
from tests.support.drift.documents import alarm, document
from tests.support.drift.event_records import record_of
from tests.support.faults.process import environment

pytestmark = pytest.mark.kafka

EVENT = "0123456789abcdef"


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


@pytest.fixture
def command(settings: Kafka, tmp_path: Path) -> Callable[..., str]:
    create_topics(settings)
    variables = environment(settings) | {
        "STREAM_SCORER_AUDIT__PATH": str(tmp_path / "audit.log"), "COLUMNS": "80",
    }  # fmt: skip

    def run(*words: object) -> str:
        done = CliRunner().invoke(app, ["drift", *map(str, words)], env=variables)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    return run


def _publish(kafka: Kafka) -> None:
    producer = Producer(client_options.common(kafka))
    data = pack(document().sections())
    for number, chunk in enumerate(chunks_of(data, 1, 120, 3)):
        producer.produce(kafka.topics.drift_state, chunk, key_of(number))
    codec = RecordCodec(16, reader_schema("drift-event.v3"))
    producer.produce(kafka.topics.drift_events, codec.encode(record_of(alarm())), b"k")
    producer.produce(kafka.topics.drift_events, b"broken", b"k")
    assert producer.flush(60) == 0


def test_without_a_monitor_the_fix_is_named(command: Callable[..., str]) -> None:
    assert "stream-scorer monitor" in command("status")


def test_state_explanation_and_page_need_no_running_monitor(
    settings: Kafka, command: Callable[..., str], tmp_path: Path
) -> None:
    _publish(settings)
    assert EVENT in command("status")
    explained = json.loads(command("explain", EVENT[:5], "--json"))
    assert len(explained["history"]) == 48
    page = tmp_path / "r.html"
    report = json.loads(command("report", "--html", page, "--json", "--days", 3_650))
    assert [each["event_id"] for each in report["events"]] == [EVENT]
    assert "rose from 0.02 to 0.05" in page.read_text()


def test_an_answer_is_a_record_of_the_commands(
    settings: Kafka, command: Callable[..., str], tmp_path: Path
) -> None:
    _publish(settings)
    written = json.loads(command("ack", EVENT[:5], "--reason", "seen", "--json"))
    reader = RecordReader(Settings().registry, "drift-command.v1")
    (record,) = [
        reader.decode(m.value()) for m in read_all(settings, settings.topics.drift_commands)
    ]
    assert (record["kind"], record["event_id"], record["reason"]) == ("ack", EVENT, "seen")
    assert record["command_id"] == written["command"]
    assert "drift.ack" in (tmp_path / "audit.log").read_text()
