"""One worker with 64 partitions: one producer for all, all decided, and a restart that ends."""

import pytest

from bench.many_partitions import PARTITIONS, QUICK_BACKLOG, measure

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]


def test_one_worker_decides_many_partitions_and_catches_up() -> None:
    found = measure(PARTITIONS, QUICK_BACKLOG, quick=True)
    assert found["partitions"] == PARTITIONS
    # Every record of the backlog, and nothing twice: all are valid.
    assert found["decisions"] == QUICK_BACKLOG
    assert found["producers"] == 1
    # How long the pauses and the restore take is for the bench to judge.
    assert found["decided_while_restoring"] > 0
