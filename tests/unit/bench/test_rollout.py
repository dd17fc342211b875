"""The rollout bench: its samples of a stream, its counts, and its gates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import rollout
from bench.rollout_steps.streams import BUCKETS, SHARES, Stream, costs
from bench.verdicts.rollout import failures, report
from stream_scorer.rollout.evidence.guardrail import Verdict

ROWS, CUSTOMERS, DAYS = 20_000, 400, 30
LOOKS = np.array([1_000, 4_000, 9_000, 15_000, 20_000])


def made(seed: int = 5) -> Stream:
    random = np.random.default_rng(seed)
    customer = random.integers(0, CUSTOMERS, ROWS)
    fraud = random.random(ROWS) < 0.05
    return Stream(
        bucket=random.integers(0, BUCKETS, CUSTOMERS)[customer],
        customer=customer,
        day=np.linspace(0, DAYS, ROWS, endpoint=False),
        score=np.where(fraud, random.random(ROWS), 0.2 * random.random(ROWS)),
        review=0.19,
        block=0.8,
        amount=random.gamma(2.0, 60.0, ROWS),
        fraud=fraud,
        error=random.random(ROWS) < 0.01,
        slow=random.random((2, 40)) < 0.1,
        look_rows=LOOKS,
        looks=np.array([1, 8, 13, 15, 17]),
    )


@pytest.mark.parametrize("joined", [[0], [0, 2], [0, 2, 2], [1, 1, 3]])
def test_samples_hold_what_a_plain_count_finds(joined: list[int]) -> None:
    streamed = made()
    values = streamed.amount
    tallies = rollout.tally(streamed)
    look = 4
    sample = tallies.sample(tallies.sums(values), look, np.array(joined))
    ends = [round(BUCKETS * share) for share in SHARES]
    assert len(sample) == ends[len(joined) - 1]
    expected = np.zeros((4, len(sample)))
    for row in range(LOOKS[look - 1]):
        bucket = int(streamed.bucket[row])
        pair = min(bucket, BUCKETS - 1 - bucket)
        stage = int(np.searchsorted(ends, pair, side="right"))
        if stage >= len(joined) or row < [0, *LOOKS][joined[stage]]:
            continue
        arm = 0 if bucket < BUCKETS // 2 else 1
        expected[arm, pair] += values[row]
        expected[2 + arm, pair] += 1
    assert sample.canary == pytest.approx(expected[0])
    assert sample.control == pytest.approx(expected[1])
    assert sample.canary_count.tolist() == expected[2].tolist()
    assert sample.control_count.tolist() == expected[3].tolist()
    assert expected[2].sum() > 0 < expected[3].sum()


def test_a_blind_candidate_costs_what_it_should_at_any_time() -> None:
    streamed = made()
    alert = streamed.score >= streamed.review
    candidate = rollout.overlooking(streamed, alert, 0.5, 1)
    more = np.cumsum(costs(streamed, candidate) - costs(streamed, alert))
    rows = np.arange(1, ROWS + 1)
    assert more[2_000:] / rows[2_000:] == pytest.approx(np.full(ROWS - 2_000, 0.5), rel=0.25)
    assert not (candidate & ~alert).any()
    changed = candidate != alert
    assert streamed.fraud[changed].all()
    assert len(set(streamed.customer[changed].tolist())) <= 0.6 * CUSTOMERS
    assert (rollout.overlooking(streamed, alert, 0.0, 1) == alert).all()


def test_a_candidate_that_reviews_everything_is_rolled_back() -> None:
    streamed = made()
    alert = streamed.score >= streamed.review
    tallies = rollout.tally(streamed)
    same = rollout.fast_rollout(streamed, tallies, alert, alert)
    assert (same.verdict, same.decisions) == (Verdict.CONTINUE, ROWS)
    loud = rollout.fast_rollout(streamed, tallies, alert, np.ones_like(alert))
    assert loud.verdict is Verdict.ROLL_BACK
    assert loud.z_test
    assert loud.events < same.events
    assert rollout.shadow_rollout(streamed, tallies, alert, np.ones_like(alert)) == LOOKS[0]
    assert rollout.shadow_rollout(streamed, tallies, alert, alert) == np.inf


def test_matured_looks_see_nothing_younger_than_the_maturity() -> None:
    streamed = made()
    alert = streamed.score >= streamed.review
    matured = rollout.maturing(streamed)
    assert matured.ends.max() < DAYS - rollout.MATURITY_DAYS
    assert len(matured.looks) == len(matured.ends) == 4
    last = list(rollout.in_shadow(streamed, matured, alert, alert))[-1]
    assert last.cost.canary_count.sum() == LOOKS[3]
    assert last.cost.canary.sum() == pytest.approx(costs(streamed, alert)[: LOOKS[3]].sum())
    assert last.frauds == (int(streamed.fraud[: LOOKS[3]].sum()),) * 2
    arms = list(rollout.in_canary(streamed, matured, alert, ~alert))[-1]
    assert arms.cost.rates[0] > 2 * arms.cost.rates[1]


def test_equal_costs_are_promoted_in_shadow_large_ones_reverted() -> None:
    streamed = made()
    alert = streamed.score >= streamed.review
    matured = rollout.maturing(streamed)
    for candidate, expected in ((alert, Verdict.PROMOTE), (~alert, Verdict.ROLL_BACK)):
        seen = rollout.in_shadow(streamed, matured, alert, candidate)
        assert rollout.slow_rollout(seen, matured.looks) is expected


def _runs(**last: Any) -> list[dict[str, Any]]:
    one = {
        "same": "CONTINUE", "z_test": True, "decisions": 100, "alert_rate": 0.02, "cost": 0.4,
        "cost_of_nothing": 2.0, "equal_canary": "PROMOTE", "equal_shadow": "PROMOTE",
        "worse_by_2_delta_by": 0.6, "worse_by_2_delta_canary": "INCONCLUSIVE",
        "worse_by_2_delta_shadow": "ROLL_BACK", "worse_by_delta_canary": "INCONCLUSIVE",
        "worse_by_delta_shadow": "INCONCLUSIVE",
    }  # fmt: skip
    return [one] * 98 + [one | last] * 2


LOUDER = [
    {"verdict": "ROLL_BACK", "events": 100 * n, "decisions": 9, "ratio": 2.0, "shadow": 50.0}
    for n in range(1, 11)
]


def test_what_is_kept_passes() -> None:
    document = report(_runs(), LOUDER, 0.3)
    assert failures(document) == []
    assert document["aa_runs"] == document["bad_runs"] == 100
    assert document["doubled_alert_rate_detected_after_events"] == 600
    assert document["doubled_alert_rate_nine_of_ten_after_events"] == 1_000
    assert document["doubled_alert_rate_in_shadow_after_events"] == 50
    assert document["z_test_false_rollbacks"] == 100


@pytest.mark.parametrize(
    ("broken", "named"),
    [({"same": "ROLL_BACK"}, "false_rollbacks"), ({"same": "INVALID"}, "false_mismatches"),
     ({"worse_by_2_delta_canary": "PROMOTE"}, "false_promotions"),
     ({"worse_by_2_delta_shadow": "PROMOTE"}, "false_promotions_in_shadow"),
     ({"worse_by_delta_canary": "PROMOTE"}, "promotions_at_delta"),
     ({"worse_by_delta_shadow": "PROMOTE"}, "promotions_at_delta_in_shadow"),
     ({"equal_canary": "ROLL_BACK"}, "rollbacks_of_equal")],
)  # fmt: skip
def test_two_in_a_hundred_are_too_many(broken: dict[str, str], named: str) -> None:
    lines = failures(report(_runs(**broken), LOUDER, 0.3))
    assert lines == [f"{named} is 2 of 100, must be at most 1"]


def test_a_guard_that_never_promotes_or_never_finds_fails() -> None:
    hidden = [one | {"shadow": np.inf} for one in LOUDER]
    document = report(_runs(), hidden, 0.3)
    assert document["doubled_alert_rate_in_shadow_after_events"] is None
    silent = [one | {"equal_canary": "INCONCLUSIVE"} for one in _runs()]
    assert "promotions_of_equal is 0" in failures(report(silent, LOUDER, 0.3))[0]
    missed = LOUDER[:8] + [one | {"verdict": "CONTINUE"} for one in LOUDER[8:]]
    document = report(_runs(), missed, 0.3)
    assert document["doubled_alert_rate_nine_of_ten_after_events"] is None
    assert "nine of ten" in failures(document)[0]
    assert document["doubled_alert_rate_detected_after_events"] == 600


def test_rows_that_no_look_sees_are_in_no_tally() -> None:
    streamed = replace(made(), look_rows=LOOKS[:2], looks=np.array([1, 8]))
    tallies = rollout.tally(streamed)
    assert tallies.count[-1].sum() == LOOKS[1]
    assert tallies.count[1].sum() == LOOKS[0]
