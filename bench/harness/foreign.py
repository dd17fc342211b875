"""The same transactions in three foreign formats, and the mapping of each."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import fastavro
import pyarrow as pa

from stream_scorer.registry.sources import INDEX
from stream_scorer.settings import MODELS_DIRECTORY

_ROWS_AT_ONCE: Final = 5_000
_CARDS_ID, _ENVELOPES_ID = 201, 202
_DAY_ZERO: Final = datetime(2017, 12, 1, tzinfo=UTC)
_YEN: Final = Fraction(1, 160)

Row = dict[str, Any]

_CARDS: Final[dict[str, Any]] = {
    "type": "record", "name": "CardTransaction", "namespace": "cards", "fields": [
        {"name": "TransactionID", "type": "long"},
        {"name": "TransactionDT", "type": "long"},
        {"name": "TransactionAmt", "type": "double"},
        {"name": "ProductCD", "type": "string"},
        {"name": "card1", "type": "string"},
        {"name": "card4", "type": ["null", "string"]},
        {"name": "addr1", "type": ["null", "double"]},
        {"name": "addr2", "type": ["null", "string"]},
        {"name": "P_emaildomain", "type": ["null", "string"]},
        {"name": "DeviceInfo", "type": ["null", "string"]},
    ],
}  # fmt: skip
_CARDS_EVENTS: Final = """
[fields]
transaction_id = "TransactionID"
event_time = {path = "TransactionDT", unit = "ms", since = "2017-12-01T00:00:00Z"}
customer_id = "card1"
amount = {path = "TransactionAmt", unit = "major"}
currency = {constant = "EUR"}
channel = {path = "ProductCD", table = {W = "ECOM", C = "POS", R = "ATM"}, unknown = "UNKNOWN"}
country = {path = "addr2", optional = true}
device_id = "DeviceInfo"

[extra]
email_domain = {path = "P_emaildomain", type = "string"}
scheme = {path = "card4", type = "string"}
area = {path = "addr1", type = "double"}
"""

_STATE: Final[dict[str, Any]] = {
    "type": "record", "name": "Value", "fields": [
        {"name": "id", "type": "string"},
        {"name": "card", "type": {"type": "record", "name": "Card", "fields": [
            {"name": "token", "type": "string"}, {"name": "scheme", "type": ["null", "string"]}]}},
        {"name": "paid", "type": {
            "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}},
        {"name": "ccy", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "shop", "type": "string"},
        {"name": "mode", "type": ["null", "string"]},
        {"name": "mcc", "type": ["null", "string"]},
        {"name": "country", "type": ["null", "string"]},
        {"name": "present", "type": ["null", "boolean"]},
        {"name": "device", "type": ["null", "string"]},
    ],
}  # fmt: skip
_ENVELOPES: Final[dict[str, Any]] = {
    "type": "record", "name": "Envelope", "namespace": "db.payments", "fields": [
        {"name": "before", "type": ["null", _STATE], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
    ],
}  # fmt: skip
_ENVELOPES_EVENTS: Final = """
[record]
where = "op in [c, r]"

[fields]
transaction_id = "after.id"
event_time = "after.at"
customer_id = "after.card.token"
terminal_id = "after.shop"
amount = {path = "after.paid", unit = "major"}
currency = "after.ccy"
channel = {path = "after.mode", table = {"051" = "POS", "812" = "ECOM", "011" = "ATM"}, \
unknown = "UNKNOWN"}
mcc = "after.mcc"
country = "after.country"
card_present = "after.present"
device_id = "after.device"

[rates]
base = "EUR"
JPY = {2000-01-01 = "1/160"}
USD = {2000-01-01 = "1"}
"""
_FLAT_EVENTS: Final = """
[record]
format = "json"

[fields]
transaction_id = "id"
event_time = {path = "time", unit = "iso8601"}
customer_id = "customer"
terminal_id = "terminal"
amount = {path = "cents", unit = "minor"}
currency = "currency"
channel = "channel"
mcc = {path = "mcc", optional = true}
country = "country"
card_present = "present"
device_id = "device"

[extra]
items = {path = "basket.items", type = "long"}
gift = {path = "basket.gift", type = "boolean", optional = true}
"""


@dataclass(frozen=True, slots=True)
class ForeignSet:
    """A foreign topic.

    Attributes:
        name: Its kind.
        events: Text of events.toml.
        record: A transaction, given its number and row, as the topic's record.
        encode: A record as bytes.
        native: The same transaction in our schema: the columns that it changes.
        others: Records after each transaction that are not transactions.
        currencies: Exponents by code.
    """

    name: str
    events: str
    record: Callable[[int, Row], Row]
    encode: Callable[[Row], bytes]
    native: Callable[[Row], Row] = lambda _: {}
    others: Callable[[int, Row], Sequence[Row | None]] = lambda *_: ()
    currencies: dict[str, int] = field(default_factory=lambda: {"EUR": 2})

    def plan(self, folder: Path) -> Path:
        """Write the plan's folder; return it."""
        made = folder / f"plan-{self.name}"
        made.mkdir()
        shipped = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text(encoding="utf-8")
        head = shipped.partition("[currencies]")[0]
        listed = "".join(f"{code} = {exponent}\n" for code, exponent in self.currencies.items())
        (made / "plan.toml").write_text(f"{head}[currencies]\n{listed}", encoding="utf-8")
        (made / "events.toml").write_text(self.events, encoding="utf-8")
        return made

    def records(self, table: pa.Table) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """Yield (keys, payloads) of the topic."""
        number = 0
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            keys: list[bytes] = []
            payloads: list[bytes | None] = []
            for row in batch.to_pylist():
                mine = self.around(number, row)
                payloads += [None if each is None else self.encode(each) for each in mine]
                keys += [row["customer_id"].encode()] * len(mine)
                number += 1
            yield keys, payloads

    def around(self, number: int, row: Row) -> list[Row | None]:
        """Return a transaction's record and those after it that are not transactions."""
        return [self.record(number, row), *self.others(number, row)]

    def renamed(self, table: pa.Table) -> pa.Table:
        """Return the same transactions in our schema, as the mapping should read them."""
        rows = [row | self.native(row) for row in table.to_pylist()]
        return pa.Table.from_pylist(rows, schema=table.schema)


