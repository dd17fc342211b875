"""Evidently at its defaults over scenarios of the suite; runs with Evidently's own Python.

``python evidently_suite.py FILE ...``: each file is float64[steps, streams] in numpy's format. For
each file it writes a line of JSON: its alarms, as pairs of step and stream.

Each window of 100 steps is compared with the reference of 300 steps, by the preset for data drift.
A column that drifts is an alarm at the window's end. Then its next 300 steps are its reference, as
for the other detectors.

A report of 100 columns takes seconds, nearly all for its pictures. So a report is made of the first
window of each file, and must agree with what it says it uses: Evidently's own test by Kolmogorov
and Smirnov, at 0.05. The other windows are given to that test directly.
"""

import json
import sys

import numpy as np
import pandas as pd
from evidently import Report
from evidently.legacy.calculations.stattests import ks_stat_test
from evidently.legacy.core import ColumnType
from evidently.presets import DataDriftPreset

REFERENCE, WINDOW = 300, 100


def drifted(reference: pd.Series, current: pd.Series) -> bool:
    """Return whether a column drifts, by the test that the preset chooses."""
    return bool(ks_stat_test(reference, current, ColumnType.Numerical, None).drifted)


def check(values: np.ndarray) -> None:
    """Compare the test with the report, in a scenario's first window.

    Args:
        values: float64[steps, streams].

    Raises:
        RuntimeError: They do not agree.
    """
    names = [str(stream) for stream in range(values.shape[1])]
    reference = pd.DataFrame(values[:REFERENCE], columns=names)
    current = pd.DataFrame(values[REFERENCE : REFERENCE + WINDOW], columns=names)
    said = Report([DataDriftPreset()], include_tests=True).run(current, reference).dict()["tests"]
    reported = {test["name"]: test["status"] == "FAIL" for test in said}
    for name in names:
        if reported[f"Value Drift for column {name}"] != drifted(reference[name], current[name]):
            raise RuntimeError(f"the report of column {name} does not agree with its test")


def alarms(values: np.ndarray) -> list[tuple[int, int]]:
    """Return the alarms of one scenario, as pairs of step and stream.

    Args:
        values: float64[steps, streams].
    """
    found = []
    for stream, column in enumerate(values.T):
        begin = 0
        for start in range(REFERENCE, len(values) - WINDOW + 1, WINDOW):
            if begin + REFERENCE > start:
                continue
            reference = pd.Series(column[begin : begin + REFERENCE])
            if drifted(reference, pd.Series(column[start : start + WINDOW])):
                begin = start + WINDOW
                found.append((begin - 1, stream))
    return sorted(found)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        scenario = np.load(file)
        check(scenario)
        print(json.dumps(alarms(scenario)), flush=True)
