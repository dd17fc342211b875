"""Columns stored by the walk have fastavro's values, for random writer and reader schemas."""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fastavro
import pyarrow as pa
from fastavro.read import SchemaResolutionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.reading.resolve import adapted
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.registry.definition import parse_definition
from tests.support.codec.codec_writers import writer_of
from tests.support.codec.reference_decoder import SureDecoder
from tests.support.effort import examples

if TYPE_CHECKING:
    from collections.abc import Callable

PLAN = Plan(string_bytes_max=40, array_items_max=6)
PAIRS = 1_500
RECORDS = 30

# The writer's types for each reader's type.
NARROWER = {
    "boolean": ["boolean"],
    "int": ["int"],
    "long": ["long", "int"],
    "float": ["float", "long", "int"],
    "double": ["double", "float", "long", "int"],
    "bytes": ["bytes", "string"],
    "string": ["string", "enum"],
    "enum": ["enum"],
    "timestamp-millis": ["timestamp-millis", "long", "int"],
    "date": ["date", "int"],
}
LOGICAL = {"timestamp-millis": "long", "date": "int"}
DEFAULTS: dict[str, Any] = {
    "boolean": True, "int": -3, "long": 2**40, "float": 0.5, "double": -2.5, "bytes": "\u00ff",
    "string": "é", "timestamp-millis": 5, "date": 6,
}  # fmt: skip
SYMBOLS = ["A", "BETA", "a_symbol_longer_than_its_number", "D"]
SKIPPED = [
    {"type": "array", "items": "string"},
    {"type": "map", "values": ["null", "double"]},
    ["null", "long", "string"],
    {"type": "array", "items": {"type": "array", "items": "int"}},
    "null", "double", "string", "boolean",
]  # fmt: skip


@dataclass(slots=True)
class Pair:
    """A reader schema, and a writer schema that resolves to it, as documents."""

    reader: list[Any]
    writer: list[Any]

    def text(self, fields: list[Any]) -> str:
        return json.dumps({"type": "record", "name": "R", "fields": fields})


def spelled(kind: str, name: str, symbols: list[str] | None = None) -> Any:
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": symbols or SYMBOLS}
    if kind in LOGICAL:
        return {"type": LOGICAL[kind], "logicalType": kind}
    return kind


def optional(chance: random.Random, kind: Any) -> Any:
    return ["null", kind] if chance.random() < 0.7 else [kind, "null"]


def pair(chance: random.Random) -> Pair:
    reader, writer = [], []
    for number in range(chance.randint(1, 9)):
        name = f"f{number}"
        kind = chance.choice(list(NARROWER))
        narrower = chance.choice(NARROWER[kind])
        symbols = chance.choice((SYMBOLS, SYMBOLS[:2], SYMBOLS[1:]))
        read: Any = spelled(kind, f"E{number}", symbols)
        if kind == "enum" and chance.random() < 0.5:
            read["default"] = symbols[0]
        written: Any = spelled(narrower, f"E{number}")
        more: dict[str, Any] = {}
        if kind != "enum":
            more["default"] = DEFAULTS[kind]
        if chance.random() < 0.5:
            read = optional(chance, read)
            if read[0] == "null":
                more["default"] = None
        if chance.random() < 0.4:
            written = optional(chance, written)
        theirs = name
        if chance.random() < 0.2:
            theirs = f"old_{name}"
            more["aliases"] = ["unused", theirs]
        reader.append({"name": name, "type": read} | more)
        if "default" not in more or chance.random() < 0.85:
            writer.append({"name": theirs, "type": written})
    writer += [
        {"name": f"skipped{number}", "type": chance.choice(SKIPPED)}
        for number in range(chance.choice((0, 0, 1, 2)))
    ]
    chance.shuffle(writer)
    return Pair(reader, writer)


def value(chance: random.Random, kind: Any) -> Any:
    """Return a random value; texts and numbers of every length that copies treat differently."""
    if isinstance(kind, list):
        return value(chance, chance.choice(kind))
    if not isinstance(kind, dict):
        return single(chance, kind)
    if kind["type"] == "enum":
        return chance.choice(kind["symbols"])
    if kind["type"] == "array":
        return [value(chance, kind["items"]) for _ in range(chance.randint(0, 3))]
    if kind["type"] == "map":
        return {f"k{n}": value(chance, kind["values"]) for n in range(chance.randint(0, 3))}
    return single(chance, kind["type"])


def single(chance: random.Random, kind: str) -> Any:
    letters = "abcXYZ019-é€𝄞"[: chance.choice((10, 13))]
    make: dict[str, Callable[[], Any]] = {
        "null": lambda: None,
        "boolean": lambda: chance.random() < 0.5,
        "int": lambda: chance.getrandbits(chance.randint(0, 31)) - (chance.random() < 0.3),
        "long": lambda: chance.getrandbits(chance.randint(0, 63)) - (chance.random() < 0.3),
        "float": lambda: chance.randint(-1000, 1000) / 8,
        "double": lambda: chance.choice((chance.gauss(0, 1e6), -0.0, float("inf"))),
        "bytes": lambda: chance.randbytes(chance.choice((0, 1, 7, 8, 16, 17, 40))),
        "string": lambda: "".join(
            chance.choice(letters) for _ in range(chance.choice((0, 1, 7, 8, 9, 15, 16, 17, 31)))
        ),
    }
    return make[kind]()


