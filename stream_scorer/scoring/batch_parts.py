"""The part of a batch that can be decided now; its other records are read again."""

from collections.abc import Mapping, Sequence

import numpy as np

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.ports import RawRecords
from stream_scorer.terminals.follower import TerminalFollower


class NotYet(Exception):  # noqa: N818 a part of the batch is decided instead
    """Some partitions must wait for rows of terminals; by partition, from which offset on."""

    def __init__(self, first: Mapping[int, int]) -> None:
        super().__init__(f"partitions wait from {first} on")
        self.first = first


def records_before(
    raw: RawRecords, quarantined: Mapping[int, str], first: Mapping[int, int]
) -> tuple[RawRecords, dict[int, str]]:
    """Return the records before some offsets, and the quarantined ones among them.

    Args:
        raw: One or more records.
        quarantined: Rows that are quarantined, each with its failure.
        first: By partition, the offset of the first record that is left out.
    """
    limit = np.full(int(raw.partition.max()) + 1, np.iinfo(np.int64).max)
    limit[list(first)] = list(first.values())
    taken = raw.offset < limit[raw.partition]
    number = np.cumsum(taken) - 1
    kept = {int(number[row]): why for row, why in quarantined.items() if taken[row]}
    return raw.where(taken), kept


def headless_from(raw: RawRecords) -> dict[int, int]:
    """Return the offset of the first record without all of its headers, by partition."""
    if raw.headless is None:
        return {}
    partition, offset = raw.partition[raw.headless], raw.offset[raw.headless]
    return {each: int(offset[partition == each].min()) for each in set(partition.tolist())}


def see_rows(terminals: TerminalFollower, pieces: Sequence[EventBatch], *, waits: bool) -> None:
    """Read the rows of terminals that events need, as far as they are there.

    Args:
        terminals: Reads the rows.
        pieces: The events of a batch.
        waits: Whether partitions may have to wait for rows.

    Raises:
        NotYet: Some must.
    """
    if waits and (first := terminals.waiting(pieces)):
        raise NotYet(first)
    for events in pieces:
        terminals.judge(events)
