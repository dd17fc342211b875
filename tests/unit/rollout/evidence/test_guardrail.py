"""Each verdict, on samples that are made for it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as statsmodels
from numpy.typing import NDArray

from stream_scorer.rollout.evidence.anytime_bounds import Sample, differences, log_evidence, weight
from stream_scorer.rollout.evidence.guardrail import (
    GUARDS,
    Evidence,
    Guard,
    GuardLimits,
    Harm,
    Judgement,
    Matured,
    Verdict,
    judge_fast,
    judge_slow,
)

Float64 = NDArray[np.float64]
PAIRS = 400
LIMITS = GuardLimits()
RATES = {"errors": 0.001, "alerts": 0.02, "approved_value": 40.0, "slow_calls": 0.01}


def _bucket(random: np.random.Generator, rate: float, counts: Float64) -> Float64:
    """Return a sum per bucket; customers differ fivefold, so a customer's events are correlated."""
    return random.poisson(rate * random.gamma(2.0, 0.5, PAIRS) * counts).astype(float)


def _samples(**worse: float) -> dict[str, Sample]:
    """Return a sample per guard; the canary has ``worse`` times the control's rate."""
    random = np.random.default_rng(1)
    counts = random.poisson(100 * random.gamma(2.0, 0.5, (2, PAIRS))).astype(float)
    stage = np.zeros(PAIRS, np.int64)
    return {
        name: Sample(
            _bucket(random, rate * worse.get(name, 1.0), counts[0]),
            _bucket(random, rate, counts[1]),
            counts[0],
            counts[1],
            stage,
        )
        for name, rate in RATES.items()
    }


def _events(samples: dict[str, Sample]) -> Sample:
    return samples["alerts"]


def _judge(samples: dict[str, Sample], evidence: Evidence, look: int) -> Judgement:
    return judge_fast(samples, _events(samples), evidence, look, LIMITS)[0]


def test_equal_arms_continue() -> None:
    samples = _samples()
    judgement, evidence = judge_fast(samples, _events(samples), Evidence(), 5, LIMITS)
    assert judgement.verdict is Verdict.CONTINUE
    assert judgement.reasons == ("no guard has evidence of harm",)
    assert set(evidence.e) == {*RATES, "mismatch"}
    assert max(evidence.e.values()) < 4


@pytest.mark.parametrize(
    ("name", "factor"),
    [("errors", 6.0), ("alerts", 2.0), ("alerts", 0.3), ("approved_value", 0.6),
     ("approved_value", 1.6), ("slow_calls", 3.0)],
)  # fmt: skip
def test_each_harm_is_rolled_back_by_its_own_guard(name: str, factor: float) -> None:
    samples = _samples(**{name: factor})
    judgement = _judge(samples, Evidence(), 5)
    assert judgement.verdict is Verdict.ROLL_BACK
    assert [reason.partition(":")[0] for reason in judgement.reasons] == [name]
    canary, control = judgement.numbers[f"{name}_canary"], judgement.numbers[f"{name}_control"]
    assert canary / control == pytest.approx(factor, rel=0.6)


@pytest.mark.parametrize(("name", "factor"), [("errors", 0.1), ("slow_calls", 0.3)])
def test_fewer_errors_and_slow_calls_are_not_harm(name: str, factor: float) -> None:
    samples = _samples(**{name: factor})
    assert _judge(samples, Evidence(), 5).verdict is Verdict.CONTINUE


def test_the_budget_is_shared_among_the_guards() -> None:
    samples = _samples()
    bound = len(GUARDS) / LIMITS.alpha
    below = Evidence(3, {"alerts": bound * (1 - 1e-9)})
    assert _judge(samples, below, 3).verdict is Verdict.CONTINUE
    assert _judge(samples, Evidence(3, {"alerts": bound}), 3).verdict is Verdict.ROLL_BACK
    assert _judge(samples, Evidence(3, {"alerts": bound}), 3).numbers["bound"] == 400


