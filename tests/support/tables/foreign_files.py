"""Transactions in our own columns, and the same ones as files with foreign columns."""

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.mapping.mapping import parse_events

ENDINGS = ("parquet", "csv", "jsonl", "avro")

EVENTS = """
[record]
where = "op in [c, r]"

[fields]
transaction_id = "after.payment_no"
event_time = {path = "ts", unit = "s"}
customer_id = "after.shopper.no"
terminal_id = "after.till"
amount = {path = "after.paid", unit = "major"}
currency = "after.iso"
mcc = "after.mcc"
country = {path = "after.land", table = {Belgium = "BE", "Frankreich" = "FR"}}
card_present = "after.present"
device_id = {path = "after.device", optional = true}

[fields.channel]
path = "after.via"
table = {terminal = "POS", web = "ECOM", machine = "ATM"}
unknown = "UNKNOWN"

[extra]
basket = {path = "after.shopper.basket", type = "long"}
weight = {path = "after.weight", type = "double"}
loyal = {path = "after.loyal", type = "boolean"}
shop = {path = "after.shop", type = "string"}
since = {path = "after.since", type = "timestamp", unit = "iso8601"}
"""

RATES = """
[rates]
base = "EUR"
[rates.USD]
1970-01-01 = "0.92"
2018-04-02 = "23/26"
"""

_VIA = {"POS": "terminal", "ECOM": "web", "ATM": "machine", "UNKNOWN": "carrier pigeon"}
_LAND = {"BE": "Belgium", "FR": "Frankreich"}

