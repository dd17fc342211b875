"""Windows between false alarms of 300 streams, against the run length that was configured.

Each run has a fresh reference of 2,016 windows (12 weeks of hours) and then at most four run
lengths without a change; it ends at its first alarm. The estimate is all windows that were watched,
divided by all alarms, with the exact interval for a Poisson count (Garwood, 1936).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import chi2

from bench.drift_steps.monitored import Monitored
from bench.drift_steps.scenarios import correlated
from bench.harness.script import missed, say
from stream_scorer.ports import Float64

STREAMS, REFERENCE, CONFIGURED, RUNS = 300, 2_016, 720, 200
CENSORED = 4 * CONFIGURED
LEAST, MOST = 0.9, 2.0
_SEED = 21
_STEPS = REFERENCE + CENSORED

Make = Callable[[np.random.Generator], Float64]
"""Makes float64[steps, streams] without a change."""


def _season(generator: np.random.Generator) -> Float64:
    """A day and a week, as strong as the noise, in phases of each stream's own, around AR(.5)."""
    hour = np.arange(_STEPS)[:, None]
    phase = generator.random((2, STREAMS))
    size = generator.random((2, STREAMS))
    day = size[0] * np.sin(2 * np.pi * (hour / 24 + phase[0]))
    week = size[1] * np.sin(2 * np.pi * ((hour // 24) / 7 + phase[1]))
    return correlated(generator, _STEPS, STREAMS, 0.0, 0.5) + day + week


def _martingale(generator: np.random.Generator) -> Float64:
    """Martingale differences whose spread depends on the values before."""
    noise = generator.standard_normal((_STEPS, STREAMS))
    values = np.empty_like(noise)
    spread = np.ones(STREAMS)
    for step in range(_STEPS):
        values[step] = noise[step] * spread
        spread = np.sqrt(0.3 + 0.6 * np.minimum(values[step] ** 2, 4.0))
    return values


CALIBRATED: dict[str, Make] = {
    "iid": lambda generator: correlated(generator, _STEPS, STREAMS, 0.0, 0.0),
    "ar .5": lambda generator: correlated(generator, _STEPS, STREAMS, 0.0, 0.5),
    "ar .9": lambda generator: correlated(generator, _STEPS, STREAMS, 0.0, 0.9),
    "rho .6": lambda generator: correlated(generator, _STEPS, STREAMS, 0.6, 0.0),
    "season": _season,
}
GUARANTEED: dict[str, Make] = {
    "iid": CALIBRATED["iid"], "martingale": _martingale, "rho .6": CALIBRATED["rho .6"],
}  # fmt: skip


def _begin(values: Float64, *, seasonal: bool, only: str) -> Callable[[int], bool]:
    detector = Monitored(values[:REFERENCE], CONFIGURED, seasonal=seasonal, only=only)
    return lambda step: len(detector.update(values[step])) > 0


def estimate(watched: list[int], alarms: int) -> dict[str, float | None]:
    """Return mean, 95 % interval and 10 % quantile of the windows until the first alarm.

    Args:
        watched: Windows of each run until its alarm or its end.
        alarms: Number of runs that ended with an alarm.
    """
    total = sum(watched)
    most = float(chi2.ppf(0.975, 2 * alarms + 2)) / 2
    least = float(chi2.ppf(0.025, 2 * alarms)) / 2 if alarms else 0.0
    return {
        "mean": round(total / alarms, 1) if alarms else None,
        "low": round(total / most, 1),
        "high": round(total / least, 1) if alarms else None,
        "quantile_10": round(float(np.quantile(watched, 0.1)), 1),
        "alarms": alarms,
    }


def _case(
    number: int, runs: int, make: Make, begin: Callable[[Float64], Callable[[int], bool]]
) -> dict[str, float | None]:
    watched = []
    alarms = 0
    for run in range(runs):
        values = make(np.random.default_rng([_SEED, number, run]))
        alarmed = begin(values)
        for step in range(REFERENCE, _STEPS):
            if alarmed(step):
                alarms += 1
                break
        watched.append(step + 1 - REFERENCE)
    return estimate(watched, alarms)


def measure(runs: int = RUNS) -> dict[str, Any]:
    """Return {case: {configured, calibrated, guaranteed}}; a promise not made is None."""
    found: dict[str, Any] = {}
    for number, name in enumerate([*CALIBRATED, *(set(GUARANTEED) - set(CALIBRATED))]):
        line: dict[str, Any] = {"configured": CONFIGURED, "calibrated": None, "guaranteed": None}
        if name in CALIBRATED:
            begin = partial(_begin, seasonal=name == "season", only="")
            line["calibrated"] = _case(number, runs, CALIBRATED[name], begin)
        if name in GUARANTEED:
            begin = partial(_begin, seasonal=False, only="e_detector")
            line["guaranteed"] = _case(number, runs, GUARANTEED[name], begin)
        found[name] = line
        say(f"run_length: {name}: {line}")
    return found


def rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return a row for each case and promise."""
    return [
        (name, line["configured"], promise, *(line[promise][key] for key in
         ("mean", "low", "high", "quantile_10")))
        for name, line in found.items()
        for promise in ("calibrated", "guaranteed")
        if line[promise] is not None
    ]  # fmt: skip


def gates(found: dict[str, Any]) -> list[str]:
    """Return one line for each promise that is missed."""
    failed = []
    for name, line in found.items():
        calibrated, guaranteed = line["calibrated"], line["guaranteed"]
        if calibrated is not None:
            failed += missed(
                (f"run_length, {name}: lower bound {{}}", calibrated["low"], ">=",
                 LEAST * CONFIGURED),
                (f"run_length, {name}: mean {{}}", calibrated["mean"], "<=", MOST * CONFIGURED),
            )  # fmt: skip
        if guaranteed is not None:
            failed += missed(
                (f"run_length, {name}: guaranteed lower bound {{}}", guaranteed["low"], ">=",
                 CONFIGURED),
            )  # fmt: skip
    return failed
