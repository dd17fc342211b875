"""A family without changes, and one in which every stream changes: false alarms, fleet alarms."""

from typing import Any

import numpy as np
from scipy.stats import poisson

from bench.drift_steps.judge import run
from bench.drift_steps.monitored import Monitored
from bench.drift_steps.scenarios import (
    FIRST_ONSET,
    LAST_ONSET,
    PHI,
    REFERENCE,
    correlated,
)
from bench.harness.script import missed
from stream_scorer.ports import Float64

STREAMS, STEPS, BUDGET = 200, 5_000, 20_000.0
RHO = 0.6
MOST_BURSTS, BURST = 1, 2
NULL_QUANTILE = 0.99
"""Of the Poisson count that the budget allows: the most false alarms; 37 of 25 in 100 runs."""
FLEET_RHO = (0.0, 0.3, 0.6)
PATIENCE = 190
LEAST_SHARE = 0.99
_NULL_SEED, _FLEET_SEED = 11, 12


def null(runs: int) -> dict[str, Any]:
    """Return false alarms of families without a change, and runs with a burst of them.

    A burst is more than two alarms in one run.
    """
    counts = []
    fleet = 0
    for number in range(runs):
        generator = np.random.default_rng([_NULL_SEED, number])
        values = correlated(generator, STEPS, STREAMS, RHO, PHI)
        raised = run(_monitored(values), values, REFERENCE)
        counts.append(len(raised))
        fleet += sum(stream == STREAMS for _, stream in raised)
    return {
        "null_alarms": sum(counts),
        "null_burst": sum(count > BURST for count in counts),
        "null_fleet": fleet,
        "null_expected": round(runs * (STEPS - REFERENCE) / BUDGET, 1),
        "null_runs": runs,
    }


def fleet(runs: int, size: float) -> dict[str, float]:
    """Return by correlation the share of runs with one fleet alarm and no other in 190 steps.

    Args:
        runs: Number of runs.
        size: Change of all streams, in marginal standard deviations.
    """
    shares = {}
    for rho in FLEET_RHO:
        good = 0
        for number in range(runs):
            generator = np.random.default_rng([_FLEET_SEED, number, round(10 * rho)])
            onset = int(generator.integers(FIRST_ONSET, LAST_ONSET + 1))
            values = correlated(generator, onset + PATIENCE, STREAMS, rho, PHI)
            values[onset:] += size
            raised = run(_monitored(values), values, REFERENCE)
            good += [stream for step, stream in raised if step >= onset] == [STREAMS]
        shares[f"rho {rho}"] = good / runs
    return shares


def _monitored(values: Float64) -> Monitored:
    return Monitored(values[:REFERENCE], BUDGET, relearn=REFERENCE)


def null_gates(found: dict[str, Any]) -> list[str]:
    """Return one line for each figure that misses.

    The limit of false alarms, 37 in 100 runs, is for the 25 that the budget allows in all 5,000
    steps. ``null_expected`` is 23.5: the first 300 steps are the reference, without alarms.
    """
    most = int(poisson.ppf(NULL_QUANTILE, found["null_runs"] * STEPS / BUDGET))
    return missed(
        ("null: {} false alarms", found["null_alarms"], "<=", most),
        ("null: {} runs with a burst", found["null_burst"], "<=", MOST_BURSTS),
    )


def fleet_gates(shares: dict[str, float]) -> list[str]:
    """Return one line for each correlation that misses."""
    return missed(
        *(
            (f"fleet, {name}: share {{}}", share, ">=", LEAST_SHARE)
            for name, share in shares.items()
        )
    )