def test_evidence_is_added_once_per_look_with_the_looks_weight() -> None:
    samples = _samples(alerts=1.1)
    sample = samples["alerts"]
    events = _events(samples)
    expected = 0.0
    evidence = Evidence()
    for look in (2, 2, 5):
        judgement, evidence = judge_fast(samples, events, evidence, look, LIMITS)
        assert judgement.numbers["e_alerts"] == evidence.e["alerts"]
    for look in (2, 5):
        sides = [log_evidence(differences(side), side.stage) for side in (sample, sample.swapped())]
        expected += weight(look) * sum(map(math.exp, sides)) / 2
    assert evidence.e["alerts"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="is before look 5"):
        judge_fast(samples, events, evidence, 4, LIMITS)


def test_a_tolerance_allows_a_small_difference() -> None:
    samples = _samples(alerts=1.5)
    for tolerance, expected in ((0.0, True), (0.5, False)):
        guard = Guard("alerts", Harm.MORE, tolerance)
        assert (guard.log_evidence(samples["alerts"]) > 6) is expected
    samples = _samples(alerts=1 / 1.5)
    for tolerance, expected in ((0.0, True), (0.5, False)):
        guard = Guard("alerts", Harm.LESS, tolerance)
        assert (guard.log_evidence(samples["alerts"]) > 6) is expected
        assert (replace(guard, harm=Harm.EITHER).log_evidence(samples["alerts"]) > 5) is expected
    with pytest.raises(ValueError, match="tolerance"):
        Guard("alerts", Harm.MORE, -0.1)


@pytest.mark.parametrize("name", list(RATES))
def test_a_guard_without_a_sample_does_not_pass(name: str) -> None:
    samples = _samples()
    events = _events(samples)
    del samples[name]
    judgement, evidence = judge_fast(samples, events, Evidence(), 5, LIMITS)
    assert judgement.verdict is Verdict.NO_DATA
    assert judgement.reasons == (f"{name}: no data in canary",)
    assert name not in evidence.e


def test_a_guard_whose_arm_has_no_counts_does_not_pass() -> None:
    samples = _samples()
    slots = samples["slow_calls"]
    samples["slow_calls"] = replace(slots, control_count=np.zeros(PAIRS), control=np.zeros(PAIRS))
    judgement = _judge(samples, Evidence(), 5)
    assert judgement.verdict is Verdict.NO_DATA
    assert judgement.reasons == ("slow_calls: no data in control",)


def test_too_few_events_or_no_look_do_not_pass() -> None:
    samples = _samples()
    few = {name: _first(sample, 5) for name, sample in samples.items()}
    judgement = _judge(few, Evidence(), 1)
    assert judgement.verdict is Verdict.NO_DATA
    assert [reason.partition(":")[0] for reason in judgement.reasons] == ["canary", "control"]
    assert _judge(samples, Evidence(), 0).reasons == ("no look was due yet",)
    nothing = {name: _first(sample, 0) for name, sample in samples.items()}
    assert _judge(nothing, Evidence(), 3).verdict is Verdict.NO_DATA


def _first(sample: Sample, pairs: int) -> Sample:
    return Sample(
        sample.canary[:pairs],
        sample.control[:pairs],
        sample.canary_count[:pairs],
        sample.control_count[:pairs],
        sample.stage[:pairs],
    )


def test_events_that_are_lost_in_one_arm_make_a_verdict_invalid() -> None:
    samples = _samples(alerts=2.0)
    whole = _events(samples)
    for lost in (
        replace(whole, canary_count=np.floor(whole.canary_count * 0.6)),
        replace(whole, control_count=np.floor(whole.control_count * 0.6)),
    ):
        judgement, _ = judge_fast(samples, lost, Evidence(), 5, LIMITS)
        assert judgement.verdict is Verdict.INVALID
        assert judgement.reasons[0].startswith("sample ratio")
        assert judgement.reasons[1].startswith("alerts")
        slow, _ = judge_slow(Matured(lost, (500, 500)), Evidence(), 5, LIMITS, deadline_passed=True)
        assert slow.verdict is Verdict.INVALID


@pytest.mark.parametrize(("least", "expected"), [(0.001, False), (0.9, True)])
def test_a_mismatch_has_a_separate_chance_of_error(least: float, *, expected: bool) -> None:
    """An evidence of 20 is too weak at one in a thousand, whatever the other guards allow."""
    samples = _samples()
    limits = replace(LIMITS, alpha=0.9, alpha_mismatch=least)
    seen = Evidence(5, {"mismatch": 20.0})
    judgement, _ = judge_fast(samples, _events(samples), seen, 5, limits)
    assert (judgement.verdict is Verdict.INVALID) == expected


