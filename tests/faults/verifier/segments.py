"""The broker's own log of a partition: the producers of offsets, and commits and aborts.

It is a separate reader of Kafka's segment files. So whether a record was committed depends only on
the control records that the broker wrote, not on any client's report. It reads only the head of a
batch, and control batches, which are never compressed. ``test_verifier.py`` compares it with
Kafka's DumpLogSegments. Layout: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# baseOffset, batchLength, partitionLeaderEpoch, magic, crc, attributes, lastOffsetDelta,
# baseTimestamp, maxTimestamp, producerId, producerEpoch, baseSequence, recordsCount
_HEAD = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH = 12
_MAGIC = 2
_TRANSACTIONAL = 0x10
_CONTROL = 0x20
_ABORT, _COMMIT = 0, 1


class Fate(StrEnum):
    """How the transaction of a record ended, by the broker's log."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    OPEN = "open"
    PLAIN = "outside any transaction"
    ABSENT = "not in the log"


@dataclass(frozen=True, slots=True)
class Written:
    """One batch of records.

    Attributes:
        first: Its first offset.
        last: Its last offset.
        producer: Producer id; -1 for a producer that is not idempotent.
        epoch: The producer's epoch.
        transactional: Whether it belongs to a transaction.
    """

    first: int
    last: int
    producer: int
    epoch: int
    transactional: bool


@dataclass(frozen=True, slots=True)
class Marker:
    """A control record: the end of a producer's transaction in this partition."""

    offset: int
    producer: int
    epoch: int
    committed: bool


@dataclass(frozen=True, slots=True)
class PartitionLog:
    """One replica's log of a partition: batches and markers, by ascending offset."""

    batches: tuple[Written, ...]
    markers: tuple[Marker, ...]

    @property
    def end(self) -> int:
        """The offset after the last one."""
        lasts = [self.batches[-1].last] if self.batches else []
        lasts += [self.markers[-1].offset] if self.markers else []
        return max(lasts, default=-1) + 1

    def fates(self) -> Mapping[int, Fate]:
        """Return the fate of every record, by offset.

        A record's transaction ends with the next marker of its producer id whose epoch is not older
        than the record's own. If a successor is fencing the producer, the abort marker has the
        successor's epoch. A commit must have the same epoch as the record.
        """
        ends: dict[int, list[Marker]] = {}
        for marker in self.markers:
            ends.setdefault(marker.producer, []).append(marker)
        found: dict[int, Fate] = {}
        for batch in self.batches:
            fate = _fate(batch, ends.get(batch.producer, ()))
            found.update(dict.fromkeys(range(batch.first, batch.last + 1), fate))
        return found


def _fate(batch: Written, ends: Sequence[Marker]) -> Fate:
    if not batch.transactional:
        return Fate.PLAIN
    at = bisect_right(ends, batch.last, key=lambda marker: marker.offset)
    for marker in ends[at:]:
        if marker.epoch < batch.epoch:
            continue
        if marker.committed:
            return Fate.COMMITTED if marker.epoch == batch.epoch else Fate.ABORTED
        return Fate.ABORTED
    return Fate.OPEN


def read_partition(replicas: Sequence[Path], topic: str, partition: int) -> PartitionLog:
    """Read a partition from the replica that has most of it.

    Args:
        replicas: ``log.dirs`` of each broker; those without the partition are skipped.
        topic: Topic.
        partition: Partition.

    Raises:
        FileNotFoundError: No replica has it.
    """
    logs = [
        _read_replica(folder)
        for root in replicas
        if (folder := root / f"{topic}-{partition}").is_dir()
    ]
    if not logs:
        raise FileNotFoundError(f"no replica of {topic}-{partition} in {list(map(str, replicas))}")
    return max(logs, key=lambda log: log.end)


def _read_replica(folder: Path) -> PartitionLog:
    batches: list[Written] = []
    markers: list[Marker] = []
    for path in sorted(folder.glob("*.log")):
        for entry in _entries(path.read_bytes()):
            if isinstance(entry, Marker):
                markers.append(entry)
            else:
                batches.append(entry)
    return PartitionLog(tuple(batches), tuple(markers))


def _entries(data: bytes) -> Iterator[Written | Marker]:
    at = 0
    while at + _HEAD.size <= len(data):
        (base, length, _, magic, _, attributes, delta, _, _, producer, epoch, _, _) = (
            _HEAD.unpack_from(data, at)
        )
        end = at + _BEFORE_LENGTH + length
        if magic != _MAGIC or end > len(data):
            # The broker is still writing it.
            return
        if attributes & _CONTROL:
            kind = _control_type(data[at + _HEAD.size : end])
            if kind in {_ABORT, _COMMIT}:
                yield Marker(base, producer, epoch, kind == _COMMIT)
        else:
            yield Written(base, base + delta, producer, epoch, bool(attributes & _TRANSACTIONAL))
        at = end


def _control_type(record: bytes) -> int:
    """Return the type of a control record: its key is a version and a type, 16 bits each."""
    _, at = _varint(record, 0)
    at += 1  # attributes
    for _ in range(2):  # timestamp and offset deltas
        _, at = _varint(record, at)
    _, at = _varint(record, at)
    _, kind = struct.unpack_from(">hh", record, at)
    return int(kind)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a zigzag varint and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


class Logs:
    """The logs of a cluster; each is read once, when it is first needed.

    Args:
        replicas: ``log.dirs`` of each broker.
    """

    def __init__(self, replicas: Sequence[Path]) -> None:
        self._replicas = replicas
        self._fates: dict[tuple[str, int], Mapping[int, Fate]] = {}

    def fate(self, topic: str, partition: int, offset: int) -> Fate:
        """Return how the transaction of a record ended."""
        at = topic, partition
        if at not in self._fates:
            self._fates[at] = read_partition(self._replicas, topic, partition).fates()
        return self._fates[at].get(offset, Fate.ABSENT)
