"""An Avro file whose schema turns a few bytes into very many values, or recursion, is refused."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.explaining.sample import sample_of_file
from stream_scorer.registry.sources import reader_schema
from stream_scorer.tables.avro import avro_definition, avro_pieces, plain_records
from stream_scorer.tables.avro_blocks import HEADER
from stream_scorer.tables.avro_growth import DEPTH_MOST
from stream_scorer.tables.pieces import DamagedError


def _record(name: str, *kinds: Any) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(kinds)]
    return {"type": "record", "name": name, "fields": fields}


def _file(schema: Any, block: bytes = b"", count: int = 1) -> bytes:
    """Return a container file with one block."""
    stream = io.BytesIO()
    fastavro.writer(stream, {"type": "record", "name": "X", "fields": []}, [])
    empty = stream.getvalue()
    head: Any = fastavro.schemaless_reader(io.BytesIO(empty), HEADER, None)
    head["meta"]["avro.schema"] = json.dumps(schema).encode()
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, HEADER, head)
    for number in (count, len(block)):
        fastavro.schemaless_writer(stream, fastavro.parse_schema("long"), number)
    return stream.getvalue() + block + head["sync"]


def _doubling(levels: int) -> dict[str, Any]:
    """Return a record whose value has 2**levels nulls and one byte."""
    last: Any = "null"
    kinds: list[Any] = []
    for level in range(levels):
        kinds.append(_record(f"R{level}", last, last))
        last = f"R{level}"
    return _record("T", "string", *kinds)


def _chain(levels: int) -> dict[str, Any]:
    """Return a record in which types are nested through their names."""
    last: Any = "string"
    kinds: list[Any] = []
    for level in range(levels):
        kinds.append(_record(f"R{level}", last))
        last = f"R{level}"
    return _record("T", *kinds)


_OPTIONAL = ["null", "string"]
_NULLS = {"type": "array", "items": "null"}
_EMPTY = {"type": "fixed", "name": "F", "size": 0}

REFUSED = {
    "recursion ends the process with a signal": (
        _record("T", ["null", "T"]), b"\x02" * 1_000_000 + b"\x00", "contains itself: T",
    ),
    "recursion through an array": (
        _record("T", {"type": "array", "items": "T"}), b"\x02" * 1_000_000, "contains itself: T",
    ),
    "rows without bytes": (_record("T", "null"), b"", "records without bytes"),
    "rows of a fixed without bytes": (_record("T", _EMPTY), b"", "records without bytes"),
    "an array of nulls": (_record("T", _NULLS), b"\x80\xc2\xd7\x2f\x00", "few bytes: array"),
    "a map of nulls": (
        _record("T", {"type": "map", "values": _record("N", *["null"] * 80)}), b"\x00",
        "few bytes: map",
    ),
    "an array of records without fields": (
        _record("T", {"type": "array", "items": _record("E")}), b"\x00", "few bytes: array",
    ),
    "types that contain the one before twice": (_doubling(40), b"\x00", "in a few bytes"),
    "names nested too deeply": (_chain(DEPTH_MOST + 1), b"\x00", "nests more than 512 types"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_schema_that_makes_few_bytes_many_values_is_refused(case: str, tmp_path: Path) -> None:
    schema, block, why = REFUSED[case]
    data = _file(schema, block, 1_000_000)
    with pytest.raises(DamagedError, match=why):
        avro_definition(io.BytesIO(data))
    path = tmp_path / "hostile.avro"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match="cannot be read: DamagedError"):
        sample_of_file(path, 1)


ACCEPTED = {
    "optional records in arrays and maps": (
        _record("T", {"type": "array", "items": ["null", _record("N", *[_OPTIONAL] * 200)]},
                {"type": "map", "values": ["null", "N"]}),
        {"f0": [None, {}], "f1": {"a": None}},
    ),
    "nulls next to a text": (_record("T", "string", *["null"] * 60), {"f0": "x"}),
    "one type twice": (
        _record("T", _record("A", "string"), "A"), {"f0": {"f0": "x"}, "f1": {"f0": "y"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_other_schemas_are_read(case: str) -> None:
    schema, record = ACCEPTED[case]
    stream = io.BytesIO()
    fastavro.writer(stream, schema, [record] * 3)
    data = stream.getvalue()
    definition = avro_definition(io.BytesIO(data))
    assert len(list(plain_records(io.BytesIO(data), definition))) == 3
    (piece,) = avro_pieces(io.BytesIO(data), ["f0"], 0, 0)
    assert piece.rows == 3


def test_our_own_schemas_are_read() -> None:
    for name in ("transaction.v1", "label.v1", "decision.v2"):
        data = _file(json.loads(reader_schema(name)))
        assert avro_definition(io.BytesIO(data)).root["fields"]
