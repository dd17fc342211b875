"""What the first retained events show about the deleted ones before them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.state.checkpoints import history_start
from stream_scorer.state.checkpoints.history_coverage import INPUT, NOT_YET
from stream_scorer.state.checkpoints.history_start import Beginning

LATENESS = 100
FIRST = 20


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_start, "FIRST", FIRST)


def told(*times: int) -> int:
    asked = Beginning()
    asked.see(np.array(times, np.int64))
    return asked.whole_from(LATENESS)


def test_it_is_the_newest_of_the_first_and_the_lateness() -> None:
    assert told(*range(500, 500 + FIRST), 9_999) == 500 + FIRST - 1 + LATENESS


def test_an_old_event_at_the_beginning_is_not_evidence() -> None:
    assert told(3, *[500] * FIRST) == 500 + LATENESS


def test_a_few_events_are_not_evidence() -> None:
    assert told() == NOT_YET
    assert told(*[500] * (FIRST - 1)) == NOT_YET
    assert told(*[500] * FIRST) == 500 + LATENESS


def test_only_the_input_waits_to_be_settled() -> None:
    asked = Beginning()
    assert asked.settled({INPUT: NOT_YET, "mcc": 1}, LATENESS) == {INPUT: NOT_YET, "mcc": 1}
    asked.see(np.full(FIRST, 7))
    assert asked.settled({INPUT: NOT_YET, "mcc": 1}, LATENESS) == {INPUT: 107, "mcc": 1}
    assert asked.settled({INPUT: 5}, LATENESS) == {INPUT: 5}
    assert asked.settled({"mcc": NOT_YET}, LATENESS) == {"mcc": NOT_YET}


def transactions(times: list[int], amounts: list[int]) -> EventBatch:
    n = len(times)
    names = ("transaction_id", "customer_id", "terminal_id")
    records = pa.record_batch(
        {name: pa.repeat("x", n) for name in names}
        | {
            "event_time": pa.array(times, pa.timestamp("ms")),
            "amount_minor": pa.array(amounts),
            "currency": pa.repeat("EUR", n),
        }
    )
    return EventBatch(records, np.zeros(n, np.int32), np.arange(n), np.full(n, 10_000))


def test_a_rejected_record_is_not_evidence() -> None:
    asked = Beginning()
    # Negative amounts, and a time too far ahead.
    asked.read(transactions([9_000] * FIRST, [-1] * FIRST), Plan())
    asked.read(transactions([10_000_000], [1]), Plan())
    assert asked.whole_from(LATENESS) == NOT_YET
    asked.read(transactions([500] * FIRST, [1] * FIRST), Plan())
    assert asked.whole_from(LATENESS) == 500 + LATENESS


@given(st.lists(st.lists(st.integers(0, 2**50), max_size=15), max_size=8))
def test_it_does_not_matter_how_the_input_is_read(chunks: list[list[int]]) -> None:
    asked = Beginning()
    for chunk in chunks:
        asked.see(np.array(chunk, np.int64))
    assert asked.whole_from(LATENESS) == told(*(time for chunk in chunks for time in chunk))


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3 * LATENESS), st.integers(0, LATENESS), st.booleans()),
        min_size=FIRST + 1, max_size=90,
    ),
    cut=st.integers(1, 60),
)  # fmt: skip
def test_it_never_claims_what_a_deleted_event_belies(
    steps: list[tuple[int, int, bool]], cut: int
) -> None:
    """The watermark ascends; each event is older by at most the lateness, or late by years."""
    watermark, events = 1_000_000, []
    for step, behind, late in steps:
        watermark += step
        events.append((watermark - behind, late))
    times = np.array([t - 900_000 * late for t, late in events], np.int64)
    cut = min(cut, len(times) - 1)
    asked = Beginning()
    asked.see(times[cut:])
    if not all(late for _, late in events[cut : cut + FIRST]):
        assert asked.whole_from(LATENESS) >= times[:cut].max()
