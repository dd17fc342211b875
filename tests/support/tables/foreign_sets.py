"""The bench's foreign topics with labels: as files, and as records of a topic."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bench.harness.foreign import SETS, ForeignSet, Row

ENDINGS: Final = {"cards": "csv", "envelopes": "parquet", "flat": "jsonl"}
_MORE: Final = {
    "envelopes": '[extra]\nsource = {path = "op", type = "string"}\n'
    'asked = {path = "ts_ms", type = "timestamp", unit = "ms"}\n'
}
_OF_ALL: Final[tuple[dict[str, Any], ...]] = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "SPENT", "kind": "sum", "field": "amount", "window": "7d"},
    {"name": "COUNT", "kind": "count", "window": "1d"},
    {"name": "USUAL", "kind": "mean", "field": "amount", "window": "30d", "exclude_self": True},
    {"name": "TO_USUAL", "kind": "expression", "value": "log(amount / max(coalesce(USUAL, 1), 1))"},
)
_OF_SET: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "cards": (
        {"name": "MAIL", "kind": "categorical", "field": "email_domain",
         "values": ["gmail.com", "anonymous.com"], "unknown": 9.0, "missing": -1.0},
        {"name": "AREA", "kind": "passthrough", "field": "area", "missing": -1.0},
        {"name": "AREA_SPREAD", "kind": "stddev", "field": "area", "window": "7d"},
        {"name": "SAME_SCHEME", "kind": "count", "window": "7d", "key": ["customer_id", "scheme"]},
    ),
    "envelopes": (
        {"name": "SOURCES", "kind": "distinct", "field": "source", "window": "7d"},
        {"name": "DELAY", "kind": "expression", "value": "asked - event_time"},
    ),
    "flat": (
        {"name": "ITEMS", "kind": "sum", "field": "items", "window": "7d"},
        {"name": "GIFT", "kind": "passthrough", "field": "gift", "missing": -1.0},
    ),
}  # fmt: skip


def set_of(name: str) -> ForeignSet:
    """Return a foreign topic, whose mapping has extra fields."""
    each = next(each for each in SETS if each.name == name)
    more = _MORE.get(name)
    events = each.events.replace("[rates]", f"{more}\n[rates]") if more else each.events
    return replace(each, events=events)


def write_features(name: str, path: Path) -> Path:
    """Write features over a set's fields and extra fields."""
    path.write_text(json.dumps([*_OF_ALL, *_OF_SET[name]]))
    return path


def write_set(each: ForeignSet, rows: Sequence[Row], folder: Path) -> Path:
    """Write labelled transactions, and what else the topic has except tombstones.

    Args:
        each: Whose columns the file has.
        rows: Of the simulator.
        folder: Where the file is made.
    """
    records: list[Row] = []
    for number, row in enumerate(rows):
        first, *others = each.around(number, row)
        assert first is not None
        records.append(first | {"is_fraud": row["is_fraud"]})
        records += [other | {"is_fraud": False} for other in others if other is not None]
    path = folder / f"{each.name}.{ENDINGS[each.name]}"
    if path.suffix == ".csv":
        pa_csv.write_csv(pa.Table.from_pylist(records), path)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records, _ENVELOPES), path)
    else:
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


_STATE: Final = pa.struct(
    [
        ("id", pa.string()), ("card", pa.struct([("token", pa.string()), ("scheme", pa.string())])),
        ("paid", pa.decimal128(20, 4)), ("ccy", pa.string()), ("at", pa.timestamp("us", "UTC")),
        ("shop", pa.string()), ("mode", pa.string()), ("mcc", pa.string()),
        ("country", pa.string()), ("present", pa.bool_()), ("device", pa.string()),
    ]
)  # fmt: skip
_ENVELOPES: Final = pa.schema(
    [
        ("before", _STATE), ("after", _STATE), ("op", pa.string()), ("ts_ms", pa.int64()),
        ("is_fraud", pa.bool_()),
    ]
)  # fmt: skip
