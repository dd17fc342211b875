"""Pending labels that name their transactions by id alone, not by event time."""

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import NO_LABEL
from stream_scorer.core.terminals.columns import Labels, PendingTransactions

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, order=True)
class _Told:
    """A label that does not name the event time; the newest label is the last one in order.

    Attributes:
        label_time: When it became known, ms.
        partition: Source partition.
        offset: Source offset.
        state: What it says; see ``labelling.contract``.
        until: It is kept until this event time, ms: it counts for rows that are not after it.
    """

    label_time: int
    partition: int
    offset: int
    state: int
    until: int


class LabelsByTransaction:
    """Pending labels that do not name the event time, by the hash of their transaction.

    Those of a transaction are in order. A label that became known later is kept longer, so they are
    also in the order in which they are forgotten.
    """

    def __init__(self) -> None:
        self._labels: dict[int, list[_Told]] = {}

    def add(self, labels: Labels) -> None:
        """Add m labels."""
        for match, told in _told(labels):
            known = self._labels.setdefault(match, [])
            if known and told < known[-1]:
                insort(known, told)
            else:
                known.append(told)

    def verdicts(self, rows: PendingTransactions, fresh: Labels, stand: Int64, hold: int) -> UInt8:
        """Return uint8[n]: what the last label of each row that leaves says; NO_LABEL without one.

        Mapped labels have neither a rank nor an id, so the last one counts.

        A label counts if the row had not left when it arrived, wherever batches ended. The time
        does not grow with rows times labels: anyone can send many of both for one transaction id.

        Args:
            rows: n rows in the order of event time.
            fresh: m labels of the batch in which they leave, which are not added yet.
            stand: int64[m], the watermark before each of these labels.
            hold: Time from a row to its cut-off, ms.
        """
        # Each with the first event time for which it counts: a later row sees more labels.
        new: dict[int, list[tuple[int, _Told]]] = {}
        for (match, told), before in zip(_told(fresh), stand.tolist(), strict=True):
            new.setdefault(match, []).append((max(before + 1, told.label_time - hold), told))
        for waiting in new.values():
            waiting.sort(reverse=True)
        seen: dict[int, _Told] = {}
        found = np.full(len(rows), NO_LABEL, np.uint8)
        pairs = zip(rows.match.tolist(), rows.event_time.tolist(), strict=True)
        for row, (match, time) in enumerate(pairs):
            waiting = new.get(match, [])
            while waiting and waiting[-1][0] <= time:
                told = waiting.pop()[1]
                seen[match] = max(seen.get(match, told), told)
            known = self._labels.get(match, [])
            at = bisect_right(known, time + hold, key=_LABEL_TIME)
            labels = [*known[max(at - 1, 0) : at], *([seen[match]] if match in seen else [])]
            # Of all labels in time, the last one is kept longest.
            last = max(labels, default=None)
            if last is not None and time <= last.until:
                found[row] = last.state
        return found

    def forget(self, labels: Sequence[Labels], watermark: int) -> None:
        """Remove those of some labels that are kept no longer than until ``watermark``."""
        gone = {
            match for each in labels for match in each.match[each.event_time <= watermark].tolist()
        }
        for match in gone & self._labels.keys():
            known = self._labels[match]
            del known[: bisect_right(known, watermark, key=_UNTIL)]
            if not known:
                del self._labels[match]


_LABEL_TIME: Final = attrgetter("label_time")
_UNTIL: Final = attrgetter("until")


def _told(labels: Labels) -> Iterator[tuple[int, _Told]]:
    columns = (
        labels.label_time, labels.partition, labels.offset, labels.state, labels.event_time
    )  # fmt: skip
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for match, row in zip(labels.match.tolist(), rows, strict=True):
        yield match, _Told(*row)
