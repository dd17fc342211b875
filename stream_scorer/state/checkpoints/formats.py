"""The bytes of one checkpoint record, in every format that is read and written.

A record's value is, little-endian::

    format 1   "SCKP", 1 uint16, length uint32,                   header, payload
    format 2   "SCKP", 2 uint16, length uint32, checksum uint32,  header, payload

The header is JSON without spaces, with sorted keys. The payload is this part's share of the dumped
rings (their own header names the stored fields). Format 2 has fields for the rings' cap and for the
unit of their amounts. Format 1 has none, so they are entries of ``since``: ``@cap`` has the cap as
its value, and the name ``@unit=EUR/2`` contains the unit. No reason begins with ``@``. An old
reader takes the values for times in the distant past, and ignores them.

The checksum is the CRC-32 (of zlib, gzip and Ethernet) of the complete bucket; every part of the
bucket contains it. It covers, in this order: the header of part 0, the payload's last four bytes,
the rest of the payload. The payload ends with its own CRC-32, and the CRC of any bytes followed by
their CRC is a constant. In the natural order, the checksum would therefore not detect one valid
payload in another's place.
"""

import itertools
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.core.rings.rings import NEVER
from stream_scorer.state.checkpoints.record_mac import RecordMac

Record = tuple[bytes, bytes]

PLAIN, CHECKED = 1, 2
FORMATS = (PLAIN, CHECKED)
FORMAT = CHECKED
"""The format that is written by default; see the setting ``state.write_format``."""
PART_BYTES = 900_000
"""Payload bytes of one record; with header and batch overhead below Kafka's usual 1 MiB."""
HEADER_BYTES_MOST = 64 * 1024
REASONS_MOST = 512
"""Reasons why a bucket's history is missing: these three, and the name of each stored field."""

_MAGIC = b"SCKP"
_PREFIX = struct.Struct("<4sHI")
_CHECKSUM = struct.Struct("<I")
_ENDS_WITH = 4
_COUNTS = ("bucket", "buckets", "bytes", "engine", "horizon", "offset", "part", "partition",
           "partitions", "parts")  # fmt: skip
_NAMES = {
    PLAIN: frozenset({*_COUNTS, "since", "watermark"}),
    CHECKED: frozenset({*_COUNTS, "cap", "since", "unit", "watermark"}),
}
_ASIDE = "@"
_COUNT_MOST = 1 << 62
_TIME_FARTHEST = 1 << 60
"""Maximum distance of a time from 1970, ms, so that sums and differences cannot overflow."""
_SINCE_FARTHEST = 1 << 62
"""Limit of a reason's time, ms: a time minus a horizon."""
_TEXT_LONGEST = 256
_SHOWN = 60
_CAP = "@cap"
_UNIT = "@unit="


