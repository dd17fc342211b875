"""The operators' commands against a real broker."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Kafka
from tests.support.dead_letters.produced import letters_of
from tests.support.faults.process import environment

pytestmark = pytest.mark.kafka
DECISION: dict[str, Any] = {
    "transaction_id": "t1",
    "customer_id": "c1",
    "terminal_id": "x1",
    "event_time": 1_522_585_815_250,
    "decided_at": 1_522_585_815_260,
    "score": 0.87654321,
    "decision": "BLOCK",
    "reasons": ["amount", "night"],
    "flags": ["late"],
    "model": "fraud",
    "model_version": "1.0.0",
    "engine": 1,
    "features": bytes(8),
    "source_topic": "t",
    "source_partition": 3,
    "source_offset": 42,
}
DRIFT: dict[str, Any] = {
    "detected_at": 1_522_585_815_250,
    "window_start": 1_522_585_800_000,
    "window_end": 1_522_586_400_000,
    "signal": "score",
    "detector": "ADWIN",
    "model": "fraud",
    "model_version": "1.0.0",
    "value": 0.5,
    "reference": 0.125,
    "estimate": 0.25,
    "observations": 77,
}


# Younger than the topics' retention. The broker deletes older records 30 s after its start, and
# then every five minutes.
SENT_MS = int(time.time() - 3_600) * 1_000


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


@pytest.fixture
def variables(settings: Kafka) -> dict[str, str]:
    return environment(settings) | {"COLUMNS": "200"}


@pytest.fixture
def command(variables: dict[str, str]) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(each) for each in arguments], env=variables)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return run


def encode(schema_id: int, name: str, record: dict[str, Any]) -> bytes:
    return RecordCodec(schema_id, reader_schema(name)).encode(record)


def send(settings: Kafka, topic: str, *values: bytes | None, headers: Any = None) -> None:
    producer = Producer(client_options.common(settings))
    for number, value in enumerate(values):
        producer.produce(
            topic, value, b"k", partition=0, headers=headers, timestamp=SENT_MS + number
        )
    assert producer.flush(60) == 0


def reject(settings: Kafka, count: int) -> bytes:
    """Write ``count`` dead letters without a value and one with a valid value; return the value."""
    row = ("t0", 1_522_585_815_250, "c0", "x0", -5, "EUR")
    names = ("transaction_id", "event_time", "customer_id", "terminal_id", "amount_minor")
    schema = reader_schema("transaction.v1")
    negative = RecordCodec(1, schema).encode(dict(zip((*names, "currency"), row, strict=True)))
    raw = RawRecords(
        values=BytesColumn.of([*[None] * count, negative]),
        keys=BytesColumn.of([None] * count + [b"c0"]),
        headers=[None] * count + [[("trace", b"abc")]],
        partition=np.full(count + 1, 2, np.int32),
        offset=np.arange(count + 1) + 100,
        timestamp=np.full(count + 1, 1_700_000_000_000),
    )
    letters = letters_of(
        raw,
        range(count + 1),
        [RejectReason.EMPTY] * count + [RejectReason.AMOUNT_NEGATIVE],
        ["no value"] * count + ["amount_minor is below 0"],
        topic=settings.topics.dead_letters,
        source_topic=settings.topics.transactions,
        instance="pod-1",
    )
    for letter in letters:
        producer = Producer(client_options.common(settings))
        producer.produce(letter.topic, letter.value, letter.key, 0, headers=letter.headers)
        assert producer.flush(60) == 0
    return negative


def test_lag_is_a_table_or_a_document(settings: Kafka, command: Callable[..., str]) -> None:
    send(settings, settings.topics.transactions, b"x", b"x", b"x")
    consumer = Consumer(client_options.reader(settings, settings.group))
    consumer.commit(
        offsets=[TopicPartition(settings.topics.transactions, 0, 1)], asynchronous=False
    )
    consumer.close()
    document = json.loads(command("lag", "--json", "--seconds"))
    assert (document["group"], document["total"]) == (settings.group, 2)
    first = document["partitions"][0]
    assert first.pop("seconds") > 1_000
    assert first == {
        "topic": settings.topics.transactions,
        "partition": 0,
        "committed": 1,
        "end": 3,
        "stable": 3,
        "lag": 2,
    }
    assert document["partitions"][1]["committed"] is None
    table = command("lag")
    assert "total" in table
    assert "-" in table
    with pytest.raises(SettingsError, match="group nobody"):
        command("lag", "--group", "nobody")


def test_dead_letters_are_counted_and_listed(settings: Kafka, command: Callable[..., str]) -> None:
    reject(settings, 3)
    send(settings, settings.topics.dead_letters, b"somebody else's")
    document = json.loads(command("dlq", "list", "--json", "--limit", 2))
    assert document["counts"] == {"EMPTY": 3, "AMOUNT_NEGATIVE": 1, "(foreign)": 1}
    assert document["total"] == 5
    assert [letter["offset"] for letter in document["newest"]] == [3, 2]
    assert document["newest"][0]["source"] == f"{settings.topics.transactions}:2:103"
    chosen = json.loads(command("dlq", "list", "--json", "--reason", "EMPTY"))["newest"]
    assert [letter["offset"] for letter in chosen] == [2, 1, 0]
    assert "AMOUNT_NEGATIVE" in command("dlq", "list")


def test_one_dead_letter_is_shown_with_its_bytes_and_record(
    settings: Kafka, command: Callable[..., str]
) -> None:
    original = reject(settings, 1)
    source = f"{settings.topics.transactions}:2:101"
    by_source = json.loads(command("dlq", "show", "--source", source, "--json"))
    assert by_source == json.loads(command("dlq", "show", 0, 1, "--json"))
    assert bytes.fromhex(by_source["value"]) == original
    assert by_source["headers"] == [["trace", b"abc".hex()]]
    assert by_source["record"]["amount_minor"] == -5
    text = command("dlq", "show", 0, 1)
    for part in ("AMOUNT_NEGATIVE", "amount_minor is below 0", source, "pod-1", "trace", "abc"):
        assert part in text
    assert "00000000  00 00 00 00 01" in text
    assert '"amount_minor": -5' in text
    assert "does not decode: record: no value" in command("dlq", "show", 0, 0)
    for arguments in ((0, 99), (9, 0), ("--source", "t:0:0")):
        with pytest.raises(SettingsError, match="no dead letter"):
            command("dlq", "show", *arguments)
    with pytest.raises(SettingsError, match="which one is not clear"):
        command("dlq", "show", 0)


def test_decisions_are_read_as_lines(settings: Kafka, command: Callable[..., str]) -> None:
    decisions = [encode(2, "decision.v1", DECISION | {"transaction_id": f"t{k}"}) for k in range(5)]
    send(settings, settings.topics.decisions, *decisions)
    lines = command("tail", "decisions", "--json", "--limit", 2).splitlines()
    newest = [json.loads(line) for line in lines]
    assert [record["transaction_id"] for record in newest] == ["t3", "t4"]
    assert newest[0]["source_offset"] == 42
    assert newest[0]["features"] == bytes(8).hex()
    oldest = command("tail", "decisions", "--from", "earliest", "--limit", 1)
    for part in ("BLOCK", "0.8765", "t0", "customer c1", "amount, night", "late", "fraud:1.0.0"):
        assert part in oldest
    assert len(oldest.splitlines()) == 1


def test_drift_and_dead_letters_are_read_as_lines(
    settings: Kafka, command: Callable[..., str]
) -> None:
    send(settings, settings.topics.drift_events, encode(5, "drift-event.v1", DRIFT), b"broken")
    first, second = command("tail", "drift").splitlines()
    for part in ("score", "ADWIN", "0.125 → 0.25", "window 2018-04-01 12:30 to 12:40"):
        assert part in first
    assert "no magic byte" in second
    reject(settings, 1)
    assert [line.split()[1] for line in command("tail", "dlq").splitlines()] == [
        "EMPTY",
        "AMOUNT_NEGATIVE",
    ]


def test_following_prints_what_comes_until_interrupted(
    settings: Kafka, variables: dict[str, str]
) -> None:
    decision = encode(2, "decision.v1", DECISION)
    send(settings, settings.topics.decisions, decision)
    arguments = ["tail", "decisions", "--follow", "--from", "earliest", "--json"]
    with subprocess.Popen(  # noqa: S603 our own command
        [sys.executable, "-c", "from stream_scorer.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables | {"PYTHONUNBUFFERED": "1"},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["offset"] == 0
        send(settings, settings.topics.decisions, decision)
        assert json.loads(process.stdout.readline())["offset"] == 1
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "")


def test_a_file_is_produced(settings: Kafka, command: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"t{k},2018-04-01 12:30:{k:02d},c{k % 5},x,{k},EUR" for k in range(50)]
    header = "transaction_id,event_time,customer_id,terminal_id,amount_minor,currency"
    path.write_text("\n".join([header, *rows]))
    report = json.loads(command("produce", path, "--json", "--rate", 1_000))
    assert (report["records"], report["topic"]) == (50, settings.topics.transactions)
    assert 0.049 <= report["seconds"] < 10
    assert len(list(read_all(settings, settings.topics.transactions))) == 50
    path.write_text("\n".join([header, *rows, "t,2018-04-01,c,x,much,EUR"]))
    with pytest.raises(SettingsError, match="row 51: column 'amount_minor'"):
        command("produce", path, "--topic", settings.topics.transactions)
    with pytest.raises(SettingsError, match="topic no-such: does not exist"):
        command("produce", path, "--topic", "no-such")


def test_simulated_transactions_are_produced(settings: Kafka, command: Callable[..., str]) -> None:
    topic = settings.topics.transactions
    report = json.loads(command("simulate", "--days", 1, "--topic", topic, "--json"))
    assert (report["file"], report["topic"]) == (None, topic)
    assert len(list(read_all(settings, topic))) == report["rows"] > 5_000
    with pytest.raises(SettingsError, match="no destination"):
        command("simulate", "--days", 1)
    with pytest.raises(SettingsError, match="--rate paces a topic only"):
        command("simulate", "--days", 1, "--out", "t.csv", "--rate", 5)


def test_a_broker_that_is_not_there_is_one_line_and_exit_code_5() -> None:
    script = "from stream_scorer.cli import main; main()"
    arguments = ["dlq", "list", "--bootstrap", "127.0.0.1:1"]
    done = subprocess.run(  # noqa: S603 our own command
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr.startswith("stream-scorer: broker 127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
