"""The input of the benches: one set of events, clean, spoilt or from several writers' schemas."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stream_scorer.codec.writing.encode import ColumnEncoder
from stream_scorer.registry.sources import INDEX, FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.simulator import simulate

SPOILT_EVERY = 100
_SUBJECT = "transactions-value"
_OLDER_ID, _NEWER_ID, _UNKNOWN_ID = 101, 102, 999
_LATER_FIELDS = frozenset({"channel", "mcc", "country", "card_present", "device_id"})
_NEW_FIELD = {"name": "loyalty_tier", "type": ["null", "string"], "default": None}
_ROWS_AT_ONCE = 5_000
_CUSTOMERS, _EVENTS_A_DAY = 5_000, 9_000


def transactions(count: int, customers: int = _CUSTOMERS) -> pa.Table:
    """Return the first ``count`` simulated transactions, with labels."""
    a_day = _EVENTS_A_DAY * customers // _CUSTOMERS
    return simulate(count // a_day + 1, customers).slice(0, count)


def registry_with_writers(directory: Path) -> Path:
    """Make a file registry of the shipped schemas, an older and a newer transaction schema.

    The older writer knows no optional field, the newer one writes a field that we do not know.
    """
    shutil.copytree(SCHEMAS_DIRECTORY, directory)
    now = json.loads(reader_schema("transaction.v1"))
    older = now | {"fields": [f for f in now["fields"] if f["name"] not in _LATER_FIELDS]}
    newer = now | {"fields": [*now["fields"], _NEW_FIELD]}
    index: dict[str, Any] = json.loads((directory / INDEX).read_text())
    for number, (name, schema) in {
        _OLDER_ID: ("older", older),
        _NEWER_ID: ("newer", newer),
    }.items():
        (directory / f"{name}.avsc").write_text(json.dumps(schema))
        index["schemas"].append(
            {"id": number, "subject": _SUBJECT, "version": number, "file": f"{name}.avsc"}
        )
    (directory / INDEX).write_text(json.dumps(index))
    return directory


def encoded(
    table: pa.Table, registry: FileRegistry, ids: Sequence[int]
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield (keys, payloads) of a few thousand rows; row i is written with schema i modulo n."""
    schemas = {number: registry.writer_schema(number) for number in ids}
    encoders = [ColumnEncoder(number, text) for number, text in schemas.items()]
    names = [[f["name"] for f in json.loads(text)["fields"]] for text in schemas.values()]
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns["loyalty_tier"] = pa.repeat("gold", batch.num_rows)
        ways = [
            encoder.encode({name: columns[name] for name in mine}, batch.num_rows).to_list()
            for encoder, mine in zip(encoders, names, strict=True)
        ]
        payloads = [ways[row % len(ways)][row] for row in range(batch.num_rows)]
        yield batch.column("customer_id").cast(pa.binary()).to_pylist(), payloads


def clean(table: pa.Table, registry: FileRegistry) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield the events as our schema writes them."""
    return encoded(table, registry, (registry.id_for(_SUBJECT, reader_schema("transaction.v1")),))


def mixed(table: pa.Table, registry: FileRegistry) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield the events from three writers in turn: ours, an older and a newer one."""
    ours = registry.id_for(_SUBJECT, reader_schema("transaction.v1"))
    return encoded(table, registry, (ours, _OLDER_ID, _NEWER_ID))


def spoilt(table: pa.Table, registry: FileRegistry) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield the events with every hundredth malformed, in four ways in turn."""
    row = 0
    for keys, payloads in clean(table, registry):
        for at in range(len(payloads)):
            if row % SPOILT_EVERY == SPOILT_EVERY - 1:
                payloads[at] = _spoil(payloads[at], row // SPOILT_EVERY % 4)
            row += 1
        yield keys, payloads


def spoilt_count(events: int) -> int:
    """Return how many of ``events`` records :func:`spoilt` makes malformed."""
    return events // SPOILT_EVERY


def _spoil(payload: bytes, way: int) -> bytes:
    """Return a payload that is cut off, too long, not framed, or of an unknown schema."""
    return (
        payload[:-3],
        payload + b"\0",
        b"\1" + payload[1:],
        b"\0" + _UNKNOWN_ID.to_bytes(4, "big") + payload[5:],
    )[way]
