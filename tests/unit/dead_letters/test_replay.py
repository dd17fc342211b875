"""A dead letter that names a partition which the input does not have."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from stream_scorer.dead_letters.format import DeadLetter
from stream_scorer.dead_letters.progress import LetterProgress, Selection
from stream_scorer.dead_letters.replay import Replayed, _Run
from stream_scorer.errors import OffsetsError


def letter(offset: int, source_partition: int) -> DeadLetter:
    return DeadLetter(
        0, offset, 1, b"v", None, None, "EMPTY", "", "transactions", source_partition, 0, 1, "0"
    )


def taken(*letters: DeadLetter, compares: bool) -> Replayed:
    """Return the report of a call that takes these letters; the input has two partitions."""
    there = SimpleNamespace(
        kafka=None, topic="dead-letters", committed={}, progress={0: LetterProgress.at(0)},
        end={0: 9}, oldest_sources=lambda: {0: 0, 1: 0},
    )  # fmt: skip
    sources = SimpleNamespace(originals=lambda checked: {each.place: each for each in checked})
    run = _Run(
        cast("Any", there), None, cast("Any", sources), Selection(), 2, None, Replayed(),
        lambda _: None, compares=compares,
    )  # fmt: skip
    for each in letters:
        run._take(each)
    run._flush()
    return run.report


@pytest.mark.parametrize("forged", [2, 2**31 - 1, -1])
def test_it_is_skipped_and_the_others_are_copied(forged: int) -> None:
    report = taken(letter(3, forged), letter(4, 1), letter(5, forged), compares=True)
    assert report.copied == {"EMPTY": 1}
    assert (report.mismatched, report.first_mismatched) == (2, "0:3")


def test_with_trusted_headers_the_call_stops() -> None:
    with pytest.raises(OffsetsError, match="dead-letters:0:3 came from transactions partition 2"):
        taken(letter(3, 2), letter(4, 1), compares=False)
