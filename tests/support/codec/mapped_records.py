"""Random foreign schemas, mappings for them, and records whose transactions are known."""

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Self

import fastavro

from stream_scorer.codec.reading.mapped import MappedDecoder
from stream_scorer.codec.reading.mapped_paths import Found, StoredPaths
from stream_scorer.errors import SchemaError

CHANNELS = {"1": "POS", "2": "ECOM", "051": "ATM"}
REQUIRED = ("transaction_id", "event_time", "customer_id", "amount_minor", "currency", "channel")


class Schemas:
    """Writer schemas by id, and their records' payloads."""

    def __init__(self, *texts: str) -> None:
        self.texts = dict(enumerate(texts, 1))

    def writer_schema(self, schema_id: int) -> str:
        if schema_id not in self.texts:
            raise SchemaError(f"schema id {schema_id}: unknown")
        return self.texts[schema_id]

    def id_for(self, subject: str, schema: str) -> int:
        raise NotImplementedError

    def payload(self, schema_id: int, record: Any) -> bytes:
        body = io.BytesIO()
        schema = fastavro.parse_schema(json.loads(self.texts[schema_id]))
        fastavro.schemaless_writer(body, schema, record)
        return b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()


class FastavroDecoder(MappedDecoder):
    """Takes all leaves from records that fastavro has decoded."""

    def _stored(self, _: dict[tuple[str, ...], Found]) -> StoredPaths | None:
        return None


@dataclass(frozen=True)
class Form:
    """One way to write a field: its Avro type, its rule, and its value in Avro and JSON."""

    kind: Any
    rule: dict[str, Any]
    avro: Callable[[Any], Any] = lambda value: value
    text: Callable[[Any], Any] | None = None


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + (
        f".{ms % 1000:03d}Z"
    )


def _decimal(scale: int, kind: dict[str, Any]) -> dict[str, Any]:
    return kind | {"logicalType": "decimal", "precision": 18, "scale": scale}


def _raw(text: str) -> Any:
    """Return a number that JSON shows as exactly this text."""
    return _Raw(text)


class _Raw(float):
    """A JSON number that is written as its text."""

    def __new__(cls, text: str) -> Self:
        made = super().__new__(cls, float(text))
        made.text = text  # type: ignore[attr-defined]
        return made

    def __repr__(self) -> str:
        return str(self.text)  # type: ignore[attr-defined]


def _major(minor: int) -> str:
    return str(Decimal(minor).scaleb(-2))


TEXT = [Form("string", {})]
ID = [*TEXT, Form("long", {}, int, int), Form(["int"], {}, int, int)]
FORMS: dict[str, list[Form]] = {
    "transaction_id": ID,
    "customer_id": ID,
    "terminal_id": TEXT,
    "event_time": [
        Form({"type": "long", "logicalType": "timestamp-millis"}, {"unit": "ms"}),
        Form("long", {"unit": "us"}, lambda ms: ms * 1000 + 999),
        Form("long", {"unit": "ns"}, lambda ms: ms * 1_000_000 + 1),
        Form("double", {"unit": "s"}, lambda ms: ms / 1000),
        Form("string", {"unit": "iso8601"}, _iso),
    ],
    "amount_minor": [
        Form("long", {"unit": "minor"}),
        Form("double", {"unit": "major"}, lambda minor: minor / 100),
        Form("string", {"unit": "major"}, _major),
        Form(
            _decimal(2, {"type": "bytes"}), {"unit": "major"},
            lambda minor: Decimal(minor).scaleb(-2), lambda minor: _raw(_major(minor)),
        ),
        Form(
            _decimal(3, {"type": "fixed", "name": "Sum", "size": 8}), {"unit": "major"},
            lambda minor: Decimal(minor).scaleb(-2), lambda minor: _raw(_major(minor)),
        ),
    ],
    "currency": TEXT,
    "channel": [
        Form("string", {"table": CHANNELS}),
        Form("int", {"table": CHANNELS, "unknown": "ATM"}, lambda text: int(text) % 50),
    ],
    "mcc": TEXT,
    "country": [Form({"type": "enum", "name": "Country", "symbols": ["DE", "FR"]}, {})],
    "card_present": [
        Form("boolean", {}),
        Form("string", {"table": {"Y": True, "N": False}}, lambda yes: "Y" if yes else "N"),
    ],
    "device_id": TEXT,
    "x_text": TEXT,
    "x_long": [Form("long", {}), Form("int", {})],
    "x_double": [
        Form("double", {}),
        Form("long", {}, int),
        Form(
            _decimal(1, {"type": "bytes"}), {}, lambda x: Decimal(repr(x)),
            lambda x: _raw(repr(x)),
        ),
    ],
    "x_flag": [Form("boolean", {})],
    "x_time": [Form({"type": "long", "logicalType": "timestamp-millis"}, {"unit": "ms"})],
}  # fmt: skip
EXTRAS = {"x_text": "string", "x_long": "long", "x_double": "double", "x_flag": "boolean",
          "x_time": "timestamp"}  # fmt: skip


