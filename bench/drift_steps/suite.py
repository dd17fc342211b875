"""The suite of 100 scenarios: 25 cases in four seeds; see :mod:`bench.drift_steps.scenarios`."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench.drift_steps.judge import Verdict, judge, run
from bench.drift_steps.monitored import Monitored
from bench.drift_steps.scenarios import REFERENCE, Case, cases, scenario
from bench.harness.script import missed
from stream_scorer.drift.detection.shifts.detector import Detector
from stream_scorer.ports import Float64

SEEDS = (1, 2, 3, 4)
TUNING_SEEDS = (101, 102)
"""For whoever changes the detector: no figure that is reported comes from these."""
RUN_LENGTH = 7_500.0
"""The one configuration: a false alarm per 7,500 steps of 100 streams, .013 per 100-step window."""
STEPS = 5_000
LEAST_F1, MOST_P_FALSE, MOST_DELAY, MOST_ABRUPT = 0.90, 0.02, 375.0, 105.0

Make = Callable[[Float64], Detector]
"""Makes a detector from the reference, float64[steps, streams]."""


def ours(reference: Float64) -> Detector:
    """Return the monitor's detectors in their one configuration."""
    return Monitored(reference, RUN_LENGTH, relearn=REFERENCE)


def verdicts(
    make: Make, seeds: Iterable[int], *, signs: bool = False, only: Iterable[Case] | None = None
) -> dict[Case, Verdict]:
    """Run a detector over scenarios; return what it found in each case, seeds pooled."""
    found: dict[Case, Verdict] = {}
    chosen = None if only is None else set(only)
    for seed in seeds:
        for number, case in enumerate(cases()):
            if chosen is not None and case not in chosen:
                continue
            generator = np.random.default_rng([seed, number])
            values, onset = scenario(generator, case, steps=STEPS, signs=signs)
            raised = run(make(values[:REFERENCE]), values, REFERENCE)
            found.setdefault(case, Verdict()).add(judge(raised, onset, STEPS))
    return found


def pooled(found: dict[Case, Verdict], **such: object) -> Verdict:
    """Return the verdicts of all cases with these attributes as one."""
    total = Verdict()
    for case, verdict in found.items():
        if all(getattr(case, name) == value for name, value in such.items()):
            total.add(verdict)
    return total


def figures(found: dict[Case, Verdict]) -> dict[str, Any]:
    """Return the suite's figures."""
    every = pooled(found)
    abrupt = pooled(found, ramp=False, size=1.0)
    return {
        "f1": round(every.f1, 4),
        "p_false": round(every.p_false, 4),
        "delay": None if every.delay is None else round(every.delay, 1),
        "delay_1sigma": None if abrupt.delay is None else round(abrupt.delay, 1),
        "events": every.events,
        "missed": every.events - len(every.delays),
        "false": every.false,
    }


def rows(found: dict[Case, Verdict]) -> list[tuple[object, ...]]:
    """Return one row for each kind of change and correlation."""
    lines: list[tuple[object, ...]] = []
    for ramp, size, rho in sorted({(case.ramp, case.size, case.rho) for case in found}):
        part = pooled(found, ramp=ramp, size=size, rho=rho)
        kind = ("linear" if ramp else "abrupt") if size else "none"
        lines.append(
            (kind, size, rho, part.events, part.events - len(part.delays), part.delay, part.false)
        )
    return lines


def gates(suite: dict[str, Any]) -> list[str]:
    """Return one line for each figure that misses."""
    return missed(
        ("suite: F1 {}", suite["f1"], ">=", LEAST_F1),
        ("suite: windows with a false alarm {}", suite["p_false"], "<=", MOST_P_FALSE),
        ("suite: mean delay {}", suite["delay"], "<=", MOST_DELAY),
        ("suite: mean delay of abrupt 1 sigma {}", suite["delay_1sigma"], "<=", MOST_ABRUPT),
    )
