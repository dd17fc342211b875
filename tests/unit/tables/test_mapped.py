"""Files with foreign columns give the transactions that the stream has, bit for bit."""

import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.codec.reading.mapped import JsonDecoder, MappedDecoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.normalising.normalise import BaseAmounts
from stream_scorer.errors import SettingsError
from stream_scorer.tables.files import local_file
from stream_scorer.tables.mapped import MappedPiece, MappedReader
from tests.support.tables.foreign_files import (
    ENDINGS,
    EVENTS,
    RATES,
    drawn,
    foreign_rows,
    plan_with,
    write_foreign,
)

PLAIN = """
[fields]
transaction_id = "id"
event_time = {path = "at", unit = "ms"}
customer_id = "who"
amount = {path = "sum", unit = "major"}
currency = {constant = "EUR"}
"""
ROW: dict[str, Any] = {"id": "t0", "at": 1_522_585_815_250, "who": "c0", "sum": 12.5}


def pieces(path: Path, plan: Plan, first: int = 0) -> list[MappedPiece]:
    return list(MappedReader(plan).pieces(local_file(path), first))


def records_of(found: Sequence[MappedPiece]) -> pa.RecordBatch:
    return pa.concat_batches([piece.records for piece in found])


def test_each_kind_of_file_has_the_bits_of_our_own_columns(tmp_path: Path) -> None:
    ours = drawn(300)
    rows = foreign_rows(ours)
    kept = [number for number, row in enumerate(rows) if row["op"] != "d"]
    for ending in ENDINGS:
        found = pieces(write_foreign(rows, tmp_path / f"in.{ending}"), plan_with())
        assert records_of(found).equals(ours, check_metadata=True), ending
        good = np.concatenate([piece.first + piece.good for piece in found])
        assert good.tolist() == kept
        assert sum(piece.rows for piece in found) == len(rows)
        assert all(not piece.faults for piece in found)


def test_a_file_has_the_bits_of_the_same_records_in_a_topic(tmp_path: Path) -> None:
    rows = foreign_rows(drawn(60, seed=2))
    write_foreign(rows, tmp_path / "in.jsonl")
    lines = (tmp_path / "in.jsonl").read_bytes().splitlines()
    mapping = plan_with().mapping
    assert mapping is not None
    by_json = JsonDecoder(mapping, plan_with()).decode(lines).records
    write_foreign(rows, tmp_path / "in.avro")
    with (tmp_path / "in.avro").open("rb") as file:
        reader: Any = fastavro.reader(file)
        text, records = json.dumps(reader.writer_schema), list(reader)
    by_avro = MappedDecoder(mapping, OneSchema(text), plan_with()).decode(
        [framed(text, record) for record in records]
    )
    for ending in ("avro", "jsonl", "csv", "parquet"):
        found = records_of(pieces(write_foreign(rows, tmp_path / f"in.{ending}"), plan_with()))
        assert found.equals(by_json), ending
        assert found.equals(by_avro.records), ending


class OneSchema:
    def __init__(self, text: str) -> None:
        self._text = text

    def writer_schema(self, schema_id: int) -> str:
        assert schema_id == 1
        return self._text

    def id_for(self, subject: str, schema: str) -> int:
        raise AssertionError(subject + schema)


def framed(text: str, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(text)), record)
    return b"\0\0\0\0\1" + out.getvalue()


def test_amounts_in_the_base_currency_are_the_same(tmp_path: Path) -> None:
    plan = plan_with(EVENTS + RATES, currencies={"EUR": 2, "USD": 2})
    ours = drawn(100, seed=3, currencies=("EUR", "USD"))
    assert plan.mapping is not None
    expected, _, refused = BaseAmounts(plan.mapping, plan.currencies, 10**12).apply(ours)
    assert not refused
    for ending in ENDINGS:
        path = write_foreign(foreign_rows(ours), tmp_path / f"in.{ending}")
        assert records_of(pieces(path, plan)).equals(expected), ending


@pytest.mark.parametrize("ending", ENDINGS)
def test_reading_continues_from_any_row(tmp_path: Path, ending: str) -> None:
    rows = foreign_rows(drawn(50, seed=4))
    path = write_foreign(rows, tmp_path / f"in.{ending}")
    (complete,) = pieces(path, plan_with())
    for first in (0, 1, 17, len(rows) - 1, len(rows)):
        found = pieces(path, plan_with(), first)
        numbers = [number for piece in found for number in (piece.first + piece.good).tolist()]
        assert numbers == [number for number in complete.good.tolist() if number >= first]
        if found:
            skipped = complete.records.num_rows - len(numbers)
            assert records_of(found).equals(complete.records.slice(skipped))


