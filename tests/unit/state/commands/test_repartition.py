"""What a checkpoint may state about the input that it was written for."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stream_scorer.errors import StateError
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.commands.repartition import _written_for

OWNER = Owner("group", "transactions")


def written_for(counts: Sequence[int], now: int) -> int:
    """Return it for a checkpoint whose partitions state these counts."""
    records = [
        record
        for partition, count in enumerate(counts)
        for record in Bucket(partition, 5, 100, count, 1, 7).records(OWNER)
    ]
    store = SimpleNamespace(sample=lambda: iter(records))
    return _written_for(cast("Any", SimpleNamespace(owner=OWNER, store=store, count=now)))


def test_the_number_that_all_partitions_state_is_taken() -> None:
    assert written_for([4, 4, 4], 4) == 4
    assert written_for([4], 6) == 4


@pytest.mark.parametrize("forged", [7, 2**62])
def test_more_partitions_than_the_input_has_are_refused_by_name(forged: int) -> None:
    with pytest.raises(StateError) as refused:
        written_for([forged, forged], 6)
    assert f"written for {forged} partitions of the input, which has 6" in refused.value.what
    assert "stream-scorer state rebuild" in str(refused.value)
