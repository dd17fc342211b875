"""The checkpoint's format: one customer bucket of one input partition, as records of a store.

A bucket is labelled with the partition's next input offset at the moment when it was dumped, so
that it is a pure function of the input before that offset. Buckets of one partition carry
different labels; a replay that lets an event touch only buckets that do not know it yet brings
them all to one offset.

A record is::

    key    GROUP/TOPIC/PARTITION/BUCKET/PART                    UTF-8, numbers in decimal
    value  "SCKP", format uint16, length uint32, header, payload  little-endian

The header is JSON without spaces, keys sorted; the payload is the part's share of what the rings
gave (their own header names the stored fields). A large bucket takes several parts, written in
one transaction; part 0 says how many count. An emptied bucket is a record without payload: its
label still moves on, which a tombstone could not say.

The reader is strict: what it does not know exactly, it refuses. A later format is read beside
this one by its number. Format 1 has no names for the rings' cap and the unit of their amounts. They
lie in ``since``, behind an ``@`` that no reason begins with, as numbers that a reader who does
not know them takes for times long past, and so for nothing: ``@cap`` gives the cap, the name
``@unit=EUR/2`` the unit. A record without them, from before they were written, says neither.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream_scorer.core.windows import BUCKETS

FORMAT = 1
PART_BYTES = 900_000
"""Payload bytes of one record; with header and batch overhead below Kafka's usual 1 MiB."""

_MAGIC = b"SCKP"
_PREFIX = struct.Struct("<4sHI")
_COUNTS = ("bucket", "buckets", "bytes", "engine", "horizon", "offset", "part", "partition",
           "partitions", "parts")  # fmt: skip
_NAMES = frozenset({*_COUNTS, "since", "watermark"})
_ASIDE = "@"
_CAP = "@cap"
_UNIT = "@unit="

Record = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose state it is: a group's, of one input topic."""

    group: str
    topic: str

    def key(self, partition: int, bucket: int, part: int) -> bytes:
        """Return a record's key.

        >>> Owner("g", "t").key(3, 17, 0)
        b'g/t/3/17/0'
        """
        return f"{self.group}/{self.topic}/{partition}/{bucket}/{part}".encode()

    def place(self, key: bytes) -> tuple[int, int, int] | None:
        """Return (partition, bucket, part) of a key of ours; None for another owner's.

        >>> Owner("g", "t").place(b"g/t/3/17/0"), Owner("a/g", "t").place(b"g/t/3/17/0")
        ((3, 17, 0), None)
        """
        owner, *place = key.decode(errors="replace").rsplit("/", 3)
        if owner != f"{self.group}/{self.topic}" or not all(each.isdecimal() for each in place):
            return None
        partition, bucket, part = map(int, place)
        return partition, bucket, part


