"""How long calibration without the table of thresholds takes: 300 autoregressions of .9, fresh."""

import math
import time
from typing import Any

import numpy as np

from bench.drift_steps.monitored import references_of, watched
from bench.drift_steps.run_length import CONFIGURED, REFERENCE, STREAMS
from bench.drift_steps.scenarios import correlated
from bench.drift_thresholds.simulation import calibrate
from bench.harness.script import missed
from stream_scorer.drift.alarms.nulls import nulls_of
from stream_scorer.drift.alarms.stream_changes import StreamChanges
from stream_scorer.drift.alarms.stream_thresholds import thresholds_of

PHI = 0.9
MOST_SECONDS = 10.0
MOST_APART = math.log(2)
"""Maximum mean distance of the thresholds from the table's. A threshold grows by about the
logarithm of the run length, so this is a run length that is twice as long or half as long."""
_SEED = 51


def measure() -> dict[str, Any]:
    """Return the seconds from values to a detector, and how its thresholds differ from the table's.

    The kernels are compiled before, as they are in a monitor that runs. The limit is for the
    elapsed time; ``cpu_seconds`` is the part of it that a processor worked.
    """
    values = correlated(np.random.default_rng(_SEED), REFERENCE, STREAMS, 0.0, PHI)
    calibrate(np.full(2, PHI), np.full(2, 200.0), float(CONFIGURED))
    begin, worked = time.perf_counter(), time.process_time()
    nulls = nulls_of(*references_of(watched(values), seasonal=False))
    changes = StreamChanges(nulls, CONFIGURED)
    length = nulls.length
    thresholds = calibrate(nulls.phi, length, changes.family.calibrated_length)
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    usual = thresholds_of(nulls, changes.family.calibrated_length)
    apart = float(np.abs(thresholds - usual)[:STREAMS].mean())
    return {
        "streams": STREAMS, "seconds": round(seconds, 2), "cpu_seconds": round(worked, 2),
        "from_table": round(apart, 2),
    }  # fmt: skip


def gates(found: dict[str, Any]) -> list[str]:
    """Return one line for each figure that misses."""
    return missed(
        ("calibration: {} s", found["seconds"], "<=", MOST_SECONDS),
        ("calibration: thresholds are {} apart from the table's", found["from_table"], "<=",
         round(MOST_APART, 3)),
    )  # fmt: skip
