"""How the rollout's guard treats candidates that are equal, worse, and alert twice as often.

Each run is a city of the handbook's simulator with a different seed, decided by the shipped model.
Rolled out in it are:

- the champion itself (A/A), through a ramp whose steps the guard's own verdicts decide, with looks
  from beginning to end: a rollback is a false one;
- a candidate with a lower threshold that alerts twice as often: how many events until a rollback,
  as a canary and in shadow;
- candidates that overlook frauds of half the customers and so cost 2 delta more per transaction,
  or delta, or nothing more: promotions of the first are false, of the last the guard's purpose.

The results are compared with a z-test that treats events as independent and looks as often.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness.script import Number, Script, table
from bench.rollout_steps.streams import SHARES, Stream, Tallies, costs, stream
from bench.verdicts.rollout import failures, report
from stream_scorer.ports import Float64, Int64
from stream_scorer.rollout.evidence.anytime_bounds import Sample
from stream_scorer.rollout.evidence.guardrail import (
    Evidence,
    GuardLimits,
    Matured,
    Verdict,
    judge_fast,
    judge_slow,
)

Bool = NDArray[np.bool_]

FIRST_LOUDER = 3_001
DAYS, LOUDER_DAYS = 30, 75
MATURITY_DAYS = 7
DELTA = 0.3
"""In units of the currency per transaction."""
LIMITS = GuardLimits(least_events=200, delta=DELTA)
STAGE_DAYS = 2.0
"""Minimum duration of a stage; it also lasts until the guard has data and sees no harm."""
STAGE_STARTS = (0.0, 2.0, 5.0)
"""Days on which the stages begin where costs are judged."""
COSTLIER = {"worse_by_2_delta": 2 * DELTA, "worse_by_delta": DELTA, "equal": 0.0}
_Z = 2.576
"""Two-sided, 1 %."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A rollout that the guard or the calendar has ended.

    Attributes:
        verdict: The last one.
        events: Decisions of the canary until then.
        decisions: Of all the stream.
        z_test: Whether a z-test on alerts would have rolled back at some look.
    """

    verdict: Verdict
    events: int
    decisions: int
    z_test: bool


def tally(streamed: Stream) -> Tallies:
    """Return the running sums at a stream's looks."""
    part = np.searchsorted(streamed.look_rows, np.arange(1, len(streamed.bucket) + 1))
    return Tallies(streamed.bucket, part, len(streamed.look_rows))


def fast_rollout(streamed: Stream, tallies: Tallies, alert: Bool, candidate: Bool) -> Ended:
    """Roll a candidate out until the guard ends it, or the days end.

    Args:
        streamed: The events.
        tallies: Their looks.
        alert: bool[n], events that the champion does not approve.
        candidate: bool[n], events that the candidate does not approve.
    """
    alerts = np.where(tallies.canary, candidate, alert)
    sums = {
        "errors": tallies.sums(streamed.error.astype(float)),
        "alerts": tallies.sums(alerts.astype(float)),
        "approved_value": tallies.sums(np.where(alerts, 0.0, streamed.amount)),
    }
    joined, began = [0], 0.0
    evidence, naive, verdict, events = Evidence(), False, Verdict.NO_DATA, 0
    for at, (rows, look) in enumerate(
        zip(streamed.look_rows.tolist(), streamed.looks.tolist(), strict=True), start=1
    ):
        samples = {
            name: tallies.sample(of, at, np.array(joined, np.int64)) for name, of in sums.items()
        }
        slots = rows * streamed.slow.shape[1] // len(streamed.bucket)
        ones = np.ones(slots)
        slow = streamed.slow[:, :slots].astype(float)
        samples["slow_calls"] = Sample(slow[0], slow[1], ones, ones, np.zeros(slots, np.int64))
        judgement, evidence = judge_fast(samples, samples["alerts"], evidence, look, LIMITS)
        verdict, events = judgement.verdict, int(samples["alerts"].canary_count.sum())
        naive |= abs(_z_test(samples["alerts"])) > _Z
        if verdict in {Verdict.ROLL_BACK, Verdict.INVALID}:
            return Ended(verdict, events, rows, naive)
        day = float(streamed.day[rows - 1])
        rested = day - began >= STAGE_DAYS
        if verdict is Verdict.CONTINUE and rested and len(joined) < len(SHARES):
            joined.append(at)
            began = day
    return Ended(verdict, events, len(streamed.bucket), naive)