OURS = pa.schema(
    [
        pa.field("transaction_id", pa.string(), nullable=False),
        pa.field("event_time", pa.timestamp("ms"), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("terminal_id", pa.string(), nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        ("mcc", pa.string()), ("country", pa.string()), ("card_present", pa.bool_()),
        ("device_id", pa.string()),
        ("basket", pa.int64()), ("loyal", pa.bool_()), ("shop", pa.string()),
        ("since", pa.timestamp("ms")), ("weight", pa.float64()),
    ]
)  # fmt: skip
"""Our columns: the transaction schema's, then the extras by name."""


def plan_with(events: str = EVENTS, **table: Any) -> Plan:
    """Return a plan with a mapping."""
    return plan_from({**table, "events": parse_events(events)})


def drawn(count: int, seed: int = 1, currencies: tuple[str, ...] = ("EUR",)) -> pa.RecordBatch:
    """Return transactions in our columns, in the order of their times."""
    chance = random.Random(seed)  # noqa: S311 a choice of rows, no secret
    rows = []
    for number in range(count):
        perhaps = chance.random
        rows.append(
            {
                "transaction_id": f"t{number}",
                "event_time": 1_522_540_800_000 + number * 777_001,
                "customer_id": f"c{chance.randrange(9)}",
                "terminal_id": chance.choice(["x1", "é", "0051"]),
                "amount_minor": chance.choice([0, 1, 10, 12_34, chance.randrange(10**7)]),
                "currency": chance.choice(currencies),
                "channel": chance.choice(list(_VIA)),
                "mcc": None if perhaps() < 0.3 else chance.choice(["5411", "0001"]),
                "country": None if perhaps() < 0.3 else chance.choice(list(_LAND)),
                "card_present": chance.choice([None, True, False]),
                "device_id": None if perhaps() < 0.3 else f"d{chance.randrange(9)}",
                "basket": None if perhaps() < 0.3 else chance.randrange(-(2**63), 2**63),
                "loyal": chance.choice([None, True, False]),
                "shop": None if perhaps() < 0.3 else chance.choice(["007", "1e3", "true", 'a,"b']),
                "since": None if perhaps() < 0.3 else chance.randrange(2**40),
                "weight": None if perhaps() < 0.3 else chance.choice(
                    [0.1, -2.5, 1e-7, 1e300, float(number), chance.random()]
                ),
            }
        )  # fmt: skip
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in OURS]
    return pa.RecordBatch.from_arrays(columns, schema=OURS)


def foreign_rows(ours: pa.RecordBatch, seed: int = 1) -> list[dict[str, Any]]:
    """Return foreign records of transactions, and some that are not: their ``op`` is d."""
    chance = random.Random(seed)  # noqa: S311 a choice of rows, no secret
    theirs: list[dict[str, Any]] = []
    times = ours.column("event_time").cast(pa.int64()).to_pylist()
    since = ours.column("since").cast(pa.int64()).to_pylist()
    plain = ours.drop_columns(["event_time", "since"]).to_pylist()
    for row, ms, began in zip(plain, times, since, strict=True):
        if chance.random() < 0.1:
            theirs.append({"op": "d", "ts": None, "after": None})
        after = {
            "payment_no": row["transaction_id"],
            "shopper": {"no": row["customer_id"], "basket": row["basket"]},
            "till": row["terminal_id"],
            "paid": Decimal(row["amount_minor"]).scaleb(-2),
            "iso": row["currency"], "via": _VIA[row["channel"]], "mcc": row["mcc"],
            "land": None if row["country"] is None else _LAND[row["country"]],
            "present": row["card_present"], "device": row["device_id"],
            "weight": row["weight"], "loyal": row["loyal"], "shop": row["shop"],
            "since": None if began is None else _iso(began),
        }  # fmt: skip
        theirs.append({"op": chance.choice("cr"), "ts": ms / 1_000, "after": after})
    return theirs


def _iso(ms: int) -> str:
    time = pa.scalar(ms, pa.timestamp("ms")).as_py()
    return f"{time.isoformat(timespec='milliseconds')}Z"


_AFTER = pa.struct(
    [
        ("payment_no", pa.string()),
        ("shopper", pa.struct([("no", pa.string()), ("basket", pa.int64())])),
        ("till", pa.string()), ("paid", pa.decimal128(18, 2)), ("iso", pa.string()),
        ("via", pa.string()), ("mcc", pa.string()), ("land", pa.string()),
        ("present", pa.bool_()), ("device", pa.string()), ("weight", pa.float64()),
        ("loyal", pa.bool_()), ("shop", pa.string()), ("since", pa.string()),
    ]
)  # fmt: skip
THEIRS = pa.schema([("op", pa.string()), ("ts", pa.float64()), ("after", _AFTER)])


def write_foreign(rows: list[dict[str, Any]], path: Path, **labels: list[Any]) -> Path:
    """Write foreign records as a file of the kind of its ending.

    Args:
        rows: The result of ``foreign_rows``.
        path: The file.
        labels: Further columns, in the kinds other than Avro.
    """
    rows = [
        {**row, **{name: values[at] for name, values in labels.items()}}
        for at, row in enumerate(rows)
    ]
    if path.suffix == ".parquet":
        table = pa.Table.from_pylist([{k: row[k] for k in ("op", "ts", "after")} for row in rows],
                                     THEIRS)  # fmt: skip
        for name, values in labels.items():
            table = table.append_column(name, pa.array(values))
        pq.write_table(table, path, row_group_size=97)
    elif path.suffix == ".csv":
        flat = [{name: _cell(value) for name, value in _flat(row)} for row in rows]
        names = dict.fromkeys(name for row in flat for name in row)
        columns = {name: pa.array([row.get(name) for row in flat], pa.string()) for name in names}
        pa_csv.write_csv(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{_line(row)}\n" for row in rows))
    else:
        with path.open("wb") as file:
            fastavro.writer(file, fastavro.parse_schema(_avro(THEIRS)), rows, codec="deflate")
    return path


def _flat(row: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in row.items():
        if isinstance(value, dict):
            found += _flat(value, f"{before}{name}.")
        else:
            found.append((before + name, value))
    return found


def _cell(value: Any) -> str | None:
    return None if value is None else str(value)


def _line(value: Any) -> str:
    """Return a value as JSON, a decimal as a number with all its digits."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_line(v)}" for k, v in value.items()) + "}"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def _avro(schema: Any, name: str = "Row") -> dict[str, Any]:
    kinds = {"string": "string", "double": "double", "int64": "long", "bool": "boolean"}
    fields = []
    for field in schema:
        kind: Any = kinds.get(str(field.type))
        if pa.types.is_struct(field.type):
            kind = _avro(field.type, f"{name}_{field.name}")
        elif pa.types.is_decimal(field.type):
            kind = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}
        fields.append({"name": field.name, "type": ["null", kind]})
    return {"type": "record", "name": name, "fields": fields}
