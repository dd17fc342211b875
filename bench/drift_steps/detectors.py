"""River's detectors in the suite: at their defaults, and at our budget of false alarms.

At the budget means: the most sensitive setting that had a false alarm in at most 2 % of the windows
on seeds other than those of the report. Detectors of error rates run on a suite of errors instead.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench.drift_steps import suite
from bench.drift_steps.judge import Verdict, judge, run
from bench.drift_steps.scenarios import REFERENCE, bernoulli
from bench.harness.script import say
from stream_scorer.drift.detection.river.adwin import AdwinDetector
from stream_scorer.drift.detection.river.ddm import DdmDetector
from stream_scorer.drift.detection.river.eddm import EddmDetector
from stream_scorer.drift.detection.river.fhddm import FhddmDetector
from stream_scorer.drift.detection.river.hddm import HddmDetector
from stream_scorer.drift.detection.river.kswin import KswinDetector
from stream_scorer.drift.detection.river.page_hinkley import PageHinkleyDetector
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


Settings = Iterable[dict[str, Any]]
SUITE: dict[str, tuple[Callable[..., Detector], Settings]] = {
    "page_hinkley": (
        PageHinkleyDetector, [{"threshold": float(h)} for h in (100, 150, 200, 300, 400)],
    ),
    "adwin": (
        lambda streams, **options: AdwinDetector(streams, bounded=False, **options),
        [{"delta": delta} for delta in (1e-5, 1e-8, 1e-12, 1e-16, 1e-24)],
    ),
    "kswin": (KswinDetector, [{"alpha": alpha} for alpha in (1e-5, 1e-7, 1e-9)]),
    "dummy": (Dummy, []),
}  # fmt: skip
"""By name: a detector, and settings from sensitive to insensitive."""
ERRORS: dict[str, Callable[..., Detector]] = {
    "ddm": DdmDetector, "eddm": EddmDetector, "fhddm": FhddmDetector, "hddm": HddmDetector,
}  # fmt: skip
SLOW = {"kswin"}
"""These run on one of the four seeds: an update takes 0.2 ms."""


def _suite_verdict(
    make: Callable[..., Detector], seeds: Iterable[int], options: dict[str, Any]
) -> Verdict:
    return suite.pooled(
        suite.verdicts(lambda reference: make(reference.shape[1], **options), seeds)
    )


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {
        "f1": round(verdict.f1, 4),
        "p_false": round(verdict.p_false, 4),
        "delay": None if verdict.delay is None else round(verdict.delay, 1),
        "delay_at_budget": None,
        "setting": None,
        "note": "",
    }


def _in_suite(name: str, *, quick: bool) -> dict[str, Any]:
    make, settings = SUITE[name]
    seeds = suite.SEEDS[:1] if quick or name in SLOW else suite.SEEDS
    say(f"detectors: {name} at its defaults")
    line = _figures(_suite_verdict(make, seeds, {}))
    if quick or not settings:
        return line | {"note": "not recalibrated"}
    lowest = 1.0
    for setting in settings:
        say(f"detectors: {name} with {setting}")
        tuned = _suite_verdict(make, suite.TUNING_SEEDS[:1], setting)
        lowest = min(lowest, tuned.p_false)
        if tuned.p_false <= MOST_P_FALSE:
            at_budget = _suite_verdict(make, seeds, setting)
            return line | {
                "delay_at_budget": None if at_budget.delay is None else round(at_budget.delay, 1),
                "f1_at_budget": round(at_budget.f1, 4),
                "p_false_at_budget": round(at_budget.p_false, 4),
                "setting": setting,
            }
    return line | {"note": f"no setting meets the budget; the lowest share is {lowest:.3f}"}


def _on_errors(make: Callable[..., Detector], seeds: Iterable[int]) -> Verdict:
    total = Verdict()
    for seed in seeds:
        for number, (before, after) in enumerate(_ERROR_RATES):
            generator = np.random.default_rng([_ERROR_SEED, seed, number])
            values, onset = bernoulli(generator, _ERROR_STREAMS, _ERROR_STEPS, before, after)
            detector = make(_ERROR_STREAMS)
            for errors in values[:REFERENCE]:
                detector.update(errors)
            total.add(judge(run(detector, values, REFERENCE), onset, _ERROR_STEPS))
    return total


def measure(*, quick: bool, names: Iterable[str] = (*SUITE, *ERRORS)) -> dict[str, Any]:
    """Return {name: {f1, p_false, delay, delay_at_budget, ...}}."""
    found = {}
    for name in names:
        if name in SUITE:
            if not (quick and name in SLOW):
                found[name] = _in_suite(name, quick=quick)
        else:
            say(f"detectors: {name} on errors")
            verdict = _on_errors(ERRORS[name], suite.SEEDS[:1] if quick else suite.SEEDS)
            found[name] = _figures(verdict) | {"note": "on a suite of errors, at its defaults"}
    return found


def rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return a row for each detector: the quickest at our budget first."""
    ranked = sorted(found.items(), key=lambda item: item[1]["delay_at_budget"] or float("inf"))
    return [
        (name, line["f1"], line["p_false"], line["delay_at_budget"], line["note"])
        for name, line in ranked
    ]
