"""With any choice of reasons and wherever a call ends, each dead letter is taken exactly once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.dead_letters.progress import OTHERS, LetterProgress, Selection, lane_of

REASONS = ["DUPLICATE", "MALFORMED", "CURRENCY", "a later version's", "another's"]
selections = st.frozensets(st.sampled_from(REASONS[:3]), max_size=3).map(Selection)


def call(
    letters: list[str], at: LetterProgress, chosen: Selection, limit: int, batch: int
) -> tuple[list[int], list[LetterProgress]]:
    """Read on from the committed offset; return the letters, and the progress of each batch.

    This is the oracle of a call: it takes one offset after the other, while
    ``dead_letters/replay.py`` takes batches.
    """
    taken: list[int] = []
    waiting: dict[str, int] = {}
    states: list[LetterProgress] = []
    now = at
    for offset in range(at.offset, len(letters)):
        lane = lane_of(letters[offset])
        if offset >= now.of(lane):
            if chosen.takes(lane):
                taken.append(offset)
            else:
                waiting.setdefault(lane, offset)
        if (offset + 1) % batch == 0 or len(taken) == limit:
            now = now.advanced(offset + 1, chosen, waiting)
            states.append(now)
        if len(taken) == limit:
            return taken, states
    return taken, [*states, now.advanced(len(letters), chosen, waiting)]


@given(
    st.lists(st.sampled_from(REASONS), max_size=40),
    st.lists(st.tuples(selections, st.integers(1, 30), st.integers(1, 9)), max_size=8),
)
def test_each_is_taken_once_and_none_is_lost(
    letters: list[str], calls: list[tuple[Selection, int, int]]
) -> None:
    at = LetterProgress.at(0)
    taken: list[int] = []
    everything = Selection(), Selection(frozenset({"DUPLICATE"}))
    for chosen, limit, batch in [*calls, *((each, 10**6, 7) for each in everything)]:
        found, states = call(letters, at, chosen, limit, batch)
        assert all(chosen.takes(lane_of(letters[offset])) for offset in found)
        taken += found
        for state in states:
            # The broker's offset and metadata are the complete progress.
            assert LetterProgress.read(state.offset, state.note) == state
        at = states[-1]
    assert sorted(taken) == list(range(len(letters)))
    assert at == LetterProgress.at(len(letters))
    for chosen in (*everything, Selection(frozenset({"CURRENCY"}))):
        assert call(letters, at, chosen, 10, 3) == ([], [at])


def test_a_call_returns_to_the_oldest_skipped_letter() -> None:
    letters = ["MALFORMED", "DUPLICATE", "CURRENCY", "DUPLICATE", "MALFORMED"]
    only = Selection(frozenset({"CURRENCY"}))
    taken, (state,) = call(letters, LetterProgress.at(0), only, 10, 100)
    assert taken == [2]
    assert (state.offset, state.note) == (0, b'{"*":5,"DUPLICATE":1,"MALFORMED":0}')
    taken, (state,) = call(letters, state, Selection(), 10, 100)
    assert taken == [0, 4]
    assert (state.offset, state.note) == (1, b'{"*":5,"DUPLICATE":1}')
    taken, (state,) = call(letters, state, Selection(frozenset({"DUPLICATE"})), 10, 100)
    assert taken == [1, 3]
    assert (state.offset, state.note) == (5, b"")


def test_a_note_is_small_enough_for_the_broker() -> None:
    positions = {reason.value: 2**63 - 1 for reason in RejectReason} | {OTHERS: 5}
    # The broker's offset.metadata.max.bytes.
    assert len(LetterProgress(positions).note) < 4096


@pytest.mark.parametrize(
    "note",
    [b"another program's", b"[]", b"{}", b'{"*":4}', b'{"DUPLICATE":5}', b'{"*":true}', b"5",
     b'{"*":"5"}', b"\xff"],
)  # fmt: skip
def test_another_programs_note_is_refused(note: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        LetterProgress.read(5, note)