@dataclass
class Case:
    """A schema, a mapping for it in Avro and in JSON, and records with their results.

    Attributes:
        schema: The writer schema.
        events: The mapping's table, for Avro; for JSON only ``record.format`` differs.
        records: (as fastavro writes it, as JSON, result: a row by column, None for a reject,
            or "skipped").
        spoiled: Whether the schema has a union that keeps the walk from storing.
    """

    schema: dict[str, Any]
    events: dict[str, Any]
    records: list[tuple[Any, str, Any]] = field(default_factory=list)


def case_of(chance: random.Random, count: int) -> Case:
    """Draw a case with ``count`` records."""
    names = [name for name in FORMS if name in REQUIRED or chance.random() < 0.7]
    forms = {name: chance.choice(FORMS[name]) for name in names}
    groups = [(), ("a",), ("a", "b"), ("c",), ("a", "b", "d")]
    places = {name: (*chance.choice(groups), f"{name}_") for name in names}
    optional = {group: chance.random() < 0.4 for group in groups[1:]}
    nullable = {name: chance.random() < 0.3 for name in names}
    spoiled = chance.random() < 0.2
    enveloped = chance.random() < 0.5
    where = chance.choice(["op in [c, r]", "op in [c, r] and after != null"]) if enveloped else ""
    schema = _record("Row", (), places, forms, optional, nullable, spoiled=spoiled)
    if enveloped:
        row = ["null", schema]
        schema = _named("Envelope", [("before", row), ("op", "string"), ("after", ["null", "Row"])])
    prefix = "after." if enveloped else ""
    table: dict[str, Any] = {"record": {"format": "avro"}, "fields": {}, "extra": {}}
    if enveloped:
        table["record"]["where"] = where
    for name in names:
        rule = {"path": prefix + ".".join(places[name])} | forms[name].rule
        if name in EXTRAS:
            table["extra"][name] = rule | {"type": EXTRAS[name]}
        else:
            table["fields"]["amount" if name == "amount_minor" else name] = rule
    case = Case(schema, table)
    for number in range(count):
        case.records.append(_drawn(chance, number, places, forms, optional, nullable, where=where))
    return case


def _named(name: str, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        "type": "record", "name": name,
        "fields": [{"name": each, "type": kind} for each, kind in fields],
    }  # fmt: skip


