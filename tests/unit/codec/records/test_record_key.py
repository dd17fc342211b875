"""How a record's key gives the customer, and which plans may run without it."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from stream_scorer.codec.records.record_key import KeyReader, refuse_unkeyed
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import SettingsError
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.codec.foreign_events import EVENTS

SCHEMA = {
    "type": "record", "name": "Key", "fields": [
        {"name": "shop", "type": "int"},
        {"name": "who", "type": ["null", {
            "type": "record", "name": "Who", "fields": [{"name": "id", "type": "long"}]}]},
    ],
}  # fmt: skip


def plan(key: str) -> Plan:
    return Plan(events=parse_events(f"{EVENTS}\n{key}"))


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    (tmp_path / "key.avsc").write_text(json.dumps(SCHEMA), encoding="utf-8")
    index = {"schemas": [{"id": 7, "subject": "k-key", "version": 1, "file": "key.avsc"}]}
    (tmp_path / "registry.json").write_text(json.dumps(index), encoding="utf-8")
    return FileRegistry(tmp_path)


def avro(value: dict[str, Any], schema_id: int = 7) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def test_a_raw_key_is_the_customers_id() -> None:
    read = KeyReader(FileRegistry(SCHEMAS_DIRECTORY))
    assert read([b"c1", None, "\u00e9".encode(), b"\xff"], Plan()) == ["c1", None, "\u00e9", None]


def test_an_avro_key_gives_the_customer_at_its_path(registry: FileRegistry) -> None:
    read = KeyReader(registry)
    keys = [
        avro({"shop": 1, "who": {"id": 12}}), None, avro({"shop": 1, "who": None}), b"nonsense",
        avro({"shop": 1, "who": {"id": 13}})[:-1], avro({"shop": 2, "who": {"id": -5}}),
        avro({"shop": 1, "who": {"id": 12}}, schema_id=8),
    ]  # fmt: skip
    assert read(keys, plan('[key]\npath = "who.id"')) == ["12", None, None, None, None, "-5", None]


def test_a_json_key_gives_the_customer_at_its_path(registry: FileRegistry) -> None:
    read = KeyReader(registry)
    keys = [b'{"a": {"id": "c1"}}', b'{"a": {}}', b'{"a": {"id": 7}}', b"[]", b"{", None]
    assert read(keys, plan('[key]\npath = "a.id"\nformat = "json"')) == [
        "c1",
        None,
        "7",
        None,
        None,
        None,
    ]


def test_a_plan_without_keys_is_refused_in_one_line() -> None:
    for own in (Plan(), plan(""), plan('[key]\npath = "id"')):
        refuse_unkeyed(own, "payments")
    none = plan('[key]\ncustomer = "none"')
    with pytest.raises(SettingsError, match=r"topic payments is not .* stream-scorer rekey$"):
        refuse_unkeyed(none, "payments")