COLUMNS: list[tuple[str, pa.Array, str, list[Any]]] = [
    ("sum", pa.array([Decimal("-1.5"), Decimal("9.00")], pa.decimal256(40, 3)), "", [-150, 900]),
    ("sum", pa.array([3, 255], pa.uint8()), "", [300, 25_500]),
    # As in Avro: whole numbers that count days or milliseconds.
    ("sum", pa.array([1, 3], pa.date32()), "", [100, 300]),
    ("who", pa.array([1, 3], pa.time32("ms")), "", ["1", "3"]),
    ("sum", pa.array([2**63, 7], pa.uint64()), "AMOUNT_TOO_LARGE", [700]),
    ("sum", pa.array([0.5, 0.25], pa.float16()), "", [50, 25]),
    ("sum", pa.array([0.1, 0.3], pa.float32()), "", [10, 30]),
    ("sum", pa.array([float("nan"), 1.0]), "MAPPING", [100]),
    ("sum", pa.array([float("-inf"), 1.0]), "MAPPING", [100]),
    ("sum", pa.array([-0.0, 1.0]), "MAPPING", [100]),
    ("sum", pa.array([1.005, 1.0]), "MAPPING", [100]),
    ("sum", pa.array([None, 1.0]), "MAPPING", [100]),
    ("sum", pa.array(["1e400", "1"]), "AMOUNT_TOO_LARGE", [100]),
    ("sum", pa.array(["9" * 65, "1"]), "MAPPING", [100]),
    ("sum", pa.array(["1,5", "1"]), "MAPPING", [100]),
    ("sum", pa.array([Decimal(10**60), Decimal(1)], pa.decimal256(70, 0)), "AMOUNT_TOO_LARGE",
     [100]),
    ("sum", pa.array(["1", "2"]).dictionary_encode(), "", [100, 200]),
    ("at", pa.array([1_234, 5_678], pa.timestamp("ms", "Europe/Brussels")), "", [1_234, 5_678]),
    ("at", pa.array([-1, 2**60], pa.int64()), "", [-1, 2**60]),
    ("at", pa.array([1.5, 2.0]), "", [1, 2]),
    ("at", pa.array([1e300, 2.0]), "TIME_INVALID", [2]),
    ("who", pa.array([7, -7], pa.int16()), "", ["7", "-7"]),
    ("who", pa.array(["a", "b"], pa.large_string()), "", ["a", "b"]),
    ("who", pa.array(["a", "b"], pa.string_view()), "", ["a", "b"]),
    ("who", pa.array(["x" * 2_000, "b"]), "TOO_LARGE", ["b"]),
    ("who", pa.array([None, "b"]), "MAPPING", ["b"]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(COLUMNS)))
def test_types_of_parquet_columns(tmp_path: Path, number: int) -> None:
    name, column, reason, expected = COLUMNS[number]
    table = pa.Table.from_pylist([ROW, {**ROW, "id": "t1"}])
    table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, tmp_path / "in.parquet")
    (piece,) = pieces(tmp_path / "in.parquet", plan_with(PLAIN))
    ours = {"sum": "amount_minor", "at": "event_time", "who": "customer_id"}[name]
    values = piece.records.column(ours)
    if name == "at":
        values = values.cast(pa.int64())
    assert values.to_pylist() == expected
    assert [fault.reason for fault in piece.faults.values()] == [reason] * bool(reason)
    for fault in piece.faults.values():
        assert name in fault.detail
        json.dumps(fault.shown, allow_nan=False)
    if reason and name != "at":
        assert piece.times == {0: ROW["at"]}


def nested(values: pa.Array) -> pa.Table:
    return pa.table({"id": ["t0"], "at": [1], "who": ["c0"], "sum": values})


