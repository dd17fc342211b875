"""The guard where blocked transactions have no labels: weights, bounds, and what is printed."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from stream_scorer.core.events.explore_table import ExploreTable
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN, LabelPolicy
from stream_scorer.rollout.controller.batches import inside_estimand
from stream_scorer.rollout.evidence.anytime_bounds import Sample, differences, least_effect
from stream_scorer.rollout.evidence.bucket_counts import CANARY_SIDE, CONTROL_SIDE
from stream_scorer.rollout.evidence.collected import IN_SHADOW, Gathering
from stream_scorer.rollout.evidence.costs import BoundedCosts
from stream_scorer.rollout.evidence.guardrail import (
    Evidence,
    GuardLimits,
    Judgement,
    Matured,
    Verdict,
    judge_slow,
)
from stream_scorer.rollout.evidence.let_through import LetThrough, numbers_of
from stream_scorer.rollout.evidence.verdicts import CANARY_WAY, SHADOW_WAY, Trial
from tests.unit.rollout.evidence.test_collected import (
    TRIAL,
    decisions,
    gathering,
    ripe,
    ripened,
    routing,
    shadowed,
)

APPROVE, REVIEW, BLOCK = 0, 1, 2
EXPLORE = ExploreTable("0" * 32, ((0.8, 0.1),), 10_000, 1.0, 1.0, "0" * 64)
EXPLORING = replace(TRIAL, explore=EXPLORE, policy=LabelPolicy("genuine", on=True))
LIMITS = GuardLimits(least_events=1, least_frauds=1, least_pairs=1, delta=0.5)


def _begun(trial: Trial = EXPLORING) -> Gathering:
    found = gathering(trial)
    found.decide(decisions([(0, 4, 0, 1, False, False)]), np.zeros(1, np.int64))
    return found


def test_a_let_through_block_is_charged_with_its_weight() -> None:
    found = _begun()
    rows = [
        (CANARY_SIDE, 2, 30.0, APPROVE, 255, GENUINE), (CANARY_SIDE, 2, 40.0, APPROVE, 255, FRAUD),
        (CANARY_SIDE, 3, 30.0, BLOCK, 255, UNKNOWN), (CONTROL_SIDE, 3, 30.0, APPROVE, 255, FRAUD),
    ]  # fmt: skip
    found.ripen(
        ripe(
            rows, policy_outcome=np.array([BLOCK, BLOCK, BLOCK, APPROVE], np.uint8),
            propensity=np.array([0.1, 0.1, 0.9, 1.0]),
        )
    )  # fmt: skip
    way = found._ways[CANARY_WAY]
    assert way.cost[:, 2:4].tolist() == way.high[:, 2:4].tolist() == [[250.0, 0.0], [0.0, 30.0]]
    assert way.matured_count[:, 2:4].tolist() == [[2, 1], [0, 1]]
    canary = way.through[0]
    assert (canary.raw, canary.genuine, canary.drawn, canary.lost) == (2, 1, 3, 40.0)
    judged = found.look_slow(CANARY_WAY, 0)
    assert judged is None or judged.judgement.numbers["let_through_raw"] == 2


def test_in_shadow_what_was_published_decides_what_is_known() -> None:
    found = gathering(EXPLORING, routings={4: routing(4, 0, "canary")})
    found.shadow(shadowed([(1, 0, 0)]), np.zeros(1, np.int64))
    rows = [
        (IN_SHADOW, 5, 30.0, APPROVE, APPROVE, FRAUD),
        (IN_SHADOW, 5, 30.0, BLOCK, APPROVE, UNKNOWN),
        (IN_SHADOW, 6, 30.0, APPROVE, BLOCK, GENUINE),
        (IN_SHADOW, 6, 30.0, BLOCK, REVIEW, UNKNOWN),
    ]  # fmt: skip
    found.ripen(
        ripe(
            rows, policy_outcome=np.full(4, BLOCK, np.uint8),
            propensity=np.array([0.1, 0.9, 0.1, 0.9]),
        )
    )  # fmt: skip
    way = found._ways[SHADOW_WAY]
    # The candidate approves a fraud of 30: 300 of the let-through one, nothing of the blocked one.
    assert way.cost[:, 5:7].tolist() == [[300.0, 250.0 + 5.0], [0.0, 250.0]]
    assert (way.matured_count[:, 5:7] == 2).all()


def test_a_forged_amount_cannot_make_the_state_unwritable() -> None:
    found = _begun()
    rows = [(CANARY_SIDE, 1, 1e308, APPROVE, 255, FRAUD)] * 4
    block = np.full(4, BLOCK, np.uint8)
    found.ripen(ripe(rows, policy_outcome=block, inside=np.zeros(4, np.bool_)))
    found.ripen(ripe(rows, policy_outcome=block))
    assert found._ways[CANARY_WAY].through[0].lost == 0.0
    assert found.dump()


def test_what_is_outside_leaves_both_costs_and_numbers() -> None:
    found = _begun()
    rows = [(side, 1, 200.0, BLOCK, 255, UNKNOWN) for side in (CANARY_SIDE, CONTROL_SIDE)]
    found.ripen(ripe(rows, inside=np.zeros(2, np.bool_)))
    way = found._ways[CANARY_WAY]
    assert (way.high.sum(), way.matured_count.sum(), way.matured) == (0.0, 0.0, 2)
    assert [side.outside for side in way.through] == [1, 1]


def test_only_the_plans_probabilities_give_weights() -> None:
    chance = np.array([1.0, 0.1, 0.9, 1e-9, np.nan, 0.1, 1.0])
    block = np.array([True, True, True, True, True, False, True])
    amount = np.array([100, 100, 100, 100, 100, 100, 10_001])
    found = inside_estimand(amount, block, chance, EXPLORE)
    assert found.tolist() == [True, True, True, False, False, False, False]
    without = inside_estimand(amount, block, chance, None)
    assert without.tolist() == [True, False, False, False, False, False, True]


def _judged(
    low: tuple[float, float], high: tuple[float, float], *, passed: bool = False
) -> Judgement:
    """Judge arms whose costs per transaction are between two bounds, canary first."""
    rng = np.random.default_rng(3)
    pairs, stage, ones = 400, np.zeros(400, np.int64), np.full(400, 100.0)
    noise = rng.normal(0, 20, (2, pairs))
    low_sums, high_sums = ((100 * each[0] + noise[0], 100 * each[1] + noise[1])
                           for each in (low, high))  # fmt: skip
    cost, top = (Sample(*sums, ones, ones, stage) for sums in (low_sums, high_sums))
    matured = Matured(cost, (500, 500), top)
    return judge_slow(matured, Evidence(), 4, LIMITS, deadline_passed=passed)[0]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [((1.0, 1.0), (1.0, 1.0), Verdict.PROMOTE),
     # The candidate's worst case still is not worse than the control's best one.
     ((1.0, 3.0), (2.0, 4.0), Verdict.PROMOTE),
     ((3.0, 1.0), (4.0, 2.0), Verdict.ROLL_BACK),
     ((1.0, 1.0), (3.0, 3.0), Verdict.NO_DATA),
     # In the middle it is better by 1, and by 2 worse in the worst case.
     ((1.0, 2.0), (4.0, 5.0), Verdict.NO_DATA)],
)  # fmt: skip
def test_bounds_decide_only_where_even_the_worst_case_does(
    low: tuple[float, float], high: tuple[float, float], verdict: Verdict
) -> None:
    judgement = _judged(low, high)
    assert judgement.verdict is verdict
    if verdict is Verdict.NO_DATA:
        assert judgement.reasons[0].startswith(
            "blocked transactions have no labels; switch explore on"
        )
        assert _judged(low, high, passed=True).verdict is Verdict.INCONCLUSIVE


def test_a_bound_around_the_middle_is_at_most_that_of_the_truth() -> None:
    rng = np.random.default_rng(5)
    stage, count = np.zeros(200, np.int64), rng.integers(1, 50, (2, 200)).astype(float)
    for _ in range(40):
        low = rng.gamma(0.5, 20, (2, 200))
        width = rng.gamma(0.5, 5, (2, 200))
        true = low + rng.random((2, 200)) * width

        def sample(canary: int, control: int, of: dict[int, np.ndarray]) -> Sample:
            return Sample(of[canary][0], of[control][1], count[0], count[1], stage)

        of = {0: low, 1: low + width, 2: low + width / 2, 3: true}
        worst, middle, truth = sample(1, 0, of), sample(2, 2, of), sample(3, 3, of)
        bound = least_effect(worst, 4.0, middle)
        assert bound <= least_effect(truth, 4.0, middle) + 1e-9
        assert (differences(worst, middle) >= differences(truth, middle) - 1e-9).all()


def test_a_promotion_needs_enough_that_was_let_through() -> None:
    stage, ones = np.zeros(400, np.int64), np.full(400, 100.0)
    rng = np.random.default_rng(3)
    cost = Sample(rng.normal(100, 20, 400), rng.normal(200, 20, 400), ones, ones, stage)
    for found, verdict, why in (
        ((300, 50), Verdict.PROMOTE, "not worse"),
        ((299, 99), Verdict.CONTINUE, "299 matured transactions were let through, fewer than 300"),
        ((400, 49), Verdict.CONTINUE, "49 of them are genuine, fewer than 50"),
    ):
        matured = Matured(cost, (500, 500), let_through=found)
        judgement, _ = judge_slow(matured, Evidence(), 4, LIMITS, deadline_passed=False)
        assert judgement.verdict is verdict
        assert why in judgement.reasons[0]


def test_further_estimates_equal_their_formulas() -> None:
    # Let through with p = 0.5: 4, of which 1 costs 25; with p = 0.01: 1, which costs 25.
    side = LetThrough({0.5: [4, 1, 25.0], 0.01: [1, 1, 25.0]}, drawn=90, rows=100)
    none = LetThrough(rows=100)
    found = numbers_of((side, none), (2_550.0, 300.0), (100.0, 100.0))
    assert found["benefit_ht"] == pytest.approx(3.0 - 25.5)
    hajek = 90 * (50 + 2_500) / (8 + 100)
    assert found["benefit_hajek"] == pytest.approx(3.0 - hajek / 100)
    clipped = 50 + 25 * min(100, np.sqrt(5) * 2)
    assert found["benefit_clipped"] == pytest.approx(3.0 - clipped / 100)
    assert found["effective_sample"] == pytest.approx(108**2 / (4 * 4 + 10_000))
    assert LetThrough.read(side.plain()) == side
    assert LetThrough.read({}) == LetThrough()


def test_the_state_of_the_earlier_format_is_continued() -> None:
    found = _begun(TRIAL)
    ripened(found, [(side, p, 30.0, 0, 255, FRAUD) for side in (0, 1) for p in range(5)])
    data = zlib.decompress(found.dump())
    assert b'"format": 2' in data
    again = gathering(TRIAL)
    again.restore(found.dump())
    assert again.dump() == found.dump()
    # As the release before wrote it: without the number, the highest costs, and let-through.
    old = _begun(TRIAL)
    ripened(old, [(side, p, 30.0, 0, 255, FRAUD) for side in (0, 1) for p in range(5)])
    way = old._ways[CANARY_WAY]
    told = {name: value for name, value in way.plain().items() if name != "through"}
    arrays = {name: array for name, array in way.arrays().items() if not name.endswith("high")}
    read = type(way).read(CANARY_WAY, told, arrays)
    assert read.high.tolist() == way.high.tolist()
    assert read.cost.tolist() == way.cost.tolist()
    assert read.through == (LetThrough(), LetThrough())


def test_a_rollout_without_a_label_policy_is_judged_as_before() -> None:
    costs = BoundedCosts(most=200.0)
    rows = ripe([(CANARY_SIDE, 1, 30.0, BLOCK, 255, GENUINE)])
    found = LetThrough().add(rows, rows.policy_outcome, costs)
    assert (found.cost.tolist(), found.high.tolist()) == ([25.0], [25.0])
