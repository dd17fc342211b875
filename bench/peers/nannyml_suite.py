"""NannyML at its defaults over scenarios of the suite; runs with NannyML's own Python.

``python nannyml_suite.py FILE ...``: each file is float64[steps, streams] in numpy's format. For
each file it writes a line of JSON: its alarms, as pairs of step and stream.

The univariate calculator has ten chunks of a reference as its default. So the reference of 300
steps gives chunks of 30, and a chunk with an alert is an alarm at its end. Then the next 300 steps
are the column's reference, as for the other detectors.
"""

import json
import sys

import nannyml
import numpy as np
import pandas as pd

REFERENCE, CHUNK = 300, 30


def first_alerts(values: np.ndarray, begin: int, streams: list[int]) -> dict[int, int]:
    """Return, by stream, the last step of the first chunk with an alert.

    Args:
        values: float64[steps, streams].
        begin: First step of the reference.
        streams: The streams that are tested.
    """
    end = begin + REFERENCE
    chunks = (len(values) - end) // CHUNK
    if chunks <= 0:
        return {}
    names = [str(stream) for stream in streams]
    calculator = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=CHUNK)
    calculator.fit(pd.DataFrame(values[begin:end, streams], columns=names))
    later = pd.DataFrame(values[end : end + chunks * CHUNK, streams], columns=names)
    result = calculator.calculate(later).filter(period="analysis").to_df()
    found = {}
    for stream, name in zip(streams, names, strict=True):
        alert = np.flatnonzero(result[(name, "jensen_shannon", "alert")].to_numpy())
        if len(alert):
            found[stream] = end + (int(alert[0]) + 1) * CHUNK - 1
    return found


def alarms(values: np.ndarray) -> list[tuple[int, int]]:
    """Return the alarms of one scenario, as pairs of step and stream.

    Args:
        values: float64[steps, streams].
    """
    found = []
    waiting = {0: list(range(values.shape[1]))}
    while waiting:
        begin = min(waiting)
        for stream, step in first_alerts(values, begin, waiting.pop(begin)).items():
            found.append((step, stream))
            waiting.setdefault(step + 1, []).append(stream)
    return sorted(found)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(json.dumps(alarms(np.load(file))), flush=True)
