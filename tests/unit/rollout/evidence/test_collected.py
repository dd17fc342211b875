"""Gathered evidence equals plain counting, and does not depend on how the stream is cut."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.decision.routing import (
    BUCKETS,
    CANARY,
    CHAMPION,
    CONTROL,
    Routing,
    Version,
    canary_slices,
    salted_buckets,
)
from stream_scorer.rollout.evidence.anytime_bounds import Sample, look_number
from stream_scorer.rollout.evidence.bucket_counts import (
    CANARY_SIDE,
    CONTROL_SIDE,
    NO_SIDE,
    ArmCodes,
    Decisions,
    Shadowed,
    Slots,
    place,
    stages_of,
)
from stream_scorer.rollout.evidence.collected import IN_SHADOW, Gathering, due_at
from stream_scorer.rollout.evidence.costs import BoundedCosts
from stream_scorer.rollout.evidence.guardrail import (
    GUARDS,
    Evidence,
    GuardLimits,
    Verdict,
    judge_fast,
)
from stream_scorer.rollout.evidence.label_rows import Ripe
from stream_scorer.rollout.evidence.verdicts import CALLS, CANARY_WAY, FAST, SHADOW_WAY, SLOW, Trial
from tests.support.effort import examples

SALT = "pepper"
COSTS = BoundedCosts(most=200.0)
LIMITS = GuardLimits(least_events=1, least_frauds=1, least_pairs=1)
TRIAL = Trial(
    began=4, salt=SALT, candidate=CANARY, limits=LIMITS, costs=COSTS, first_look=10,
)  # fmt: skip
VERSIONS = {
    CHAMPION: Version("fraud", "1.0.0"),
    CANARY: Version("fraud", "2.0.0"),
    CONTROL: Version("fraud", "1.0.0"),
}


def routing(revision: int, buckets: int, *shadows: str) -> Routing:
    return Routing(revision, VERSIONS, canary_slices(buckets), shadows=shadows, salt=SALT)


RAMP = {4: routing(4, 2_500), 5: routing(5, 5_000), 7: routing(7, 7_500)}
POOL = np.random.default_rng(1).integers(0, 2**63, 400).astype(np.uint64)
"""Hashes of customers from all buckets."""


def share(revision: int, arm: str) -> float:
    known = RAMP.get(revision)
    return 1.0 if known is None else known.share(arm)


def decisions(rows: Sequence[tuple[int, int, int, int, bool, bool]]) -> Decisions:
    """Return decisions, given as (customer, revision, outcome, amount, error, overridden)."""
    customer, revision, outcome, amount, error, overridden = (
        np.array(rows, np.int64).reshape(-1, 6).T
    )
    hashed = POOL[customer]
    arms = []
    for bucket, number in zip(
        salted_buckets(hashed, SALT).tolist(), revision.tolist(), strict=True
    ):
        slices = RAMP[number].slices if number in RAMP else ()
        arms.append(next((s.arm for s in slices if s.first <= bucket < s.end), CHAMPION))
    given = [share(r, arm) for r, arm in zip(revision.tolist(), arms, strict=True)]
    return Decisions(
        hashed, ArmCodes.of(pa.array(arms, pa.string())), revision,
        np.where(overridden != 0, 1.0, given),
        outcome.astype(np.uint8), amount, error != 0, outcome.astype(np.uint8),
        np.ones(len(outcome)),
    )  # fmt: skip


def gathering(trial: Trial = TRIAL, routings: dict[int, Routing] | None = None) -> Gathering:
    found = Gathering(trial)
    found.follow(RAMP if routings is None else routings)
    return found


def fold(into: Gathering, rows: Decisions, pieces: Sequence[int]) -> list[Verdict]:
    """Fold decisions in pieces, with a look after each row at which one is due."""
    said = []
    edges = sorted({0, len(rows), *(p for p in pieces if p < len(rows))})
    for begin, end in pairwise(edges):
        at = begin
        while at < end:
            counted = np.flatnonzero(into.counted(rows.revision[at:end]))
            due = into.until_look(CANARY_WAY)
            stop = end if len(counted) < due else at + int(counted[due - 1]) + 1
            into.decide(rows.take(slice(at, stop)), np.arange(at, stop))
            if judged := into.look(CANARY_WAY, stop):
                said.append(judged.judgement.verdict)
            at = stop
    return said


ROW = st.tuples(
    st.integers(0, len(POOL) - 1), st.sampled_from([3, 4, 5, 7]), st.integers(0, 2),
    st.integers(0, 10_000), st.booleans(), st.booleans(),
)  # fmt: skip


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=120),
    st.lists(st.integers(0, 120), max_size=5),
    st.integers(0, 120),
)
def test_a_stream_gives_one_state_in_any_pieces_and_restarts(
    rows: list[tuple[int, int, int, int, bool, bool]], pieces: list[int], crash: int
) -> None:
    told = decisions(rows)
    whole, cut, restarted = gathering(), gathering(), gathering()
    said = fold(whole, told, [])
    assert fold(cut, told, pieces) == said
    fold(restarted, told.take(slice(0, crash)), pieces)
    again = gathering()
    again.restore(restarted.dump())
    fold(again, told.take(slice(crash, None)), [])
    assert whole.dump() == cut.dump()
    # In this test the rows' clock restarts after the crash; nothing else differs.
    for found in (whole, again):
        found.since = {}
        for way in found._ways.values():
            way.last = {guard: replace(j, clock_ms=0) for guard, j in way.last.items()}
    assert again.dump() == whole.dump()


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(ROW, min_size=30, max_size=150))
def test_what_is_judged_is_what_plain_counting_finds(
    rows: list[tuple[int, int, int, int, bool, bool]],
) -> None:
    told = decisions(rows)
    found = gathering()
    fold(found, told, [])
    evidence, look, last = Evidence(), 0, None
    for end in range(1, len(rows) + 1):
        seen = rows[:end]
        due = look_number(sum(row[1] >= 4 for row in seen), 10)
        if due == look:
            continue
        look = due
        cells: Counter[tuple[str, int, str]] = Counter()
        names = list(told.arm.codes)
        for row, code in zip(seen, told.arm.code.tolist(), strict=False):
            arm = names[code]
            customer, revision, outcome, amount, error, overridden = row
            if revision not in (4, 5) or overridden or arm == CHAMPION:
                continue
            bucket = int(salted_buckets(POOL[[customer]], SALT)[0])
            pair = bucket if arm == CANARY else BUCKETS - 1 - bucket
            cells[arm, pair, "count"] += 1
            cells[arm, pair, "errors"] += error
            cells[arm, pair, "alerts"] += outcome != 0
            cells[arm, pair, "approved_value"] += amount * (outcome == 0)
        revisions = {row[1] for row in seen}
        size = 5_000 if 5 in revisions else 2_500 if 4 in revisions else 0
        first = 2_500 if 4 in revisions else size
        stage = (np.arange(size) >= first).astype(np.int64)

        def of(arm: str, name: str, size: int = size, cells: Any = cells) -> Any:
            return np.array([cells[arm, pair, name] for pair in range(size)], float)

        samples = {
            name: Sample(
                of(CANARY, name) / unit, of(CONTROL, name) / unit,
                of(CANARY, "count"), of(CONTROL, "count"), stage,
            )
            for name, unit in (("errors", 1), ("alerts", 1), ("approved_value", 100))
        }  # fmt: skip
        last, evidence = judge_fast(samples, samples["alerts"], evidence, look, LIMITS)
    judged = found.last(CANARY_WAY, FAST)
    assert (None if judged is None else judged.judgement) == last


def test_a_row_counts_only_for_the_arm_of_its_bucket() -> None:
    bucket = salted_buckets(POOL, SALT)
    front, back = int(np.argmax(bucket < 2_500)), int(np.argmax(bucket >= 7_500))
    middle = int(np.argmax((bucket >= 2_500) & (bucket < 5_000)))

    def side(customer: int, revision: int, arm: str, propensity: float) -> int:
        row = replace(
            decisions([(customer, revision, 0, 1, False, False)]),
            arm=ArmCodes.of(pa.array([arm])), propensity=np.array([propensity]),
        )  # fmt: skip
        return int(place(row, SALT, {4: 2_500, 7: 0}).side[0])

    assert side(front, 4, CANARY, 0.25) == CANARY_SIDE
    assert side(back, 4, CONTROL, 0.25) == CONTROL_SIDE
    assert side(middle, 4, CHAMPION, 0.5) == NO_SIDE
    # An override sent these customers there, so they are not evidence in any bucket.
    assert side(front, 4, CANARY, 1.0) == side(middle, 4, CANARY, 1.0) == NO_SIDE
    assert side(back, 4, CONTROL, 1.0) == side(front, 4, CHAMPION, 1.0) == NO_SIDE
    # Above half there is no control, and another rollout's revision is not compared here.
    assert side(front, 7, CANARY, 0.75) == side(front, 3, CANARY, 0.25) == NO_SIDE


def test_an_override_that_hits_some_never_moves_a_sample() -> None:
    rows = [(c, 4, c % 3, 100, False, False) for c in range(200)]
    plain, beside = gathering(), gathering()
    fold(plain, decisions(rows), [])
    fold(beside, decisions(rows), [])
    beside.decide(
        decisions([(c, 4, 2, 10**6, True, True) for c in range(200)]), np.zeros(200, np.int64)
    )
    tallies = [found._ways[CANARY_WAY].tallies.found for found in (plain, beside)]
    np.testing.assert_array_equal(tallies[0], tallies[1])


def test_looks_are_due_by_all_events_since_a_comparison_began() -> None:
    found = gathering(routings={4: routing(4, 0, CANARY), 5: routing(5, 100)})
    assert found.counted(np.array([3, 4, 5, 6])).tolist() == [False, False, True, True]
    assert found.until_look(CANARY_WAY) == 10
    found.decide(decisions([(0, 5, 0, 1, False, False)] * 9), np.zeros(9, np.int64))
    assert found.until_look(CANARY_WAY) == 1
    assert found.look(CANARY_WAY, 0) is None
    found.decide(decisions([(0, 6, 0, 1, False, False)]), np.zeros(1, np.int64))
    judged = found.look(CANARY_WAY, 123)
    assert judged is not None
    assert (judged.look, judged.clock_ms, judged.revision) == (1, 123, 5)
    assert found.look(CANARY_WAY, 124) is None
    assert judged.judgement.verdict is Verdict.NO_DATA


@given(st.integers(1, 60), st.integers(1, 5_000))
def test_a_look_is_due_at_the_first_count_that_has_its_number(look: int, first: int) -> None:
    count = due_at(look, first)
    assert look_number(count, first) >= look > look_number(count - 1, first)


def test_canaries_with_more_alerts_go_back_and_equal_ones_stay() -> None:
    random = np.random.default_rng(5)
    customer = random.integers(0, len(POOL), 40_000)
    base = decisions([(int(c), 5, 0, 1_000, False, False) for c in customer])
    for louder, expected in ((0.5, Verdict.ROLL_BACK), (0.1, Verdict.CONTINUE)):
        chance = np.where(base.arm.are(CANARY), louder, 0.1)
        alert = random.random(len(chance)) < chance
        found = gathering(replace(TRIAL, first_look=1_000, guards=GUARDS[:3]))
        fold(found, replace(base, outcome=alert.astype(np.uint8)), [])
        judged = found.last(CANARY_WAY, FAST)
        assert judged is not None
        assert judged.judgement.verdict is expected


# -- timed calls ---------------------------------------------------------------------------


def test_a_call_is_slow_by_its_time_per_row_while_comparing() -> None:
    found = gathering()
    found.call(CANARY_SIDE, 4, 5_000, 0.0021, 2)
    found.call(CONTROL_SIDE, 4, 5_999, 0.002, 2)
    found.call(CONTROL_SIDE, 7, 5_999, 9.0, 2)  # no control there
    found.call(CANARY_SIDE, 4, 5_999, 9.0, 0)  # a call without rows
    found.call(CANARY_SIDE, 4, 6_000, 0.0, 1)
    sample = found._ways[CANARY_WAY].slots.sample()
    assert sample is not None
    columns = (sample.canary, sample.canary_count, sample.control, sample.control_count)
    assert [column.tolist() for column in columns] == [[1, 0], [1, 1], [0, 0], [1, 0]]


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1), st.booleans()), max_size=60))
def test_slots_stay_few_and_equal_plain_counting_at_their_width(
    calls: list[tuple[int, int, bool]],
) -> None:
    slots, shuffled = Slots(10), Slots(10)
    slots.MOST = shuffled.MOST = 4  # type: ignore[misc]
    for timestamp, side, slow in calls:
        slots.add(timestamp, side, slow=slow)
    for timestamp, side, slow in sorted(calls):
        shuffled.add(timestamp, side, slow=slow)
    assert slots.plain() == shuffled.plain() == Slots.read(slots.plain()).plain()
    width = slots.plain()["width_ms"]
    plain: dict[int, list[int]] = {}
    for timestamp, side, slow in calls:
        counts = plain.setdefault(timestamp // width, [0, 0, 0, 0])
        counts[2 * side] += slow
        counts[2 * side + 1] += 1
    assert slots.plain()["found"] == sorted([n, *counts] for n, counts in plain.items())
    assert len(plain) <= 4
    assert width == 10 or len({t // (width // 2) for t, _, _ in calls}) > 4


# -- matured -------------------------------------------------------------------------------


def ripe(
    rows: Sequence[tuple[int, int, float, int, int, int]], others: int = 0, **changed: Any
) -> Ripe:
    """Return decisions, given as (arm, pair, amount, outcome, shadow, state)."""
    arm, pair, amount, outcome, shadow, state = np.array(rows, float).reshape(-1, 6).T
    n = len(arm)
    columns: dict[str, Any] = {
        "event_time": np.zeros(n, np.int64), "arm": arm.astype(np.uint8),
        "bucket": pair.astype(np.int64), "amount": amount, "outcome": outcome.astype(np.uint8),
        "shadow": shadow.astype(np.uint8), "policy_outcome": outcome.astype(np.uint8),
        "propensity": np.ones(n), "inside": np.ones(n, np.bool_), "state": state.astype(np.uint8),
    }  # fmt: skip
    return Ripe(**{**columns, **changed}, others=others)


def ripened(found: Gathering, rows: Sequence[tuple[int, int, float, int, int, int]]) -> None:
    found.ripen(ripe(rows))


def test_matured_decisions_cost_what_they_cost_in_their_bucket() -> None:
    found = gathering()
    found.decide(decisions([(0, 4, 0, 1, False, False)]), np.zeros(1, np.int64))
    ripened(found, [
        (CANARY_SIDE, 2, 30.0, 0, 255, True), (CANARY_SIDE, 2, 900.0, 0, 255, True),
        (CONTROL_SIDE, 2, 30.0, 1, 255, True), (CONTROL_SIDE, 3, 30.0, 2, 255, False),
    ])  # fmt: skip
    way = found._ways[CANARY_WAY]
    assert way.cost[:, 2:4].tolist() == [[230.0, 0.0], [5.0, 25.0]]
    assert way.matured_count[:, 2:4].tolist() == [[2, 0], [1, 1]]
    assert (way.frauds, way.matured) == ([2, 1], 4)
    found.ripen(ripe([], 6))
    judged = found.look_slow(CANARY_WAY, 0)
    assert judged is not None
    assert (judged.look, judged.guard) == (1, SLOW)
    assert judged.judgement.numbers["cost_canary"] == 115.0
    assert judged.judgement.numbers["frauds_control"] == 1
    assert found.look_slow(CANARY_WAY, 1) is None


def test_the_deadline_is_reported_once_without_a_new_look() -> None:
    found = gathering(replace(TRIAL, deadline_ms=1_000))
    found.decide(decisions([(0, 4, 0, 1, False, False)]), np.array([50]))
    ripened(found, [(side, pair, 30.0, 0, 255, True) for side in (0, 1) for pair in range(5)])
    judged = found.look_slow(CANARY_WAY, 1_049)
    assert judged is not None
    assert judged.judgement.verdict is Verdict.CONTINUE
    assert found.look_slow(CANARY_WAY, 1_049) is None
    judged = found.look_slow(CANARY_WAY, 1_050)
    assert judged is not None
    assert judged.judgement.verdict is Verdict.INCONCLUSIVE
    assert found.look_slow(CANARY_WAY, 2_000) is None


@pytest.mark.parametrize(
    ("at_deadline", "then", "expected"),
    [(5, (0, 0), Verdict.INCONCLUSIVE), (5, (2, 0), Verdict.ROLL_BACK),
     (200, (0, 0), Verdict.PROMOTE)],
)  # fmt: skip
def test_only_harm_is_still_found_after_the_deadline(
    at_deadline: int, then: tuple[int, int], expected: Verdict
) -> None:
    """A promotion that was due by then is still allowed, because a person may have been asked."""
    limits = replace(LIMITS, delta=1.0)
    found = gathering(replace(TRIAL, deadline_ms=1_000, limits=limits))
    found.decide(decisions([(0, 4, 0, 1, False, False)]), np.array([50]))
    ripened(found, [(s, p, 30.0, 0, 255, p == 0) for s in (0, 1) for p in range(at_deadline)])
    judged = found.look_slow(CANARY_WAY, 1_050)
    assert judged is not None
    first = Verdict.PROMOTE if at_deadline > 100 else Verdict.INCONCLUSIVE
    assert judged.judgement.verdict is first
    ripened(
        found,
        [(s, p, 30.0, then[s], 255, p % 10 == 0) for s in (0, 1) for p in range(1_000)],
    )
    judged = found.look_slow(CANARY_WAY, 1_100)
    assert judged is not None
    assert judged.judgement.verdict is expected


# -- shadow --------------------------------------------------------------------------------


def shadowed(
    rows: Sequence[tuple[int, int, int]], arm: str = CANARY, revision: int = 4
) -> Shadowed:
    """Return shadow scores, given as (customer, shadow's outcome, published outcome)."""
    customer, outcome, decided = np.array(rows, np.int64).reshape(-1, 3).T
    n = len(customer)
    return Shadowed(
        POOL[customer], ArmCodes.of(pa.array([arm] * n, pa.string())), np.full(n, revision),
        outcome.astype(np.uint8),
        outcome == 2, decided.astype(np.uint8), decided == 2, np.full(n, 250),
        decided.astype(np.uint8), np.ones(n),
    )  # fmt: skip


def test_a_shadow_bucket_pairs_what_was_with_what_would_be() -> None:
    found = gathering(routings={4: routing(4, 0, CANARY)})
    placed = found.shadow(shadowed([(1, 1, 0), (1, 0, 0), (2, 2, 2)]), np.full(3, 77))
    bucket = salted_buckets(POOL[[1, 2]], SALT).tolist()
    assert placed.side.tolist() == [IN_SHADOW] * 3
    assert placed.pair.tolist() == [bucket[0], bucket[0], bucket[1]]
    samples = found._ways[SHADOW_WAY].tallies.samples(np.zeros(BUCKETS, np.int64), 100)
    alerts, value, errors = (samples[n] for n in ("alerts", "approved_value", "errors"))
    assert (alerts.canary[bucket[0]], alerts.control[bucket[0]]) == (1, 0)
    assert alerts.canary_count[bucket[0]] == alerts.control_count[bucket[0]] == 2
    assert (value.canary[bucket[0]], value.control[bucket[0]]) == (2.5, 5.0)
    assert errors.canary[bucket[1]] == errors.control[bucket[1]] == 1
    assert found.since[4].clock_ms == 77
    assert found.way_of(4) == SHADOW_WAY


def test_in_shadow_no_calls_are_compared() -> None:
    found = gathering(replace(TRIAL, first_look=1), routings={4: routing(4, 0, CANARY)})
    found.shadow(shadowed([(1, 1, 0), (2, 0, 0)]), np.full(2, 77))
    judged = found.look(SHADOW_WAY, 77)
    assert judged is not None
    assert not [name for name in judged.judgement.numbers if CALLS in name]
    assert judged.judgement.numbers["bound"] == (len(GUARDS) - 1) / LIMITS.alpha


def test_other_shadows_and_other_rollouts_count_for_nothing() -> None:
    found = gathering(routings={4: routing(4, 0, CANARY), 3: routing(3, 0, CANARY)})
    for rows in (shadowed([(1, 1, 0)], arm="other"), shadowed([(1, 1, 0)], revision=3)):
        assert found.shadow(rows, np.zeros(1, np.int64)).side.tolist() == [NO_SIDE]
    assert found._ways[SHADOW_WAY].seen == 0
    assert found.since == {}


def test_matured_shadows_compare_the_candidates_would_be_cost() -> None:
    found = gathering(routings={4: routing(4, 0, CANARY)})
    ripened(found, [(IN_SHADOW, 9, 30.0, 0, 1, True), (IN_SHADOW, 9, 30.0, 0, 2, False)])
    way = found._ways[SHADOW_WAY]
    assert way.cost[:, 9].tolist() == [30.0, 30.0]
    ripened(found, [(IN_SHADOW, 9, 70.0, 0, 1, True)])
    assert way.cost[:, 9].tolist() == [35.0, 100.0]
    assert (way.frauds, way.matured) == ([2, 2], 3)


def test_a_trial_in_both_ways_spends_half_of_the_chances_in_each() -> None:
    both = replace(TRIAL, both_ways=True)
    assert both.way_limits == replace(LIMITS, alpha=0.005, alpha_mismatch=0.0005)
    assert TRIAL.way_limits == LIMITS


@pytest.mark.parametrize(
    ("pairs", "stages"),
    [
        ({}, []),
        ({5: 3, 4: 2}, [0, 0, 1]),
        ({4: 0, 5: 2, 6: 2, 7: 0}, [0, 0]),
        ({4: 1, 6: 3, 9: 4}, [0, 1, 1, 2]),
    ],
)
def test_a_pair_is_in_the_stage_at_which_it_joined(
    pairs: dict[int, int], stages: list[int]
) -> None:
    assert stages_of(pairs).tolist() == stages