def test_a_judgement_is_plain_data() -> None:
    samples = _samples(errors=1e4)
    judgement, evidence = judge_fast(samples, _events(samples), Evidence(), 1, LIMITS)
    again = json.loads(json.dumps(judgement.plain(), allow_nan=False))
    assert again["verdict"] == "ROLL_BACK"
    assert again["numbers"]["e_errors"] == evidence.e["errors"]
    assert 1e20 < evidence.e["errors"] < math.inf


def _costs(benefit: float, seed: int = 4, frauds: int = 500) -> Matured:
    """Return costs of about 1 per transaction, of which the candidate saves ``benefit``."""
    random = np.random.default_rng(seed)
    counts = random.poisson(200 * random.gamma(2.0, 0.5, (2, PAIRS))).astype(float)
    costs = random.gamma(counts / 20, 20.0)
    sample = Sample(
        costs[0] - benefit * counts[0], costs[1], counts[0], counts[1], np.zeros(PAIRS, np.int64)
    )
    return Matured(sample, (frauds, frauds))


SLOW = GuardLimits(delta=0.3)


@pytest.mark.parametrize(
    ("benefit", "passed", "expected"),
    [(0.0, False, Verdict.PROMOTE), (-0.3, False, Verdict.CONTINUE),
     (-0.3, True, Verdict.INCONCLUSIVE), (-0.7, False, Verdict.ROLL_BACK)],
)  # fmt: skip
def test_costs_decide_by_the_position_of_the_bounds(
    benefit: float, *, passed: bool, expected: Verdict
) -> None:
    judgement, evidence = judge_slow(_costs(benefit), Evidence(), 4, SLOW, deadline_passed=passed)
    assert judgement.verdict is expected
    numbers = judgement.numbers
    assert numbers["benefit_low"] < numbers["benefit"] < numbers["benefit_high"]
    assert numbers["benefit_high"] - numbers["benefit_low"] < 0.6
    assert numbers["benefit_low"] < benefit < numbers["benefit_high"]
    assert evidence.look == 4
    assert json.loads(json.dumps(judgement.plain(), allow_nan=False))["verdict"] == expected


def test_later_looks_have_wider_bounds_on_the_same_data() -> None:
    found = [
        judge_slow(_costs(0.0), Evidence(), look, SLOW, deadline_passed=False)[0].numbers
        for look in (1, 30)
    ]
    assert found[1]["benefit_low"] < found[0]["benefit_low"]
    assert found[1]["benefit_high"] > found[0]["benefit_high"]


def test_between_looks_costs_are_not_peeked_at() -> None:
    _, evidence = judge_slow(_costs(-0.3), Evidence(), 4, SLOW, deadline_passed=False)
    again, after = judge_slow(_costs(-0.9), evidence, 4, SLOW, deadline_passed=False)
    assert again.verdict is Verdict.CONTINUE
    assert again.reasons == ("no look is due",)
    assert after == evidence
    ended, _ = judge_slow(_costs(-0.9), evidence, 4, SLOW, deadline_passed=True)
    assert ended.verdict is Verdict.INCONCLUSIVE
    for passed, expected in ((False, Verdict.NO_DATA), (True, Verdict.INCONCLUSIVE)):
        nothing, _ = judge_slow(_costs(0.0), Evidence(), 0, SLOW, deadline_passed=passed)
        assert nothing.verdict is expected


def test_too_few_frauds_hold_a_promotion_and_no_rollback() -> None:
    good, _ = judge_slow(_costs(0.2, frauds=99), Evidence(), 4, SLOW, deadline_passed=False)
    assert good.verdict is Verdict.CONTINUE
    assert good.reasons[0] == "99 matured frauds in an arm, fewer than 100"
    lopsided = replace(_costs(0.2), frauds=(5_000, 3))
    assert (
        judge_slow(lopsided, Evidence(), 4, SLOW, deadline_passed=True)[0].verdict
        is Verdict.INCONCLUSIVE
    )
    bad, _ = judge_slow(_costs(-0.7, frauds=1), Evidence(), 4, SLOW, deadline_passed=False)
    assert bad.verdict is Verdict.ROLL_BACK


