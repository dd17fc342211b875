"""The same transactions in the format of a foreign topic, and the mapping of their records."""

import io
import json
import shutil
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import fastavro

from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import MODELS_DIRECTORY, SCHEMAS_DIRECTORY
from tests.support.faults.reference_run import Record

FOREIGN_ID, RENAMED_ID = 501, 502
_CUT = 3
"""Bytes missing from a malformed record of the reference run; they were zeros: nulls."""

SCHEMA: dict[str, Any] = {
    "type": "record", "name": "Payment", "namespace": "other", "fields": [
        {"name": "op", "type": "string"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "after", "type": ["null", {
            "type": "record", "name": "Card", "fields": [
                {"name": "payment_no", "type": "string"},
                {"name": "shopper", "type": {"type": "record", "name": "Shopper", "fields": [
                    {"name": "no", "type": "string"}, {"name": "age", "type": ["null", "int"]}]}},
                {"name": "till", "type": "string"},
                {"name": "paid", "type": {
                    "type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}},
                {"name": "iso", "type": ["null", "string"]},
                {"name": "via", "type": ["null", "string"]},
                {"name": "mcc", "type": ["null", "string"], "default": None},
                {"name": "land", "type": ["null", "string"], "default": None},
                {"name": "present", "type": ["null", "boolean"], "default": None},
                {"name": "device", "type": ["null", "string"], "default": None},
            ]}]},
    ],
}  # fmt: skip

RENAMED: dict[str, Any] = json.loads(json.dumps(SCHEMA).replace("payment_no", "payment_id"))
"""A later version: a field has another name, so the first mapping does not fit."""

EVENTS = """
[record]
where = "op in [c, r]"

[fields]
transaction_id = "after.payment_no"
event_time = "ts"
customer_id = "after.shopper.no"
terminal_id = "after.till"
amount = {path = "after.paid", unit = "major"}
currency = "after.iso"
mcc = "after.mcc"
country = "after.land"
card_present = "after.present"
device_id = "after.device"

[fields.channel]
path = "after.via"
table = { terminal = "POS", web = "ECOM", machine = "ATM", unknown = "UNKNOWN" }
"""

_VIA = {"POS": "terminal", "ECOM": "web", "ATM": "machine", "UNKNOWN": "unknown"}


@cache
def _ours() -> Any:
    return fastavro.parse_schema(json.loads(reader_schema("transaction.v1")))


def row_of(record: Record) -> dict[str, Any]:
    """Return a transaction's fields."""
    whole = (record.value or b"") + bytes(_CUT if record.bad == "MALFORMED" else 0)
    row: Any = fastavro.schemaless_reader(io.BytesIO(whole[5:]), _ours(), None)
    return dict(row)


def time_of(record: Record) -> int:
    """Return a transaction's event time, ms."""
    return round(row_of(record)["event_time"].timestamp() * 1_000)


def foreign(record: Record, *, renamed: bool = False) -> Record:
    """Return the foreign record of a transaction, optionally of the later version of the schema.

    A record that is not a transaction is unchanged.
    """
    value = record.value
    if value is None or record.bad == "FRAMING":
        return record
    row = row_of(record)
    ms = round(row["event_time"].timestamp() * 1_000)
    after = {
        "payment_id" if renamed else "payment_no": row["transaction_id"],
        "shopper": {"no": row["customer_id"], "age": None},
        "till": row["terminal_id"],
        "paid": Decimal(row["amount_minor"]).scaleb(-2),
        "iso": row["currency"],
        "via": _VIA[row["channel"]],
        "mcc": row["mcc"],
        "land": row["country"],
        "present": row["card_present"],
        "device": row["device_id"],
    }
    payload = _encoded({"op": "c", "ts": ms * 1_000, "after": after}, renamed=renamed)
    return Record(record.key, payload[:-_CUT] if record.bad == "MALFORMED" else payload, record.bad)


def other(record: Record) -> Record:
    """Return a foreign record that is not a transaction: a deletion."""
    return Record(record.key, _encoded({"op": "d", "ts": 0, "after": None}), record.bad)


def _encoded(value: dict[str, Any], *, renamed: bool = False) -> bytes:
    out = io.BytesIO()
    schema, number = (RENAMED, RENAMED_ID) if renamed else (SCHEMA, FOREIGN_ID)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return b"\0" + number.to_bytes(4, "big") + out.getvalue()


def plan_of_foreign(folder: Path) -> Path:
    """Return a plan's folder: the shipped plan with the foreign mapping."""
    made = folder / "plan"
    made.mkdir()
    shipped = MODELS_DIRECTORY / "fraud" / "plan.toml"
    (made / "plan.toml").write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    (made / "events.toml").write_text(EVENTS, encoding="utf-8")
    return made


def with_foreign_schema(folder: Path) -> Path:
    """Return a copy of the shipped schemas, in which the foreign one has its id."""
    directory = folder / "schemas"
    shutil.copytree(SCHEMAS_DIRECTORY, directory)
    index = json.loads((directory / "registry.json").read_text(encoding="utf-8"))
    schemas = ((FOREIGN_ID, SCHEMA), (RENAMED_ID, RENAMED))
    for version, (number, schema) in enumerate(schemas, 1):
        file = f"payment.v{version}.avsc"
        index["schemas"].append(
            {"id": number, "subject": "payments-value", "version": version, "file": file}
        )
        (directory / file).write_text(json.dumps(schema), encoding="utf-8")
    (directory / "registry.json").write_text(json.dumps(index), encoding="utf-8")
    return directory
