"""``events explain`` drafts a mapping that works, reports what does not fit, and keeps files."""

import io
import json
import resource
import time
import tomllib
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.codec.reading.mapped_paths import find
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.explaining import sample as sampling
from stream_scorer.explaining.draft import draft_text
from stream_scorer.explaining.report import draft_of, explain, with_mapping
from stream_scorer.explaining.sample import (
    PATHS_MOST,
    RecordSample,
    documents,
    paths_of,
    sample_of,
    sample_of_file,
)
from stream_scorer.explaining.table_sample import TableSample, table_sample
from stream_scorer.tables.avro_blocks import HEADER
from stream_scorer.tables.files import local_file
from tests.support.codec.mapped_records import Schemas

WIDE, WIDE_SECONDS = 10_000, 2.0
TXN = {"type": "record", "name": "Txn", "fields": [
    {"name": "id", "type": "string"},
    {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "amount_cents", "type": "long"},
    {"name": "currency", "type": "string"},
    {"name": "entry_mode", "type": {"type": "enum", "name": "M", "symbols": ["CHIP", "CNP"]}},
    {"name": "is_fraud", "type": "boolean"},
]}  # fmt: skip
SCHEMA = {"type": "record", "name": "Payment", "fields": [
    {"name": "txn", "type": TXN},
    {"name": "card", "type": ["null", {"type": "record", "name": "Card", "fields": [
        {"name": "token", "type": "string"}]}]},
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    {"name": "score", "type": ["null", "double"]},
]}  # fmt: skip
RECORD = {
    "txn": {"id": "T1", "ts": 1_700_000_000_000_000, "amount_cents": 150, "currency": "EUR",
            "entry_mode": "CNP", "is_fraud": False},
    "card": {"token": "C1"}, "tags": [], "score": None,
}  # fmt: skip


def topic(*records: dict[str, Any]) -> Any:
    source = Schemas(json.dumps(SCHEMA))
    values = [source.payload(1, record) for record in records]
    return sample_of(values, [b"C1"] * len(values), source)


def test_the_draft_of_an_avro_topic_works() -> None:
    sample = topic(RECORD, RECORD | {"card": None})
    draft = draft_of(sample, Plan())
    table = tomllib.loads(draft_text(draft))
    assert table["fields"]["event_time"] == "txn.ts"
    assert table["fields"]["amount"] == {"path": "txn.amount_cents", "unit": "minor"}
    assert table["fields"]["channel"]["table"] == {"CHIP": "POS", "CNP": "ECOM"}
    assert ("score", {"path": "score", "type": "double"}) in draft.others
    assert not any("fraud" in name for name, _ in draft.others)
    found = explain(with_mapping(Plan(), parse_events(draft_text(draft))), sample)
    assert (found.transactions, found.skipped, found.keyed) == (1, 0, 1)
    assert found.rejected == (("MAPPING", "card.token: null, and customer_id takes none", 1),)
    assert not any(each.why for each in found.fields)


def test_the_draft_of_a_change_stream_reads_what_is_after() -> None:
    envelope = {"type": "record", "name": "Envelope", "fields": [
        {"name": "before", "type": ["null", TXN]}, {"name": "after", "type": ["null", "Txn"]},
        {"name": "op", "type": "string"}]}  # fmt: skip
    sample = sample_of([Schemas(json.dumps(envelope)).payload(
        1, {"before": None, "after": RECORD["txn"], "op": "c"})], [None],
        Schemas(json.dumps(envelope)))  # fmt: skip
    draft = draft_of(sample, Plan())
    assert draft.table["record"]["where"] == "op in [c, r]"
    assert draft.table["fields"]["transaction_id"] == {"path": "after.id"}
    assert draft.missing == ("customer_id",)
    assert '# customer_id = "…"' in draft_text(draft)


