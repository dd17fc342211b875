"""The rejections of one partition, for a replay of its input."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from stream_scorer.ports import RawRecords, StoredRecords
from stream_scorer.state.checkpoints.ownership import Owner, opened
from stream_scorer.state.checkpoints.record_mac import SealError
from stream_scorer.state.checkpoints.rejected_segments import (
    RejectedSegment,
    StoredSegment,
    parse,
    segment,
)

Int64 = NDArray[np.int64]

_AT_ONCE = 65_536


class Rejected:
    """The rejections of one partition, collected from its records of the state topic.

    A segment is decoded when a replay reaches its offsets; only one is decoded at a time.

    Args:
        owner: The owner of the state; other owners' records are ignored.
        partition: Input partition.

    Attributes:
        segments: The stored segments, by first offset; filled by ``settle``.
    """

    def __init__(self, owner: Owner, partition: int) -> None:
        self._owner = owner
        self._partition = partition
        self._values: dict[int, bytes | SealError] = {}
        self._first = self._end = np.empty(0, np.int64)
        self._decoded: dict[int, RejectedSegment] = {}
        self.segments: tuple[StoredSegment, ...] = ()

    def add(self, records: StoredRecords) -> None:
        """Add records in the store's order; later records of a key replace earlier ones."""
        for key, value in records:
            place = self._owner.rejected(key or b"")
            if place is None or place[0] != self._partition:
                continue
            if value is None:
                self._values.pop(place[1], None)
            else:
                self._values[place[1]] = opened(self._owner.seal, key or b"", value)

    def settle(self, *, forgive: bool = False) -> list[int]:
        """Check all segments once every record was added.

        Args:
            forgive: Whether to leave out unreadable segments.

        Returns:
            First offsets of the segments that were left out.

        Raises:
            UnknownFormatError: A later version wrote one, and that is not forgiven.
            ValueError: One is damaged, or its MAC is not valid, and that is not forgiven.
        """
        found, damaged = [], []
        for first in sorted(self._values):
            try:
                inside = self._values[first]
                if isinstance(inside, SealError):
                    raise inside
                kept = parse(inside, self._partition, first)
                if forgive:
                    kept.decoded()
            except ValueError:
                if not forgive:
                    raise
                damaged.append(first)
            else:
                found.append(kept)
        self._values = {}
        self._hold(found)
        return damaged

    def _hold(self, segments: Iterable[StoredSegment]) -> None:
        self.segments = tuple(segments)
        self._first = np.array([kept.first for kept in self.segments], np.int64)
        self._end = np.array([kept.end for kept in self.segments], np.int64)
        self._decoded = {}

    @property
    def end(self) -> int:
        """The last rejected offset + 1; 0 without rejections."""
        return int(self._end.max()) if len(self._end) else 0

    def among(self, offsets: Int64) -> NDArray[np.bool_] | None:
        """Return bool[n]: which offsets were rejected; None if none was.

        Args:
            offsets: int64[n], ascending.

        Raises:
            ValueError: A segment is damaged.
        """
        if not len(offsets):
            return None
        found = None
        low, high = int(offsets[0]), int(offsets[-1])
        for number in np.flatnonzero((self._first <= high) & (self._end > low)).tolist():
            theirs = self._segment(number).offsets
            at = np.minimum(np.searchsorted(theirs, offsets), len(theirs) - 1)
            mine = theirs[at] == offsets
            found = mine if found is None else found | mine
        return found if found is not None and found.any() else None

    def others(self, raw: RawRecords) -> RawRecords | None:
        """Return the records that were not rejected; None if none is left.

        Args:
            raw: Records of this partition only, ordered by offset.

        Raises:
            ValueError: A segment is damaged.
        """
        rejected = self.among(raw.offset)
        if rejected is None:
            return raw
        return None if rejected.all() else raw.where(~rejected)

    def reason(self, offset: int) -> str:
        """Return why an offset was rejected; empty if it was not.

        Several reasons are joined by ``/`` if only their counts are kept.

        Raises:
            ValueError: A segment is damaged.
        """
        for number in np.flatnonzero((self._first <= offset) & (self._end > offset)).tolist():
            theirs = self._segment(number)
            at = int(np.searchsorted(theirs.offsets, offset))
            if at < len(theirs.offsets) and theirs.offsets[at] == offset:
                if theirs.codes is None:
                    return "/".join(theirs.names)
                return theirs.names[int(theirs.codes[at])]
        return ""

    def _segment(self, number: int) -> RejectedSegment:
        if number not in self._decoded:
            self._decoded = {number: self.segments[number].decoded()}
        return self._decoded[number]

    def adopt(self, reasons: Mapping[int, str]) -> list[tuple[bytes, bytes | None]]:
        """Add further rejections; return the records to write.

        Args:
            reasons: The reason by offset; no segment holds these offsets.
        """
        offsets = np.array(sorted(reasons), np.int64)
        more = []
        for begin in range(0, len(offsets), _AT_ONCE):
            rows = offsets[begin : begin + _AT_ONCE]
            told = [reasons[offset] for offset in rows.tolist()]
            more.append(StoredSegment.of(segment(self._partition, rows, told)))
        self._hold(sorted([*self.segments, *more], key=lambda kept: kept.first))
        return [self._owner.rejection(kept) for kept in more]

    def without(self, first: int) -> list[tuple[bytes, bytes | None]]:
        """Return the records that delete the rejections from an offset on.

        These offsets are to be judged again, for example after the group's offset was set back.

        Raises:
            ValueError: A segment is damaged.
        """
        records: list[tuple[bytes, bytes | None]] = []
        left = []
        for kept in self.segments:
            if kept.end <= first:
                left.append(kept)
                continue
            key = self._owner.rejected_key(self._partition, kept.first)
            whole = kept.decoded()
            rows = int(np.searchsorted(whole.offsets, first))
            if not rows:
                records.append((key, None))
                continue
            names = ["/".join(whole.names)] * rows
            if whole.codes is not None:
                names = [whole.names[code] for code in whole.codes[:rows].tolist()]
            cut = StoredSegment.of(segment(self._partition, whole.offsets[:rows], names))
            records.append(self._owner.rejection(cut))
            left.append(cut)
        self._hold(left)
        return records
