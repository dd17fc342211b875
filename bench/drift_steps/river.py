"""River's detectors as the monitor runs them: values between false detections, delay, place, time.

Values are independent with variance 1, as the monitor's are after their autocorrelation is taken
out. Each detector has the memory that it has there: 112 values at most.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from bench.drift_steps.run_length import mean_of
from bench.harness.script import missed, say
from stream_scorer.drift.detection.river.contract import Registered
from stream_scorer.drift.detection.river.kept_values import (
    DETECTED,
    DETECTIONS,
    KEPT,
    PLACE,
    KeptValues,
)
from stream_scorer.drift.detection.river.registry import DETECTORS

STREAMS: Final = 20
STEPS: Final = 20_000
SETTINGS: Final[Mapping[str, tuple[float, ...]]] = {
    "adwin": (0.3, 0.2, 0.15, 0.1, 0.05, 0.02),
    "page_hinkley": (8.0, 10.0, 12.0, 14.0, 16.0, 20.0),
    "kswin": (1e-3, 1e-4, 1e-5, 1e-6),
}
"""By detector: settings from sensitive to insensitive."""
MOST_MS: Final = 1.0
"""Maximum processor time of four streams in a window."""
SIZES: Final = (1.0, 2.0)
_BEFORE, _AFTER, _RUNS = 150, 60, 300
_SEED: Final = 51


def _begin(now: int, _stream: int, count: int) -> int:
    """Return the begin of the newest values, in steps from 1 on."""
    return now - count + 1


def _of(name: str, setting: float) -> dict[str, Registered]:
    each = DETECTORS[name]
    return {name: Registered(each.make, each.option, ((1.0, setting),), each.locates)}


def run_length(name: str, setting: float, streams: int, steps: int) -> dict[str, float | None]:
    """Return the mean number of values between two false detections, and its 95 % interval.

    Args:
        name: The detector.
        setting: Its setting.
        streams: Number of streams.
        steps: Values of each.
    """
    generator = np.random.default_rng([_SEED, sorted(SETTINGS).index(name)])
    kept = KeptValues(streams, 1.0, _of(name, setting))
    for step in range(1, steps + 1):
        kept.update(generator.standard_normal(streams), step, partial(_begin, step))
    return mean_of(streams * steps, int(kept.memory[name][:, DETECTIONS].sum()))


def change(size: float, run_length: float) -> dict[str, dict[str, float]]:
    """Return how a change is found after 150 usual values: share, mean delay, error of the place.

    Args:
        size: The change in standard deviations.
        run_length: For which the detectors are set.
    """
    generator = np.random.default_rng([_SEED, round(100 * size)])
    kept = KeptValues(_RUNS, run_length)
    first: dict[str, Any] = {name: np.zeros((_RUNS, 2)) for name in DETECTORS}
    for step in range(1, _BEFORE + _AFTER + 1):
        values = generator.standard_normal(_RUNS) + size * (step > _BEFORE)
        kept.update(values, step, partial(_begin, step))
        for name, seen in first.items():
            new = (kept.memory[name][:, DETECTED] == step) & (step > _BEFORE) & (seen[:, 0] == 0)
            seen[new] = kept.memory[name][new][:, [DETECTED, PLACE]]
    found = {}
    for name, seen in first.items():
        mine = seen[seen[:, 0] > 0]
        line = {"found": len(mine) / _RUNS, "delay": float((mine[:, 0] - _BEFORE).mean())}
        if DETECTORS[name].locates:
            line["place_error"] = float(np.abs(mine[:, 1] - _BEFORE - 1).mean())
        found[name] = {key: round(value, 3) for key, value in line.items()}
    return found


def seconds_a_window(windows: int = 20 * KEPT) -> float:
    """Return the processor time of a window with four streams."""
    generator = np.random.default_rng(_SEED)
    kept = KeptValues(4, 8_640.0)
    begin = time.process_time()
    for step in range(1, windows + 1):
        kept.update(generator.standard_normal(4), step, partial(_begin, step))
    return (time.process_time() - begin) / windows


def measure(*, quick: bool) -> dict[str, Any]:
    """Return run lengths by detector and setting, changes, and milliseconds a window.

    Args:
        quick: Few values.
    """
    streams, steps = (5, 1_000) if quick else (STREAMS, STEPS)
    lengths: dict[str, dict[str, Any]] = {}
    for name, settings in SETTINGS.items():
        for setting in settings:
            length = run_length(name, setting, streams, steps)
            say(f"river: {name} with {setting}: values between detections: {length}")
            lengths.setdefault(name, {})[str(setting)] = length
    return {
        "run_length": lengths,
        "changes": {str(size): change(size, 8_640.0) for size in SIZES},
        "ms_a_window": round(1_000 * seconds_a_window(), 3),
    }


def gates(found: dict[str, Any]) -> list[str]:
    """Return a line if a window takes too long."""
    return missed(("river: {} ms a window", found["ms_a_window"], "<=", MOST_MS))


def length_gates(found: dict[str, Any]) -> list[str]:
    """Return a line for each registered run length outside of the interval that was measured."""
    failed = []
    for name, each in DETECTORS.items():
        for length, setting in each.measured:
            measured = found["run_length"][name][str(setting)]
            failed += missed(
                (f"river: {name} {setting} has {length:,.0f} values; lower bound {{}}",
                 measured["low"], "<=", length),
                (f"river: {name} {setting} has {length:,.0f} values; upper bound {{}}",
                 measured["high"], ">=", length),
            )  # fmt: skip
    return failed
