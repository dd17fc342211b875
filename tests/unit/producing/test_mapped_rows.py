"""``produce`` sends foreign columns as records of our schema, or as JSON."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_scorer.codec.reading.mapped import JsonDecoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.producing.transactions import TransactionEncoder, records_of_file
from stream_scorer.settings import Registry
from tests.support.tables.foreign_files import (
    ENDINGS,
    EVENTS,
    OURS,
    RATES,
    drawn,
    foreign_rows,
    plan_with,
    write_foreign,
)

ENCODER = TransactionEncoder(Registry())
PLAIN = EVENTS.partition("[extra]")[0]
JSON = EVENTS.replace("[record]", '[record]\nformat = "json"')
FLAT = """
[record]
format = "json"
[fields]
transaction_id = "id"
customer_id = "card"
event_time = {path = "ts", unit = "ms"}
amount = {path = "sum", unit = "major"}
currency = {constant = "EUR"}
"""


def payloads(path: Path, plan: Plan) -> list[tuple[str, bytes]]:
    """Return customer and payload of each record that ``produce`` sends."""
    records = records_of_file(path, Registry(), plan)
    return [
        sent
        for rows in records.rows
        for sent in zip(rows.column("customer_id").to_pylist(), records.encode(rows), strict=True)
    ]


@pytest.mark.parametrize("ending", ENDINGS)
def test_records_are_those_of_our_own_columns(tmp_path: Path, ending: str) -> None:
    ours = drawn(50, seed=11)
    path = write_foreign(foreign_rows(ours), tmp_path / f"in.{ending}")
    expected = ours.select(ENCODER.schema.names).cast(ENCODER.schema)
    assert [value for _, value in payloads(path, plan_with(PLAIN))] == ENCODER(expected)


@pytest.mark.parametrize("ending", ENDINGS)
def test_json_records_are_read_as_the_rows_are(tmp_path: Path, ending: str) -> None:
    plan = plan_with(JSON + RATES, currencies={"EUR": 2, "USD": 2})
    ours = drawn(150, seed=12, currencies=("EUR", "USD"))
    rows = foreign_rows(ours)
    path = write_foreign(rows, tmp_path / f"in.{ending}", is_fraud=[0] * len(rows))
    sent = payloads(path, plan)
    assert [customer for customer, _ in sent] == ours.column("customer_id").to_pylist()
    assert plan.mapping is not None
    decoded = JsonDecoder(plan.mapping, plan).decode([value for _, value in sent])
    assert len(decoded.rejections.rows) == 0
    assert decoded.records.select(OURS.names).to_pylist() == ours.to_pylist()
    one = json.loads(sent[0][1])
    assert one["after"]["payment_no"] == "t0"
    assert one.keys() == {"op", "ts", "after"}


def test_numbers_keep_their_value(tmp_path: Path) -> None:
    plan = plan_with(f'{FLAT}[extra]\nweight = {{path = "kg", type = "double"}}\n')
    path = tmp_path / "in.parquet"
    sums = pa.array([0.1, 2.5, 1e9], pa.float32())
    pq.write_table(
        pa.table({"id": ["a", "b", "c"], "card": ["C"] * 3, "ts": [1, 2, 3], "sum": sums,
                  "kg": [5e-324, float("nan"), -0.0], "unread": [1, 2, 3]}), path,
    )  # fmt: skip
    found = [value.decode() for _, value in payloads(path, plan)]
    assert found == [
        '{"id": "a", "ts": 1, "card": "C", "sum": 0.1, "kg": 5e-324}',
        '{"id": "b", "ts": 2, "card": "C", "sum": 2.5}',
        '{"id": "c", "ts": 3, "card": "C", "sum": 1e+09, "kg": -0.0}',
    ]


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (f'{FLAT}[extra]\nn = {{path = "id", type = "long"}}', "id: is read as values of several"),
        (f'{FLAT}card_present = "ts"', "ts: is read as values of several"),
        (f'{FLAT}mcc = "sum.mcc"', "sum.mcc: sum is a value itself"),
        (f'{FLAT}terminal_id = "id.of.it"\nmcc = "id.of"', "id.of.it: id is a value itself"),
    ],
)
def test_records_that_json_cannot_have_are_refused(tmp_path: Path, events: str, why: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,card,ts,sum,sum.mcc,id.of,id.of.it\n7,C,1,1.00,5411,x,y\n")
    with pytest.raises(SettingsError) as refused:
        payloads(path, plan_with(events))
    assert refused.value.what.startswith(f"produce: {why}")


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("sum", pa.array([0.1], pa.float32()), "sum: is a float of 32 bits, read as an amount and"),
        (
            "kg", pa.array([10 ** Decimal(50)], pa.decimal256(76, 20)),
            "kg: a decimal of more than 64 characters",
        ),
    ],
)  # fmt: skip
def test_values_that_json_would_change_are_refused(
    tmp_path: Path, name: str, values: pa.Array, why: str
) -> None:
    path = tmp_path / "in.parquet"
    row = {"id": ["a"], "card": ["C"], "ts": [1], "sum": [1.0]}
    pq.write_table(pa.table({**row, name: values}), path)
    with pytest.raises(SettingsError) as refused:
        payloads(path, plan_with(f'{FLAT}[extra]\nx = {{path = "{name}", type = "double"}}\n'))
    assert refused.value.what.startswith(f"produce: {why}")


def test_where_reads_records_as_it_reads_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    after = pa.array([{"id": "a"}, {"id": "b"}, {"id": None}, None, {"id": "c"}])
    pq.write_table(
        pa.table({"after": after, "card": ["C"] * 5, "ts": [1, 2, 3, 4, 5], "sum": [1.5] * 5,
                  "x": pa.array([[], ["x"], None, [], []], pa.list_(pa.string())),
                  "y": pa.array([b"", None, b"", b"", b"y"])}), path,
    )  # fmt: skip
    id_ = 'transaction_id = "after.id"'
    events = FLAT.replace('transaction_id = "id"', id_)
    for where, sent in (
        ("after != null and after.id != null and x != null and y != null", ["a", "c"]),
        ("after != null and after.id != null and y == null", ["b"]),
    ):
        plan = plan_with(events.replace('"json"', f'"json"\nwhere = "{where}"'))
        found = [value for _, value in payloads(path, plan)]
        assert plan.mapping is not None
        decoded = JsonDecoder(plan.mapping, plan).decode(found)
        assert decoded.records.column("transaction_id").to_pylist() == sent
        assert len(found) == len(sent)


def test_what_where_compares_and_json_does_not_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    row = {"id": "a", "card": "C", "ts": 1, "sum": 1.5}
    events = FLAT.replace('"json"', '"json"\nwhere = "x != null"')
    pq.write_table(pa.Table.from_pylist([row | {"x": float("nan")}]), path)
    with pytest.raises(SettingsError, match="produce: x: where compares it, and JSON has neither"):
        payloads(path, plan_with(events))
    path = tmp_path / "in.csv"
    path.write_text("id,card,ts,sum,x,x.y\na,C,1,1.5,1,2\n")
    with pytest.raises(SettingsError, match="produce: x: is a value, and other paths go through"):
        payloads(path, plan_with(f'{events}mcc = "x.y"'))


def test_a_value_that_does_not_fit_is_one_error(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [row for row in foreign_rows(drawn(9)) if row["op"] != "d"]
    rows[7]["after"]["iso"] = None
    path = write_foreign(rows, tmp_path / "in.jsonl")
    for events in (PLAIN, JSON):
        with pytest.raises(SettingsError) as refused:
            payloads(path, plan_with(events))
        assert refused.value.what == f"{path}: row 8: after.iso: null, and currency takes none"


def test_what_our_schema_cannot_have_is_refused_by_name(tmp_path: Path) -> None:
    path = write_foreign(foreign_rows(drawn(3)), tmp_path / "in.jsonl")
    with pytest.raises(SettingsError, match="extra field basket"):
        records_of_file(path, Registry(), plan_with())
    without = PLAIN.replace('terminal_id = "after.till"\n', "")
    with pytest.raises(SettingsError, match="no terminal_id"):
        records_of_file(path, Registry(), plan_with(without))
    assert len(OURS) == len(ENCODER.schema) + len(plan_with().extras)
