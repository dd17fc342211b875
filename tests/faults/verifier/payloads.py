"""Decodes records by fastavro and the published schemas, without the scorer's code."""

import io
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fastavro

from tests.faults.verifier.reader import Seen

SCHEMAS = Path(__file__).parents[3] / "schemas"
_FRAME = 5
_DEAD_LETTER = "dlq."
_DECISIONS = {2: "decision.v1", 11: "decision.v2", 19: "decision.v3"}
"""Schemas by id in the registry."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One input record: as the broker acknowledged it to its producer, or a copy of it.

    Attributes:
        sequence: Its number in the order of sending.
        partition: Its partition.
        offset: Its offset.
        key: Its key.
        value: Its value.
        reason: The expected reject reason; empty if its bytes are a transaction.
        copy: Whether the broker stored it again without telling its producer.
    """

    sequence: int
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str = ""
    copy: bool = False

    @property
    def source(self) -> tuple[int, int]:
        """Its (partition, offset)."""
        return self.partition, self.offset


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an output record states about an input record.

    Attributes:
        seen: The output record.
        source: Partition and offset of the input record.
        reason: The reject reason; empty for a decision.
        transaction_id: The decision's; empty for a dead letter.
        features: The decision's features, each a float64.
        flags: The decision's flags.
    """

    seen: Seen
    source: tuple[int, int]
    reason: str = ""
    transaction_id: str = ""
    features: tuple[float, ...] = ()
    flags: tuple[str, ...] = ()


@cache
def schema(name: str) -> Any:
    """Return a published schema, parsed."""
    return fastavro.parse_schema(json.loads((SCHEMAS / f"{name}.avsc").read_text()))


def transaction(value: bytes) -> dict[str, Any]:
    """Decode an input value; its event time as milliseconds since the epoch."""
    found: Any = fastavro.schemaless_reader(
        io.BytesIO(value[_FRAME:]), schema("transaction.v1"), None
    )
    return {**found, "event_time": round(found["event_time"].timestamp() * 1_000)}


def decision(seen: Seen) -> dict[str, Any]:
    """Decode a decision; its times as ``datetime``, its features as bytes.

    Raises:
        ValueError: It has no value.
    """
    if seen.value is None:
        raise ValueError(f"{seen.place}: a decision without a value")
    written = _DECISIONS[int.from_bytes(seen.value[1:_FRAME], "big")]
    read: Any = fastavro.schemaless_reader(io.BytesIO(seen.value[_FRAME:]), schema(written), None)
    return dict(read)


def decisions_in(records: Iterable[Seen], topic: str) -> Iterator[dict[str, Any]]:
    """Yield the decisions of a topic, decoded."""
    yield from (decision(each) for each in records if each.topic == topic)


def outcome(seen: Seen, source_topic: str) -> Outcome:
    """Decode a decision or, if the headers say so, a dead letter.

    Raises:
        ValueError: It is neither of them, or belongs to another input.
    """
    headers = {k: (v or b"").decode() for k, v in seen.headers if k.startswith(_DEAD_LETTER)}
    if headers:
        topic, partition, offset = (
            headers[f"dlq.source.{name}"] for name in ("topic", "partition", "offset")
        )
        found = Outcome(seen, (int(partition), int(offset)), headers["dlq.reason"])
    else:
        read = decision(seen)
        topic, bits = read["source_topic"], read["features"]
        found = Outcome(
            seen,
            (read["source_partition"], read["source_offset"]),
            transaction_id=read["transaction_id"],
            features=struct.unpack(f"<{len(bits) // 8}d", bits),
            flags=tuple(read["flags"]),
        )
    if topic != source_topic:
        raise ValueError(f"{seen.place}: its source is {topic}")
    return found