def shadow_rollout(streamed: Stream, tallies: Tallies, alert: Bool, candidate: Bool) -> float:
    """Return after how many decisions a shadow's alerts are found to differ; endless if never."""
    sums = [tallies.sums(found.astype(float)) for found in (candidate, alert)]
    evidence = Evidence()
    for at, look in enumerate(streamed.looks.tolist(), start=1):
        counts = tallies.count[at].ravel()
        stage = np.zeros(len(counts), np.int64)
        alerts = Sample(sums[0][at].ravel(), sums[1][at].ravel(), counts, counts, stage)
        judgement, evidence = judge_fast({"alerts": alerts}, alerts, evidence, look, LIMITS)
        if judgement.verdict is Verdict.ROLL_BACK:
            return float(streamed.look_rows[at - 1])
    return math.inf


def _z_test(sample: Sample) -> float:
    """Return z of two shares as if all events were independent."""
    counts = sample.canary_count.sum(), sample.control_count.sum()
    total = float(sample.canary.sum() + sample.control.sum())
    if min(counts) == 0 or total == 0:
        return 0.0
    pooled = total / float(sum(counts))
    canary, control = sample.rates
    return (canary - control) / math.sqrt(pooled * (1 - pooled) * sum(1 / n for n in counts))


def overlooking(streamed: Stream, alert: Bool, per_transaction: float, seed: int) -> Bool:
    """Return bool[n], alerts of a candidate that overlooks frauds of half the customers.

    It overlooks as many of them as cost the given amount more per transaction. This holds at any
    time, not only at the end, so that a promotion at any look is a false one.
    """
    blind = np.random.default_rng(seed).random(int(streamed.customer.max()) + 1) < 0.5
    found = np.flatnonzero(alert & streamed.fraud & blind[streamed.customer])
    extra = costs(streamed, np.zeros_like(alert))[found] - costs(streamed, alert)[found]
    candidate, spent = alert.copy(), 0.0
    for row, more in zip(found.tolist(), extra.tolist(), strict=True):
        if spent < per_transaction * row:
            candidate[row] = False
            spent += more
    return candidate


@dataclass(frozen=True, slots=True)
class Maturing:
    """The looks at matured transactions: each has those that were old enough, in time order.

    Attributes:
        tallies: Of the matured, by look.
        looks: int64[k], numbers of the looks.
        ends: float64[k], day of the newest transaction of each look.
    """

    tallies: Tallies
    looks: Int64
    ends: Float64


def maturing(streamed: Stream) -> Maturing:
    """Return the looks at a stream's matured transactions."""
    rows = int(np.searchsorted(streamed.day, DAYS - MATURITY_DAYS))
    seen = streamed.look_rows <= rows
    look_rows = streamed.look_rows[seen]
    part = np.searchsorted(look_rows, np.arange(1, len(streamed.bucket) + 1))
    return Maturing(
        Tallies(streamed.bucket, part, len(look_rows)),
        streamed.looks[seen],
        streamed.day[look_rows - 1],
    )


def in_canary(
    streamed: Stream, matured: Maturing, alert: Bool, candidate: Bool
) -> Iterator[Matured]:
    """Yield what each look sees of a canary and its control."""
    tallies = matured.tallies
    arms = tallies.sums(costs(streamed, np.where(tallies.canary, candidate, alert)))
    frauds = tallies.sums(streamed.fraud.astype(float))
    for at, end in enumerate(matured.ends.tolist(), start=1):
        begun = [day for day in STAGE_STARTS if day <= end]
        joined = np.searchsorted(matured.ends, begun).astype(np.int64)
        told = tallies.sample(frauds, at, joined)
        yield Matured(
            tallies.sample(arms, at, joined), (int(told.canary.sum()), int(told.control.sum()))
        )


