"""Drift detection: power, false alarms, run lengths, River's detectors next to ours, faults, cost.

Parts, chosen by ``--parts``:

- ``suite``: 100 scenarios of 100 streams; see bench/drift_steps/scenarios.py.
- ``run_length``: steps between false alarms of 300 streams; see bench/drift_steps/run_length.py.
- ``null`` and ``fleet``: 200 streams without a change, and with one in all of them.
- ``calibration``: seconds to calibrate 300 streams; see bench/drift_thresholds/calibration.py.
- ``detectors``: River's detectors in the suite, at their defaults and at our budget.
- ``river``: settings, delays and time of River's detectors in the monitor; see
  bench/drift_steps/river.py.
- ``peers``: Evidently and NannyML in the suite, each with its own Python; not a part by default.
- ``handbook``: the simulator's cities, decided by the core; see bench/drift_steps/handbook.py.
- ``quality``: faults of the data, and drift that is none; see bench/drift_steps/quality.py.
- ``cost``: CPU time with drift detection and without it; see bench/drift_steps/cost.py. It starts a
  local Kafka.

All but ``cost`` is simulated from fixed seeds, so that a figure that passes once passes always.
"""

import argparse
import time
from collections.abc import Collection, Mapping
from typing import Any

from bench.drift_steps import (
    cost,
    detectors,
    family,
    handbook,
    peers,
    quality,
    river,
    run_length,
    suite,
)
from bench.drift_thresholds import calibration
from bench.harness.script import Number, Script, missed, say, table

PARTS = (
    "suite", "run_length", "null", "fleet", "calibration", "detectors", "river", "handbook",
    "quality", "cost",
)  # fmt: skip
MORE = ("peers",)
"""Parts that only run when they are named: they install other tools."""
MOST_SECONDS = 3_600.0
"""Maximum time of all parts that run by default."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parts", default=",".join(PARTS),
        help=f"comma-separated, of {', '.join((*PARTS, *MORE))}",
    )  # fmt: skip
    every = (detectors.OURS, *detectors.SUITE, *detectors.ERRORS)
    parser.add_argument(
        "--detectors", default=",".join(every), help=f"comma-separated, of {', '.join(every)}"
    )


def _suite(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = suite.verdicts(suite.ours, suite.SEEDS[: script.options.seeds])
    figures = suite.figures(found)
    shown = table(
        "suite: changes found", "change", "sigma", "rho", "events", "missed", "delay", "false",
        rows=suite.rows(found),
    )  # fmt: skip
    return {"suite": figures}, suite.gates(figures), [shown]


def _run_length(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = run_length.measure(script.options.runs_of_run_length)
    shown = table(
        "windows between false alarms", "case", "configured", "promise", "streams", "mean", "low",
        "high", "10 % quantile", rows=run_length.rows(found),
    )  # fmt: skip
    microseconds = run_length.update_us()
    failed = run_length.time_gates(microseconds)
    failed += [] if script.quick else run_length.gates(found)
    return {"run_length": found, "update_us": microseconds}, failed, [shown]


def _null(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = family.null(script.options.runs)
    return found, family.null_gates(found), []


def _fleet(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = family.fleet(script.options.runs, 1.0)
    # Only told, so fewer runs are enough.
    smaller = family.fleet(max(script.options.runs // 5, 1), 0.5)
    failed = [] if script.quick else family.fleet_gates(found)
    return {"fleet": found, "fleet_half_sigma": smaller}, failed, []


def _calibration(_: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = calibration.measure()
    return {"calibration": found}, calibration.gates(found), []


def _detectors(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    names = [name for name in script.options.detectors.split(",") if name]
    found = detectors.measure(quick=script.quick, names=names)
    return {"detectors": found}, [], [_ranked("detectors", found)]


def _river(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = river.measure(quick=script.quick)
    failed = river.gates(found) + ([] if script.quick else river.length_gates(found))
    return {"river": found}, failed, [_values("River in the monitor", found)]


def _peers(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = peers.measure(quick=script.quick)
    return {"detectors": found}, [], [_ranked("other tools", found)]


def _ranked(title: str, found: dict[str, Any]) -> Any:
    return table(
        title, "name", "F1", "windows with false alarm", "delay at our budget", "note",
        rows=detectors.rows(found),
    )  # fmt: skip


def _handbook(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = handbook.run(quick=script.quick)
    failed = [] if script.quick else handbook.gates(found["handbook"])
    return found, failed, [_values("handbook stream", found["handbook"])]


def _quality(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = quality.run(quick=script.quick, told=say)
    return found, quality.gates(found["quality"]), [_values("data quality", found["quality"])]


def _cost(script: Script) -> tuple[dict[str, Any], list[str], list[Any]]:
    found = cost.run(quick=script.quick)
    failed = [] if script.quick else cost.gates(found["cost"])
    return found, failed, [_values("CPU time of drift detection", found["cost"])]


def _values(title: str, figures: Mapping[str, Any]) -> Any:
    return table(title, "what", "value", rows=figures.items())


_STEPS: Mapping[str, Any] = {
    "suite": _suite, "run_length": _run_length, "null": _null, "fleet": _fleet,
    "calibration": _calibration,
    "detectors": _detectors, "river": _river, "peers": _peers, "handbook": _handbook,
    "quality": _quality, "cost": _cost,
}  # fmt: skip


def main() -> int:
    script = Script(
        __doc__, "one seed and few runs; what needs many runs is not judged", more=_options,
        seeds=Number(len(suite.SEEDS), 1, "number of seeds of the suite"),
        runs=Number(100, 4, "runs of null and fleet"),
        runs_of_run_length=Number(run_length.RUNS, 2, "runs of each case of run_length"),
    )  # fmt: skip
    chosen = [part for part in script.options.parts.split(",") if part]
    unknown = sorted(set(chosen) - {*PARTS, *MORE})
    if unknown:
        raise SystemExit(
            f"unknown parts: {', '.join(unknown)}; known: {', '.join((*PARTS, *MORE))}"
        )
    document: dict[str, Any] = {}
    failed: list[str] = []
    shown: list[Any] = []
    seconds = 0.0
    for part in chosen:
        say(part)
        begin = time.monotonic()
        figures, misses, tables = _STEPS[part](script)
        seconds += time.monotonic() - begin if part in PARTS else 0.0
        for key, value in figures.items():
            held = document.get(key)
            document[key] = held | value if isinstance(held, dict) else value
        failed += misses
        shown += tables
    failed += [] if script.quick else time_gates(chosen, seconds)
    return script.conclude(document | {"seconds": script.seconds}, failed, *shown)


def time_gates(chosen: Collection[str], seconds: float) -> list[str]:
    """Return one line if all default parts together take too long; some of them have no limit."""
    return missed(("{} s in all", seconds, "<=", MOST_SECONDS)) if {*PARTS} <= {*chosen} else []


if __name__ == "__main__":
    raise SystemExit(main())
