"""Windows between false alarms of 300 streams, against the run length that was configured.

Each run has a fresh reference of 2,016 windows (12 weeks of hours) and then at most four run
lengths without a change; it ends at its first alarm. The estimate is all windows that were watched,
divided by all alarms, with the exact interval for a Poisson count (Garwood, 1936).

The calibrated promise is judged by the alarms of both kinds of detectors, as the monitor raises
them. The guaranteed one is judged by the guaranteed detectors alone, because what a calibrated
detector reports uses up their evidence; and only if most of the streams are in their class.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import chi2

from bench.drift_steps.monitored import Monitored, references_of, watched
from bench.drift_steps.scenarios import correlated
from bench.harness.script import missed, say
from stream_scorer.drift.alarms.family import GUARANTEED_SHARE, Family
from stream_scorer.drift.alarms.nulls import Nulls, nulls_of
from stream_scorer.ports import Float64

STREAMS, REFERENCE, CONFIGURED, RUNS = 300, 2_016, 720, 200
CENSORED = 4 * CONFIGURED
LEAST, MOST = 0.9, 2.0
GUARANTEED_LENGTH = CONFIGURED / GUARANTEED_SHARE
LEAST_MEMBERS = 200
"""Minimum number of the streams that each run has in the guaranteed class."""
MOST_UPDATE_US = 1.0
"""Maximum time of an update of the family, in µs of a processor for each stream."""
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


Alarmed = Callable[[int], bool]


def _calibrated(values: Float64, *, seasonal: bool) -> tuple[Alarmed, int]:
    """Return what updates the family with a step, and the number of streams that it watches."""
    detector = Monitored(values[:REFERENCE], CONFIGURED, seasonal=seasonal)
    return lambda step: len(detector.update(values[step])) > 0, STREAMS


def _guaranteed(values: Float64) -> tuple[Alarmed, int]:
    """Return the same of the guaranteed detectors alone, and the number of their streams."""
    nulls = _nulls(values)
    family = Family(replace(nulls, calibrated=np.zeros(len(nulls), np.bool_)), CONFIGURED)
    return (
        lambda step: len(family.update(np.append(watched(values[step]), np.nan))) > 0,
        int(nulls.guaranteed.sum()),
    )


def _nulls(values: Float64) -> Nulls:
    return nulls_of(*references_of(watched(values[:REFERENCE]), seasonal=False))


def estimate(watched: list[int], alarms: int) -> dict[str, float | None]:
    """Return mean, 95 % interval and 10 % quantile of the windows until the first alarm.

    Args:
        watched: Windows of each run until its alarm or its end.
        alarms: Number of runs that ended with an alarm.
    """
    return mean_of(sum(watched), alarms) | {
        "quantile_10": round(float(np.quantile(watched, 0.1)), 1),
        "alarms": alarms,
    }


def mean_of(total: int, alarms: int) -> dict[str, float | None]:
    """Return the mean of the steps until an alarm, and its 95 % interval; None for no limit.

    >>> mean_of(10_000, 10)
    {'mean': 1000.0, 'low': 543.8, 'high': 2085.3}

    Args:
        total: Steps that were watched.
        alarms: Alarms in them.
    """
    most = float(chi2.ppf(0.975, 2 * alarms + 2)) / 2
    least = float(chi2.ppf(0.025, 2 * alarms)) / 2 if alarms else 0.0
    return {
        "mean": round(total / alarms, 1) if alarms else None,
        "low": round(total / most, 1),
        "high": round(total / least, 1) if alarms else None,
    }


def _case(
    number: int, runs: int, make: Make, begin: Callable[[Float64], tuple[Alarmed, int]]
) -> dict[str, float | None]:
    lengths, members = [], []
    alarms = 0
    for run in range(runs):
        values = make(np.random.default_rng([_SEED, number, run]))
        alarmed, streams = begin(values)
        members.append(streams)
        for step in range(REFERENCE, _STEPS):
            if alarmed(step):
                alarms += 1
                break
        lengths.append(step + 1 - REFERENCE)
    return estimate(lengths, alarms) | {"members": min(members)}


def update_us() -> float:
    """Return µs of a processor that both kinds of detectors take for an update of a stream."""
    values = CALIBRATED["iid"](np.random.default_rng(_SEED))
    family = Family(_nulls(values), CONFIGURED)
    steps = [np.append(watched(step), np.nan) for step in values[REFERENCE:]]
    family.update(steps[0])  # The kernels are compiled.
    begin = time.process_time()
    for step in steps:
        family.update(step)
    return round(1e6 * (time.process_time() - begin) / len(steps) / STREAMS, 3)


def measure(runs: int = RUNS) -> dict[str, Any]:
    """Return {case: {configured, calibrated, guaranteed}}; a promise not made is None.

    ``members`` of a promise is the number of streams that it is about, in the run that has fewest.
    """
    found: dict[str, Any] = {}
    for number, name in enumerate([*CALIBRATED, *(set(GUARANTEED) - set(CALIBRATED))]):
        line: dict[str, Any] = {"configured": CONFIGURED, "calibrated": None, "guaranteed": None}
        if name in CALIBRATED:
            begin = partial(_calibrated, seasonal=name == "season")
            line["calibrated"] = _case(number, runs, CALIBRATED[name], begin)
        if name in GUARANTEED:
            line["guaranteed"] = _case(number, runs, GUARANTEED[name], _guaranteed)
        found[name] = line
        say(f"run_length: {name}: {line}")
    return found


def rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return a row for each case and promise."""
    return [
        (name, length, promise, *(line[promise][key] for key in
         ("members", "mean", "low", "high", "quantile_10")))
        for name, line in found.items()
        for promise, length in (("calibrated", line["configured"]),
                                ("guaranteed", GUARANTEED_LENGTH))
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
                 GUARANTEED_LENGTH),
                (f"run_length, {name}: {{}} streams in the class", guaranteed["members"], ">=",
                 LEAST_MEMBERS),
            )  # fmt: skip
    return failed


def time_gates(microseconds: float) -> list[str]:
    """Return one line if an update takes too long."""
    return missed(("run_length: {} µs an update and stream", microseconds, "<=", MOST_UPDATE_US))
