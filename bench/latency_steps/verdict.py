"""The report of ``bench/latency.py``, and its gates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.harness.script import missed
from bench.latency_steps.stages import MOST_SLIP_MS, PERCENTILES, STAGES, percentiles
from bench.latency_steps.turn import BARE, BEFORE, NEIGHBOURS, OURS, TODAYS, Turn

GATED_RATES = (5_000, 10_000)


@dataclass(frozen=True, slots=True)
class Gate:
    """A bound of one age over another at one rate.

    Attributes:
        above: The way that is judged.
        below: The way that it is compared with.
        most: The largest ratio that passes, by percentile.
    """

    above: str
    below: str
    most: Mapping[str, float]


GATES = (
    Gate(OURS, NEIGHBOURS, {"p50": 1.25, "p99": 1.5}),
    Gate(NEIGHBOURS, TODAYS, {"p50": 0.75, "p99": 0.75}),
    Gate(OURS, BEFORE, {"p50": 0.7, "p99": 0.7}),
)
"""The last one is judged only in a run with an earlier checkout."""
TOLD = (Gate(OURS, NEIGHBOURS, {"p999": 0.0}), Gate(OURS, BARE, {"p50": 0.0, "p99": 0.0}))
"""Ratios that are reported and have no bound."""


def keeps(turn: Turn) -> bool:
    """Whether the producer kept its schedule."""
    return percentiles(turn.slips)["p99"] <= MOST_SLIP_MS


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 2)


def row(rate: int, turns: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    """Return the report of one rate: medians over the rounds.

    Args:
        rate: Records a second.
        turns: By way, a turn of each round; at least one each.
    """
    found: dict[str, Any] = {"rate": rate}
    for way, rounds in turns.items():
        ages = [percentiles(turn.ages) for turn in rounds]
        for name in PERCENTILES:
            found[f"{way}_{name}_ms"] = _median([age[name] for age in ages])
    found["ratios"] = {
        f"{gate.above}_to_{gate.below}_{name}": round(
            found[f"{gate.above}_{name}_ms"] / found[f"{gate.below}_{name}_ms"], 3
        )
        for gate in (*GATES, *TOLD)
        if gate.above in turns and gate.below in turns
        for name in gate.most
    }
    found["producer_slip_p99_ms"] = {
        way: _median([percentiles(turn.slips)["p99"] for turn in rounds])
        for way, rounds in turns.items()
    }
    found["acknowledged"] = {
        way: {
            name: _median([percentiles(turn.acknowledged)[name] for turn in rounds])
            for name in PERCENTILES
        }
        for way, rounds in turns.items()
    }
    traced = {way: rounds for way, rounds in turns.items() if rounds[0].stages}
    found["stages"] = {way: _stages(rounds) for way, rounds in traced.items()}
    found["transactions"] = {way: rounds[-1].batches for way, rounds in traced.items()}
    return found


def _stages(rounds: Sequence[Turn]) -> dict[str, dict[str, float]]:
    return {
        stage: {
            name: _median([turn.stages[stage][name] for turn in rounds])
            for name in (*PERCENTILES, "mean")
        }
        for stage in STAGES
    }


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each gate that a report misses, with the measured ages."""
    lines = []
    for each in rows:
        if each["rate"] not in GATED_RATES:
            continue
        for gate in GATES:
            for name, most in gate.most.items():
                ratio = each["ratios"].get(f"{gate.above}_to_{gate.below}_{name}")
                if ratio is None and gate.below == BEFORE:
                    continue
                above, below = (each.get(f"{way}_{name}_ms") for way in (gate.above, gate.below))
                text = (
                    f"{each['rate']:,} events/s, {name}: {gate.above} {above} ms / {gate.below} "
                    f"{below} ms = {{}}"
                )
                lines += missed((text, ratio, "<=", most))
    return lines
