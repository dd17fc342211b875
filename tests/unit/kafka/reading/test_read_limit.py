"""A bounded read ends at its end, or fails when it has waited too long without progress."""

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading.read_limit import STALLED_SECONDS, ReadLimit


def test_each_offset_gained_renews_the_limit() -> None:
    limit = ReadLimit("decisions", {0: 50, 1: 50})
    for position in range(50):
        limit.note({0: position, 1: 7}, STALLED_SECONDS)


def test_a_read_without_progress_fails_and_names_the_offset() -> None:
    limit = ReadLimit("decisions", {0: 50, 1: 60})
    limit.note({1: 7}, 1.0)
    for _ in range(int(STALLED_SECONDS)):
        limit.note({1: 7}, 1.0)
    with pytest.raises(UnavailableError) as raised:
        limit.note({1: 7}, 1.0)
    assert "topic decisions: nothing could be read for 30 s" in raised.value.what
    assert "partition 1 is at offset 7 and ends at 60" in raised.value.what


def test_at_its_end_a_read_may_wait() -> None:
    limit = ReadLimit("decisions", {0: 50})
    for _ in range(3):
        limit.note({0: 50}, STALLED_SECONDS)