@pytest.mark.parametrize(
    ("time", "unit"),
    [(1_700_000_000, "s"), (1_700_000_000_000, "ms"), (1_700_000_000_000_000, "us"),
     (1_700_000_000_000_000_000, "ns"), ("2026-01-01T00:00:00Z", "iso8601")],
)  # fmt: skip
def test_the_unit_of_a_time_is_guessed_by_its_size(time: Any, unit: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"ts": time, "amount": 1.5}))
    draft = draft_of(sample_of_file(path, 10), Plan())
    assert draft.table["fields"]["event_time"] == {"path": "ts", "unit": unit}


@pytest.mark.parametrize(("amount", "unit"), [(1250, "minor"), (12.5, "major")])
def test_the_unit_of_a_json_amount_is_guessed(amount: float, unit: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"ts": 1, "amount": amount}))
    draft = draft_of(sample_of_file(path, 10), Plan())
    assert draft.table["fields"]["amount"] == {"path": "amount", "unit": unit}
    assert ("is it in cents" in draft_text(draft)) == (unit == "minor")


WILD = [
    ("long", {"logicalType": "timestamp-micros"}, 2**62),
    ("long", {"logicalType": "time-micros"}, 2**60),
    ("int", {"logicalType": "date"}, 2**31 - 1),
    ("string", {"logicalType": "uuid"}, "none"),
    ("bytes", {"logicalType": "decimal", "precision": 10**19, "scale": 10**19}, b"\1\2"),
    ("bytes", {"logicalType": "decimal", "precision": 10**9, "scale": 10**9}, b"\1\2"),
    ("bytes", {"logicalType": "decimal", "precision": 4, "scale": 2}, b"\x7f" * 40),
]


@pytest.mark.parametrize(("kind", "logical", "value"), WILD)
def test_a_value_that_python_cannot_represent_is_kept(
    kind: str, logical: dict[str, Any], value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "wild.avro"
    schemas = [
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": kind} | more}]}
        for more in ({}, logical)
    ]
    # fastavro writes no such value of a logical type: only the header has the logical type.
    written = io.BytesIO()
    fastavro.schemaless_writer(written, schemas[0], {"a": value})
    header = {
        "magic": b"Obj\x01", "sync": bytes(16),
        "meta": {"avro.schema": json.dumps(schemas[1]).encode(), "avro.codec": b"null"},
    }  # fmt: skip
    container = io.BytesIO()
    fastavro.schemaless_writer(container, HEADER, header)
    for part in (1, len(written.getvalue())):
        fastavro.schemaless_writer(container, "long", part)
    path.write_bytes(container.getvalue() + written.getvalue() + bytes(16))
    sample = sample_of_file(path, 5)
    assert sample.values == [b"\0\0\0\0\1" + written.getvalue()]
    assert draft_of(sample, Plan()).missing


def test_names_that_are_not_plain_come_back_as_they_were(tmp_path: Path) -> None:
    names = ["a.b", 'q"uote', "new\nline", "del\x7f", "id"]
    path = tmp_path / "records.json"
    path.write_text(json.dumps({name: {"transaction_id": "x"} for name in names}))
    draft = draft_of(sample_of_file(path, 1), Plan())
    text = draft_text(draft)
    lines = [line.removeprefix("# ") for line in text.splitlines() if "path" in line]
    found = [tomllib.loads(line) for line in lines]
    assert tomllib.loads(text)["fields"]["transaction_id"] == ["a.b", "transaction_id"]
    assert {"their_transaction_id": {"path": 'q"uote.transaction_id', "type": "string"}} in found


def test_what_is_neither_avro_nor_json_is_refused() -> None:
    with pytest.raises(SchemaError, match="none of 2 records can be read: they are neither"):
        sample_of([b"hello", None], [None, None], Schemas())
    with pytest.raises(SchemaError, match="schema id 9: unknown"):
        sample_of([b"\0\0\0\0\x09abc"], [None], Schemas())


@pytest.mark.parametrize("name", ["a.txt", "missing.avsc", "broken.avro"])
def test_a_file_that_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "broken.avro").write_bytes(b"Obj\x01nonsense")
    with pytest.raises(SettingsError, match=name):
        sample_of_file(tmp_path / name, 5)