class Keys(Protocol):
    """The owner of the records: makes each record's key and its MAC."""

    @property
    def seal(self) -> RecordMac: ...  # noqa: D102 see Owner

    def key(self, partition: int, bucket: int, part: int) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Bucket:
    """The rings of some customers of one partition, as of an input offset.

    Attributes:
        partition: Input partition.
        bucket: Number of the bucket, below :data:`~stream_scorer.core.rings.rings.BUCKETS`.
        offset: The partition's next input offset when the bucket was dumped.
        partitions: Number of partitions of the input.
        engine: Version of the rules by which features are computed.
        watermark: Newest accepted event time of the partition before ``offset``, ms.
        horizon: How long rings remembered, ms.
        since: By reason why history is missing, the event time (ms) from which it is complete; see
            ``history``.
        payload: The dumped rings; empty for an empty bucket.
        cap: Maximum number of events of a ring; 0 if the record does not contain it.
        unit: Unit of the amounts, as :attr:`Plan.unit`; empty if the record does not contain it.
        format: Number of the format that it was read in, or is to be written in.
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
    format: int = FORMAT

    @property
    def checked(self) -> bool:
        """Whether the checksum of the record that was read covers the payload."""
        return self.format == CHECKED

    def records(self, owner: Keys) -> list[Record]:
        """Return the bucket as (key, value) records, to be written in one transaction."""
        keys = (owner.key(self.partition, self.bucket, part) for part in itertools.count())
        return [
            (key, owner.seal.close(key, value))
            for key, value in zip(keys, values(self), strict=False)
        ]


class UnknownFormatError(ValueError):
    """A record has an unknown format: a later version wrote it."""


@dataclass(frozen=True, slots=True)
class BucketPart:
    """One record of a bucket, as read.

    Attributes:
        format: One of ``FORMATS``.
        header: The bucket's description, with ``cap`` and ``unit`` in every format.
        checksum: Expected checksum of the complete bucket; None in format 1.
        head: The header's bytes; the checksum covers those of part 0.
        payload: The part's share.
    """

    format: int
    header: dict[str, Any]
    checksum: int | None
    head: bytes
    payload: bytes

    def continues(self, first: "BucketPart") -> bool:
        """Return whether this is a further part of the dump to which part 0 belongs."""
        same = (self.format, self.checksum) == (first.format, first.checksum)
        return same and self.header | {"part": 0} == first.header


def values(bucket: Bucket) -> list[bytes]:
    """Return a bucket as the values of its records, one per part, in its own format."""
    payload = bucket.payload
    parts = max(-(-len(payload) // PART_BYTES), 1)
    tail = _tail(bucket)
    checked = bucket.format == CHECKED
    checksum = b""
    found = []
    for part in range(parts):
        # Not json.dumps: this runs some thousand times a second.
        cap = f'"cap":{bucket.cap},' if checked else ""
        head = (
            f'{{"bucket":{bucket.bucket},"buckets":{BUCKETS},"bytes":{len(payload)},{cap}'
            f'"engine":{bucket.engine},"horizon":{bucket.horizon},"offset":{bucket.offset},'
            f'"part":{part},"partition":{bucket.partition},"partitions":{bucket.partitions},'
            f'"parts":{parts},{tail}'
        ).encode("ascii")
        if checked and not part:
            checksum = _CHECKSUM.pack(checksum_of(head, payload))
        share = payload[part * PART_BYTES : (part + 1) * PART_BYTES]
        found.append(_PREFIX.pack(_MAGIC, bucket.format, len(head)) + checksum + head + share)
    return found


def _tail(bucket: Bucket) -> str:
    """Return the end of a header, which all parts share."""
    noted, unit = dict(bucket.since), ""
    if bucket.format == CHECKED:
        unit = f'"unit":{json.dumps(bucket.unit)},'
    else:
        if bucket.cap:
            noted[_CAP] = bucket.cap
        if bucket.unit:
            noted[_UNIT + bucket.unit] = 0
    since = json.dumps(noted, sort_keys=True, separators=(",", ":"))
    return f'"since":{since},{unit}"watermark":{bucket.watermark}}}'


def covers_itself(value: bytes) -> bool:
    """Return whether a record contains its bucket's checksum; only those of format 1 do not.

    >>> covers_itself(b"SCKP" + bytes([1, 0])), covers_itself(b"SCKP" + bytes([2, 0]))
    (False, True)
    """
    return value[len(_MAGIC) :][:2] != PLAIN.to_bytes(2, "little")


def checksum_of(head: bytes, payload: bytes) -> int:
    """Return the checksum of a bucket from the header of part 0 and the complete payload.

    >>> hex(checksum_of(b"{}", b"rings"))
    '0x7ce5373c'
    """
    at = max(len(payload) - _ENDS_WITH, 0)
    return zlib.crc32(memoryview(payload)[:at], zlib.crc32(payload[at:], zlib.crc32(head)))


def refuse_changed(first: BucketPart, payload: bytes) -> None:
    """Check a complete bucket against its checksum, if its format has one.

    Raises:
        ValueError: The checksums differ; the message shows both.
    """
    if first.checksum is None:
        return
    found = checksum_of(first.head, payload)
    if found != first.checksum:
        raise ValueError(
            f"bucket {first.header['bucket']}: its checksum is {first.checksum:#010x}, and that of "
            f"its bytes {found:#010x}: they are not what was written"
        )


def parse(value: bytes, partition: int, bucket: int, part: int) -> BucketPart:
    """Read the value of a record and check it against the partition, bucket and part of its key.

    Raises:
        UnknownFormatError: A later version wrote it.
        ValueError: It is damaged, or belongs to another key.
    """
    where = f"bucket {bucket} part {part}"
    if len(value) < _PREFIX.size:
        raise ValueError(f"{where}: {len(value)} bytes are not a record")
    magic, number, length = _PREFIX.unpack_from(value)
    if magic != _MAGIC:
        raise ValueError(f"{where}: does not begin as a checkpoint record")
    if number not in FORMATS:
        known = " and ".join(map(str, FORMATS))
        raise UnknownFormatError(
            f"{where}: format {number} is not known; this version reads {known}"
        )
    at = _PREFIX.size + (_CHECKSUM.size if number == CHECKED else 0)
    end = at + length
    if length > HEADER_BYTES_MOST:
        raise ValueError(f"{where}: a header of {length} bytes; at most {HEADER_BYTES_MOST}")
    if end > len(value):
        raise ValueError(f"{where}: the header is cut off")
    head = value[at:end]
    try:
        header = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: the header is not JSON: {error}") from error
    fault = _fault(header, number)
    if fault:
        raise ValueError(f"{where}: {fault}")
    if (header["partition"], header["bucket"], header["part"]) != (partition, bucket, part):
        raise ValueError(f"{where}: the header is another record's")
    checksum = None
    if number == CHECKED:
        (checksum,) = _CHECKSUM.unpack_from(value, _PREFIX.size)
    else:
        header |= _apart(header["since"])
    return BucketPart(number, header, checksum, head, value[end:])


def _apart(noted: "Mapping[str, int]") -> dict[str, Any]:
    """Split ``since`` of a valid header of format 1 into since, cap and unit."""
    units = [name.removeprefix(_UNIT) for name in noted if name.startswith(_UNIT)]
    since = {name: ms for name, ms in noted.items() if not name.startswith(_ASIDE)}
    return {"since": since, "cap": noted.get(_CAP, 0), "unit": next(iter(units), "")}


def _fault(header: Any, number: int) -> str:  # noqa: PLR0911 one check after the other
    """Return what is wrong with a header of the given format; empty if it is valid."""
    if not isinstance(header, dict) or header.keys() != _NAMES[number]:
        return "the header's names are not this format's"
    for name in (*_COUNTS, "cap") if number == CHECKED else _COUNTS:
        if type(header[name]) is not int or not 0 <= header[name] <= _COUNT_MOST:
            return f"{name} is {_shown(header[name])}"
    watermark = header["watermark"]
    if type(watermark) is not int or not (watermark == NEVER or abs(watermark) <= _TIME_FARTHEST):
        return f"watermark is {_shown(watermark)}"
    if number == CHECKED and not _is_name(header["unit"], empty=True):
        return f"unit is {_shown(header['unit'])}"
    if header["buckets"] != BUCKETS:
        return f"was written with {header['buckets']} buckets, not {BUCKETS}"
    if not header["part"] < header["parts"] or not header["bucket"] < BUCKETS:
        return "part or bucket is out of range"
    return _fault_of_since(header["since"], number)


def _fault_of_since(since: Any, number: int) -> str:
    """Return what is wrong with a header's ``since``; empty if it is valid."""
    if (
        not isinstance(since, dict)
        or len(since) > REASONS_MOST
        or not all(_is_name(reason) for reason in since)
        or not all(type(ms) is int and abs(ms) <= _SINCE_FARTHEST for ms in since.values())
    ):
        return f"since is {_shown(since)}"
    if number != PLAIN:
        return ""
    aside = [name for name in since if name.startswith(_ASIDE) and name != _CAP]
    if any(not name.startswith(_UNIT) for name in aside) or len(aside) > 1:
        return f"since is {_shown(since)}"
    if since.get(_CAP, 0) < 0:
        return f"the cap is {since[_CAP]}"
    return ""


def _is_name(text: Any, *, empty: bool = False) -> bool:
    """Return whether a header's text may be shown: short, printable ASCII."""
    return (
        type(text) is str
        and len(text) <= _TEXT_LONGEST
        and text.isascii()
        and text.isprintable()
        and (empty or bool(text))
    )


def _shown(value: Any) -> str:
    """Return a header's value as a message shows it, cut to a line."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
