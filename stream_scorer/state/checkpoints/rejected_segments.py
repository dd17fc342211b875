"""Rejections as records of the state topic: segments of source offsets and reasons.

A rejection is part of the history. A replay must skip the records that were rejected then, even if
today's plan and registry would accept them. So each transaction that rejects records writes one
segment for each partition with rejections. Its key is ``GROUP/TOPIC/PARTITION/rejected/FIRST``,
where FIRST is the first rejected offset; versions without segments ignore it. Its value is,
little-endian::

    "SREJ", 1 uint16, checksum uint32 (CRC-32 of all that follows),
    level uint8, how uint8, partition uint32, first int64, end int64, count uint32,
    bytes of offsets uint32, bytes of reasons uint32,
    offsets (zlib), reasons (zlib)

``end`` is the last rejected offset + 1, ``count`` the number of rejected offsets. Offsets are
either a bitmap of [first, end), first offset in the lowest bit, or its run lengths as int64,
rejected and other alternating; whichever is smaller. Reasons are JSON: ``[names, codes]``, where
``codes`` gives each rejected offset's index in ``names`` as run lengths ``[code, length, ...]``,
or ``[names, null, counts]`` if ``codes`` would take more than one bit for each offset.

Small segments are merged (:func:`merged`). The result has the key of the first of them; the same
transaction deletes the keys of the others. Two overlapping segments mean their union, so a reader
that sees both the parts and the result gets the same offsets.
"""

import json
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.state.checkpoints.formats import UnknownFormatError

Int64 = NDArray[np.int64]

MOST_REJECTED = 1 << 20
"""Maximum number of rejected offsets of one segment."""
MOST_SPAN = 1 << 23
"""Maximum number of offsets that one bitmap covers: 1 MiB before compression."""
_MOST_REASON_RUNS = 65_536
_MOST_NAMES, _MOST_NAME_LETTERS = 256, 16_384
"""Maximum number of reasons of one segment, and of their letters. Ours have up to 40 letters."""
_MOST_LEVEL = 8
"""Sixteen segments of a level become one of the next, so the largest segment has level 5."""
_VARIOUS = "VARIOUS"

_MAGIC = b"SREJ"
_NUMBER = 1
_PREFIX = struct.Struct("<4sHI")
_HEADER = struct.Struct("<BBIqqIII")
_BITMAP, _RUNS = 0, 1


@dataclass(frozen=True, slots=True)
class RejectedSegment:
    """Some rejected offsets of one partition, decoded.

    Attributes:
        partition: Input partition.
        offsets: int64[n], ascending, n >= 1.
        names: The reasons that occur.
        codes: int64[n], each offset's index in ``names``; None if only counts are kept.
        counts: How often each of ``names`` occurs.
        level: How often its records were merged.
    """

    partition: int
    offsets: Int64
    names: tuple[str, ...]
    codes: Int64 | None
    counts: tuple[int, ...]
    level: int = 0

    @property
    def first(self) -> int:
        """The first rejected offset."""
        return int(self.offsets[0])

    @property
    def end(self) -> int:
        """The last rejected offset + 1."""
        return int(self.offsets[-1]) + 1

    @property
    def span(self) -> int:
        """Number of offsets from the first to the last."""
        return self.end - self.first


def segment(partition: int, offsets: Int64, reasons: Sequence[str]) -> RejectedSegment:
    """Make a segment of one transaction's rejections of a partition.

    Args:
        partition: Input partition.
        offsets: int64[n], ascending and distinct, n >= 1.
        reasons: n reasons.
    """
    names = tuple(sorted(set(reasons)))
    if _too_many(names):
        # A dead letter of another client may name any reason: see `state/commands/adopt.py`.
        names, reasons = (_VARIOUS,), [_VARIOUS] * len(reasons)
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place[reason] for reason in reasons], np.int64)
    counts = np.bincount(codes, minlength=len(names))
    return RejectedSegment(partition, offsets, names, codes, tuple(counts.tolist()))


def merged(parts: Sequence[RejectedSegment]) -> RejectedSegment | None:
    """Return the union of segments of one partition, one level up; None where it is too large.

    Args:
        parts: Two or more, ordered by first offset.
    """
    names = tuple(sorted({name for part in parts for name in part.names}))
    every = np.concatenate([part.offsets for part in parts])
    offsets, kept = np.unique(every, return_index=True)
    level = max(part.level for part in parts) + 1
    if len(offsets) > MOST_REJECTED or int(offsets[-1]) - int(offsets[0]) >= MOST_SPAN:
        return None
    if level > _MOST_LEVEL or _too_many(names):
        # Another client wrote one of them: every written segment must be readable.
        return None
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(dict(zip(part.names, part.counts, strict=True)))
    codes = None
    known = [part.codes for part in parts if part.codes is not None]
    if len(known) == len(parts):
        place = {name: code for code, name in enumerate(names)}
        codes = np.concatenate(
            [
                np.array([place[name] for name in part.names], np.int64)[own]
                for part, own in zip(parts, known, strict=True)
            ]
        )[kept]
    return RejectedSegment(
        parts[0].partition, offsets, names, codes, tuple(counts[name] for name in names), level
    )


