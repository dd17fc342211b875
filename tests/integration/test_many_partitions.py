"""One worker with 64 partitions: one producer for all, none starved, and a restart that ends."""

import pytest

from bench.many_partitions import PARTITIONS, QUICK_BACKLOG, measure

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

_MOST_PAUSE_SECONDS = 10.0
_MOST_RESTORE_SECONDS = 30.0


def test_one_worker_decides_many_partitions_and_catches_up() -> None:
    found = measure(PARTITIONS, QUICK_BACKLOG, quick=True)
    assert found["partitions"] == PARTITIONS
    # Every record of the backlog, and nothing twice: all are valid.
    assert found["decisions"] == QUICK_BACKLOG
    assert found["producers"] == 1
    assert found["longest_pause_seconds"] < _MOST_PAUSE_SECONDS
    assert found["restore_seconds"] < _MOST_RESTORE_SECONDS
    assert found["decided_while_restoring"] > 0
