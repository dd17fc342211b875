"""The guard where blocked frauds have no label: what was let through tells which model is better.

Each city is rolled out with a candidate that is better or worse by 2 delta (``cities`` says how).
Would-be BLOCKs are drawn by the scorer's function and judged by the controller's, look after look.
On the same cities, the guard as it was before is judged, and the guard without exploration.

Three further parts: the estimator alone, under many keys; cities without a difference, whose
p-values must be uniform; and thieves that retry all day.
"""

import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from bench.harness.script import Number, Script, table
from bench.rollout_steps.cities import (
    COSTS,
    DAY_MS,
    DELTA,
    EXPLORE,
    KINDS,
    POLICY,
    SHARE,
    City,
    city,
    matured,
    names_of,
    outcomes_by_arm,
    salt_of,
    true_benefit,
)
from bench.rollout_steps.unlabelled_is_genuine import judged_as_before
from bench.verdicts.let_through import failures, report
from stream_scorer.core.decision.routing import (
    BUCKETS,
    CANARY,
    CHAMPION,
    CONTROL,
    Routing,
    Version,
    canary_slices,
)
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.exploring.contract import Exploration
from stream_scorer.core.exploring.draw import draw, numbers
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.ports import Float64
from stream_scorer.rollout.evidence.anytime_bounds import Sample, differences
from stream_scorer.rollout.evidence.bucket_counts import ArmCodes, Decisions
from stream_scorer.rollout.evidence.collected import Gathering
from stream_scorer.rollout.evidence.guardrail import GuardLimits, Verdict
from stream_scorer.rollout.evidence.label_rows import Ripe
from stream_scorer.rollout.evidence.verdicts import CANARY_WAY, Judged, Trial

DAYS = 30
LIMITS = GuardLimits(alpha=0.01, delta=DELTA, least_let_through=200)
_REVISION = 1
_FLIPS = 999


def trial(seed: int, *, explores: bool) -> Trial:
    """Return the rules of a rollout in a city, with or without exploration."""
    return Trial(
        began=_REVISION, salt=salt_of(seed), candidate=CANARY, limits=LIMITS, costs=COSTS,
        explore=EXPLORE if explores else None, policy=POLICY,
    )  # fmt: skip