def _too_many(names: Sequence[str]) -> bool:
    """Whether a segment cannot hold so many reasons, or such long ones."""
    return len(names) > _MOST_NAMES or sum(map(len, names)) > _MOST_NAME_LETTERS


def encoded(made: RejectedSegment) -> bytes:
    """Return a segment as a record's value."""
    how, places = _encoded_offsets(made)
    reasons = _encoded_reasons(made, room=max(made.span // 8 - len(places) - 128, 0))
    body = _HEADER.pack(
        made.level, how, made.partition, made.first, made.end, len(made.offsets),
        len(places), len(reasons),
    )  # fmt: skip
    body += places + reasons
    return _PREFIX.pack(_MAGIC, _NUMBER, zlib.crc32(body)) + body


def _encoded_offsets(made: RejectedSegment) -> tuple[int, bytes]:
    breaks = np.flatnonzero(np.diff(made.offsets) != 1)
    first = made.offsets[np.concatenate([np.zeros(1, np.int64), breaks + 1])]
    last = made.offsets[np.concatenate([breaks, np.array([len(made.offsets) - 1])])]
    lengths = np.empty(2 * len(first) - 1, np.int64)
    lengths[0::2] = last - first + 1
    lengths[1::2] = first[1:] - last[:-1] - 1
    runs = zlib.compress(lengths.astype("<i8").tobytes(), 6)
    if made.span > MOST_SPAN:
        return _RUNS, runs
    bits = np.zeros(made.span, np.bool_)
    bits[made.offsets - made.first] = True
    bitmap = zlib.compress(np.packbits(bits, bitorder="little").tobytes(), 6)
    return (_BITMAP, bitmap) if len(bitmap) < len(runs) else (_RUNS, runs)


def _encoded_reasons(made: RejectedSegment, room: int) -> bytes:
    counts = _json([list(made.names), None, list(made.counts)])
    if made.codes is None:
        return counts
    starts = np.flatnonzero(np.diff(made.codes, prepend=-1) != 0)
    lengths = np.diff(np.append(starts, len(made.codes)))
    if made.level and len(starts) > _MOST_REASON_RUNS:
        return counts
    pairs = np.stack([made.codes[starts], lengths], axis=1).ravel().tolist()
    each = _json([list(made.names), pairs])
    # A segment of a single transaction names each reason; merged segments are kept long.
    return each if made.level == 0 or len(each) <= max(room, len(counts)) else counts


def _json(value: object) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode("ascii"), 6)


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as stored: checked and described, not decoded.

    Attributes:
        partition: Input partition.
        first: The first rejected offset.
        end: The last one + 1.
        count: Number of rejected offsets.
        level: How often its records were merged.
        value: The record's value.
    """

    partition: int
    first: int
    end: int
    count: int
    level: int
    value: bytes

    @classmethod
    def of(cls, made: RejectedSegment) -> "StoredSegment":
        """Encode a segment."""
        return cls(
            made.partition, made.first, made.end, len(made.offsets), made.level, encoded(made)
        )

    def decoded(self) -> RejectedSegment:
        """Return its offsets and reasons.

        Raises:
            ValueError: The content contradicts the header.
        """
        _, how, _, _, _, _, of_places, of_reasons = _header(self.value)
        at = _PREFIX.size + _HEADER.size
        offsets = _offsets_of(self, how, self.value[at : at + of_places])
        reasons = self.value[at + of_places : at + of_places + of_reasons]
        names, codes, counts = _reasons_of(self, reasons)
        return RejectedSegment(self.partition, offsets, names, codes, counts, self.level)


def _header(value: bytes) -> tuple[int, ...]:
    found: tuple[int, ...] = _HEADER.unpack_from(value, _PREFIX.size)
    return found


def parse(value: bytes, partition: int, first: int) -> StoredSegment:
    """Read the value of a record and check it against the partition and offset of its key.

    Raises:
        UnknownFormatError: A later version wrote it.
        ValueError: It is damaged, or belongs to another key.
    """
    where = f"rejections from offset {first}"
    if len(value) < _PREFIX.size:
        raise ValueError(f"{where}: {len(value)} bytes are not a record")
    magic, number, checksum = _PREFIX.unpack_from(value)
    if magic != _MAGIC:
        raise ValueError(f"{where}: does not begin as a record of rejections")
    if number != _NUMBER:
        raise UnknownFormatError(f"{where}: format {number} is not known; this version reads 1")
    if zlib.crc32(memoryview(value)[_PREFIX.size :]) != checksum:
        raise ValueError(f"{where}: the checksum does not match: not what was written")
    if len(value) < _PREFIX.size + _HEADER.size:
        raise ValueError(f"{where}: the header is cut off")
    level, how, own, begin, end, count, of_places, of_reasons = _header(value)
    if (own, begin) != (partition, first):
        raise ValueError(f"{where}: the header is another record's")
    span = end - begin
    if (
        how not in (_BITMAP, _RUNS)
        or level > _MOST_LEVEL
        or begin < 0
        or not 0 < count <= min(span, MOST_REJECTED)
        or (how == _BITMAP and span > MOST_SPAN)
        or _PREFIX.size + _HEADER.size + of_places + of_reasons != len(value)
    ):
        raise ValueError(f"{where}: the header contradicts itself")
    return StoredSegment(partition, first, end, count, level, value)


def _offsets_of(kept: StoredSegment, how: int, data: bytes) -> Int64:
    span = kept.end - kept.first
    if how == _BITMAP:
        bitmap = np.frombuffer(_inflated(kept, data, -(-span // 8)), np.uint8)
        # A bitmap that is too short is padded with zeros, so the last offset is missing.
        bits = np.unpackbits(bitmap, count=span, bitorder="little")
        offsets = np.flatnonzero(bits) + kept.first
    else:
        # n rejected offsets have at most n runs, and n - 1 between them.
        raw = _inflated(kept, data, 8 * (2 * kept.count - 1))
        lengths = np.frombuffer(raw[: len(raw) // 8 * 8], "<i8").astype(np.int64)
        rejected = lengths[0::2]
        fits = len(lengths) % 2 == 1 and ((lengths > 0) & (lengths <= span)).all()
        # Each length is checked first, so that the sum cannot overflow.
        if not fits or (rejected > kept.count).any() or int(rejected.sum()) != kept.count:
            raise _contradicts(kept)
        begins = kept.first + np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[1::2]])
        within = np.arange(kept.count) - np.repeat(np.cumsum(rejected) - rejected, rejected)
        offsets = np.repeat(begins, rejected) + within
    if len(offsets) != kept.count or (offsets[0], offsets[-1] + 1) != (kept.first, kept.end):
        raise _contradicts(kept)
    return offsets.astype(np.int64)


def _reasons_of(
    kept: StoredSegment, data: bytes
) -> tuple[tuple[str, ...], Int64 | None, tuple[int, ...]]:
    try:
        told = json.loads(_inflated(kept, data, _reason_bytes_most(kept.count)))
        names = tuple(told[0])
        if not names or not all(type(name) is str for name in names) or _too_many(names):
            raise _contradicts(kept)
        if told[1] is None:
            counts = tuple(min(max(int(count), 0), kept.count) for count in told[2])
            if len(counts) != len(names):
                raise _contradicts(kept)
            return names, None, counts
        pairs = np.array(told[1], np.int64)
        runs, lengths = pairs[0::2], pairs[1::2]
        if pairs.ndim != 1 or len(pairs) % 2 or not ((runs >= 0) & (runs < len(names))).all():
            raise _contradicts(kept)
        # Each length is checked first, so that the sum cannot overflow.
        fits = ((lengths > 0) & (lengths <= kept.count)).all()
        if not fits or int(lengths.sum()) != kept.count:
            raise _contradicts(kept)
        codes = np.repeat(runs, lengths)
    except (TypeError, LookupError, OverflowError, RecursionError) as error:
        raise _contradicts(kept) from error
    return names, codes, tuple(np.bincount(codes, minlength=len(names)).tolist())


def _reason_bytes_most(count: int) -> int:
    """Return the maximum size in bytes of the reasons' JSON for so many offsets.

    In JSON, a letter takes up to 12 bytes, and a run (code and length, with commas) as well. The
    largest batch has 100,000 records; merged segments have fewer runs.
    """
    return 12 * (_MOST_NAME_LETTERS + 4 * _MOST_NAMES) + 16 * min(count, 2 * _MOST_REASON_RUNS)


def _inflated(kept: StoredSegment, data: bytes, most: int) -> bytes:
    """Decompress bytes; the result may have at most ``most`` bytes."""
    opened = zlib.decompressobj()
    try:
        found = opened.decompress(data, most + 1)
    except zlib.error as error:
        raise _contradicts(kept) from error
    if len(found) > most or not opened.eof or opened.unused_data:
        raise _contradicts(kept)
    return found


def _contradicts(kept: StoredSegment) -> ValueError:
    return ValueError(f"rejections from offset {kept.first}: contents and header do not fit")