def _avro(number: int, schema: dict[str, Any]) -> Callable[[dict[str, Any]], bytes]:
    parsed = fastavro.parse_schema(schema)
    header = b"\0" + number.to_bytes(4, "big")

    def encoded(value: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, value)
        return header + out.getvalue()

    return encoded


_card = _avro(_CARDS_ID, _CARDS)
_envelope = _avro(_ENVELOPES_ID, _ENVELOPES)


def _ms(row: Row) -> int:
    return round(row["event_time"].timestamp() * 1_000)


_PRODUCTS: Final = {"ECOM": "W", "POS": "C", "ATM": "R"}
_MODES: Final = {"ECOM": "812", "POS": "051", "ATM": "011"}


def _as_card(number: int, row: Row) -> Row:
    customer = int(row["customer_id"])
    return {
        "TransactionID": 2_987_000 + number,
        "TransactionDT": _ms(row) - round(_DAY_ZERO.timestamp() * 1_000),
        "TransactionAmt": row["amount_minor"] / 100,
        "ProductCD": _PRODUCTS.get(row["channel"], "S"),
        "card1": row["customer_id"],
        "card4": ("visa", "mastercard", None)[customer % 3],
        "addr1": None if number % 5 == 0 else float(100 + customer % 400),
        "addr2": row["country"],
        "P_emaildomain": ("gmail.com", "anonymous.com", None)[number % 3],
        "DeviceInfo": row["device_id"],
    }


def _paid(row: Row) -> tuple[str, Decimal]:
    """Return a third of the customers' amounts in yen, another third's in dollars."""
    which = int(row["customer_id"]) % 3
    if which == 1:
        return "JPY", Decimal(row["amount_minor"])
    return ("USD" if which else "EUR"), Decimal(row["amount_minor"]).scaleb(-2)


def _in_euros(row: Row) -> Row:
    currency, amount = _paid(row)
    return {"amount_minor": round(Fraction(amount) * 100 * _YEN) if currency == "JPY"
            else row["amount_minor"]}  # fmt: skip


def _state(row: Row) -> Row:
    currency, amount = _paid(row)
    return {
        "id": row["transaction_id"], "card": {"token": row["customer_id"], "scheme": None},
        "paid": amount.quantize(Decimal("0.0001")), "ccy": currency, "at": _ms(row) * 1_000,
        "shop": row["terminal_id"], "mode": _MODES.get(row["channel"]), "mcc": row["mcc"],
        "country": row["country"], "present": row["card_present"], "device": row["device_id"],
    }  # fmt: skip


def _as_envelope(number: int, row: Row) -> Row:
    op = "r" if number < _ROWS_AT_ONCE else "c"
    return {"before": None, "after": _state(row), "op": op, "ts_ms": _ms(row)}


def _later_changes(number: int, row: Row) -> tuple[Row | None, ...]:
    """Return an update, or a deletion and its tombstone, after some of the transactions."""
    if number % 20 == 0:
        state = _state(row)
        return ({"before": state, "after": state, "op": "u", "ts_ms": _ms(row)},)
    if number % 50 == 7:
        return {"before": _state(row), "after": None, "op": "d", "ts_ms": None}, None
    return ()


def _as_flat(number: int, row: Row) -> Row:
    value = {
        "id": row["transaction_id"], "customer": row["customer_id"], "cents": row["amount_minor"],
        "time": datetime.fromtimestamp(_ms(row) / 1_000, UTC).isoformat(timespec="milliseconds"),
        "terminal": row["terminal_id"], "currency": row["currency"], "channel": row["channel"],
        "country": row["country"], "present": row["card_present"], "device": row["device_id"],
        "basket": {"items": number % 7 + 1, "skus": [1, 2]},
    }  # fmt: skip
    return value | ({"mcc": row["mcc"]} if row["mcc"] is not None else {})


def _json(record: Row) -> bytes:
    return json.dumps(record).encode()


SETS: Final = (
    ForeignSet(
        "cards", _CARDS_EVENTS, _as_card, _card,
        # Of our schema each transaction has a terminal; the shipped model does not look at it.
        native=lambda _: {"terminal_id": "none", "mcc": None, "card_present": None},
    ),
    ForeignSet(
        "envelopes", _ENVELOPES_EVENTS, _as_envelope, _envelope, native=_in_euros,
        others=_later_changes, currencies={"EUR": 2, "JPY": 0, "USD": 2},
    ),
    ForeignSet("flat", _FLAT_EVENTS, _as_flat, _json),
)  # fmt: skip


def add_schemas(directory: Path) -> None:
    """Add the foreign schemas to a file registry."""
    index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    for number, name, schema in (
        (_CARDS_ID, "cards", _CARDS), (_ENVELOPES_ID, "envelopes", _ENVELOPES),
    ):  # fmt: skip
        (directory / f"{name}.avsc").write_text(json.dumps(schema), encoding="utf-8")
        index["schemas"].append(
            {"id": number, "subject": f"{name}-value", "version": 1, "file": f"{name}.avsc"}
        )
    (directory / INDEX).write_text(json.dumps(index), encoding="utf-8")