@dataclass(frozen=True, slots=True)
class Bucket:
    """The rings of some customers of one partition, as of an input offset.

    Attributes:
        partition: Input partition.
        bucket: Number of the bucket, below :data:`~stream_scorer.core.windows.BUCKETS`.
        offset: The partition's next input offset when it was dumped.
        partitions: How many partitions the input had.
        engine: Version of the meaning of features.
        watermark: Newest accepted event time of the partition before ``offset``, ms.
        horizon: How long rings remembered, ms.
        since: By reason why history is missing, from which event time on it is whole, ms; see
            ``history``.
        payload: What the rings gave; empty for an empty bucket.
        cap: How many events a ring held at most; 0 where the record does not say.
        unit: What amounts are counted in, as :attr:`Plan.unit`; empty where it does not say.
    """

    partition: int
    bucket: int
    offset: int
    partitions: int
    engine: int
    watermark: int
    horizon: int = 0
    since: Mapping[str, int] = field(default_factory=dict)
    payload: bytes = b""
    cap: int = 0
    unit: str = ""

    def records(self, owner: Owner) -> list[Record]:
        """Return the bucket as (key, value) records, all of one transaction."""
        parts = max(-(-len(self.payload) // PART_BYTES), 1)
        noted = dict(self.since)
        if self.cap:
            noted[_CAP] = self.cap
        if self.unit:
            noted[_UNIT + self.unit] = 0
        since = json.dumps(noted, sort_keys=True, separators=(",", ":"))
        records = []
        for part in range(parts):
            # Written out: it is made some thousand times a second.
            head = (
                f'{{"bucket":{self.bucket},"buckets":{BUCKETS},"bytes":{len(self.payload)},'
                f'"engine":{self.engine},"horizon":{self.horizon},"offset":{self.offset},"part":{part},'
                f'"partition":{self.partition},"partitions":{self.partitions},"parts":{parts},'
                f'"since":{since},"watermark":{self.watermark}}}'
            ).encode("ascii")
            share = self.payload[part * PART_BYTES : (part + 1) * PART_BYTES]
            value = _PREFIX.pack(_MAGIC, FORMAT, len(head)) + head + share
            records.append((owner.key(self.partition, self.bucket, part), value))
        return records


class Assembly:
    """Puts one partition's records together to buckets; later records of a key replace earlier.

    Args:
        owner: Whose state; other owners' records are passed over.
        partition: Input partition.
    """

    def __init__(self, owner: Owner, partition: int) -> None:
        self._owner = owner
        self._partition = partition
        self._values: dict[tuple[int, int], bytes] = {}

    def add(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Take records in the store's order."""
        for key, value in records:
            place = self._owner.place(key or b"")
            if place is None or place[0] != self._partition:
                continue
            at = place[1:]
            if value is None:
                self._values.pop(at, None)
            else:
                self._values[at] = value

    def buckets(self) -> dict[int, Bucket]:
        """Hand over the buckets by number; the assembly is empty then.

        Raises:
            ValueError: A record is damaged, of an unknown format, or lacks its other parts.
        """
        values, self._values = self._values, {}
        found = {}
        for bucket in sorted({bucket for bucket, _ in values}):
            # Taken away, so that no payload is held twice for longer than it takes to copy it.
            first = values.pop((bucket, 0), None)
            if first is None:
                raise ValueError(f"bucket {bucket}: part 0 is missing")
            header, payload = _parse(first, self._partition, bucket, 0)
            del first
            shares = [payload]
            for part in range(1, header["parts"]):
                value = values.pop((bucket, part), None)
                if value is None:
                    raise ValueError(f"bucket {bucket}: part {part} is missing")
                other, payload = _parse(value, self._partition, bucket, part)
                if other | {"part": 0} != header:
                    raise ValueError(f"bucket {bucket}: part {part} is of another dump")
                shares.append(payload)
            whole = b"".join(shares)
            if len(whole) != header["bytes"]:
                raise ValueError(
                    f"bucket {bucket}: has {len(whole)} bytes of payload, not {header['bytes']}"
                )
            since, cap, unit = _apart(header["since"])
            found[bucket] = Bucket(
                self._partition, bucket, header["offset"], header["partitions"],
                header["engine"], header["watermark"], header["horizon"], since, whole, cap, unit,
            )  # fmt: skip
        return found


def partitions_of(owner: Owner, key: bytes, value: bytes) -> int:
    """Return how many partitions the input had when a record was written.

    Raises:
        ValueError: It is damaged, of an unknown format, or another owner's.
    """
    place = owner.place(key)
    if place is None:
        raise ValueError(f"key {key!r} is not of {owner}")
    return int(_parse(value, *place)[0]["partitions"])


def _parse(value: bytes, partition: int, bucket: int, part: int) -> tuple[dict[str, Any], bytes]:
    """Return (header, payload) of a record's value."""
    where = f"bucket {bucket} part {part}"
    if len(value) < _PREFIX.size:
        raise ValueError(f"{where}: {len(value)} bytes are no record")
    magic, number, length = _PREFIX.unpack_from(value)
    if magic != _MAGIC:
        raise ValueError(f"{where}: does not begin as a checkpoint record")
    if number != FORMAT:
        raise ValueError(f"{where}: format {number} is not known; known: {FORMAT}")
    end = _PREFIX.size + length
    if end > len(value):
        raise ValueError(f"{where}: the header is cut off")
    try:
        header = json.loads(value[_PREFIX.size : end])
    except ValueError as error:
        raise ValueError(f"{where}: the header is no JSON: {error}") from error
    fault = _fault(header)
    if fault:
        raise ValueError(f"{where}: {fault}")
    if (header["partition"], header["bucket"], header["part"]) != (partition, bucket, part):
        raise ValueError(f"{where}: the header is another record's")
    return header, value[end:]


def _apart(noted: Mapping[str, int]) -> tuple[dict[str, int], int, str]:
    """Return (since, cap, unit) of what stands in a sound header's ``since``."""
    units = [name.removeprefix(_UNIT) for name in noted if name.startswith(_UNIT)]
    since = {name: ms for name, ms in noted.items() if not name.startswith(_ASIDE)}
    return since, noted.get(_CAP, 0), next(iter(units), "")


def _fault(header: Any) -> str:  # noqa: PLR0911 one check after the other
    """Return what is wrong with a header; empty when nothing is."""
    if not isinstance(header, dict) or header.keys() != _NAMES:
        return "the header's names are not this format's"
    for name in _COUNTS:
        if type(header[name]) is not int or header[name] < 0:
            return f"{name} is {header[name]!r}"
    if type(header["watermark"]) is not int:
        return f"watermark is {header['watermark']!r}"
    since = header["since"]
    if not isinstance(since, dict) or not all(type(ms) is int for ms in since.values()):
        return f"since is {since!r}"
    aside = [name for name in since if name.startswith(_ASIDE) and name != _CAP]
    if any(not name.startswith(_UNIT) for name in aside) or len(aside) > 1:
        return f"since is {since!r}"
    if since.get(_CAP, 0) < 0:
        return f"the cap is {since[_CAP]}"
    if header["buckets"] != BUCKETS:
        return f"was written with {header['buckets']} buckets, not {BUCKETS}"
    if not header["part"] < header["parts"] or not header["bucket"] < BUCKETS:
        return "part or bucket is out of range"
    return ""