def test_alerts_without_known_frauds_are_not_taken_for_mistakes() -> None:
    judged, _ = judge_slow(_costs(-0.7, frauds=0), Evidence(), 4, SLOW, deadline_passed=False)
    assert judged.verdict is Verdict.NO_DATA
    assert judged.reasons == ("no label has reported a fraud",)


def test_no_labels_do_not_pass() -> None:
    few = Matured(_first(_costs(0.0).cost, 3), (500, 500))
    for passed, expected in ((False, Verdict.NO_DATA), (True, Verdict.INCONCLUSIVE)):
        judgement, _ = judge_slow(few, Evidence(), 4, SLOW, deadline_passed=passed)
        assert judgement.verdict is expected
        assert "fewer than" in judgement.reasons[0]


def test_one_bucket_that_outweighs_all_others_promotes_nothing() -> None:
    matured = _costs(0.0)
    costs = matured.cost.control.copy()
    costs[7] = 1e5
    judgement, _ = judge_slow(
        replace(matured, cost=replace(matured.cost, control=costs)),
        Evidence(), 4, replace(SLOW, delta=20.0), deadline_passed=False,
    )  # fmt: skip
    assert judgement.numbers["benefit_low"] > -20
    assert judgement.numbers["effective_pairs"] < 30
    assert judgement.verdict is Verdict.CONTINUE
    assert judgement.reasons[0].startswith("the differences of costs are those of ")


def test_in_shadow_each_bucket_is_its_own_pair() -> None:
    matured = _costs(0.0)
    champion = matured.cost.control
    counts = matured.cost.control_count
    same = Sample(champion.copy(), champion, counts, counts, matured.cost.stage)
    promoted, _ = judge_slow(Matured(same, (500, 500)), Evidence(), 4, SLOW, deadline_passed=False)
    assert promoted.verdict is Verdict.PROMOTE
    assert promoted.numbers["e_mismatch"] == pytest.approx(weight(4))
    worse = replace(same, canary=champion + 0.6 * counts)
    refused, _ = judge_slow(Matured(worse, (500, 500)), Evidence(), 4, SLOW, deadline_passed=False)
    assert refused.verdict is Verdict.ROLL_BACK


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": 0.0}, {"alpha": 1.0}, {"alpha_mismatch": 2.0}, {"least_events": 0},
     {"least_pairs": 0}, {"least_frauds": 0}, {"delta": 0.0}, {"delta": math.inf}],
)  # fmt: skip
def test_limits_that_would_let_no_data_pass_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GuardLimits(**wrong)  # type: ignore[arg-type]


def _by_event(
    random: np.random.Generator, buckets: int
) -> tuple[Float64, Float64, NDArray[np.int64]]:
    """Return cost, arm and bucket of each transaction; those of a bucket are correlated."""
    sizes = random.poisson(40, buckets) + 1
    bucket = np.repeat(np.arange(buckets), sizes)
    canary = (bucket % 2 == 0).astype(float)
    cost = random.gamma(random.gamma(0.5, 2.0, buckets)[bucket]) + 0.2 * canary
    return cost, canary, bucket


def test_benefit_and_bounds_are_those_of_a_clustered_regression() -> None:
    cost, canary, bucket = _by_event(np.random.default_rng(11), 1_200)
    oracle = statsmodels.OLS(cost, statsmodels.add_constant(canary)).fit(
        cov_type="cluster", cov_kwds={"groups": bucket}
    )
    sums = np.bincount(bucket, cost).astype(np.float64)
    counts = np.bincount(bucket).astype(np.float64)
    pairs = Sample(sums[::2], sums[1::2], counts[::2], counts[1::2], np.zeros(600, np.int64))
    limits = GuardLimits(delta=0.2)
    look = 8
    judgement, _ = judge_slow(
        Matured(pairs, (500, 500)), Evidence(), look, limits, deadline_passed=False
    )
    numbers = judgement.numbers
    assert numbers["benefit"] == pytest.approx(-oracle.params[1])
    half = scipy.stats.norm.isf(limits.alpha * weight(look)) * oracle.bse[1]
    for side in ("low", "high"):
        away = abs(numbers[f"benefit_{side}"] - numbers["benefit"])
        # Without assuming a normal distribution, the bounds are wider, by about a fifth.
        assert half < away < 1.4 * half
