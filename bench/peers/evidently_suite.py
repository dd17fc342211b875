"""Evidently at its defaults over scenarios of the suite; runs with Evidently's own Python.

``python evidently_suite.py FILE ...``: each file is float64[steps, streams] in numpy's format. The
last line of the output is JSON: for each file its alarms, as pairs of step and stream.

Each window of 100 steps is compared with the reference of 300 steps, all columns in one report. A
column that drifts is an alarm at the window's end. Then its next 300 steps are its reference, as
for the other detectors. Evidently chooses the test: for so few rows, Kolmogorov and Smirnov's.
"""

import json
import sys

import numpy as np
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

REFERENCE, WINDOW = 300, 100


def drifted(reference: pd.DataFrame, current: pd.DataFrame) -> list[str]:
    """Return the names of the columns that drift."""
    result = Report([DataDriftPreset()], include_tests=True).run(current, reference).dict()
    # Each test has the column's name in its metric's configuration.
    return [
        test["metric_config"]["params"]["column"]
        for test in result["tests"]
        if test["status"] == "FAIL" and "column" in test["metric_config"]["params"]
    ]


def alarms(values: np.ndarray) -> list[tuple[int, int]]:
    """Return the alarms of one scenario, as pairs of step and stream.

    Args:
        values: float64[steps, streams].
    """
    found = []
    begin = np.zeros(values.shape[1], int)
    for start in range(REFERENCE, len(values) - WINDOW + 1, WINDOW):
        ready = np.flatnonzero(begin + REFERENCE <= start)
        if not len(ready):
            continue
        names = [str(stream) for stream in ready]
        reference = np.column_stack(
            [values[begin[stream] : begin[stream] + REFERENCE, stream] for stream in ready]
        )
        for name in drifted(
            pd.DataFrame(reference, columns=names),
            pd.DataFrame(values[start : start + WINDOW, ready], columns=names),
        ):
            found.append((start + WINDOW - 1, int(name)))
            begin[int(name)] = start + WINDOW
    return sorted(found)


if __name__ == "__main__":
    print(json.dumps({file: alarms(np.load(file)) for file in sys.argv[1:]}))