def test_json_lines_have_a_limit_and_one_must_be_a_record(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    line = b'{"id": "' + b"x" * ((1 << 20) - 10) + b'"}'
    path.write_bytes(b"\n" + line + b"\n")
    assert sample_of_file(path, 5).values == [line]
    path.write_bytes(line + b" \n")
    with pytest.raises(SettingsError, match="line 1 is longer than 1,048,576 bytes"):
        sample_of_file(path, 5)
    path.write_text("[1]\nhello\n")
    with pytest.raises(SchemaError, match="none of 2 lines is a JSON object"):
        sample_of_file(path, 5)


def test_a_schema_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.avsc"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SettingsError, match="is larger than 67,108,864 bytes"):
        sample_of_file(path, 5)


CSV = """payment_id,card.token,paid_at,amount,entry_mode,items,note,is_fraud,big.Score
P1,007,2026-01-01 10:00:00,12.50,chip,3,hello,false,0.5
P2,008,2026-01-01 11:00:00,7,web,4,,true,1
P3,008,2026-01-01 12:00:00,7.001,carrier pigeon,,,true,
P4,009,2026-01-01 13:00:00,8,chip,1
"""


def test_the_draft_of_a_csv_file_works(tmp_path: Path) -> None:
    path = tmp_path / "payments.csv"
    path.write_text(CSV)
    sample = table_sample(path, 10)
    draft = draft_of(sample, Plan())
    text = draft_text(draft)
    fields = tomllib.loads(text)["fields"]
    assert tomllib.loads(text)["record"] == {"format": "json"}
    assert fields["customer_id"] == "card.token"
    assert fields["event_time"] == {"path": "paid_at", "unit": "iso8601", "zone": "UTC"}
    assert fields["amount"] == {"path": "amount", "unit": "major"}
    assert fields["channel"]["table"] == {"chip": "POS", "web": "ECOM", "carrier pigeon": "UNKNOWN"}
    others = {name: rule["type"] for name, rule in draft.others}
    assert others == {"items": "long", "note": "string", "score": "double"}
    found = explain(with_mapping(Plan(), parse_events(text)), sample)
    assert (found.records, found.transactions, found.skipped, found.keyed) == (4, 2, 0, None)
    details = {(reason, detail.partition(":")[0]) for reason, detail, _ in found.rejected}
    assert details == {("MAPPING", "amount"), ("MALFORMED", "6 values for 9 columns")}
    assert (
        explain(with_mapping(Plan(), parse_events(text)), table_sample(path, 1)).transactions == 1
    )


def test_the_draft_of_a_parquet_file_works(tmp_path: Path) -> None:
    path = tmp_path / "changes.parquet"
    time = pa.array([1_700_000_000_000_000] * 3, pa.timestamp("us", "UTC"))
    after = pa.StructArray.from_arrays(
        [pa.array(["A", "B", "C"]), time, pa.array([1, 2, None], pa.decimal128(9, 2)),
         pa.StructArray.from_arrays([pa.array(["x", "y", "z"])], ["token"])],
        ["id", "booked", "sum_of_it", "card"],
    )  # fmt: skip
    pq.write_table(pa.table({"op": ["c", "u", "r"], "after": after}), path)
    sample = table_sample(path, 100)
    draft = draft_of(sample, Plan())
    fields = tomllib.loads(draft_text(draft))["fields"]
    assert draft.table["record"]["where"] == "op in [c, r]"
    assert fields["event_time"] == {"path": "after.booked", "unit": "us"}
    assert fields["amount"] == {"path": "after.sum_of_it", "unit": "major"}
    found = explain(with_mapping(Plan(), parse_events(draft_text(draft))), sample)
    assert (found.records, found.transactions, found.skipped) == (3, 1, 1)
    assert [detail for _, detail, _ in found.rejected] == [
        "after.sum_of_it: null, and amount_minor takes none"
    ]


def test_the_draft_of_columns_with_brackets_works(tmp_path: Path) -> None:
    path = tmp_path / "payments.csv"
    path.write_text("id,card,ts,amount[0],note [old]\nP1,C1,2026-01-01T00:00:00Z,12.50,x\n")
    sample = table_sample(path, 10)
    draft = draft_of(sample, Plan())
    others = dict(draft.others)
    assert others["note_old"] == {"path": ["note [old]"], "type": "string"}
    text = draft_text(draft).replace("# note_old", "note_old")
    assert draft.missing == ("amount",)
    text = text.replace("[extra]", '[fields.amount]\npath = ["amount[0]"]\nunit = "major"\n[extra]')
    found = explain(with_mapping(Plan(), parse_events(text)), sample)
    assert (found.transactions, [each.key for each in found.fields if each.why]) == (1, [])


def test_the_columns_of_a_wide_parquet_file_are_listed_once(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    one = pa.array([1])
    pq.write_table(pa.table({f"c{number}": one for number in range(WIDE)}), path)
    sample = TableSample(local_file(path), (), 1)
    begun = time.thread_time()
    found = sample.guesses()
    assert time.thread_time() - begun < WIDE_SECONDS
    assert list(found) == [(f"c{number}",) for number in range(PATHS_MOST)]


def test_a_draft_of_parquet_has_the_units_of_further_times(tmp_path: Path) -> None:
    path = tmp_path / "payments.parquet"
    times = {"paid_at": pa.timestamp("ms", "UTC"), "seen": pa.timestamp("us"), "due": pa.date32()}
    columns = {name: pa.array([1], pa.int64()).cast(kind) if name != "due" else pa.array([1], kind)
               for name, kind in times.items()}  # fmt: skip
    pq.write_table(pa.table({"id": ["T"], "card": ["C"], "amount": [1.5]} | columns), path)
    sample = table_sample(path, 10)
    draft = draft_of(sample, Plan())
    assert draft.table["fields"]["event_time"] == {"path": "paid_at", "unit": "ms"}
    assert dict(draft.others) == {
        "seen": {"path": "seen", "type": "timestamp", "unit": "us", "zone": "UTC"},
        "due": {"path": "due", "type": "long"},
    }
    text = draft_text(draft).replace("# seen", "seen").replace("# due", "due")
    assert explain(with_mapping(Plan(), parse_events(text)), sample).transactions == 1


def test_a_column_that_does_not_fit_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "payments.csv"
    path.write_text(CSV)
    draft = draft_text(draft_of(table_sample(path, 10), Plan()))
    events = parse_events(draft.replace('"payment_id"', '"payment_no"'))
    found = explain(with_mapping(Plan(), events), table_sample(path, 10))
    wrong = {each.key: each.why for each in found.fields if each.why}
    assert wrong == {"fields.transaction_id": "payment_no: the file has no such column"}
    assert (found.records, found.transactions) == (4, 0)


def test_a_plan_with_rates_keeps_them_in_the_draft(tmp_path: Path) -> None:
    path = tmp_path / "payments.csv"
    path.write_text(CSV)
    rates = {"base": "EUR", "USD": {"2026-01-01": "0.9"}}
    plan = Plan(currencies={"EUR": 2, "USD": 2}, events={"rates": rates})
    text = draft_text(draft_of(table_sample(path, 10), plan))
    assert tomllib.loads(text)["rates"] == rates
    assert explain(with_mapping(plan, parse_events(text)), table_sample(path, 10)).transactions == 2


def test_the_key_is_read_as_the_mapping_says() -> None:
    key = json.dumps({"type": "record", "name": "K", "fields": [{"name": "no", "type": "string"}]})
    source = Schemas(json.dumps(SCHEMA), key)
    values = [source.payload(1, RECORD)] * 2
    keys = [source.payload(2, {"no": "C1"}), source.payload(2, {"no": "C2"})]
    sample = sample_of(values, keys, source)
    table = tomllib.loads(draft_text(draft_of(sample, Plan())))
    assert explain(with_mapping(Plan(), table), sample).keyed == 0
    keyed = with_mapping(Plan(), table | {"key": {"path": "no"}})
    assert explain(keyed, sample).keyed == 1


GOOD = {"id": "T1", "card": "C1", "ts": 1_700_000_000_000, "amount": 1.5, "currency": "EUR"}
UNNAMED = ["tip\ud800", "x" * 257, "\u00e9" * 129, " tip", "tip\t", ""]
"""Keys of JSON that no path of a mapping can name."""


def json_sample(*records: dict[str, Any]) -> RecordSample:
    return RecordSample("json", [json.dumps(record).encode() for record in records])


@pytest.mark.parametrize("name", UNNAMED)
def test_a_key_that_no_path_can_name_is_left_out_of_the_draft(name: str) -> None:
    sample = json_sample({name: {"inside": 1}, **GOOD, "deep": {name: 2, "tip": 3}})
    draft = draft_of(sample, Plan())
    assert dict(draft.others) == {"tip": {"path": "deep.tip", "type": "double"}}
    text = draft_text(draft)
    assert tomllib.loads(text)["fields"]["transaction_id"] == "id"
    assert explain(with_mapping(Plan(), parse_events(text)), sample).transactions == 1


def test_a_drafted_table_has_values_as_json_writes_them() -> None:
    values = ["web", 5, False, True, None, [1], {"name": "web"}]
    sample = json_sample(*(GOOD | {"channel": value} for value in values))
    text = draft_text(draft_of(sample, Plan()))
    table = tomllib.loads(text)["fields"]["channel"]["table"]
    assert table == {"web": "ECOM", "5": "UNKNOWN", "false": "UNKNOWN", "true": "UNKNOWN"}


@pytest.mark.thorough
def test_records_of_many_keys_are_read_in_linear_time() -> None:
    sample = json_sample({f"k{number}": number for number in range(600_000)}, GOOD)
    began = time.process_time()
    assert len(list(documents(sample.values))) == 2
    parsed = time.process_time()
    assert list(paths_of(sample)) == [(f"k{number}",) for number in range(PATHS_MOST)]
    # To move the rest of the keys at each key takes 20 times as long as to parse them.
    assert time.process_time() - parsed < 5 * (parsed - began)


def test_a_path_of_a_mapping_is_found_after_any_number_of_others() -> None:
    sample = json_sample({f"k{number}": number for number in range(PATHS_MOST)}, GOOD)
    events = parse_events(draft_text(draft_of(json_sample(GOOD), Plan())))
    found = explain(with_mapping(Plan(), events), sample)
    assert not any(each.why for each in found.fields)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["events", "explain", *arguments])


def test_the_command_writes_a_draft_once(tmp_path: Path) -> None:
    source, out = tmp_path / "payments.avro", tmp_path / "events.toml"
    with source.open("wb") as stream:
        fastavro.writer(stream, fastavro.parse_schema(SCHEMA), [RECORD] * 3)
    first = run("--file", str(source), "--out", str(out), "--json")
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout)
    assert (report["records"], report["transactions"], report["rejected"]) == (3, 3, [])
    written = out.read_text()
    again = run("--file", str(source), "--out", str(out))
    assert isinstance(again.exception, SettingsError)
    assert "exists already" in str(again.exception)
    assert out.read_text() == written
    out.write_text("mine")
    assert run("--file", str(source), "--out", str(out), "--overwrite").exit_code == 0
    assert out.read_text() == written


