"""The guard as it was before part 11: what has no label counts as genuine, also what was blocked.

It is kept to show what it does where a blocked fraud yields no label: a model that catches more
frauds seems to block more honest customers.
"""

import numpy as np

from bench.rollout_steps.cities import COSTS, City, outcomes_by_arm
from stream_scorer.core.decision.routing import BUCKETS
from stream_scorer.core.events.batch import Outcome
from stream_scorer.rollout.evidence.anytime_bounds import Sample, look_number
from stream_scorer.rollout.evidence.guardrail import (
    Evidence,
    GuardLimits,
    Judgement,
    Matured,
    judge_slow,
)


def judged_as_before(made: City, kind: str, limits: GuardLimits) -> Judgement:
    """Return the judgement of a canary at the end of a city.

    Args:
        made: The city; nothing was let through.
        kind: What the candidate does otherwise.
        limits: The limits of the verdict.
    """
    said = outcomes_by_arm(made, kind)
    labelled = made.fraud & (said != Outcome.BLOCK)
    cost = COSTS.of(made.amount, labelled, said == Outcome.REVIEW, said == Outcome.BLOCK)
    pairs = BUCKETS // 2
    canary = made.bucket < pairs
    pair = np.where(canary, made.bucket, BUCKETS - 1 - made.bucket)
    sums = [
        np.bincount(pair[side], cost[side], pairs).astype(np.float64) for side in (canary, ~canary)
    ]
    counts = [np.bincount(pair[side], minlength=pairs).astype(float) for side in (canary, ~canary)]
    frauds = int(labelled[canary].sum()), int(labelled[~canary].sum())
    sample = Sample(sums[0], sums[1], counts[0], counts[1], np.zeros(pairs, np.int64))
    look = look_number(len(made), 1_000)
    matured = Matured(sample, frauds)
    return judge_slow(matured, Evidence(), look, limits, deadline_passed=False)[0]
