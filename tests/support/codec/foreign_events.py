"""The same transactions as a stranger's topic would have them, and the mapping of their records."""

import io
import json
import shutil
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import fastavro

from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.faults.reference_run import Record

FOREIGN_ID = 501
_CUT = 3
"""Bytes that a malformed record of the reference run lacks; they were zeros: nulls."""

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


def foreign(record: Record) -> Record:
    """Return the stranger's record of a transaction; what is no transaction stays as it is."""
    value = record.value
    if value is None or record.bad == "FRAMING":
        return record
    whole = value if record.bad != "MALFORMED" else value + bytes(_CUT)
    row: Any = fastavro.schemaless_reader(io.BytesIO(whole[5:]), _ours(), None)
    time = row["event_time"]
    ms = time if isinstance(time, int) else round(time.timestamp() * 1_000)
    after = {
        "payment_no": row["transaction_id"],
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
    payload = _encoded({"op": "c", "ts": ms * 1_000, "after": after})
    return Record(record.key, payload[:-_CUT] if record.bad == "MALFORMED" else payload, record.bad)


def other(record: Record) -> Record:
    """Return a record of the stranger's that is no transaction: a deletion."""
    return Record(record.key, _encoded({"op": "d", "ts": 0, "after": None}), record.bad)


def _encoded(value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), value)
    return b"\0" + FOREIGN_ID.to_bytes(4, "big") + out.getvalue()


def with_foreign_schema(folder: Path) -> Path:
    """Return a copy of the shipped schemas, in which the stranger's has its id."""
    directory = folder / "schemas"
    shutil.copytree(SCHEMAS_DIRECTORY, directory)
    index = json.loads((directory / "registry.json").read_text(encoding="utf-8"))
    index["schemas"].append(
        {"id": FOREIGN_ID, "subject": "payments-value", "version": 1, "file": "payment.avsc"}
    )
    (directory / "registry.json").write_text(json.dumps(index), encoding="utf-8")
    (directory / "payment.avsc").write_text(json.dumps(SCHEMA), encoding="utf-8")
    return directory