def rolled_out(rows: Ripe, rules: Trial) -> tuple[set[Verdict], Judged]:
    """Return all verdicts of a rollout with a look each day, and the last judgement.

    Args:
        rows: The matured decisions of both arms, each half of the customers.
        rules: Of the rollout.
    """
    versions = {CHAMPION: Version("m", "1"), CONTROL: Version("m", "1"), CANARY: Version("m", "2")}
    gathering = Gathering(rules)
    gathering.follow(
        {_REVISION: Routing(_REVISION, versions, canary_slices(BUCKETS // 2), salt=rules.salt)}
    )
    # One decision begins the revision.
    one = np.zeros(1, np.int64)
    gathering.decide(
        Decisions(
            one.astype(np.uint64), ArmCodes.of(pa.array([CANARY])), one + _REVISION,
            np.full(1, 0.5), one.astype(np.uint8), one, one > 0, one.astype(np.uint8), np.ones(1),
        ),
        one,
    )  # fmt: skip
    edges = np.searchsorted(rows.event_time, np.arange(DAYS + 1) * DAY_MS)
    verdicts: set[Verdict] = set()
    for day in range(DAYS):
        gathering.ripen(rows.take(np.arange(edges[day], edges[day + 1])))
        judged = gathering.look_slow(CANARY_WAY, (day + 1) * DAY_MS)
        if judged is not None:
            verdicts.add(judged.judgement.verdict)
    last = gathering.last(CANARY_WAY, "slow")
    if last is None:
        raise RuntimeError("no look was due")
    return verdicts, last


def key_of(seed: int) -> bytes:
    """Return the key of a city's draws."""
    return np.random.default_rng([7, seed]).bytes(32)


def run(seed: int, rows: int) -> dict[str, Any]:
    """Return what the three guards make of one city's candidate."""
    made = city(seed, rows, DAYS)
    kind = KINDS[seed % len(KINDS)]
    drawn = made.drawn(key_of(seed), outcomes_by_arm(made, kind))
    verdicts, last = rolled_out(matured(made, kind, drawn, POLICY), trial(seed, explores=True))
    found = last.judgement.numbers
    first = KINDS[seed % 2]
    before = judged_as_before(made, first, LIMITS)
    bounded, _ = rolled_out(matured(made, first, None, POLICY), trial(seed, explores=False))
    return {
        "kind": kind, "better": kind in {KINDS[0], KINDS[2]},
        "true": true_benefit(made, kind), "verdicts": verdicts, "numbers": dict(found),
        "before_better": first == KINDS[0], "before": before.numbers["benefit"],
        "before_verdict": before.verdict, "before_true": true_benefit(made, first),
        "bounded": bounded,
    }  # fmt: skip


def estimator(draws: int, rows: int) -> dict[str, float]:
    """Return the error and the coverage of the estimator alone, on one city under many keys."""
    made = city(1, rows, DAYS)
    said = made.outcome(None, candidate=False)
    at = np.flatnonzero((said == Outcome.BLOCK) & made.inside)
    cost = made.cost(said)[at]
    days = made.time[at] // DAY_MS
    pairs, which = np.unique(
        np.stack([made.customer[at], days]), axis=1, return_inverse=True
    )  # fmt: skip
    names = names_of(pairs[0]).to_pylist()
    total = int(made.inside.sum())
    true = float(cost.sum()) / total
    label = np.where(made.fraud[at], FRAUD, GENUINE)
    block = np.ones(len(at), np.bool_)
    errors, covered = np.empty(draws), 0
    for number in range(draws):
        u = numbers(key_of(10_000 + number), names, pairs[1])[which.ravel()]
        through = u < SHARE
        weighted = COSTS.weighted(
            made.amount[at], np.where(through, label, UNKNOWN).astype(np.uint8), ~block, block,
            through, np.where(through, SHARE, 1 - SHARE),
        )  # fmt: skip
        part = np.bincount(made.bucket[at], weighted.cost, BUCKETS)
        errors[number] = part.sum() / total - true
        # Delete one bucket at a time; t with 9,999 degrees of freedom.
        spread = math.sqrt(BUCKETS / (BUCKETS - 1) * float(((part - part.mean()) ** 2).sum()))
        covered += abs(errors[number]) <= 1.9602 * spread / total
    naive = COSTS.false_block * len(at) / total - true
    standard = float(errors.std(ddof=1)) / math.sqrt(draws)
    return {
        "error": float(errors.mean()) / standard, "naive": naive / standard,
        "coverage": float(covered) / draws, "draws": draws, "true": true,
        "spread": float(errors.std(ddof=1)),
    }  # fmt: skip


def same(seed: int, rows: int) -> float:
    """Return the p-value of "the arms are equal" in a city in which they are, by sign flips."""
    made = city(100_000 + seed, rows, DAYS)
    drawn = made.drawn(key_of(seed), outcomes_by_arm(made, None))
    rows_of = matured(made, None, drawn, POLICY)
    weighted = COSTS.weighted(
        rows_of.amount, rows_of.state, rows_of.policy_outcome == Outcome.REVIEW,
        rows_of.policy_outcome == Outcome.BLOCK, rows_of.through, rows_of.propensity,
        inside=rows_of.inside,
    )  # fmt: skip
    size = BUCKETS // 2
    sides = [rows_of.arm == side for side in (0, 1)]
    cost, count = (
        [np.bincount(rows_of.bucket[side], of[side], size).astype(np.float64) for side in sides]
        for of in (weighted.cost, weighted.count)
    )
    sample = Sample(cost[0], cost[1], count[0], count[1], np.zeros(size, np.int64))
    found = differences(sample)
    rng = np.random.default_rng([9, seed])
    flips = (rng.integers(0, 2, (_FLIPS, size)) * 2 - 1) @ found
    larger = int(np.count_nonzero(np.abs(flips) > abs(found.sum())))
    equal = int(np.count_nonzero(np.abs(flips) == abs(found.sum())))
    return float((larger + rng.random() * (equal + 1)) / (_FLIPS + 1))


def kolmogorov(values: Float64) -> float:
    """Return the largest distance of values' distribution from the uniform one.

    >>> kolmogorov(np.array([0.5])), round(kolmogorov(np.array([0.25, 0.75])), 2)
    (0.5, 0.25)
    """
    ordered, n = np.sort(values), len(values)
    steps = np.arange(n + 1) / n
    return float(max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()))


def retries(thieves: int = 2_000, tries: int = 100) -> tuple[int, float]:
    """Return the largest number of answers that a thief had in a day, and how many passed."""
    exploration = Exploration(np.array(EXPLORE.bands), EXPLORE.most_minor, key_of(0))
    answers, passed = 0, 0
    for thief in range(thieves):
        through = draw(
            exploration, pa.array([f"thief {thief}"] * tries), np.arange(tries) * 1_000,
            np.full(tries, 0.9), np.full(tries, 1_000), np.ones(tries, np.bool_),
        ).through  # fmt: skip
        answers = max(answers, len(set(through.tolist())))
        passed += bool(through[0])
    return answers, passed / thieves


def summed_up(made: City) -> dict[str, float]:
    """Return the shares of a city's would-be BLOCKs, and how precise they are."""
    said = made.outcome(None, candidate=False)
    block = said == Outcome.BLOCK
    return {"share": float(block.mean()), "precision": float(made.fraud[block].mean()),
            "fraud": float(made.fraud.mean()), "genuine": GENUINE}  # fmt: skip


def main() -> int:
    script = Script(
        __doc__, "fewer cities", cities=Number(200, 8), draws=Number(2_000, 150),
        same=Number(500, 60), rows=Number(1_000_000, 1_000_000),
    )  # fmt: skip
    options = script.options
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        alone = workers.submit(estimator, options.draws, options.rows)
        cities = list(workers.map(partial(run, rows=options.rows), range(options.cities)))
        equal = list(workers.map(partial(same, rows=100_000), range(options.same)))
        estimated = alone.result()
    document = report(cities, estimated, kolmogorov(np.array(equal)), len(equal), retries())
    document["blocks"] = summed_up(city(1, options.rows, DAYS))
    document["seconds"] = script.seconds
    rows = ((name.replace("_", " "), value) for name, value in document.items())
    shown = table("guards where blocked frauds have no label", "what", "found", rows=rows)
    return script.conclude(document, failures(document), shown)


if __name__ == "__main__":
    sys.exit(main())