def spoilt(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    match chance.randrange(5):
        case 0:
            return body[:at]
        case 1:
            return body + chance.randbytes(chance.choice((1, 9)))
        case 2:
            return body[:at] + chance.randbytes(1) + body[at + 1 :]
        case 3:
            return body[:at] + chance.choice((b"\xff" * 9, b"\x80\x00", b"\xff")) + body[at:]
        case _:
            return body[:at] + body[at + 1 :]


def exact(record: dict[str, Any]) -> dict[str, Any]:
    """Make -0.0 differ from 0.0, and NaN equal to itself."""
    return {k: v.hex() if isinstance(v, float) else v for k, v in record.items()}


def plain(records: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return rows with times as numbers."""
    whole = {8: pa.int64(), 4: pa.int32()}
    columns = [
        column.view(whole[column.type.bit_width // 8]) if pa.types.is_temporal(column.type)
        else column
        for column in records.columns
    ]  # fmt: skip
    rows = pa.RecordBatch.from_arrays(columns, names=records.schema.names).to_pylist()
    return [exact(row) for row in rows]


class Source:
    def __init__(self, schema: str) -> None:
        self.schema = schema

    def writer_schema(self, schema_id: int) -> str:
        assert schema_id == 1
        return self.schema

    def id_for(self, subject: str, schema: str) -> int:
        raise NotImplementedError


@dataclass(slots=True)
class Reference:
    """fastavro with the same two schemas."""

    writer: Any
    reader: Any
    fields: list[Any]

    @classmethod
    def of(cls, both: Pair) -> Reference:
        definition = parse_definition(both.text(both.writer), "writer").plain()
        reader = parse_definition(both.text(both.reader), "reader").plain()
        return cls(
            fastavro.parse_schema(definition.root, _force=True),
            fastavro.parse_schema(adapted(reader, definition), _force=True),
            both.reader,
        )

    def write(self, record: dict[str, Any]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self.writer, record)
        return body.getvalue()

    def read(self, body: bytes) -> dict[str, Any] | RejectReason:
        """Return the record as the columns have it, or the reason of its rejection."""
        try:
            found: Any = fastavro.schemaless_reader(io.BytesIO(body), self.writer, self.reader)
        except SchemaResolutionError:
            return RejectReason.INCOMPATIBLE_SCHEMA
        except Exception:  # noqa: BLE001 whatever the bytes lead to
            return RejectReason.MALFORMED
        for field in self.fields:
            name, kind = field["name"], str(field["type"])
            if "bytes" in kind and isinstance(found[name], str):  # a default is a text
                found[name] = found[name].encode("iso-8859-1")
            if "float" in kind and found[name] is not None:
                found[name] = pa.scalar(found[name], pa.float32()).as_py()
        return exact(found)


def test_columns_stored_by_the_walk_hold_what_fastavro_reads() -> None:
    seen = {"fast": 0, "sure": 0, "accepted": 0}
    pairs = examples(PAIRS)

    @settings(
        max_examples=pairs, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**64))
    def agree(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 a test's choice, not a secret
        both = pair(chance)
        reference = Reference.of(both)
        bodies, sound = [], []
        for _ in range(RECORDS):
            body = reference.write({f["name"]: value(chance, f["type"]) for f in both.writer})
            sound.append(chance.random() < 0.6)
            bodies.append(body if sound[-1] else spoilt(chance, body))
        payloads = [b"\0\0\0\0\1" + body for body in bodies]
        source, read = Source(both.text(both.writer)), both.text(both.reader)
        fast = ColumnDecoder(source, read, PLAN)
        decoded = fast.decode(payloads)
        sure = SureDecoder(source, read, PLAN).decode(payloads)
        decoded.records.validate(full=True)
        assert plain(decoded.records) == plain(sure.records)
        assert decoded.rows.tolist() == sure.rows.tolist()
        assert decoded.rejections.rows.tolist() == sure.rejections.rows.tolist()
        assert decoded.rejections.reasons == sure.rejections.reasons
        for row, record in zip(decoded.rows.tolist(), plain(decoded.records), strict=True):
            assert record == reference.read(bodies[row]), bodies[row].hex()
        for row, reason in zip(
            decoded.rejections.rows.tolist(), decoded.rejections.reasons, strict=True
        ):
            seen[reason] = seen.get(reason, 0) + 1
            if sound[row] and reason is not RejectReason.TOO_LARGE:
                assert reason is reference.read(bodies[row]) is RejectReason.INCOMPATIBLE_SCHEMA
        writer = writer_of(fast, 1)
        assert not isinstance(writer, str)
        seen["fast" if writer.projection else "sure"] += 1
        seen["accepted"] += len(decoded.rows)

    agree()
    assert seen["fast"] > seen["sure"] > pairs // 100
    assert seen["accepted"] > pairs * RECORDS // 4
    expected = {"INCOMPATIBLE_SCHEMA", "MALFORMED", "TRAILING_BYTES", "TOO_LARGE"}
    assert expected <= {name for name, count in seen.items() if count > pairs // 10}, seen