NO_COLUMNS = [
    (nested(pa.array([[1.5]])), "sum: is a list<"),
    (nested(pa.array([{"x": 1}])), "sum: is a struct<"),
    (nested(pa.array([b"1.5"])), "sum: is a bytes, which cannot become a number of minor units"),
    (
        nested(pa.array([1.0])).set_column(1, "at", pa.array([1], pa.date32())),
        "at: is a date alone",
    ),
    (
        nested(pa.array([1.0])).set_column(1, "at", pa.array([1], pa.time64("us"))),
        "at: is a time alone",
    ),
    (nested(pa.array([None])), "sum: is always null"),
    (nested(pa.array([True])), "sum: is a boolean"),
    (nested(pa.array([1], pa.duration("ms"))), "sum: is a bytes"),
    (nested(pa.array([1.0])).drop_columns(["at"]), "at: the file has no such column"),
    (
        nested(pa.array([1.0])).set_column(1, "at", pa.array([1], pa.timestamp("ms"))),
        "at: is a local time",
    ),
    (
        nested(pa.array([1.0])).set_column(1, "at", pa.array([1], pa.timestamp("us", "UTC"))),
        "at: counts us, and unit is ms",
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(NO_COLUMNS)))
def test_columns_of_which_no_value_fits(tmp_path: Path, number: int) -> None:
    table, told = NO_COLUMNS[number]
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(SettingsError) as refused:
        MappedReader(plan_with(PLAIN)).check(local_file(tmp_path / "in.parquet"))
    assert told in refused.value.what
    assert "in.parquet" in refused.value.what
    assert refused.value.fix


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0.5, None]), pa.array([float("nan"), None]), pa.array([0.5, None], pa.float32()),
        pa.array([b"", None]), pa.array([Decimal("0.5"), None], pa.decimal128(9, 2)),
        pa.array([[], None], pa.list_(pa.string())), pa.array([{"y": None}, None]),
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([1, None], pa.duration("ms")),
    ],
    ids=lambda values: str(values.type),
)  # fmt: skip
def test_where_compares_parquet_columns_of_each_type_with_null(
    tmp_path: Path, values: pa.Array
) -> None:
    table = pa.Table.from_pylist([ROW, {**ROW, "id": "t1"}]).append_column("x", values)
    pq.write_table(table, tmp_path / "in.parquet")
    for where, good in (("x != null", [0]), ("x == null", [1])):
        (piece,) = pieces(tmp_path / "in.parquet", plan_with(f"record.where = '{where}'\n{PLAIN}"))
        assert (piece.good.tolist(), piece.faults) == (good, {}), where
    with pytest.raises(SettingsError, match=r"in\.parquet: record\.where: x: is a ") as refused:
        pieces(tmp_path / "in.parquet", plan_with(f"record.where = 'x == 0.5'\n{PLAIN}"))
    assert refused.value.what.endswith("; where can only compare it with null")


def test_paths_through_lists_and_values_are_refused(tmp_path: Path) -> None:
    for values, told in (
        (pa.array([[{"x": "c"}]]), "who: is a list<"),
        (pa.array([1]), "who: is a int64, and has no field 'x'"),
    ):
        table = nested(pa.array([1.0])).set_column(2, "who", values)
        pq.write_table(table, tmp_path / "in.parquet")
        reader = MappedReader(plan_with(PLAIN.replace('"who"', '"who.x"')))
        with pytest.raises(SettingsError) as refused:
            reader.check(local_file(tmp_path / "in.parquet"))
        assert told in refused.value.what


def test_names_with_dots(tmp_path: Path) -> None:
    events = PLAIN.replace('"who"', '["card.v2", "who.x"]')
    table = nested(pa.array([1.0])).append_column(
        "card.v2", pa.array([{"who.x": "c9", "who": "no"}])
    )
    pq.write_table(table, tmp_path / "in.parquet")
    (tmp_path / "in.csv").write_text("id,at,card.v2.who.x,sum\nt0,1,c9,1.0\n")
    (tmp_path / "in.jsonl").write_text(
        '{"id": "t0", "at": 1, "sum": 1.0, "card.v2": {"who.x": "c9"}}\n'
    )
    for ending in ("parquet", "csv", "jsonl"):
        (piece,) = pieces(tmp_path / f"in.{ending}", plan_with(events))
        assert piece.records.column("customer_id").to_pylist() == ["c9"], ending
        assert not piece.faults


