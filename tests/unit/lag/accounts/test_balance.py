"""Offsets without an output: skips, gaps, and records that are missing."""

from collections.abc import Mapping, Sequence

import numpy as np

from stream_scorer.lag.accounts.balance import (
    CommittedRanges,
    PartitionBalance,
    balance,
)
from stream_scorer.lag.accounts.ledger import Int64, Run, SettledOffsets


class ReadInput:
    """Input whose records have the given offsets."""

    def __init__(self, **records: Sequence[int]) -> None:
        self._records = {int(name[1:]): set(offsets) for name, offsets in records.items()}
        self.reads = 0

    def __call__(self, runs: Mapping[int, Sequence[Run]]) -> Mapping[int, Int64]:
        self.reads += 1
        return {
            partition: np.array(
                [
                    offset
                    for first, after in found
                    for offset in range(first, after)
                    if offset in self._records.get(partition, ())
                ],
                np.int64,
            )
            for partition, found in runs.items()
        }


def test_nothing_is_read_while_everything_has_an_output() -> None:
    given = ReadInput()
    found, left = balance({0: SettledOffsets(9, 1, [])}, [CommittedRanges({0: (0, 10)}, 0)], given)
    assert (found, left) == ({0: PartitionBalance(10, decided=9, rejected=1)}, 0)
    assert given.reads == 0


def test_skips_explain_offsets_without_an_output() -> None:
    given = ReadInput()
    settled = {0: SettledOffsets(8, 0, [(3, 5)]), 1: SettledOffsets(9, 0, [(7, 8)])}
    commits = [CommittedRanges({0: (0, 10), 1: (0, 10)}, 3)]
    found, left = balance(settled, commits, given)
    assert [found[p].skipped for p in (0, 1)] == [2, 1]
    assert [found[p].missing for p in (0, 1)] == [0, 0]
    assert (left, given.reads) == (0, 0)


def test_a_marker_is_a_gap_and_a_record_is_missing() -> None:
    given = ReadInput(p0=[4], p1=[])
    settled = {0: SettledOffsets(8, 0, [(3, 5)]), 1: SettledOffsets(9, 0, [(7, 8)])}
    found, left = balance(settled, [CommittedRanges({0: (0, 10), 1: (0, 10)}, 0)], given)
    assert found[0] == PartitionBalance(10, 8, gaps=1, missing=1)
    assert found[1] == PartitionBalance(10, 9, gaps=1)
    assert left == 0


def test_skips_and_markers_of_one_transaction_are_told_apart() -> None:
    # Five markers in one partition, five skips in the other: an even split would be wrong.
    given = ReadInput(p1=[0, 1, 2, 3, 4])
    settled = {0: SettledOffsets(5, 0, [(0, 5)]), 1: SettledOffsets(5, 0, [(0, 5)])}
    found, left = balance(settled, [CommittedRanges({0: (0, 10), 1: (0, 10)}, 5)], given)
    assert found[0] == PartitionBalance(10, 5, gaps=5)
    assert found[1] == PartitionBalance(10, 5, skipped=5)
    assert left == 0


def test_skips_of_records_that_have_an_output_are_left() -> None:
    settled = {0: SettledOffsets(10, 0, [])}
    commits = [CommittedRanges({0: (0, 10)}, 2)]
    assert balance(settled, commits, ReadInput())[1] == 2
    # The rest of its skips may be in a partition that does not count.
    partly = [CommittedRanges({0: (0, 10)}, 2, exact=False)]
    assert balance(settled, partly, ReadInput())[1] == 0


def test_a_balance_adds_up() -> None:
    given = ReadInput(p0=[2, 3, 9])
    settled = {0: SettledOffsets(4, 2, [(0, 4), (8, 10)])}
    (found,) = balance(settled, [CommittedRanges({0: (0, 12)}, 1)], given)[0].values()
    parts = found.decided + found.rejected + found.skipped + found.gaps + found.missing
    assert (found.offsets, parts) == (12, 12)
    assert (found.skipped, found.gaps, found.missing) == (1, 3, 2)
