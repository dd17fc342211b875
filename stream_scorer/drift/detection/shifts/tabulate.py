"""Make ``thresholds.json``: ``python -m stream_scorer.drift.detection.shifts.tabulate``.

It takes about two minutes. Correlations as arguments replace the default ones.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from stream_scorer.drift.detection.shifts.thresholds import Tail, simulate, tail_of
from stream_scorer.ports import Float64, Int64

PHI: Final = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
LENGTHS: Final = (200, 300, 600, 1_000, 2_000, 4_000, 15_000)
SEED: Final = 20_260_101
STREAMS, STEPS = 3_000, 6_000
_AT_ONCE: Final = 250


def cell(phi: float, length: int, streams: int = STREAMS, steps: int = STEPS) -> Tail:
    """Return the tail for one correlation and one length of the reference."""
    parts = []
    for start in range(0, streams, _AT_ONCE):
        generator = np.random.default_rng([SEED, round(phi * 100), length, start])
        parts.append(simulate(np.full(_AT_ONCE, phi), length, steps, generator))
    return tail_of(np.concatenate(parts, axis=None))


def _smooth(scales: Float64, lengths: Int64) -> Float64:
    """Return a + b / length + c / length^2, fitted to scales whose errors are proportional."""
    powers = (lengths[0] / lengths[:, None]) ** np.arange(3)
    return powers @ np.linalg.lstsq(powers / scales[:, None], np.ones(len(scales)))[0]


def write(path: Path, phi: Sequence[float] = PHI, lengths: Sequence[int] = LENGTHS) -> None:
    """Write the table; rows that it already has for the same lengths are kept."""
    document = json.loads(path.read_text()) if path.is_file() else {}
    rows = dict(zip(document.get("phi", ()), document.get("tails", ()), strict=True))
    if document.get("length") != list(lengths):
        rows = {}
    for correlation in phi:
        if correlation not in rows:
            tails = [cell(correlation, length) for length in lengths]
            scales = _smooth(np.array([tail.scale for tail in tails]), np.array(lengths))
            rows[correlation] = [
                [round(tail.level, 4), round(tail.share, 6), round(float(scale), 4)]
                for tail, scale in zip(tails, scales, strict=True)
            ]
            sys.stderr.write(f"phi {correlation}\n")
        document = {
            "phi": sorted(rows), "length": list(lengths), "tails": [rows[p] for p in sorted(rows)],
        }  # fmt: skip
        path.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    write(Path(__file__).with_name("thresholds.json"), [float(phi) for phi in sys.argv[1:]] or PHI)
