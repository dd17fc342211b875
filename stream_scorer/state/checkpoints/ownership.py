"""The checkpoint: one customer bucket of one input partition, as records of a store.

A bucket is labelled with the partition's next input offset at the moment when it was dumped, so
that it is a pure function of the input before that offset. Buckets of one partition have different
labels. A replay folds each event only into the buckets that do not contain it yet, and so brings
all buckets to one offset.

A record's key is ``GROUP/TOPIC/PARTITION/BUCKET/PART``, UTF-8, numbers in decimal. Its value has
one of the formats of ``formats``. A large bucket has several parts, written in one transaction;
part 0 contains their number. An emptied bucket is a record without payload, which still updates
the label; a tombstone could not.

The reader is strict: it refuses what it does not know exactly. Each record contains the number of
its format, so a store may hold buckets of several formats.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.state.checkpoints.formats import (
    Bucket,
    BucketPart,
    Record,
    parse,
    refuse_changed,
)
from stream_scorer.state.checkpoints.record_mac import OPEN, RecordMac, SealError
from stream_scorer.state.checkpoints.rejected_segments import StoredSegment

_REJECTED = "rejected"

# One spelling per number, so that no two keys mean the same bucket.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_OFFSET = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of the state: a consumer group and its input topic.

    Attributes:
        group: The consumer group.
        topic: The input.
        seal: The keys for its records' MACs; see ``record_mac``.
    """

    group: str
    topic: str
    seal: RecordMac = field(default=OPEN, compare=False, repr=False)

    def key(self, partition: int, bucket: int, part: int) -> bytes:
        """Return a record's key.

        >>> Owner("g", "t").key(3, 17, 0)
        b'g/t/3/17/0'
        """
        return f"{self.group}/{self.topic}/{partition}/{bucket}/{part}".encode()

    def rejected_key(self, partition: int, first: int) -> bytes:
        """Return the key of a rejected segment; no version reads it as a bucket.

        >>> Owner("g", "t").rejected_key(3, 170), Owner("g", "t").place(b"g/t/3/rejected/170")
        (b'g/t/3/rejected/170', None)
        """
        return f"{self.group}/{self.topic}/{partition}/{_REJECTED}/{first}".encode()

    def rejection(self, kept: StoredSegment) -> Record:
        """Return the record of a rejected segment, with its MAC."""
        key = self.rejected_key(kept.partition, kept.first)
        return key, self.seal.close(key, kept.value)

    def rejected(self, key: bytes) -> tuple[int, int] | None:
        """Return (partition, first offset) of this owner's rejected segment; None for other keys.

        >>> Owner("g", "t").rejected(b"g/t/3/rejected/170"), Owner("g", "t").rejected(b"g/t/3/1/0")
        ((3, 170), None)
        """
        owner, *place = key.decode(errors="replace").rsplit("/", 3)
        if owner != f"{self.group}/{self.topic}" or place[1:2] != [_REJECTED]:
            return None
        partition, _, first = place
        if not _NUMBER.fullmatch(partition) or not _OFFSET.fullmatch(first):
            return None
        return int(partition), int(first)

    def place(self, key: bytes) -> tuple[int, int, int] | None:
        """Return (partition, bucket, part) of this owner's key; None for another owner's.

        >>> Owner("g", "t").place(b"g/t/3/17/0"), Owner("a/g", "t").place(b"g/t/3/17/0")
        ((3, 17, 0), None)
        """
        owner, *place = key.decode(errors="replace").rsplit("/", 3)
        if owner != f"{self.group}/{self.topic}" or not all(map(_NUMBER.fullmatch, place)):
            return None
        partition, bucket, part = map(int, place)
        return (partition, bucket, part) if bucket < BUCKETS else None


class Assembly:
    """Assembles one partition's records into buckets; later records of a key replace earlier ones.

    Args:
        owner: The owner of the state; other owners' records are ignored.
        partition: Input partition.
    """

    def __init__(self, owner: Owner, partition: int) -> None:
        self._owner = owner
        self._partition = partition
        self._values: dict[tuple[int, int], bytes | SealError] = {}

    def add(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Add records in the store's order."""
        for key, value in records:
            place = self._owner.place(key or b"")
            if place is None or place[0] != self._partition:
                continue
            at = place[1:]
            if value is None:
                self._values.pop(at, None)
            else:
                self._values[at] = opened(self._owner.seal, key or b"", value)

    def buckets(self) -> dict[int, Bucket]:
        """Return the buckets by number, and empty the assembly.

        Raises:
            SealError: A record's MAC is missing or wrong.
            UnknownFormatError: A later version wrote a record.
            ValueError: A record is damaged, contradicts its checksum, or a part is missing.
        """
        records, self._values = self._values, {}
        found = {}
        for bucket in sorted({bucket for bucket, _ in records}):
            # Popped, so that each payload exists twice only while it is copied.
            first = records.pop((bucket, 0), None)
            if first is None:
                raise ValueError(f"bucket {bucket}: part 0 is missing")
            piece = _parsed(first, self._partition, bucket, 0)
            del first
            header, shares = piece.header, [piece.payload]
            for part in range(1, header["parts"]):
                value = records.pop((bucket, part), None)
                if value is None:
                    raise ValueError(f"bucket {bucket}: part {part} is missing")
                other = _parsed(value, self._partition, bucket, part)
                if not other.continues(piece):
                    raise ValueError(f"bucket {bucket}: part {part} is of another dump")
                shares.append(other.payload)
            whole = b"".join(shares)
            if len(whole) != header["bytes"]:
                raise ValueError(
                    f"bucket {bucket}: has {len(whole)} bytes of payload, not {header['bytes']}"
                )
            refuse_changed(piece, whole)
            found[bucket] = Bucket(
                self._partition, bucket, header["offset"], header["partitions"],
                header["engine"], header["watermark"], header["horizon"], header["since"], whole,
                header["cap"], header["unit"], piece.format,
            )  # fmt: skip
        return found


def opened(seal: RecordMac, key: bytes, value: bytes) -> bytes | SealError:
    """Return the value inside a record; if its MAC is wrong, the error instead.

    A reader keeps the result until it has read the last record, because a later record may replace
    this one. The error instead of the value keeps forged values out of memory until then.
    """
    try:
        return seal.open(key, value)
    except SealError as error:
        return error.with_traceback(None)


def _parsed(value: bytes | SealError, partition: int, bucket: int, part: int) -> BucketPart:
    """Parse the value inside a record.

    Raises:
        SealError: Its MAC was missing or wrong.
        ValueError: It is damaged.
    """
    if isinstance(value, SealError):
        raise SealError(f"bucket {bucket} part {part}: {value}")
    return parse(value, partition, bucket, part)


def partitions_of(owner: Owner, key: bytes, value: bytes) -> int:
    """Return how many partitions the input had when a record was written.

    Raises:
        ValueError: It is damaged, of an unknown format, or another owner's.
    """
    place = owner.place(key)
    if place is None:
        raise ValueError(f"key {key!r} is not of {owner}")
    piece = _parsed(opened(owner.seal, key, value), *place)
    if piece.header["parts"] == 1:
        refuse_changed(piece, piece.payload)
    return int(piece.header["partitions"])
