"""Drives the scorer's decoder with one hostile record between two good ones."""

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro

from bench.hostile_cases.case import Place, entry

HOSTILE_ID = 900
"""The schema id that hostile records name."""
TRANSACTION = {
    "transaction_id": "t-1", "event_time": 1_700_000_000_000, "customer_id": "c-1",
    "terminal_id": "m-1", "amount_minor": 1_000, "currency": "EUR", "channel": "POS",
    "mcc": None, "country": None, "card_present": None, "device_id": None,
}  # fmt: skip
"""A good transaction; a test compares its fields with the shipped schema's."""
FIELDS = [
    {"name": "transaction_id", "type": "string"}, {"name": "event_time", "type": "long"},
    {"name": "customer_id", "type": "string"}, {"name": "terminal_id", "type": "string"},
    {"name": "amount_minor", "type": "long"}, {"name": "currency", "type": "string"},
]  # fmt: skip
"""The fields without a default, as another producer's schema may write them."""


def schema_with(*fields: dict[str, Any], **changed: Any) -> str:
    """Return a transaction schema with more fields in front, or other types under known names."""
    own = [{**each, "type": changed.get(each["name"], each["type"])} for each in FIELDS]
    return json.dumps({"type": "record", "name": "Transaction", "fields": [*fields, *own]})


def number(value: int) -> bytes:
    """Return an Avro int or long."""
    coded = (value << 1) ^ (value >> 63)
    out = bytearray()
    while coded > 0x7F:
        out.append(coded & 0x7F | 0x80)
        coded >>= 7
    return bytes([*out, coded])


def text(value: bytes) -> bytes:
    """Return an Avro string or bytes value."""
    return number(len(value)) + value


def body(transaction_id: bytes = b"h-1", *, front: bytes = b"", amount: int = 1_000) -> bytes:
    """Return the Avro bytes of the fields in ``FIELDS``, after other bytes."""
    parts = [front, text(transaction_id), number(TRANSACTION["event_time"])]  # type: ignore[arg-type]
    parts += [text(b"c-1"), text(b"m-1"), number(amount), text(b"EUR")]
    return b"".join(parts)


def framed(content: bytes, schema_id: int = HOSTILE_ID) -> bytes:
    """Return content with Confluent's header."""
    return b"\0" + schema_id.to_bytes(4, "big") + content


class Source:
    """The shipped schemas, and an attacker's under ``HOSTILE_ID``.

    Args:
        stranger: Text of the attacker's schema.
    """

    def __init__(self, stranger: str = "") -> None:
        settings = entry("stream_scorer.settings")
        files = entry("stream_scorer.registry.sources", "FileRegistry")(settings.SCHEMAS_DIRECTORY)
        self._files = files
        self._stranger = stranger
        self.own_id = next(e.schema_id for e in files.entries if "transaction" in e.file)
        self._own = fastavro.parse_schema(json.loads(files.writer_schema(self.own_id)))

    def writer_schema(self, schema_id: int) -> str:
        """Return the JSON of a schema."""
        if schema_id == HOSTILE_ID:
            return self._stranger
        return str(self._files.writer_schema(schema_id))

    def id_for(self, subject: str, schema: str) -> int:
        """Return the id of a shipped schema."""
        return int(self._files.id_for(subject, schema))

    def good(self, transaction_id: str) -> bytes:
        """Return a good record of the shipped schema."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._own, TRANSACTION | {"transaction_id": transaction_id})
        return framed(out.getvalue(), self.own_id)


def raw(values: list[bytes | None]) -> Any:
    """Return records as a poll gives them."""
    import numpy as np  # noqa: PLC0415 as the product

    ports = entry("stream_scorer.ports")
    count = len(values)
    keys = ports.BytesColumn.of([b"c-1"] * count)
    return ports.RawRecords(
        ports.BytesColumn.of(values), keys, None, np.zeros(count, np.int32),
        np.arange(count, dtype=np.int64), np.full(count, 1_700_000_000_000),
    )  # fmt: skip


def decoded(value: bytes | None, schema: str = "", **plan: Any) -> str:
    """Decode a hostile record between two good ones; return what became of it.

    The text begins with the reject reason, or with ``decoded`` and the record's values. It begins
    with ``NEIGHBOURS`` where a good record did not come through as it was sent.
    """
    made = entry("stream_scorer.core.events.plan", "Plan")(**plan)
    source = Source(schema)
    decoder = entry("stream_scorer.codec.reading.decode", "TransactionDecoder")(source, made)
    events, rows, rejections = decoder.decode(
        raw([source.good("before"), value, source.good("after")])
    )
    found = dict(zip(rows.tolist(), events.records.to_pylist(), strict=True))
    good = [found.get(row, {}).get("transaction_id") for row in (0, 2)]
    if good != ["before", "after"]:
        return f"NEIGHBOURS: {good}"
    if 1 in found:
        return f"decoded {json.dumps(found[1], default=str)}"
    details = dict(
        zip(rejections.rows.tolist(), zip(rejections.reasons, rejections.details, strict=True),
            strict=True)
    )  # fmt: skip
    if set(details) != {1}:
        return f"NEIGHBOURS: rejected rows {sorted(details)}"
    reason, detail = details[1]
    size = len(detail.encode("utf-8", "surrogatepass"))
    if size > 512:
        return f"a reason of {size} bytes: {reason}: {detail}"
    detail.encode()
    return f"{reason}: {detail}"


def batch_decoded(values: list[bytes | None], schema: str) -> str:
    """Decode a batch of an attacker's schema; return how many records were decoded or refused.

    The text has a count for each answer: ``decoded``, or the reject reason and its detail.
    """
    made = entry("stream_scorer.core.events.plan", "Plan")()
    decoder = entry("stream_scorer.codec.reading.decode", "TransactionDecoder")(
        Source(schema), made
    )
    _, rows, rejections = decoder.decode(raw(values))
    told = zip(rejections.reasons, rejections.details, strict=True)
    found = Counter(f"{reason}: {detail}" for reason, detail in told)
    if len(rows):
        found["decoded"] = len(rows)
    return "; ".join(f"{count} {answer}" for answer, count in found.most_common())


@dataclass(frozen=True)
class Attack:
    """A record of an attacker's schema; calling it decodes the record.

    Attributes:
        schema: Returns the schema's text.
        value: Returns the record's bytes, header included.
        plan: Limits that differ from the default plan's.
    """

    schema: Callable[[], str]
    value: Callable[[], bytes | None]
    plan: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, _: Place) -> str:  # noqa: D102 see the class
        return decoded(self.value(), self.schema(), **self.plan)