def _record(
    name: str, group: tuple[str, ...], places: dict[str, Any], forms: dict[str, Form],
    optional: dict[tuple[str, ...], bool], nullable: dict[str, bool], *, spoiled: bool,
) -> dict[str, Any]:  # fmt: skip
    fields: list[tuple[str, Any]] = [(f"junk{len(group)}", {"type": "array", "items": "string"})]
    for each, place in places.items():
        if place[:-1] == group:
            kind: Any = forms[each].kind
            if isinstance(kind, list):
                fields.append((place[-1], ["null", *kind] if nullable[each] else kind))
            elif spoiled and kind == "string":
                fields.append((place[-1], ["null", "string", "boolean"]))
            else:
                fields.append((place[-1], ["null", kind] if nullable[each] else kind))
    for below, gone in optional.items():
        if len(below) == len(group) + 1 and below[: len(group)] == group:
            inner = _record(
                name + below[-1], below, places, forms, optional, nullable, spoiled=spoiled
            )
            fields.append((below[-1], [inner, "null"] if gone else inner))
    return _named(name, fields)


def _drawn(
    chance: random.Random, number: int, places: dict[str, Any], forms: dict[str, Form],
    optional: dict[tuple[str, ...], bool], nullable: dict[str, bool], *, where: str,
) -> tuple[Any, str, Any]:  # fmt: skip
    values: dict[str, Any] = {
        "transaction_id": str(10**9 + number),
        "event_time": chance.randrange(2**41),
        "customer_id": str(chance.randrange(1, 2**31)),
        "terminal_id": chance.choice(["T1", "é", ""]),
        "amount_minor": chance.randrange(10**6),
        "currency": "EUR",
        "channel": chance.choice(list(CHANNELS)),
        "mcc": "5411",
        "country": chance.choice(["DE", "FR"]),
        "card_present": chance.random() < 0.5,
        "device_id": "d" * chance.randrange(20),
        "x_text": chance.choice(["", "x€", "y" * 30]),
        "x_long": chance.randrange(-(2**31), 2**31),
        "x_double": float(chance.randrange(-1000, 1000)),
        "x_flag": chance.random() < 0.5,
        "x_time": chance.randrange(-(2**40), 2**40),
    }
    lost = {group for group in optional if optional[group] and chance.random() < 0.15}
    gone = {
        name
        for name, place in places.items()
        if (nullable[name] and chance.random() < 0.15)
        or any(place[: len(group)] == group for group in lost)
    }
    avro: dict[str, Any] = {"junk0": ["x"] * chance.randrange(3)}
    for group in optional:
        _at(avro, group)[f"junk{len(group)}"] = []
    written = json.loads(json.dumps(avro))
    for name, place in places.items():
        form = forms[name]
        _at(avro, place[:-1])[place[-1]] = None if name in gone else form.avro(values[name])
        text = form.text or form.avro
        _at(written, place[:-1])[place[-1]] = None if name in gone else text(values[name])
    for group in lost:
        _at(avro, group[:-1])[group[-1]] = None
        _at(written, group[:-1])[group[-1]] = None
    expected: Any = {name: None if name in gone else values[name] for name in places}
    if "channel" in places and "channel" not in gone:
        expected["channel"] = CHANNELS[values["channel"]]
        if forms["channel"].kind == "int":
            expected["channel"] = CHANNELS.get(str(int(values["channel"]) % 50), "ATM")
    if any(name in REQUIRED or name == "terminal_id" for name in gone):
        expected = None
    if where:
        op = chance.choice(["c", "r", "u"])
        before = chance.choice([None, avro])
        after = None if chance.random() < 0.1 else avro
        if op == "u" or ("after" in where and after is None):
            expected = "skipped"
        elif after is None:
            expected = None
        text_after = None if after is None else written
        return (
            {"before": before, "op": op, "after": after},
            _dumped({"before": None, "op": op, "after": text_after}),
            expected,
        )
    return avro, _dumped(written), expected


def _at(record: dict[str, Any], group: tuple[str, ...]) -> dict[str, Any]:
    for name in group:
        record = record.setdefault(name, {})
        if record is None:
            return {}
    return record


def _dumped(document: Any) -> str:
    if isinstance(document, _Raw):
        return repr(document)
    if isinstance(document, dict):
        parts = (f"{json.dumps(name)}: {_dumped(value)}" for name, value in document.items())
        return "{" + ", ".join(parts) + "}"
    return json.dumps(document)
