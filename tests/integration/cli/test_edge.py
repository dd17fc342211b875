"""The ``edge`` commands of operators against a real broker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.registry.registration import DEVICE, RELEASE, RegistrationRecord
from stream_scorer.edge.registry.registry import EdgeRegistry, open_edge_registry
from stream_scorer.edge.settings.device import Edge
from stream_scorer.errors import SettingsError, StreamScorerError
from stream_scorer.kafka.loop.control_topic import append
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.security.clients_file import load_clients
from stream_scorer.security.keys import generate
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings
from tests.support.edge.devices import MadeDevice
from tests.support.faults.process import environment

pytestmark = pytest.mark.kafka


class Shell:
    """Runs ``edge`` commands as an operator."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.kafka, self.folder = kafka, folder
        self.ann, self.eve = generate(folder / "ann"), generate(folder / "eve")
        self.clients = folder / "clients.json"
        self.trusted = {"ann": str(self.ann.public)}
        self._environment = {
            **environment(kafka),
            "STREAM_SCORER_EDGE__TRUSTED_KEYS": json.dumps(self.trusted),
            "STREAM_SCORER_SERVING__ACCESS__CLIENTS_FILE": str(self.clients),
            "STREAM_SCORER_AUDIT__PATH": str(folder / "audit.log"),
        }

    def request(self, device: MadeDevice) -> Path:
        """Write the file of ``edge init``."""
        path = self.folder / f"{device.name}.request.json"
        public = device.key.public_key().public_bytes_raw()
        path.write_bytes(DeviceRequest(device.name, public).to_json())
        return path

    def told(self, *words: object) -> Any:
        """Return what a command prints as JSON."""
        asked = ["edge", *map(str, words), "--json"]
        result = CliRunner().invoke(app, asked, env=self._environment)
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout)

    def signed(self, *words: object) -> Any:
        """Return what a command that Ann signs prints."""
        return self.told(*words, "--key", self.ann.private)

    def refusal(self, *words: object, kind: type[StreamScorerError] = SettingsError) -> str:
        """Return why a command is refused."""
        with pytest.raises(kind) as refused:
            self.told(*words)
        return str(refused.value)

    def actions(self) -> list[str]:
        """Return the actions of the audit log."""
        lines = (self.folder / "audit.log").read_text().splitlines()
        return [json.loads(line)["action"] for line in lines]


def customers_of(registry: EdgeRegistry, device: str) -> frozenset[int]:
    registry.catch_up()
    found = registry.device(device)
    assert found is not None
    return found.customers


def test_a_device_from_its_request_to_its_revocation(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    shell, device = Shell(kafka_topics(kafka_settings()), tmp_path), MadeDevice()
    request = shell.request(device)
    customers = tmp_path / "customers.txt"
    customers.write_text("c1\n\nc2\n")
    made = shell.signed(
        "provision", device.name, "--request", request, "--release", "fraud:1.0.0",
        "--customers", customers,
    )  # fmt: skip
    assert (made["device"], made["releases"]) == (device.name, ["fraud:1.0.0"])
    assert made["api_key"]
    client = load_clients(shell.clients)[0].clients[device.name]
    assert client.scopes == {"edge"}
    settings = Settings(kafka=shell.kafka, edge=Edge(trusted_keys=shell.trusted))
    registry = open_edge_registry(settings, FileRegistry(SCHEMAS_DIRECTORY))
    allowed = registry.device(device.name)
    assert allowed is not None
    assert len(allowed.customers) == 2
    assert registry.known(RELEASE, "fraud:1.0.0") is not None
    # Again: the same key, no new client; another key needs its first row.
    again = shell.signed("provision", device.name, "--request", request)
    assert (again["keys"], again["api_key"]) == (1, "")
    # A scope that is not given stays; that of everybody is asked for.
    assert customers_of(registry, device.name) == allowed.customers
    same = ("provision", device.name, "--request", request)
    key = ("--key", shell.ann.private)
    assert "give one of them" in shell.refusal(
        *same, *key, "--customers", customers, "--all-customers"
    )
    shell.signed(*same, "--all-customers")
    assert len(customers_of(registry, device.name)) == 0
    renewed = shell.request(MadeDevice(device.name))
    words = ("provision", device.name, "--request", renewed, "--key", shell.ann.private)
    assert "--from-row" in shell.refusal(*words)
    assert shell.told(*words, "--from-row", 6)["keys"] == 2
    third = shell.request(MadeDevice(device.name))
    why = shell.refusal(*words[:3], third, *words[4:], "--from-row", 6, "--release", "fraud:1.0.1")
    assert "keys: must begin at row 1, each after the one before" in why
    # What is refused has changed nothing.
    registry.catch_up()
    assert registry.known(RELEASE, "fraud:1.0.1") is None
    assert shell.told("progress", device.name)["sequence"] == 0
    assert shell.signed("revoke", device.name)["revoked_after"] == 0
    registry.follow()
    registry.catch_up()
    known = registry.known(DEVICE, device.name)
    assert known is not None
    assert known.record.number == 5
    assert registry.device(device.name).revoked_after == 0  # type: ignore[union-attr]
    assert "is revoked" in shell.refusal(*words, "--from-row", 9)
    registry.close()
    report = shell.told("report", "--from", "1h")
    assert (report["events"], report["refused"]) == (0, {})
    assert shell.actions() == [
        "edge.device", "edge.release", "client.add", *["edge.device"] * 4,
    ]  # fmt: skip


def test_a_registration_that_is_sent_again_undoes_no_revocation(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    shell, device = Shell(kafka_topics(kafka_settings()), tmp_path), MadeDevice()
    settings = Settings(kafka=shell.kafka, edge=Edge(trusted_keys=shell.trusted))
    schemas, schema = FileRegistry(SCHEMAS_DIRECTORY), reader_schema("edge-registration.v1")

    def newest() -> RegistrationRecord:
        """Return what a process knows that starts now."""
        registry = open_edge_registry(settings, schemas)
        known = registry.known(DEVICE, device.name)
        registry.close()
        assert known is not None
        return known.record

    shell.signed("provision", device.name, "--request", shell.request(device))
    first = newest()
    shell.signed("revoke", device.name, "--after", 7)
    revocation = newest()
    topic = shell.kafka.topics.edge_registry
    codec = RecordCodec(schemas.id_for(f"{topic}-value", schema), schema)
    again = {name: getattr(first, name) for name in RegistrationRecord.__slots__}
    append(shell.kafka, topic, codec.encode(again), first.key)
    assert (first.number, revocation.number) == (1, 2)
    assert newest() == revocation


def test_who_is_no_operator_changes_nothing(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    shell, device = Shell(kafka_topics(kafka_settings()), tmp_path), MadeDevice()
    request = shell.request(device)
    words = ("provision", device.name, "--request", request)
    assert "give --key" in shell.refusal(*words)
    assert "not in edge.trusted_keys" in shell.refusal(*words, "--key", shell.eve.private)
    signed = ("--key", shell.ann.private)
    assert "is of the device" in shell.refusal("provision", "other", *words[2:], *signed)
    assert "is not registered" in shell.refusal("revoke", device.name, *signed)
    assert not shell.clients.exists()
    assert "is not a time" in shell.refusal("report", "--from", "yesterday")
