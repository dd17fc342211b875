"""Performance: false early warnings of cities whose frauds come in bursts, delays, and time.

Parts:

- *Null*: cities in which nothing changes, 28 days to learn and 100 days to watch, with the bursts
  of the handbook's simulator. Once with matured labels alone, once with a random sample of 5 % of
  the decisions that is known after a day. At most as many may warn as the binomial 99 % bound of
  the budget allows.
- *Early frauds*: early labels of frauds that were not drawn must change nothing.
- *Delay*: the model misses more frauds from a day on; days until the warning. No gate.
- *Measures*: seconds to measure a day of a million decisions with its intervals. No gate.

Tolerance and horizon are those of the ``retrain.toml`` of ``bench/retrain.py``. All is simulated
from fixed seeds, so that a figure that passes once passes always.
"""

import time
from typing import Any

import numpy as np

from bench.harness.script import Number, Script, missed, say, table
from bench.performance_steps.null import BUDGET, CHANGED, SIZE, false_alarms, watched
from bench.performance_steps.watched import differing_days
from stream_scorer.core.events.batch import Outcome
from stream_scorer.performance.measures.contract import MaturedRows, WindowKey
from stream_scorer.performance.measures.measure import Measuring, measure
from stream_scorer.performance.warning.reference import LEARNING_DAYS

_FACTORS = (1.5, 2.0, 3.0)


def _delays(cities: int) -> list[dict[str, Any]]:
    rows = []
    for factor in _FACTORS:
        alone, both, ratio = watched(cities, LEARNING_DAYS + 100, 7, SIZE, BUDGET, factor)
        row: dict[str, Any] = {"missed_more": factor, "loss_ratio": round(ratio, 2)}
        for name, found in (("matured", alone), ("with_draws", both)):
            delays = [each.day - CHANGED for each in found if each.day >= CHANGED]
            row[f"{name}_days"] = float(np.median(delays)) if delays else None
            row[f"{name}_share"] = round(len(delays) / cities, 3)
        rows.append(row)
    return rows


def _measuring(count: int) -> float:
    chance = np.random.default_rng(5)
    score = chance.beta(1, 20, count)
    fraud = chance.random(count) < score
    outcome = np.where(score > 0.4, Outcome.BLOCK, np.where(score > 0.2, Outcome.REVIEW, 0))
    ones = np.ones(count)
    rows = MaturedRows(
        ones.astype(np.int32), ones.astype(np.uint8), ones.astype(np.uint64), score,
        chance.gamma(2.0, 30.0, count), ones, outcome.astype(np.uint8), fraud.astype(np.uint8),
        chance.integers(0, 2**63, count // 10).astype(np.uint64)[
            chance.integers(0, count // 10, count)
        ],
        ones.astype(np.int32), ones > 2, ones * 0, ones.astype(np.int64),
    )  # fmt: skip
    began = time.monotonic()
    measure(rows, WindowKey("fraud", "1", "champion", "all", 0, 86_400_000), Measuring())
    return round(time.monotonic() - began, 2)


def main() -> int:
    """Run the bench; return the exit code."""
    script = Script(
        __doc__, "100 cities, 20 for the delays, and 100,000 decisions to measure",
        cities=Number(1_000, 100, "cities without a change"),
        changed=Number(200, 20, "cities with a change"),
        days=Number(100, 100, "days that are watched"),
        rows=Number(1_000_000, 100_000, "decisions to measure"),
    )  # fmt: skip
    options = script.options
    say(f"{options.cities} cities without a change")
    null = false_alarms(options.cities, options.days)
    say(str(null))
    differing = differing_days(100, 3)
    say(f"{options.changed} cities with a change")
    delays = _delays(options.changed)
    seconds = _measuring(options.rows)
    failed = missed(
        ("{} cities warn without a change", null["false_alarms"], "<=", null["bound"]),
        ("{} with draws", null["false_alarms_with_draws"], "<=", null["bound"]),
        ("{} days are changed by early frauds that were not drawn", differing, "==", 0),
    )
    document = {
        "quick": script.quick, "null": null, "early_frauds_only_more": differing,
        "delays": delays, "measure_seconds": seconds, "measure_rows": options.rows,
        "seconds": script.seconds,
    }  # fmt: skip
    return script.conclude(
        document, failed,
        table("False early warnings", *null, rows=[[str(each) for each in null.values()]]),
        table("Days from a change to the warning (median), and share of cities that warn",
              *delays[0], rows=[each.values() for each in delays]),
        f"a day of {options.rows:,} decisions is measured in {seconds} s",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
