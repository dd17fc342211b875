"""One answer from all statements about a transaction, whatever their order."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.core.labelling import resolve as module
from stream_scorer.core.labelling.contract import (
    DISPUTED,
    FRAUD,
    GENUINE,
    MOST_STATEMENTS,
    NO_LABEL,
    UNKNOWN,
    Resolved,
    Statements,
)
from stream_scorer.core.labelling.resolve import resolve
from tests.support.core.label_oracle import Told, expected, statements

BANK, CUSTOMER = 2, 1
DAY = 86_400_000
LATER = 10**6


def asked(told: Sequence[Told], *cutoffs: int, match: int = 1) -> Resolved:
    wanted = np.full(len(cutoffs), match, np.uint64)
    return resolve(statements(told), wanted, np.array(cutoffs, np.int64))


def state(told: Sequence[Told], cutoff: int = LATER) -> int:
    return int(asked(told, cutoff).state[0])


def test_without_a_statement_there_is_no_label() -> None:
    found = asked([], 5, 6)
    assert found.state.tolist() == [NO_LABEL] * 2
    assert (found.label_time.tolist(), found.statements.tolist()) == ([0, 0], [0, 0])
    assert np.isnan(found.drawn).all()
    assert len(asked([Told()])) == 0
    assert state([Told(match=2)]) == NO_LABEL


def test_a_statement_counts_from_its_label_time_on() -> None:
    found = asked([Told(label_time=10, state=FRAUD)], 9, 10, 11)
    assert found.state.tolist() == [NO_LABEL, FRAUD, FRAUD]
    assert found.label_time.tolist() == [0, 10, 10]
    assert found.statements.tolist() == [0, 1, 1]


def test_with_one_source_the_last_in_time_counts() -> None:
    told = [
        Told(label_time=10, state=FRAUD, offset=7),
        Told(label_time=20, state=GENUINE, offset=3),
        Told(label_time=20, state=DISPUTED, offset=9),
        Told(label_time=20, state=FRAUD, offset=4, partition=1),
    ]
    assert asked(told[:2], 10, 19, 20).state.tolist() == [FRAUD, FRAUD, GENUINE]
    assert state(told[:3]) == DISPUTED
    # Of equal label times the last record counts: partition, then offset.
    assert state(told) == FRAUD


def test_a_better_source_beats_a_newer_statement() -> None:
    bank = Told(label_time=20, state=FRAUD, rank=BANK, label_id=5)
    customer = Told(label_time=30, state=GENUINE, rank=CUSTOMER, offset=1)
    back = Told(label_time=35, rank=BANK, retracts=5, offset=2)
    assert asked([bank, customer], 19, 25, 40).state.tolist() == [NO_LABEL, FRAUD, FRAUD]
    assert asked([bank, customer, back], 34, 35, 40).state.tolist() == [FRAUD, GENUINE, GENUINE]
    # A finding of "unknown" by the better source beats, too.
    unknown = replace(bank, state=UNKNOWN)
    assert state([customer, unknown]) == UNKNOWN


def test_a_retraction_states_nothing_itself() -> None:
    told = [
        Told(label_time=1, state=FRAUD, label_id=5),
        Told(label_time=2, state=GENUINE, retracts=5, drawn=0.5, offset=1),
    ]
    found = asked(told, 1, 2)
    assert found.state.tolist() == [FRAUD, NO_LABEL]
    assert found.label_time.tolist() == [1, 0]
    assert found.statements.tolist() == [1, 2]
    assert np.isnan(found.drawn).all()


def test_a_retraction_that_is_retracted_has_no_effect() -> None:
    told = [
        Told(label_time=1, label_id=5),
        Told(label_time=2, retracts=5, label_id=6, offset=1),
        Told(label_time=3, retracts=6, label_id=7, offset=2),
        Told(label_time=4, retracts=7, offset=3),
    ]
    assert asked(told, 1, 2, 3, 4).state.tolist() == [FRAUD, NO_LABEL, FRAUD, NO_LABEL]


def test_only_a_later_statement_retracts() -> None:
    # The retraction was known first: the statement after it holds.
    assert state([Told(label_time=2, label_id=5), Told(label_time=1, retracts=5, offset=1)]) == 1
    # With the same date a retraction is later, wherever its record is.
    told = [Told(label_time=2, label_id=5, offset=9), Told(label_time=2, retracts=5)]
    assert state(told) == NO_LABEL
    # Two that retract each other at one time: the first record is retracted.
    told = [
        Told(label_id=1),
        Told(label_id=5, retracts=6, offset=1),
        Told(label_id=6, retracts=5, offset=2),
        Told(label_id=7, retracts=1, label_time=-1, offset=3),
    ]
    assert state(told) == FRAUD


def test_a_statement_without_an_id_cannot_be_retracted() -> None:
    told = [Told(label_time=1, label_id=0), Told(label_time=2, retracts=5, offset=1)]
    assert state(told) == FRAUD
    # Nor by a statement of another transaction.
    told = [Told(label_time=1, label_id=5), Told(match=2, label_time=2, retracts=5, offset=1)]
    assert state(told) == FRAUD


def test_of_one_id_the_first_record_counts() -> None:
    first = Told(label_time=5, state=FRAUD, label_id=8, offset=1)
    again = replace(first, offset=2)
    other = replace(first, state=GENUINE, offset=3)
    later = replace(first, state=GENUINE, label_time=9, offset=4)
    for told in permutations([first, again, other, later]):
        found = asked(told, 4, 5, 9)
        assert found.state.tolist() == [NO_LABEL, FRAUD, FRAUD]
        assert found.statements.tolist() == [0, 1, 1]
        assert found.contradictions == 2
    # A copy with a smaller label time counts until the first record is known.
    early = replace(other, label_time=3)
    assert asked([first, early], 3, 4, 5).state.tolist() == [GENUINE, GENUINE, FRAUD]
    # The same id of another transaction is another statement.
    assert asked([first, replace(other, match=2)], 9, match=2).state.tolist() == [GENUINE]
    assert asked([first, replace(other, match=2)], 9).contradictions == 0


@pytest.mark.parametrize("identity", [0, 8])
def test_a_record_that_is_given_twice_counts_once(identity: int) -> None:
    one = Told(label_time=5, label_id=identity, drawn=0.5)
    found = asked([one, one, one], 5)
    assert (found.statements.tolist(), found.contradictions, found.ignored) == ([1], 0, 0)


def test_a_draw_is_known_whatever_was_found() -> None:
    drawn = Told(label_time=1, rank=CUSTOMER, state=GENUINE, drawn=0.05)
    newer = Told(label_time=2, rank=CUSTOMER, state=GENUINE, drawn=0.1, offset=1)
    bank = Told(label_time=3, rank=BANK, state=FRAUD, offset=2)
    found = asked([drawn, newer, bank], 1, 2, 3)
    assert found.state.tolist() == [GENUINE, GENUINE, FRAUD]
    assert found.drawn.tolist() == [0.05, 0.1, 0.1]


def test_a_statement_may_be_too_early_for_a_transaction() -> None:
    # Labels without event times: the better statement is about an earlier transaction of that id.
    old = Told(label_time=1, rank=BANK, state=FRAUD, event_time=DAY)
    new = Told(label_time=2 * DAY, rank=CUSTOMER, state=GENUINE, event_time=3 * DAY, offset=1)
    wanted = np.ones(3, np.uint64)
    cutoff = np.full(3, 9 * DAY)
    times = np.array([DAY, DAY + 1, 3 * DAY + 1])
    found = resolve(statements([old, new]), wanted, cutoff, event_time=times)
    assert found.state.tolist() == [FRAUD, GENUINE, NO_LABEL]
    assert resolve(statements([old, new]), wanted, cutoff).state.tolist() == [FRAUD] * 3


def test_at_most_thirty_two_statements_are_considered() -> None:
    told = [Told(label_time=n, state=GENUINE, offset=n) for n in range(MOST_STATEMENTS)]
    over = Told(label_time=99, state=FRAUD, offset=99)
    better = Told(label_time=500, state=FRAUD, rank=BANK, offset=100)
    found = asked([*told, over], 10, 98, 99)
    assert found.state.tolist() == [GENUINE] * 3
    assert (found.statements.tolist(), found.ignored) == ([11, 32, 32], 1)
    # A better source takes the place of the newest, once it is known.
    found = asked([over, better, *told], 99, 500)
    assert found.state.tolist() == [GENUINE, FRAUD]
    assert (found.statements.tolist(), found.ignored) == ([32, 32], 2)


def test_copies_take_no_place_of_the_thirty_two() -> None:
    copies = [Told(label_time=1, state=GENUINE, label_id=5, offset=n) for n in range(100)]
    found = asked([*copies, Told(label_time=2, offset=200)], 1, 2)
    assert found.state.tolist() == [GENUINE, FRAUD]
    assert (found.statements.tolist(), found.ignored) == ([1, 2], 0)


TOLD = st.builds(
    Told,
    match=st.integers(1, 3), label_time=st.integers(-2, 5), state=st.integers(0, 3),
    rank=st.integers(0, 2), label_id=st.integers(0, 4), retracts=st.sampled_from([0, 0, 1, 2, 3]),
    drawn=st.sampled_from([math.nan, math.nan, 0.05, 0.1]), partition=st.integers(0, 1),
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> list[Told]:
    most = draw(st.sampled_from([8, 8, 120]))
    told = draw(st.lists(TOLD, max_size=most))
    offsets = draw(st.permutations(range(len(told))))
    made = [replace(each, offset=at) for each, at in zip(told, offsets, strict=True)]
    alike: bool = draw(st.booleans())
    if made and alike:
        # All of one transaction: more than are considered.
        made = [replace(each, match=1, rank=each.rank % 2) for each in made]
    repeats = draw(st.lists(st.sampled_from(made), max_size=4)) if made else []
    return [*made, *repeats]


@given(told=cases(), by_time=st.booleans(), random=st.randoms(use_true_random=False))
def test_it_equals_the_rules_in_plain_python(
    told: list[Told], random: Random, *, by_time: bool
) -> None:
    rows = [
        (match, cutoff, at) for match in (1, 2, 3, 9) for cutoff in range(-3, 7) for at in (0, 2)
    ]
    random.shuffle(rows)
    if not by_time:
        told = [replace(each, event_time=each.label_time + 1) for each in told]
    wanted = np.array([row[0] for row in rows], np.uint64)
    cutoff = np.array([row[1] for row in rows], np.int64)
    times = np.array([row[2] for row in rows], np.int64)

    def answers(of: list[Told]) -> tuple[list[tuple[int, int, float | None, int]], int, int]:
        found = resolve(statements(of), wanted, cutoff, event_time=None if by_time else times)
        drawn = [None if math.isnan(p) else p for p in found.drawn.tolist()]
        columns = (found.state.tolist(), found.label_time.tolist(), drawn)
        listed = list(zip(*columns, found.statements.tolist(), strict=True))
        return listed, found.contradictions, found.ignored

    found = answers(told)
    assert found[0] == [
        expected(told, match, until, None if by_time else at) for match, until, at in rows
    ]
    shuffled = random.sample(told, len(told))
    assert answers(shuffled) == found
    assert answers([*told, *told]) == found


@given(cases())
def test_counts_of_what_is_not_used(told: list[Told]) -> None:
    records = {(each.match, *each.record): each for each in told}.values()
    first: dict[tuple[int, int], Told] = {}
    contradictions = 0
    for each in sorted(records, key=lambda s: s.record):
        if each.label_id:
            known = first.setdefault((each.match, each.label_id), each)
            contradictions += known.content != each.content
    once = {
        (s.match, *((s.label_id, s.label_time, -1) if s.label_id else (0, *s.record)))
        for s in records
    }
    many = [sum(1 for each in once if each[0] == match) for match in (1, 2, 3)]
    found = resolve(statements(told), np.zeros(0, np.uint64), np.zeros(0, np.int64))
    assert found.contradictions == contradictions
    assert found.ignored == sum(max(count - MOST_STATEMENTS, 0) for count in many)


def test_pieces_of_many_rows_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    told = [
        Told(
            match=int(rng.integers(1, 40)), label_time=int(rng.integers(0, 50)), offset=n,
            state=int(rng.integers(0, 4)), rank=int(rng.integers(0, 3)),
            label_id=int(rng.integers(0, 9)), retracts=int(rng.choice([0, 0, 0, 3])),
        )
        for n in range(400)
    ]  # fmt: skip
    wanted = rng.integers(0, 45, 500).astype(np.uint64)
    cutoff = rng.integers(0, 60, 500)
    whole = resolve(statements(told), wanted, cutoff)
    monkeypatch.setattr(module, "_PAIRS", 7)
    pieces = resolve(statements(told), wanted, cutoff)
    assert np.array_equal(whole.state, pieces.state)
    assert np.array_equal(whole.statements, pieces.statements)
    assert set(whole.state.tolist()) == {GENUINE, FRAUD, UNKNOWN, DISPUTED, NO_LABEL}


def test_many_rows_and_statements_of_one_id_stay_cheap() -> None:
    count = 100_000
    rng = np.random.default_rng(1)
    told = Statements(
        np.ones(count, np.uint64), np.full(count, DAY), rng.integers(0, 50, count),
        np.ones(count, np.uint8), rng.integers(0, 3, count).astype(np.uint8),
        np.arange(1, count + 1, dtype=np.uint64), np.zeros(count, np.uint64),
        np.full(count, np.nan), np.zeros(count, np.int32), np.arange(count),
    )  # fmt: skip
    began = time.process_time()
    found = resolve(told, np.ones(count, np.uint64), np.full(count, 60))
    # With each row times each statement it would be 10^10 pairs: minutes, or no memory.
    assert time.process_time() - began < 20
    assert (found.state == FRAUD).all()
    assert (found.statements == MOST_STATEMENTS).all()
