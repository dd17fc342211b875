"""Other clients on both sides: Confluent's serializers before the scorer, and its deserializer and
Kafka's own tools after it."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stream_scorer.codec.writing.encode import DecisionEncoder
from stream_scorer.core.events.batch import NO_OUTCOME, DecisionBatch, EventBatch, Explanations
from stream_scorer.devkafka.cluster import seed_registry
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import client_options
from stream_scorer.registry.server import RegistryServer
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Kafka, Registry
from tests.support.faults.process import COMMAND, environment
from tests.support.faults.reference_run import feed, outcome, scored, transactions
from tests.support.kafka.tools import run_tool

pytestmark = pytest.mark.kafka

_CONSOLE = "org.apache.kafka.tools.consumer.ConsoleConsumer"
_GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
_BYTES = "org.apache.kafka.common.serialization.BytesDeserializer"
_EVENT: dict[str, Any] = {
    "event_time": datetime(2018, 6, 1, 12, tzinfo=UTC),
    "customer_id": "c1",
    "terminal_id": "t1",
    "amount_minor": 1_234,
    "currency": "EUR",
}


@pytest.fixture
def settings(kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]) -> Kafka:
    return kafka_topics(kafka_settings())


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Serve a copy of the shipped schemas in which clients may register."""
    with RegistryServer(seed_registry(tmp_path), writable=True) as server:
        yield server.url


@pytest.fixture
def client(registry: str) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry}) as connected:
        yield connected


def schema(change: Callable[[list[dict[str, Any]]], None]) -> str:
    """Return the transaction schema with its fields changed."""
    definition = json.loads(reader_schema("transaction.v1"))
    change(definition["fields"])
    return json.dumps(definition)


def as_java_shows(value: bytes) -> str:
    """Return bytes as Kafka's own ``Bytes`` prints them."""
    return "".join(
        chr(each) if 32 <= each < 127 and each != ord("\\") else f"\\x{each:02X}" for each in value
    )


def older(fields: list[dict[str, Any]]) -> None:
    """Remove the fields with a default, as in a producer from before they were added."""
    fields[:] = [field for field in fields if "default" not in field]


def newer(fields: list[dict[str, Any]]) -> None:
    """Add unknown fields, one of them before ours."""
    fields.insert(
        0, {"name": "loyalty", "type": {"type": "map", "values": "double"}, "default": {}}
    )
    fields.append({"name": "wallet", "type": ["null", "string"], "default": None})


def test_confluents_serializers_exchange_records_with_the_scorer(
    settings: Kafka, registry: str, client: SchemaRegistryClient
) -> None:
    producer = Producer(client_options.common(settings))
    topic = settings.topics.transactions
    writers: dict[str, tuple[str, dict[str, Any]]] = {
        "current": (reader_schema("transaction.v1"), {"channel": "ECOM"}),
        "older": (schema(older), {}),
        "newer": (schema(newer), {"loyalty": {"a": 1.0}, "wallet": "w", "channel": "POS"}),
    }
    for name, (text, more) in writers.items():
        serializer = AvroSerializer(client, text, conf={"auto.register.schemas": True})
        value = serializer(
            _EVENT | {"transaction_id": name} | more,
            SerializationContext(topic, MessageField.VALUE),
        )
        producer.produce(topic, value, b"c1", partition=0)
    assert producer.flush(10) == 0
    versions = client.get_versions(f"{topic}-value")
    assert len(versions) == len(writers)

    scored(settings, {0: len(writers)}, registry=Registry(url=registry))

    deserializer = AvroDeserializer(client)
    context = SerializationContext(settings.topics.decisions, MessageField.VALUE)
    decisions = {
        found["transaction_id"]: found
        for message in read_all(settings, settings.topics.decisions)
        for found in [deserializer(message.value(), context)]
    }
    assert list(decisions) == list(writers)
    for number, found in enumerate(decisions.values()):
        features = np.frombuffer(found["features"], "<f8")
        assert features[0] == 12.34
        # The customer's history spans both writer schemas.
        assert features[3] == number + 1
        assert found["event_time"] == _EVENT["event_time"]
        assert found["decision"] in {"APPROVE", "REVIEW", "BLOCK"}
        assert found["source_offset"] == number
    assert list(read_all(settings, settings.topics.dead_letters)) == []
    # A client that knows only version 1 reads the same records.
    first = AvroDeserializer(client, reader_schema("decision.v1"))
    names = [field["name"] for field in json.loads(reader_schema("decision.v1"))["fields"]]
    for message in read_all(settings, settings.topics.decisions):
        whole = decisions[str(first(message.value(), context)["transaction_id"])]
        assert first(message.value(), context) == {name: whole[name] for name in names}
        assert (whole["amount_minor"], whole["currency"]) == (1_234, "EUR")
        assert whole["channel"] == writers[whole["transaction_id"]][1].get("channel", "UNKNOWN")
        assert whole["model_outcome"] == whole["decision"]


