"""One contract for every source of schemas, and Confluent's own serializers on our server."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.registry.server import RegistryServer
from stream_scorer.registry.sources import (
    INDEX,
    FileRegistry,
    SchemaSource,
    open_registry,
    reader_schema,
    same_schema,
)
from stream_scorer.settings import SCHEMAS_DIRECTORY, Registry

TRANSACTION = reader_schema("transaction.v1")
VALUE = {
    "transaction_id": "t-1", "event_time": 1_500, "customer_id": "c", "terminal_id": "x",
    "amount_minor": 1234, "currency": "EUR", "channel": "POS", "mcc": None, "country": "DE",
    "card_present": True, "device_id": None,
}  # fmt: skip
CONTEXT = SerializationContext("transactions", MessageField.VALUE)
NEXT = 1 + max(
    each["id"] for each in json.loads((SCHEMAS_DIRECTORY / INDEX).read_text())["schemas"]
)
"""The id that the next new schema gets."""


def changed(**more: Any) -> str:
    """Return the transaction schema with one more field."""
    schema = json.loads(TRANSACTION)
    schema["fields"].append({"name": "zip", "type": "string"} | more)
    return json.dumps(schema)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SCHEMAS_DIRECTORY, tmp_path / "schemas"))


@pytest.fixture
def server(directory: Path) -> Iterator[RegistryServer]:
    with RegistryServer(directory, writable=True) as running:
        yield running


@pytest.fixture(params=["files", "http"])
def source(request: pytest.FixtureRequest, directory: Path) -> Iterator[SchemaSource]:
    if request.param == "files":
        yield open_registry(Registry(directory=directory))
    else:
        with RegistryServer(directory, writable=True) as running:
            yield open_registry(Registry(url=running.url))


class TestSource:
    def test_a_known_id_gives_its_schema(self, source: SchemaSource) -> None:
        assert same_schema(source.writer_schema(1), TRANSACTION)

    def test_an_unknown_id_is_a_schema_error_that_names_it(self, source: SchemaSource) -> None:
        for _ in range(2):
            with pytest.raises(SchemaError, match="schema id 99"):
                source.writer_schema(99)

    def test_a_schema_gives_its_fixed_id(self, source: SchemaSource) -> None:
        decision = json.dumps(json.loads(reader_schema("decision.v1")), sort_keys=True)
        assert source.id_for("decisions-value", decision) == 2

    def test_a_schema_that_breaks_its_subject_is_refused(self, source: SchemaSource) -> None:
        with pytest.raises(SchemaError, match="transactions-value"):
            source.id_for("transactions-value", changed())

    def test_it_feeds_the_decoder(self, source: SchemaSource) -> None:
        decoder = ColumnDecoder(source, TRANSACTION, Plan())
        value = RecordCodec(1, TRANSACTION).encode(VALUE)
        decoded = decoder.decode([value, b"\0\0\0\0\x63" + value[5:]])
        assert decoded.records.column("transaction_id").to_pylist() == ["t-1"]
        assert decoded.rejections.reasons == ("UNKNOWN_SCHEMA",)


@contextmanager
def connected(server: RegistryServer) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": server.url, "max.retries": 0}) as registry:
        yield registry


@pytest.fixture
def client(server: RegistryServer) -> Iterator[SchemaRegistryClient]:
    with connected(server) as registry:
        yield registry


@pytest.mark.parametrize(
    "options",
    [
        {"auto.register.schemas": True},
        {"auto.register.schemas": False},
        {"auto.register.schemas": False, "use.latest.version": True},
    ],
    ids=["register", "lookup", "latest"],
)
def test_confluents_serializers_work(
    server: RegistryServer, client: SchemaRegistryClient, options: dict[str, Any]
) -> None:
    serialize = AvroSerializer(client, TRANSACTION, conf=options)
    value = serialize(VALUE, CONTEXT)
    assert value[:5] == b"\0\0\0\0\1"
    decoder = ColumnDecoder(HttpRegistry(Registry(url=server.url)), TRANSACTION, Plan())
    assert decoder.decode([value]).records.column("amount_minor").to_pylist() == [1234]
    back = AvroDeserializer(client)(RecordCodec(1, TRANSACTION).encode(VALUE), CONTEXT)
    assert back["transaction_id"] == "t-1"
    assert back["event_time"].timestamp() == 1.5


def test_a_serializer_registers_what_is_compatible(client: SchemaRegistryClient) -> None:
    serialize = AvroSerializer(client, changed(default="none"))
    assert serialize(VALUE | {"zip": "1"}, CONTEXT)[:5] == b"\0\0\0\0" + bytes([NEXT])
    new = SerializationContext("elsewhere", MessageField.VALUE)
    assert AvroSerializer(client, TRANSACTION)(VALUE, new)[:5] == b"\0\0\0\0\1"
    assert "elsewhere-value" in client.get_subjects()


def test_a_serializer_gets_the_name_of_the_incompatible_field(client: SchemaRegistryClient) -> None:
    with pytest.raises(SchemaRegistryError, match="field zip") as caught:
        AvroSerializer(client, changed())(VALUE | {"zip": "1"}, CONTEXT)
    assert (caught.value.http_status_code, caught.value.error_code) == (409, 409)


def test_registrations_are_on_disk_and_need_a_writable_server(
    directory: Path,
) -> None:
    new, other = Schema(changed(default="none"), "AVRO"), Schema(changed(default="no"), "AVRO")
    with RegistryServer(directory) as running, connected(running) as client:
        assert client.register_schema("transactions-value", Schema(TRANSACTION, "AVRO")) == 1
        with pytest.raises(SchemaRegistryError, match="read-only"):
            client.register_schema("transactions-value", new)
        with pytest.raises(SchemaRegistryError, match="read-only"):
            client.set_compatibility("labels-value", "BACKWARD")
        assert client.get_global_mode() == "READONLY"
    with RegistryServer(directory, writable=True) as running, connected(running) as client:
        assert client.register_schema("transactions-value", new) == NEXT
        client.set_compatibility("labels-value", "BACKWARD")
    # After a restart the id still has the same schema, and the next schema gets the next id.
    with RegistryServer(directory, writable=True) as running, connected(running) as client:
        assert same_schema(str(client.get_schema(NEXT).schema_str), str(new.schema_str))
        assert client.register_schema("transactions-value", other) == NEXT + 1
    files = FileRegistry(directory)
    assert files.subject_compatibility == {"labels-value": "BACKWARD"}
    assert files.id_for("transactions-value", TRANSACTION) == 1


def test_a_schema_that_cannot_be_written_is_given_no_id(directory: Path) -> None:
    new = Schema(changed(default="none"), "AVRO")
    with RegistryServer(directory, writable=True) as running, connected(running) as client:
        (directory / f".{INDEX}.new").mkdir()
        with pytest.raises(SchemaRegistryError, match="cannot be written"):
            client.register_schema("transactions-value", new)
        with pytest.raises(SchemaRegistryError):
            client.get_schema(NEXT)
        (directory / f".{INDEX}.new").rmdir()
        assert client.register_schema("transactions-value", new) == NEXT


def test_two_servers_do_not_write_to_one_directory(directory: Path) -> None:
    with RegistryServer(directory, writable=True):
        with pytest.raises(SettingsError, match="another registry server"):
            RegistryServer(directory, writable=True)
        with RegistryServer(directory):
            pass
    with RegistryServer(directory, writable=True):
        pass


def test_the_api_lists_what_the_directory_holds(client: SchemaRegistryClient) -> None:
    assert sorted(client.get_subjects()) == [
        "activations-value", "decisions-value", "drift-commands-value", "drift-events-value",
        "edge-decision", "edge-progress-value", "edge-registry-value",
        "labels-value", "performance-value",
        "rollout-value", "shadow-scores-value", "summaries-value",
        "terminal-profiles-value",
        "transactions-value",
    ]  # fmt: skip
    assert client.get_versions("transactions-value") == [1]
    latest = client.get_latest_version("transactions-value")
    assert (latest.schema_id, latest.version) == (1, 1)
    assert client.get_version("transactions-value", 1).schema_id == 1
    assert client.get_schema_versions(1)[0].subject == "transactions-value"
    assert client.get_subjects_by_schema_id(1) == ["transactions-value"]
    assert client.get_schema_types() == ["AVRO"]
    assert client.get_global_mode() == "READWRITE"
    assert client.lookup_schema("transactions-value", Schema(TRANSACTION, "AVRO")).version == 1


def test_compatibility_is_asked_and_set(client: SchemaRegistryClient) -> None:
    subject, breaking = "transactions-value", Schema(changed(), "AVRO")
    assert client.get_compatibility() == "FULL"
    assert not client.test_compatibility(subject, breaking)
    assert not client.test_compatibility_all_versions(subject, breaking)
    assert client.test_compatibility(subject, Schema(changed(default=""), "AVRO"), version=1)
    client.set_compatibility(subject, "FORWARD")
    assert client.get_compatibility(subject) == "FORWARD"
    assert client.test_compatibility(subject, breaking)
    client.set_compatibility(level="NONE")
    assert client.get_compatibility() == "NONE"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda r: r.get_schema(99), 40403),
        (lambda r: r.get_versions("none"), 40401),
        (lambda r: r.get_version("transactions-value", 9), 40402),
        (lambda r: r.get_version("transactions-value", "x"), 42202),
        (lambda r: r.lookup_schema("none", Schema('"long"', "AVRO")), 40401),
        (lambda r: r.lookup_schema("labels-value", Schema('"long"', "AVRO")), 40403),
        (lambda r: r.register_schema("s", Schema('{"type": "zap"}', "AVRO")), 42201),
        (lambda r: r.register_schema("s", Schema("{}", "JSON")), 42201),
        (lambda r: r.get_compatibility("labels-value"), 40408),
        (lambda r: r.set_compatibility("labels-value", "SIDEWAYS"), 42203),
        (lambda r: r.delete_subject("labels-value"), 405),
    ],
)
def test_refusals_carry_confluents_codes(
    client: SchemaRegistryClient, call: Any, code: int
) -> None:
    with pytest.raises(SchemaRegistryError) as caught:
        call(client)
    assert caught.value.error_code == code
    assert caught.value.http_status_code == int(str(code)[:3])
