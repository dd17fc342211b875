"""River's detectors in the suite: at their defaults, and at our budget of false alarms.

At the budget means: the most sensitive setting that had a false alarm in at most 2 % of the windows
on seeds other than those of the report. Detectors of error rates run on a suite of errors instead.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from river import drift
from river.drift import binary

from bench.drift_steps import suite
from bench.drift_steps.judge import Verdict, judge, run
from bench.drift_steps.scenarios import REFERENCE, Case, bernoulli, cases
from bench.harness.script import say
from stream_scorer.drift.detection.river.kswin import Reproducible
from stream_scorer.drift.detection.shifts.detector import Alarms, Detector
from stream_scorer.ports import Float64

MOST_P_FALSE = suite.MOST_P_FALSE
_ERROR_STREAMS, _ERROR_STEPS = 20, 5_000
_ERROR_RATES = ((0.1, 0.15), (0.1, 0.2), (0.1, 0.3))
_ERROR_SEED = 31
_RATE = 2e-4
"""Of the dummy: alarms per step of all streams, which spends the budget of the suite."""


class Dummy(Detector):
    """Alarms at random, as often as the budget allows."""

    def __init__(self, streams: int) -> None:
        super().__init__(np.zeros((streams, 1)))
        self._generator = np.random.default_rng(41)

    def update(self, values: Float64) -> Alarms:
        """Ignore a step."""
        count = int(self._generator.random() < _RATE)
        stream = self._generator.integers(len(values), size=count)
        unknown = np.full(count, np.nan)
        return Alarms(stream, np.zeros(count, np.int64), unknown, unknown, unknown)


class RiverInParallel(Detector):
    """Gives each stream a River detector with all of its memory, and reports where it alarms.

    Args:
        made: River's class.
        streams: Number of streams.
        options: Its options; its defaults otherwise.
    """

    def __init__(self, made: Any, streams: int, **options: Any) -> None:
        super().__init__(np.zeros((streams, 0)))
        self._detectors = [made(**options) for _ in range(streams)]
        # FHDDM counts successes, the others errors.
        self._successes = made is binary.FHDDM

    def update(self, values: Float64) -> Alarms:
        """Add one step."""
        fired = []
        for stream, value in enumerate((1 - values if self._successes else values).tolist()):
            self._detectors[stream].update(value)
            if self._detectors[stream].drift_detected:
                fired.append(stream)
        unknown = np.full(len(fired), np.nan)
        return Alarms(
            np.array(fired, np.int64), np.zeros(len(fired), np.int64), unknown, unknown, unknown
        )


Settings = Iterable[dict[str, Any]]
SUITE: dict[str, tuple[Callable[..., Detector], Settings]] = {
    "page_hinkley": (
        partial(RiverInParallel, drift.PageHinkley),
        [{"threshold": float(h)} for h in (100, 150, 200, 300, 400)],
    ),
    "adwin": (
        partial(RiverInParallel, drift.ADWIN),
        [{"delta": delta} for delta in (1e-5, 1e-8, 1e-12, 1e-16, 1e-24)],
    ),
    "kswin": (
        partial(RiverInParallel, Reproducible),
        [{"alpha": alpha} for alpha in (1e-5, 1e-7, 1e-9, 1e-12)],
    ),
    "dummy": (Dummy, []),
}  # fmt: skip
"""By name: a detector, and settings from sensitive to insensitive."""
ERRORS: dict[str, tuple[Callable[..., Detector], Settings]] = {
    "ddm": (
        partial(RiverInParallel, binary.DDM),
        [{"drift_threshold": t} for t in (3.5, 4.0, 5.0, 6.0)],
    ),
    "eddm": (
        partial(RiverInParallel, binary.EDDM),
        [{"beta": beta} for beta in (0.8, 0.7, 0.5, 0.3)],
    ),
    "fhddm": (
        partial(RiverInParallel, binary.FHDDM),
        [{"confidence_level": c} for c in (1e-7, 1e-8, 1e-10, 1e-12)],
    ),
    "hddm": (
        partial(RiverInParallel, binary.HDDMA),
        [{"drift_confidence": c} for c in (1e-4, 1e-5, 1e-6, 1e-8)],
    ),
}
"""The same for detectors of error rates, whose input is a suite of errors."""
OURS = "calibrated"
SLOW = {"kswin"}
"""These run on one of the four seeds, and are recalibrated on every sixth case of another one."""


def _suite_verdict(
    make: Callable[..., Detector], seeds: Iterable[int], options: dict[str, Any],
    only: Iterable[Case] | None = None,
) -> Verdict:  # fmt: skip
    def begun(reference: Float64) -> Detector:
        return _fed(make(reference.shape[1], **options), reference)

    return suite.pooled(suite.verdicts(begun, seeds, only=only))


def _error_verdict(
    make: Callable[..., Detector], seeds: Iterable[int], options: dict[str, Any]
) -> Verdict:
    total = Verdict()
    for seed in seeds:
        for number, (before, after) in enumerate(_ERROR_RATES):
            generator = np.random.default_rng([_ERROR_SEED, seed, number])
            values, onset = bernoulli(generator, _ERROR_STREAMS, _ERROR_STEPS, before, after)
            detector = _fed(make(_ERROR_STREAMS, **options), values[:REFERENCE])
            total.add(judge(run(detector, values, REFERENCE), onset, _ERROR_STEPS))
    return total


def _fed(detector: Detector, reference: Float64) -> Detector:
    """Return a detector that has seen the reference, whatever it said of it."""
    for values in reference:
        detector.update(values)
    return detector


def figures(verdict: Verdict) -> dict[str, Any]:
    """Return the figures of a detector at its defaults."""
    return {
        "f1": round(verdict.f1, 4),
        "p_false": round(verdict.p_false, 4),
        "delay": None if verdict.delay is None else round(verdict.delay, 1),
        "delay_at_budget": None,
        "setting": None,
        "note": "",
    }


def _at_budget(verdict: Verdict, setting: dict[str, Any]) -> dict[str, Any]:
    return {
        "delay_at_budget": None if verdict.delay is None else round(verdict.delay, 1),
        "f1_at_budget": round(verdict.f1, 4),
        "p_false_at_budget": round(verdict.p_false, 4),
        "setting": setting,
    }


def _ours(*, quick: bool) -> dict[str, Any]:
    seeds = suite.SEEDS[:1] if quick else suite.SEEDS
    verdict = suite.pooled(suite.verdicts(suite.ours, seeds))
    return figures(verdict) | _at_budget(verdict, {"run_length": suite.RUN_LENGTH})


def _of_river(name: str, *, quick: bool) -> dict[str, Any]:
    errors = name in ERRORS
    make, settings = ERRORS[name] if errors else SUITE[name]
    seeds = suite.SEEDS[:1] if quick or name in SLOW else suite.SEEDS
    where = "on a suite of errors" if errors else ""

    def verdict(seeds: Iterable[int], setting: dict[str, Any], *, tuning: bool = False) -> Verdict:
        if errors:
            return _error_verdict(make, seeds, setting)
        # The last case, which has no change, is among every sixth.
        only = list(cases())[::6] if tuning and name in SLOW else None
        return _suite_verdict(make, seeds, setting, only)

    say(f"detectors: {name} at its defaults")
    line = figures(verdict(seeds, {}))
    if quick or not settings:
        return line | {"note": "; ".join(filter(None, (where, "not recalibrated")))}
    lowest = 1.0
    for setting in settings:
        say(f"detectors: {name} with {setting}")
        tuned = verdict(suite.TUNING_SEEDS[:1], setting, tuning=True)
        lowest = min(lowest, tuned.p_false)
        if tuned.p_false <= MOST_P_FALSE:
            return line | _at_budget(verdict(seeds, setting), setting) | {"note": where}
    reason = f"none of the settings tried meets the budget; the lowest share is {lowest:.3f}"
    return line | {"note": "; ".join(filter(None, (where, reason)))}


def measure(
    *, quick: bool, names: Iterable[str] = (OURS, *SUITE, *ERRORS),
    told: Callable[[str], None] = say,
) -> dict[str, Any]:  # fmt: skip
    """Return {name: {f1, p_false, delay, delay_at_budget, ...}}.

    Args:
        quick: One seed, nothing recalibrated, and not the slow ones.
        names: The detectors.
        told: Called with the figures of each, when it is finished.
    """
    chosen = [name for name in names if not (quick and name in SLOW)]
    found = {}
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        lines = workers.map(partial(_line, quick=quick), chosen)
        for name, line in zip(chosen, lines, strict=True):
            found[name] = line
            told(f"detectors: {name}: {line}")
    return found


def _line(name: str, *, quick: bool) -> dict[str, Any]:
    return _ours(quick=quick) if name == OURS else _of_river(name, quick=quick)


def rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return a row for each detector: the quickest at our budget first."""
    ranked = sorted(found.items(), key=lambda item: item[1]["delay_at_budget"] or float("inf"))
    return [
        (name, line["f1"], line["p_false"], line["delay_at_budget"], line["note"])
        for name, line in ranked
    ]