def test_every_outcome_reads_with_the_first_schema_of_decisions(
    settings: Kafka, client: SchemaRegistryClient
) -> None:
    count = 6
    records = pa.record_batch(
        {
            "transaction_id": [f"t{n}" for n in range(count)],
            "customer_id": ["c"] * count,
            "terminal_id": pa.array([None, "x", "x"] * 2, pa.string()),
            "event_time": pa.array([1_522_585_815_250] * count, pa.timestamp("ms")),
            "amount_minor": pa.array([1_234] * count, pa.int64()),
            "currency": ["EUR"] * count,
            "channel": ["POS"] * count,
        }
    )
    places = np.arange(count)
    why = Explanations(
        np.array([1, 1, 2, 3, 4]),
        np.array([0, 1, 1, 0, 1]),
        np.ones(5),
        ("a", "b"),
        ("", "{value}"),
    )
    batch = DecisionBatch(
        EventBatch(records, np.zeros(count, np.int32), places, places), np.full(count, 0.5),
        np.array([0, 1, 2, 2, 1, 0], np.uint8), np.zeros(count, np.uint8), np.ones((count, 2)),
        {1: ("a", "b"), 2: ("b",), 3: ("a",), 4: ("b",)}, "fraud", "1.0.0",
        model_outcome=np.array([0, 1, 2, NO_OUTCOME, 0, 2], np.uint8), explanations=why,
    )  # fmt: skip
    schema = reader_schema("decision.v2")
    identity = client.lookup_schema("decisions-value", Schema(schema, "AVRO")).schema_id
    values = DecisionEncoder(identity, schema, "t").encode(batch, 1_700_000_000_000).to_list()
    producer = Producer(client_options.common(settings))
    for value in values:
        producer.produce(settings.topics.decisions, value, b"c", partition=0)
    assert producer.flush(10) == 0
    first = AvroDeserializer(client, reader_schema("decision.v1"))
    context = SerializationContext(settings.topics.decisions, MessageField.VALUE)
    messages = list(read_all(settings, settings.topics.decisions))
    old = [first(message.value(), context) for message in messages]
    assert [each["decision"] for each in old] == [
        "APPROVE", "REVIEW", "BLOCK", "BLOCK", "REVIEW", "APPROVE",
    ]  # fmt: skip
    assert [each["terminal_id"] for each in old] == ["", "x", "x"] * 2
    assert [each["reasons"] for each in old] == [[], ["a", "b"], ["b"], ["a"], ["b"], []]
    assert all("currency" not in each for each in old)
    new = [AvroDeserializer(client)(message.value(), context) for message in messages]
    assert [each["model_outcome"] for each in new] == [
        "APPROVE", "REVIEW", "BLOCK", None, "APPROVE", "BLOCK",
    ]  # fmt: skip
    told = [[(e["feature"], e["text"]) for e in each["explanations"]] for each in new]
    assert told == [[], [("a", ""), ("b", "1")], [("b", "1")], [("a", "")], [("b", "1")], []]


@pytest.mark.thorough
def test_kafkas_own_tools_read_our_decisions_and_print_our_lag(kafka: Any, settings: Kafka) -> None:
    if kafka.devkafka is None:
        pytest.skip("Kafka's own tools come with devkafka, and --bootstrap names another cluster")
    records = transactions()[:500]
    scored(settings, feed(settings, records))
    feed(settings, records[:37])

    ours = [message.value() for message in read_all(settings, settings.topics.decisions)]
    assert len(ours) == len(outcome(settings).decisions)
    shown = run_tool(
        kafka.devkafka, _CONSOLE,
        "--bootstrap-server", "{bootstrap}", "--topic", settings.topics.decisions,
        "--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", "30000",
        "--formatter-property", f"value.deserializer={_BYTES}",
    ).stdout  # fmt: skip
    assert sorted(shown.splitlines()) == sorted(as_java_shows(value) for value in ours)

    told = run_tool(
        kafka.devkafka,
        _GROUPS,
        *("--bootstrap-server", "{bootstrap}", "--describe", "--group", settings.group),
    ).stdout
    theirs = {
        int(number): (int(committed), int(end), int(lag))
        for number, committed, end, lag in re.findall(
            rf"{settings.topics.transactions}\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", told
        )
    }
    said = subprocess.run(  # noqa: S603 our own command
        [str(COMMAND), "lag", "--json"],
        env=environment(settings) | {"PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    lags = json.loads(said.stdout)
    assert theirs == {
        each["partition"]: (each["committed"], each["end"], each["lag"])
        for each in lags["partitions"]
    }
    assert lags["total"] == 37
