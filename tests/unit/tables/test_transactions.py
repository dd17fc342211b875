import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.errors import SettingsError
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.settings import Registry
from stream_scorer.tables.transactions import read_transactions
from tests.support.batch.batch_cases import write

ENCODER = TransactionEncoder(Registry())
TIME = datetime(2018, 4, 1, 12, 30, 15, 250_000, tzinfo=UTC)
MILLISECONDS = 1_522_585_815_250
ROW: dict[str, Any] = {
    "transaction_id": "t0",
    "event_time": MILLISECONDS,
    "customer_id": "c0",
    "terminal_id": "x0",
    "amount_minor": 1250,
    "currency": "EUR",
}


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for batch in read_transactions(path, ENCODER.schema, ENCODER.defaults):
        assert batch.schema == ENCODER.schema
        rows += batch.to_pylist()
    return rows


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(rows: int) -> pa.Table:
    number = pa.array(np.arange(rows))
    return pa.table(
        {
            "is_fraud": pa.nulls(rows, pa.bool_()),
            "transaction_id": number.cast(pa.string()),
            "event_time": pa.array(MILLISECONDS + np.arange(rows)).cast(pa.timestamp("ms")),
            "customer_id": pa.array(np.arange(rows) % 7).cast(pa.string()),
            "terminal_id": pa.array(np.arange(rows) % 5).cast(pa.string()).dictionary_encode(),
            "amount_minor": number,
            "currency": pa.repeat("EUR", rows),
            "mcc": pa.array([None if k % 3 else "5411" for k in range(rows)], pa.string()),
            "card_present": pa.array([None, True, False] * (rows // 3) + [None] * (rows % 3)),
        }
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "avro"])
def test_every_kind_of_file_gives_the_same_rows_over_batches(tmp_path: Path, suffix: str) -> None:
    rows = 25_001
    given = table(rows)
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(given, path, row_group_size=9_999)
    elif suffix == "csv":
        plain = given.set_column(4, "terminal_id", given["terminal_id"].cast(pa.string()))
        pa_csv.write_csv(plain, path)
    elif suffix == "avro":
        whole = given.append_column("channel", pa.repeat("UNKNOWN", rows))
        for name in ("country", "device_id"):
            whole = whole.append_column(name, pa.nulls(rows, pa.string()))
        write(whole, path)
    else:
        write_lines(
            path,
            *(row | {"event_time": row["event_time"].isoformat()} for row in given.to_pylist()),
        )
    found = read(path)
    assert len(found) == rows
    assert found[25_000] == {
        "transaction_id": "25000",
        "event_time": datetime(2018, 4, 1, 12, 30, 40, 250_000),  # noqa: DTZ001 a column without zone
        "customer_id": "3",
        "terminal_id": "0",
        "amount_minor": 25_000,
        "currency": "EUR",
        "channel": "UNKNOWN",
        "mcc": None,
        "country": None,
        "card_present": None,
        "device_id": None,
    }
    assert [row["transaction_id"] for row in found] == [str(k) for k in range(rows)]
    assert [row["mcc"] for row in found] == given["mcc"].to_pylist()
    assert [row["card_present"] for row in found] == given["card_present"].to_pylist()


@pytest.mark.parametrize(
    "value",
    [
        MILLISECONDS,
        str(MILLISECONDS),
        "2018-04-01T12:30:15.250Z",
        "2018-04-01 12:30:15.250",
        "2018-04-01T12:30:15.250999",
        "2018-04-01T14:30:15.25+02:00",
    ],
)
def test_times_are_iso_texts_in_utc_or_milliseconds(tmp_path: Path, value: object) -> None:
    path = write_lines(tmp_path / "t.jsonl", ROW | {"event_time": value})
    assert read(path)[0]["event_time"] == TIME.replace(tzinfo=None)


def test_times_of_all_forms_may_be_mixed(tmp_path: Path) -> None:
    values = [MILLISECONDS, "2018-04-01T12:30:15.250Z", "2018-04-01T12:30:15.250", "2018-04-01"]
    path = write_lines(tmp_path / "t.jsonl", *(ROW | {"event_time": value} for value in values))
    at = TIME.replace(tzinfo=None)
    assert [row["event_time"] for row in read(path)] == [
        *[at] * 3,
        at.replace(hour=0, minute=0, second=0, microsecond=0),
    ]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Brussels"])
def test_times_of_a_parquet_file_may_have_any_unit_and_zone(
    tmp_path: Path, unit: str, zone: str | None
) -> None:
    one = table(1)
    times = pa.array([MILLISECONDS]).cast(pa.timestamp("ms", zone)).cast(
        pa.timestamp(unit, zone), safe=False
    )  # fmt: skip
    pq.write_table(one.set_column(2, "event_time", times), tmp_path / "t.parquet")
    expected = TIME.replace(tzinfo=None, microsecond=0 if unit == "s" else 250_000)
    assert read(tmp_path / "t.parquet")[0]["event_time"] == expected


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("amount_minor", "12,5", "column 'amount_minor': \"12,5\" is not of type int64"),
        ("amount_minor", 12.5, "column 'amount_minor': 12.5 is not of type int64"),
        ("amount_minor", None, "column 'amount_minor' is empty"),
        ("amount_minor", 2**70, f"column 'amount_minor': {2**70} is not of type int64"),
        ("event_time", "yesterday", "column 'event_time': \"yesterday\" is not of type timestamp"),
        ("event_time", 1.5, "column 'event_time': "),
        ("customer_id", None, "column 'customer_id' is empty"),
        ("card_present", "perhaps", "column 'card_present': \"perhaps\" is not of type bool"),
    ],
)
def test_a_bad_value_is_named_with_its_file_row_and_column(
    tmp_path: Path, column: str, value: object, says: str
) -> None:
    rows = [ROW | {"card_present": True} for _ in range(10_100)]
    rows[10_042] = rows[10_042] | {column: value}
    path = write_lines(tmp_path / "bad.jsonl", *rows)
    with pytest.raises(SettingsError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: row 10043: {says}")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_bad_value_of_a_csv_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("\n".join([",".join(ROW), "a,1,c,t,5,EUR", "b,1,c,t,x,EUR", "d,1,c,t,y,EUR"]))
    with pytest.raises(SettingsError, match="row 2: column 'amount_minor': \"x\" is not of type"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.txt", "", "unknown kind of file — name it .parquet, .csv"),
        ("none.csv", None, "no such file — correct the name"),
        ("none.parquet", None, "no such file — correct the name"),
        ("none.jsonl", None, "no such file — correct the name"),
        ("t.parquet", "nothing of the kind", "make it a valid .parquet file"),
        ("t.jsonl", '{"a": 1}\n{"a"\n', "row 2: not JSON"),
        ("t.jsonl", "[1]\n", "row 1: not a JSON object — correct the row"),
        ("t.jsonl", '{"a": 1}\n' + '{"a":' * 100_000, "row 2: not JSON: "),
        ("t.csv", "mcc,a,mcc\n1,2,3\n", "column 'mcc' is there twice — rename one"),
        ("t.csv", ",".join(ROW) + "\n1\n", "row 1: 1 values for 6 columns — correct the row"),
        ("t.csv", ",".join(ROW) + '\n"' + "1\n" * (5 << 20), "make it a valid .csv file"),
        ("t.csv", "transaction_id,event_time\na,1\n", "column 'customer_id' is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("beside", ["5411", 5411])
def test_half_a_surrogate_pair_is_named(tmp_path: Path, beside: object) -> None:
    rows = [ROW | {"mcc": told} for told in (beside, "\ud800", beside)]
    path = write_lines(tmp_path / "t.jsonl", *rows)
    with pytest.raises(SettingsError, match=r"t.jsonl: row 2: column 'mcc': ") as error:
        read(path)
    assert str(error.value).isprintable()


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    given = table(3)
    path = tmp_path / "t.parquet"
    other = pa.array([1] * 3)
    pq.write_table(given.append_column("amount_minor", other), path)
    with pytest.raises(SettingsError, match=r"t.parquet: column 'amount_minor' is there twice"):
        read(path)
    # A column that is not read may be there twice.
    pq.write_table(given.append_column("x", other).append_column("x", other), path)
    assert len(read(path)) == 3


def test_damaged_parquet_is_distinguished_from_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table(50_000), path)
    spoilt = bytearray(path.read_bytes())
    spoilt[2_000:4_000] = b"\xff" * 2_000
    path.write_bytes(spoilt)
    with pytest.raises(
        SettingsError, match=r"t.parquet: .* it is damaged: write it again$"
    ) as error:
        read(path)
    assert "\n" not in str(error.value)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(SettingsError, match=r"d.csv: is not a regular file — name a file$"):
        read(tmp_path / "d.csv")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_what_is_read_from_a_file_can_be_encoded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(table(100), path)
    else:
        given = table(100).set_column(4, "terminal_id", pa.repeat("9", 100))
        pa_csv.write_csv(given, tmp_path / "t.csv")
        if suffix == "jsonl":
            texts = pa_csv.read_csv(tmp_path / "t.csv").to_pylist()
            write_lines(path, *(r | {"event_time": str(r["event_time"])} for r in texts))
    (batch,) = read_transactions(path, ENCODER.schema, ENCODER.defaults)
    reader = RecordReader(Registry())
    decoded = [reader.decode(payload)["amount_minor"] for payload in ENCODER(batch)]
    assert decoded == list(range(100))


def test_encoded_rows_read_back_from_any_slice() -> None:
    rows = next(iter(_batches(table(1_000))))
    reader = RecordReader(Registry())
    payloads = ENCODER(rows.slice(301, 50))
    decoded = [reader.decode(payload) for payload in payloads]
    assert decoded == [
        row | {"event_time": row["event_time"].replace(tzinfo=UTC)}
        for row in rows.slice(301, 50).to_pylist()
    ]


def _batches(given: pa.Table) -> list[pa.RecordBatch]:
    columns = {
        field.name: given[field.name].cast(field.type)
        if field.name in given.column_names
        else pa.repeat(pa.scalar(ENCODER.defaults[field.name], field.type), len(given))
        for field in ENCODER.schema
    }
    batches: list[pa.RecordBatch] = pa.table(columns, schema=ENCODER.schema).to_batches()
    return batches