BAD_LINES = [
    (b"[1]", "MALFORMED"),
    (b"nonsense", "MALFORMED"),
    (b"\xff{}", "MALFORMED"),
    (b'{"id": 1, "id": 2}', "MALFORMED"),
    (b'{"id": "t", "at": NaN, "who": "c", "sum": 1}', "MALFORMED"),
    (b'{"id": "\\ud800", "at": 1, "who": "c", "sum": 1}', "MALFORMED"),
    (b'{"id": "t", "at": 1, "who": "c", "sum": [1]}', "MAPPING"),
    (b'{"id": "t", "at": 1, "who": {"c": 1}, "sum": 1}', "MAPPING"),
    (b'{"id": "t", "at": "1", "who": 1.5, "sum": 1}', "MAPPING"),
    (b'{"id": "t", "at": 1, "who": "c", "sum": 1e999999}', "MAPPING"),
    (b'{"id": "t", "at": 1, "who": "c", "sum": ' + b"1" * 65 + b"}", "TOO_LARGE"),
    (b'{"id": "t", "at": 1, "who": "' + b"c" * 70_000 + b'", "sum": 1}', "TOO_LARGE"),
    (b"[" * 100_000, "TOO_LARGE"),
    (b"", "EMPTY"),
]


@pytest.mark.parametrize("number", range(len(BAD_LINES)))
def test_a_bad_line_spoils_itself_alone(tmp_path: Path, number: int) -> None:
    line, reason = BAD_LINES[number]
    good = json.dumps(ROW).encode()
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([good, line, good]) + b"\n")
    (piece,) = pieces(tmp_path / "in.jsonl", plan_with(PLAIN))
    assert piece.good.tolist() == [0, 2]
    assert {row: fault.reason for row, fault in piece.faults.items()} == {1: reason}
    json.dumps(piece.faults[1].shown, allow_nan=False)


CELLS = [
    ("long", "12", 12), ("long", "1.0", "MAPPING"), ("long", str(2**63), "MAPPING"),
    ("double", "1e-05", 1e-5), ("double", "nan", "MAPPING"), ("double", "1e999", "MAPPING"),
    ("double", " 1", "MAPPING"), ("double", "0x1", "MAPPING"), ("double", "-0", -0.0),
    ("double", "1" * 65, "MAPPING"), ("boolean", "TRUE", True), ("boolean", "0", False),
    ("boolean", "yes", "MAPPING"), ("string", "007", "007"), ("string", "", None),
    ("long", "", None), ("double", "", None), ("boolean", "", None),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CELLS)))
def test_cells_of_csv_files(tmp_path: Path, number: int) -> None:
    kind, cell, expected = CELLS[number]
    (tmp_path / "in.csv").write_text(f'id,at,who,sum,x\nt0,1,c0,1.5,"{cell}"\nt1,1,c0,1.5,\n')
    events = f'{PLAIN}\n[extra]\nmore = {{path = "x", type = "{kind}"}}\n'
    (piece,) = pieces(tmp_path / "in.csv", plan_with(events))
    if expected == "MAPPING":
        assert {row: fault.reason for row, fault in piece.faults.items()} == {0: "MAPPING"}
        assert piece.faults[0].detail.startswith("x: ")
        assert piece.faults[0].shown == {
            "id": "t0", "at": "1", "who": "c0", "sum": "1.5", "x": cell,
        }  # fmt: skip
    else:
        assert repr(piece.records.column("more").to_pylist()) == repr([expected, None])


def test_a_time_in_a_csv_file_needs_a_unit(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,at,who,sum\nt0,1,c0,1.5\n")
    events = PLAIN.replace('{path = "at", unit = "ms"}', '"at"')
    with pytest.raises(SettingsError) as refused:
        pieces(tmp_path / "in.csv", plan_with(events))
    assert "fields.event_time: at: has no logical type of a time" in refused.value.what


def test_a_text_that_is_not_utf8_spoils_its_row_alone(tmp_path: Path) -> None:
    schema = {"type": "record", "name": "T", "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "long"},
        {"name": "who", "type": ["null", "string", "long"]}, {"name": "sum", "type": "double"},
    ]}  # fmt: skip
    with (tmp_path / "in.avro").open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [ROW, {**ROW, "who": "HERE"}, ROW])
    data = (tmp_path / "in.avro").read_bytes()
    (tmp_path / "in.avro").write_bytes(data.replace(b"HERE", b"\xffERE"))
    (piece,) = pieces(tmp_path / "in.avro", plan_with(PLAIN))
    assert piece.good.tolist() == [0, 2]
    assert piece.faults[1].shown == {"who": "\\xffERE"}
    assert piece.faults[1].detail == "who: text is not UTF-8"