def in_shadow(
    streamed: Stream, matured: Maturing, alert: Bool, candidate: Bool
) -> Iterator[Matured]:
    """Yield the data of each look over all buckets, each of which is a separate pair."""
    tallies = matured.tallies
    candidates = tallies.sums(costs(streamed, candidate))
    champions = tallies.sums(costs(streamed, alert))
    frauds = tallies.sums(streamed.fraud.astype(float))
    for at in range(1, len(matured.ends) + 1):
        counts = tallies.count[at].ravel()
        cost = Sample(
            candidates[at].ravel(), champions[at].ravel(), counts, counts,
            np.zeros(len(counts), np.int64),
        )  # fmt: skip
        yield Matured(cost, (int(frauds[at].sum()),) * 2)


def slow_rollout(seen: Iterable[Matured], looks: Int64) -> Verdict:
    """Judge a candidate's costs, look after look, until there is an answer or the days are over."""
    evidence, verdict = Evidence(), Verdict.NO_DATA
    for at, (matured, look) in enumerate(zip(seen, looks.tolist(), strict=True), start=1):
        judgement, evidence = judge_slow(
            matured, evidence, look, LIMITS, deadline_passed=at == len(looks)
        )
        verdict = judgement.verdict
        if verdict not in {Verdict.CONTINUE, Verdict.NO_DATA}:
            break
    return verdict


def run(city: int) -> dict[str, Any]:
    """Return what became of the champion itself and of costlier candidates in one city."""
    streamed = stream(city, DAYS)
    tallies = tally(streamed)
    alert = streamed.score >= streamed.review
    same = fast_rollout(streamed, tallies, alert, alert)
    found: dict[str, Any] = {
        "same": same.verdict, "z_test": same.z_test, "decisions": len(alert),
        "alert_rate": float(alert.mean()), "cost": float(costs(streamed, alert).mean()),
        "cost_of_nothing": float(costs(streamed, np.zeros_like(alert)).mean()),
    }  # fmt: skip
    matured = maturing(streamed)
    for name, worse in COSTLIER.items():
        candidate = overlooking(streamed, alert, worse, city)
        more = costs(streamed, candidate) - costs(streamed, alert)
        found[f"{name}_by"] = float(more.mean())
        for way, seen in (("canary", in_canary), ("shadow", in_shadow)):
            verdict = slow_rollout(seen(streamed, matured, alert, candidate), matured.looks)
            found[f"{name}_{way}"] = verdict
    return found


def run_louder(city: int) -> dict[str, Any]:
    """Return when a candidate that alerts twice as often was rolled back, in one city."""
    streamed = stream(city, LOUDER_DAYS)
    alert = streamed.score >= streamed.review
    louder = streamed.score >= np.quantile(streamed.score, 1 - 2 * alert.mean())
    tallies = tally(streamed)
    ended = fast_rollout(streamed, tallies, alert, louder)
    return {
        "shadow": shadow_rollout(streamed, tallies, alert, louder),
        "verdict": ended.verdict, "events": ended.events, "decisions": ended.decisions,
        "ratio": float(louder.mean() / alert.mean()),
    }  # fmt: skip


def main() -> int:
    script = Script(__doc__, "fewer cities", runs=Number(1_000, 12), louder=Number(100, 4))
    runs, louder = script.options.runs, script.options.louder
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        slow = workers.map(run_louder, range(FIRST_LOUDER, FIRST_LOUDER + louder))
        found = list(workers.map(run, range(1, runs + 1)))
        document = report(found, list(slow), DELTA)
    rows = ((name.replace("_", " "), value) for name, value in document.items())
    shown = table("rollouts of candidates", "what", "found", rows=rows)
    return script.conclude(document, failures(document), shown)


if __name__ == "__main__":
    sys.exit(main())
