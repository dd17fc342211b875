"""One worker with 64 partitions uses one producer, decides all records, and survives a restart."""

import pytest

from bench.acceptance.many_partitions import PARTITIONS, QUICK_BACKLOG, measure

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]


def test_one_worker_decides_many_partitions_and_catches_up() -> None:
    found = measure(PARTITIONS, QUICK_BACKLOG, quick=True)
    assert found["partitions"] == PARTITIONS
    # Every record of the backlog is valid, and is decided exactly once.
    assert found["decisions"] == QUICK_BACKLOG
    assert found["producers"] == 1
    # The bench judges the length of the pauses and of the restore.
    assert found["decided_while_restoring"] > 0