def test_the_command_drafts_records_with_half_a_surrogate_pair(tmp_path: Path) -> None:
    source, out = tmp_path / "payments.jsonl", tmp_path / "events.toml"
    source.write_text(json.dumps(GOOD | {"tip\ud800": 1}))
    done = run("--file", str(source), "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["transactions"] == 1
    assert tomllib.loads(out.read_text())["fields"]["transaction_id"] == "id"


@pytest.mark.parametrize("there", [False, True])
def test_a_draft_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, there: bool) -> None:  # noqa: FBT001
    source, out = tmp_path / "payments.jsonl", tmp_path / "events.toml"
    source.write_text(json.dumps(GOOD))
    if there:
        out.write_text("mine")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        done = run("--file", str(source), "--out", str(out), "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(done.exception, SettingsError)
    assert "File too large" in str(done.exception)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["events.toml"] * there + [
        "payments.jsonl"
    ]
    assert not there or out.read_text() == "mine"


def test_a_plan_with_several_currencies_and_no_rates_has_a_draft(tmp_path: Path) -> None:
    source, plan, out = tmp_path / "payments.csv", tmp_path / "plan", tmp_path / "plan/events.toml"
    source.write_text(CSV)
    plan.mkdir()
    (plan / "plan.toml").write_text("[currencies]\nEUR = 2\nUSD = 2\nJPY = 0\n")
    first = run("--file", str(source), "--plan", str(plan), "--out", str(out), "--json")
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout)
    assert (report["transactions"], report["rates_missing"]) == (2, ["USD", "JPY"])
    written = out.read_text()
    assert tomllib.loads(written)["rates"] == {"base": "EUR", "USD": {}, "JPY": {}}
    # Nothing runs with the draft until a person has written the rates.
    again = run("--file", str(source), "--plan", str(plan), "--events", str(out))
    assert isinstance(again.exception, SettingsError)
    assert "rates.JPY: must be a table of date = rate with one at least" in str(again.exception)
    for code in ("USD", "JPY"):
        written = written.replace(f"{code} = {{}}", f'{code} = {{2020-01-01 = "0.9"}}')
    out.write_text(written)
    checked = run("--file", str(source), "--plan", str(plan), "--events", str(out), "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["transactions"] == 2


def test_a_mapping_gives_the_rates_of_a_plan_that_has_none(tmp_path: Path) -> None:
    source, plan, events = (tmp_path / name for name in ("p.csv", "plan.toml", "my.toml"))
    source.write_text(CSV)
    plan.write_text("[currencies]\nEUR = 2\nUSD = 2\n")
    text = draft_text(draft_of(table_sample(source, 10), Plan()))
    events.write_text(text)
    refused = run("--file", str(source), "--plan", str(plan), "--events", str(events))
    assert "more than one needs rates to a base" in str(refused.exception)
    events.write_text(text + '[rates]\nbase = "EUR"\nUSD = {2020-01-01 = "0.9"}\n')
    checked = run("--file", str(source), "--plan", str(plan), "--events", str(events), "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["rates_missing"] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[currencies]\nEUR = 2\nusd = 2\n", "currencies: 'usd' is not an ISO 4217 code"),
        ("[currencies]\nEUR = 2\nUSD = 2\n[events]\nx = 1\n", "events: unknown key 'x'"),
        ("[currencies\n", "not TOML"),
        ("events = 1\n[currencies]\nEUR = 2\nUSD = 2\n", "events: must be a table"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    source, plan = tmp_path / "payments.csv", tmp_path / "plan.toml"
    source.write_text(CSV)
    plan.write_text(text)
    refused = run("--file", str(source), "--plan", str(plan), "--out", str(tmp_path / "out.toml"))
    assert isinstance(refused.exception, SettingsError)
    assert told in str(refused.exception)
    assert str(plan) in str(refused.exception)


def test_the_command_checks_a_mapping(tmp_path: Path) -> None:
    source, events = tmp_path / "payments.avsc", tmp_path / "events.toml"
    source.write_text(json.dumps(SCHEMA))
    rules = {"transaction_id": "txn.id", "customer_id": "card.token",
             "event_time": {"path": "txn.ts", "unit": "us"},
             "amount": {"path": "txn.amount_cents", "unit": "minor"},
             "currency": "txn.currency"}  # fmt: skip
    lines = [f"{name} = {json.dumps(rule).replace(':', ' =')}" for name, rule in rules.items()]
    events.write_text("[fields]\n" + "\n".join(lines).replace('"path"', "path"))
    good = run("--file", str(source), "--events", str(events), "--json")
    assert good.exit_code == 0, good.output
    events.write_text(events.read_text() + '\nmcc = "txn.nothing"\n')
    wrong = run("--file", str(source), "--events", str(events), "--json")
    assert isinstance(wrong.exception, SchemaError)
    assert "fields.mcc" in str(wrong.exception)
    events.write_text(events.read_text() + "\n[record]\nformat = 'json'\n")
    other = run("--file", str(source), "--events", str(events))
    assert "record.format is json, and the records are avro" in str(other.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.toml", "payments.avsc"]


LABELS = """
[labels]
format = "json"
where = "state == final"
transaction_id = "id"
event_time = {path = "ts", unit = "ms"}
is_fraud = "flag"
"""


def test_the_command_checks_a_mapping_of_labels(tmp_path: Path) -> None:
    events, given = (
        tmp_path / "events.toml",
        ["--events", str(tmp_path / "events.toml"), "--labels"],
    )
    events.write_text(LABELS)
    rows = [("T1", 1, "1", "final"), ("T2", 2, "maybe", "final"), ("T3", 3, "0", "open")]
    (tmp_path / "in.csv").write_text(
        "id,ts,flag,state\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    )
    (tmp_path / "in.jsonl").write_text(
        "".join(
            json.dumps(dict(zip(("id", "ts", "flag", "state"), row, strict=True))) + "\n"
            for row in rows
        )
    )
    for name in ("in.csv", "in.jsonl"):
        done = run("--file", str(tmp_path / name), *given, "--json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (found["records"], found["labels"], found["skipped"]) == (3, 1, 1)
        why = "flag: the table for is_fraud does not have this value"
        assert found["rejected"] == [{"reason": "MAPPING", "detail": why, "records": 1}]
        keys = [each["key"] for each in found["fields"]]
        assert keys == ["labels.transaction_id", "labels.event_time", "labels.is_fraud"]
        assert (found["key_is_customer"], found["draft"]) == (None, None)
        events.write_text(LABELS.replace('"flag"', '"flags"'))
        wrong = run("--file", str(tmp_path / name), *given)
        assert isinstance(wrong.exception, SchemaError)
        assert "labels.is_fraud: flags: " in str(wrong.exception)
        events.write_text(LABELS)
    events.write_text(LABELS.replace("json", "avro"))
    wrong = run("--file", str(tmp_path / "in.jsonl"), *given)
    assert "labels.format is avro, and the records are json" in str(wrong.exception)
    events.write_text("")
    wrong = run("--file", str(tmp_path / "in.jsonl"), *given)
    assert "has no [labels]" in str(wrong.exception)
    wrong = run("--file", str(tmp_path / "in.jsonl"), "--labels")
    assert "--labels drafts no mapping" in str(wrong.exception)


def test_a_decimal_that_no_amount_can_be_is_not_drafted() -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 200, "scale": 100}
    fields = [{"name": "paid", "type": decimal}, {"name": "foo", "type": decimal}]
    schema = json.dumps({"type": "record", "name": "R", "fields": fields})
    drafted = draft_of(RecordSample("avro", [], schemas={1: schema}), Plan())
    assert "amount" in drafted.missing


def test_a_path_of_many_branches_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def counted(definition: Any, path: Any) -> Any:
        asked.append(path)
        return find(definition, path)

    branches = [
        {"type": "record", "name": f"R{n}", "fields": [{"name": "id", "type": "string"}]}
        for n in range(100)
    ]
    schema = {"type": "record", "name": "R", "fields": [{"name": "after", "type": branches}]}
    monkeypatch.setattr(sampling, "find", counted)
    assert list(paths_of(RecordSample("avro", [], schemas={1: json.dumps(schema)}))) == asked
    assert asked == [("after", "id")]
