"""In every kind of file, a bad row is one reject, and the rows around it are decided."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.batch.batch_cases import AS_OF, run
from tests.unit.tables.test_columns import foreign

START = AS_OF - 864_000_000
ROWS = 50
AT = 20
TEXTS = ("transaction_id", "customer_id", "terminal_id", "currency", "mcc", "country", "device_id")


def _row(number: int, **changed: Any) -> dict[str, Any]:
    row = {
        "transaction_id": f"t{number}", "event_time": START + number * 1_000,
        "customer_id": f"c{number % 5}", "terminal_id": f"x{number % 7}",
        "amount_minor": 1_000 + number, "currency": "EUR",
    }  # fmt: skip
    return {**row, **changed}


def _good() -> list[dict[str, Any]]:
    return [_row(number) for number in range(ROWS)]


def _decided(source: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    """Run a job with both forms of output; return its rejects and the decided rows."""
    found = []
    for ending in ("parquet", "avro"):
        out = source.with_name(f"out.{ending}")
        report = run(source, out, part_rows=17)
        told = [] if report.rejects is None else report.rejects.read_text().splitlines()
        rejects = [json.loads(line, parse_constant=_refused) for line in told]
        found.append((rejects, _offsets(out)))
    assert found[0] == found[1]
    return found[0]


def _refused(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def _offsets(path: Path) -> list[Any]:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        table.validate(full=True)
        return list(table["source_offset"].to_pylist())
    with path.open("rb") as file:
        records: Any = fastavro.reader(file)
        return [record["source_offset"] for record in records]


def _one_reject(source: Path, rows: int = ROWS, at: int = AT) -> dict[str, Any]:
    """Return the single reject of a job that decides all other rows."""
    (reject,), decided = _decided(source)
    assert decided == [row for row in range(rows) if row != at]
    assert reject["source_offset"] == at
    return reject


def _lines(path: Path, rows: list[dict[str, Any] | bytes]) -> Path:
    path.write_bytes(
        b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows)
    )
    return path


def _parquet(path: Path, name: str, change: Callable[[pa.Array], pa.Array]) -> Path:
    table = pa.Table.from_pylist([{**_row(n), "mcc": "5411", "country": "BE", "device_id": "d"}
                                  for n in range(ROWS)])  # fmt: skip
    column = change(table[name].combine_chunks())
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)
    return path


TIMES = [10**18, -(2**63), 2**63 - 1, -1, 253_402_300_800_000]


@pytest.mark.parametrize("time", TIMES)
def test_an_impossible_time_is_time_invalid_as_in_the_stream(time: int, tmp_path: Path) -> None:
    rows = _good()
    rows[AT]["event_time"] = time

    def parquet() -> Path:
        times = pa.array([row["event_time"] for row in rows]).cast(pa.timestamp("ms", "UTC"))
        return _parquet(tmp_path / "in.parquet", "event_time", lambda _: times)

    def avro() -> Path:
        kinds = {int: "long", str: "string"}
        fields: list[Any] = [{"name": name, "type": kinds[type(value)]}
                             for name, value in rows[0].items()]  # fmt: skip
        with (tmp_path / "in.avro").open("wb") as file:
            fields[1]["type"] = {"type": "long", "logicalType": "timestamp-millis"}
            fastavro.writer(file, {"type": "record", "name": "T", "fields": fields}, rows)
        return tmp_path / "in.avro"

    made = [_lines(tmp_path / "in.jsonl", [*rows]), parquet(), avro()]
    for source in made:
        reject = _one_reject(source)
        for out in tmp_path.glob("out*"):
            out.unlink()
        assert reject["reason"] == "TIME_INVALID"
        assert reject["record"]["event_time"] == time


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_of_a_parquet_file_that_is_not_utf8_is_malformed(name: str, tmp_path: Path) -> None:
    def spoil(column: pa.Array) -> pa.Array:
        texts = [text.encode() for text in column.to_pylist()]
        texts[AT] = b"\xff\xfe"
        return foreign(texts, pa.string())

    reject = _one_reject(_parquet(tmp_path / "in.parquet", name, spoil))
    assert (reject["reason"], reject["detail"]) == ("MALFORMED", f"{name} is not a text")
    assert reject["record"][name] == "\\xff\\xfe"


def test_a_foreign_text_of_an_avro_file_is_malformed(tmp_path: Path) -> None:
    fields = [{"name": name, "type": "string" if isinstance(value, str) else "long"}
              for name, value in _row(0).items()]  # fmt: skip
    with (tmp_path / "in.avro").open("wb") as file:
        rows = [*_good()[:AT], _row(AT, terminal_id="HERE"), *_good()[AT + 1 :]]
        fastavro.writer(file, {"type": "record", "name": "T", "fields": fields}, rows)
    data = (tmp_path / "in.avro").read_bytes()
    (tmp_path / "in.avro").write_bytes(data.replace(b"HERE", b"\xffERE"))
    reject = _one_reject(tmp_path / "in.avro")
    assert reject["reason"] == "MALFORMED"
    assert reject["record"]["terminal_id"] == "\\xffERE"


@pytest.mark.parametrize(
    ("unit", "over"), [("timestamp-micros", 1_000), ("local-timestamp-millis", 1)]
)
def test_avro_times_of_every_unit_are_milliseconds(unit: str, over: int, tmp_path: Path) -> None:
    fields: list[Any] = [{"name": name, "type": "string" if isinstance(value, str) else "long"}
                         for name, value in _row(0).items()]  # fmt: skip
    fields[1]["type"] = ["null", {"type": "long", "logicalType": unit}]
    plain = [{**row, "event_time": row["event_time"] * over + over - 1} for row in _good()]
    with (tmp_path / "in.avro").open("wb") as file:
        fastavro.writer(file, {"type": "record", "name": "T", "fields": fields}, plain)
    report = run(tmp_path / "in.avro", tmp_path / "out.parquet")
    assert report.rejected == {}
    times = pq.read_table(tmp_path / "out.parquet")["event_time"].cast(pa.int64()).to_pylist()
    assert times == [row["event_time"] for row in _good()]


_VALUES: list[tuple[str, Any, Any]] = [
    ("amount_minor", "abc", "abc"), ("amount_minor", True, True),
    ("amount_minor", {"a": 1}, {"a": 1}),
    ("amount_minor", float("nan"), "NaN"), ("amount_minor", float("inf"), "Infinity"),
    ("amount_minor", 2**80, 2**80), ("customer_id", {"a": 1}, {"a": 1}), ("customer_id", 1.5, 1.5),
    ("customer_id", True, True), ("transaction_id", [1], [1]), ("terminal_id", "\ud800", "\\ud800"),
    ("event_time", "soon", "soon"), ("event_time", {}, {}), ("card_present", 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "told"), _VALUES)
@pytest.mark.parametrize("amount", [int, float, str])
def test_one_bad_value_of_a_json_file_rejects_no_neighbour(
    name: str, value: object, told: object, amount: Callable[[int], object], tmp_path: Path
) -> None:
    rows = [{**row, "amount_minor": amount(row["amount_minor"])} for row in _good()]
    rows[AT] = {**rows[AT], name: value}
    reject = _one_reject(_lines(tmp_path / "in.jsonl", [*rows]))
    assert reject["reason"] == "MALFORMED"
    assert reject["detail"].startswith(f"{name} is not a ")
    assert (reject["record"][name], type(reject["record"][name])) == (told, type(told))


@pytest.mark.parametrize("value", [True, {"a": 1}, 1.5, "abc"])
def test_a_bad_value_is_a_reject_alone_in_its_piece_too(value: object, tmp_path: Path) -> None:
    """The reader takes 20,000 lines at a time; the last line is alone in its piece."""
    rows: list[Any] = [_row(number) for number in range(20_000)]
    source = _lines(tmp_path / "in.jsonl", [*rows, _row(20_000, amount_minor=value)])
    report = run(source, tmp_path / "out.parquet")
    assert report.rejected == {"MALFORMED": 1}
    assert sum(report.outcomes.values()) == 20_000


_LINES: list[tuple[bytes, str]] = [
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not JSON: maximum recursion depth exceeded"),
    (b'{"transaction_id": "\xff\xfe"}', "not JSON: 'utf-8'"),
    (b"[1, 2]", "not a JSON object"), (b"NaN", "not a JSON object"), (b"", "not JSON"),
    (b"{}", "event_time is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "told"), _LINES)
def test_a_line_that_is_not_a_row_is_a_reject(line: bytes, told: str, tmp_path: Path) -> None:
    rows: list[Any] = _good()
    rows[AT] = line
    reject = _one_reject(_lines(tmp_path / "in.jsonl", rows))
    assert reject["reason"] == "MALFORMED"
    assert reject["detail"].startswith(told)
    if told != "event_time is missing":
        assert reject["record"] == line.decode(errors="replace")


def _csv(path: Path, rows: list[bytes]) -> Path:
    path.write_bytes(b"\n".join([",".join(_row(0)).encode(), *rows]))
    return path


def _csv_rows(count: int = ROWS) -> list[bytes]:
    return [",".join(map(str, _row(number).values())).encode() for number in range(count)]


_CSV: list[tuple[bytes, str, object]] = [
    (b"1,2,3", "3 values for 6 columns", "1,2,3"),
    (b"1,2,3,4,5,6,7", "7 values for 6 columns", "1,2,3,4,5,6,7"),
    (b"\xff,2", "2 values for 6 columns", "\\xff,2"),
    (b"\xed\xa0\x80", "1 values for 6 columns", "\\xed\\xa0\\x80"),
    (b'1,"\xc3",3,4,5,6,\xff', "7 values for 6 columns", '1,"\\xc3",3,4,5,6,\\xff'),
]  # fmt: skip


@pytest.mark.parametrize(("row", "told", "record"), _CSV)
@pytest.mark.parametrize("at", [0, AT, ROWS - 1])
def test_a_ragged_csv_row_is_a_reject(
    row: bytes, told: str, record: object, at: int, tmp_path: Path
) -> None:
    rows = _csv_rows()
    rows[at] = row
    reject = _one_reject(_csv(tmp_path / "in.csv", rows), at=at)
    assert (reject["reason"], reject["detail"]) == ("MALFORMED", told)
    assert reject["record"] == record


def test_a_foreign_csv_value_is_a_reject(tmp_path: Path) -> None:
    rows = _csv_rows()
    rows[AT] = rows[AT].replace(b"EUR", b"\xffUR")
    rows[AT + 1] = rows[AT + 1].replace(b"x", "\u00e4\ufdd0".encode())
    (reject, other), decided = _decided(_csv(tmp_path / "in.csv", rows))
    told = "currency is not UTF-8, or has U+FDD0"
    assert (reject["reason"], reject["detail"]) == ("MALFORMED", told)
    assert reject["record"]["currency"] == "\\xffUR"
    assert reject["record"]["amount_minor"] == str(1_000 + AT)
    # The reader marks invalid UTF-8 by U+FDD0, so it rejects this noncharacter.
    told = "terminal_id is not UTF-8, or has U+FDD0"
    assert (other["source_offset"], other["detail"]) == (AT + 1, told)
    assert "\u00e4\ufdd0" in other["record"]["terminal_id"]
    assert len(decided) == ROWS - 2
    # It does so whatever the other rows have.
    del rows[AT]
    (tmp_path / "alone").mkdir()
    (alone,), decided = _decided(_csv(tmp_path / "alone" / "in.csv", rows))
    assert (alone["source_offset"], alone["detail"]) == (AT, told)
    assert len(decided) == ROWS - 2


def test_ragged_non_utf8_csv_rows_keep_their_numbers(
    tmp_path: Path,
) -> None:
    rows = _csv_rows()
    rows[AT] = rows[AT].replace(b"EUR", b"\xffUR")
    rows[AT + 1 : AT + 3] = [b"\xff", b"\xfe,\xfd"]
    rows[AT + 3] = rows[AT + 3].replace(b"EUR", b"\xc3")
    rows[AT + 5] = b"1,\xff,3,4,5,6,7,8"
    rejects, decided = _decided(_csv(tmp_path / "in.csv", rows))
    assert [(each["source_offset"], each["detail"]) for each in rejects] == [
        (AT, "currency is not UTF-8, or has U+FDD0"), (AT + 1, "1 values for 6 columns"),
        (AT + 2, "2 values for 6 columns"), (AT + 3, "currency is not UTF-8, or has U+FDD0"),
        (AT + 5, "8 values for 6 columns"),
    ]  # fmt: skip
    assert [each["record"] for each in rejects[1:3]] == ["\\xff", "\\xfe,\\xfd"]
    assert decided == [
        row for row in range(ROWS) if row not in {AT, AT + 1, AT + 2, AT + 3, AT + 5}
    ]


@pytest.mark.thorough
def test_bad_csv_rows_keep_their_numbers_over_many_blocks(tmp_path: Path) -> None:
    """Arrow reads blocks of 4 MB, and a text of several bytes may be split between two."""
    count = 220_000
    rows = [row.replace(b"x", "ä€".encode()) for row in _csv_rows(count)]
    bad = {7: b"1", 8: b"2", 70_000: b"1,2,3,4,5,6,7", 70_001: rows[70_001] + b"\xff",
           99_999: b"\xff", count - 1: b"last"}  # fmt: skip
    for row, text in bad.items():
        rows[row] = text
    source = _csv(tmp_path / "in.csv", rows)
    assert source.stat().st_size > 8 << 20
    report = run(source, tmp_path / "out.parquet", part_rows=60_000)
    assert report.rows == count
    assert report.rejects is not None
    told = [json.loads(line)["source_offset"] for line in report.rejects.read_text().splitlines()]
    assert told == list(bad)
    out = pq.read_table(tmp_path / "out.parquet", columns=["transaction_id", "source_offset"])
    assert out["source_offset"].to_pylist() == [row for row in range(count) if row not in bad]
    assert out["transaction_id"].to_pylist() == [
        f"t{row}" for row in range(count) if row not in bad
    ]


def test_a_file_cut_off_in_a_row_rejects_that_row(tmp_path: Path) -> None:
    for name, rows in (
        ("in.csv", _csv_rows()),
        ("in.jsonl", [json.dumps(r).encode() for r in _good()]),
    ):
        source = tmp_path / name
        make = _csv if name == "in.csv" else lambda path, lines: _lines(path, [*lines])
        make(source, rows)
        source.write_bytes(source.read_bytes()[:-15])
        assert _one_reject(source, at=ROWS - 1)["reason"] == "MALFORMED"
        for out in tmp_path.glob("out*"):
            out.unlink()
