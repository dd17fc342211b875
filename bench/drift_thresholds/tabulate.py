"""Make ``thresholds.json``: ``python -m bench.drift_thresholds.tabulate``.

It takes about five minutes. Correlations as arguments replace the default ones.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bench.drift_thresholds.season import HOURS_PER_WEEK
from bench.drift_thresholds.simulation import Tail, simulate, tail_of
from stream_scorer.drift.detection.shifts import thresholds
from stream_scorer.ports import Float64, Int64

PHI: Final = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
LENGTHS: Final = (200, 300, 600, 1_000, 2_000, 4_000, 15_000)
WEEKS: Final = (2, 4, 8, 12, 26)
"""Lengths of references with a season."""
SEED: Final = 20_260_101
EXCESS_AT: Final = 200_000.0
"""Run length of a stream at which the excess for a season is tabulated."""
STREAMS, STEPS = 3_000, 6_000
_AT_ONCE: Final = 250


def cell(phi: float, length: int, streams: int = STREAMS, steps: int = STEPS) -> Tail:
    """Return the tail for one correlation and one length of the reference."""
    return tail_of(np.concatenate(list(_highest(phi, length, streams, steps)), axis=None))


def excess(phi: float, weeks: int, streams: int = STREAMS, steps: int = STEPS) -> float:
    """Return by which share a season raises the threshold of one correlation and length.

    Both thresholds are of the same noise, so that less of the difference is chance.
    """
    length = weeks * HOURS_PER_WEEK
    without, with_season = (
        tail_of(
            np.concatenate(
                list(_highest(phi, length, streams, steps, seasonal=seasonal)), axis=None
            )
        )
        for seasonal in (False, True)
    )
    return with_season.threshold(EXCESS_AT) / without.threshold(EXCESS_AT) - 1


def _highest(
    phi: float, length: int, streams: int, steps: int, *, seasonal: bool = False
) -> Iterator[Float64]:
    for start in range(0, streams, _AT_ONCE):
        generator = np.random.default_rng([SEED, round(phi * 100), length, start])
        yield simulate(np.full(_AT_ONCE, phi), length, steps, generator, seasonal=seasonal)


def _smooth(scales: Float64, lengths: Int64) -> Float64:
    """Return a + b / length + c / length^2, fitted to scales whose errors are proportional."""
    powers = (lengths[0] / lengths[:, None]) ** np.arange(3)
    return powers @ np.linalg.lstsq(powers / scales[:, None], np.ones(len(scales)))[0]


def write(path: Path, phi: Sequence[float] = PHI, lengths: Sequence[int] = LENGTHS) -> None:
    """Write the table; rows that it already has for the same lengths are kept."""
    document = json.loads(path.read_text()) if path.is_file() else {}
    rows = dict(zip(document.get("phi", ()), document.get("tails", ()), strict=True))
    seasons = dict(zip(document.get("phi", ()), document.get("excess", ()), strict=False))
    if document.get("length") != list(lengths):
        rows = {}
    if document.get("weeks") != list(WEEKS):
        seasons = {}
    for correlation in phi:
        if correlation not in rows:
            tails = [cell(correlation, length) for length in lengths]
            scales = _smooth(np.array([tail.scale for tail in tails]), np.array(lengths))
            rows[correlation] = [
                [round(tail.level, 4), round(tail.share, 6), round(float(scale), 4)]
                for tail, scale in zip(tails, scales, strict=True)
            ]
        if correlation not in seasons:
            seasons[correlation] = [round(excess(correlation, weeks), 4) for weeks in WEEKS]
        sys.stderr.write(f"phi {correlation}\n")
        document = {
            "phi": sorted(rows), "length": list(lengths), "tails": [rows[p] for p in sorted(rows)],
            "weeks": list(WEEKS), "excess": [seasons[p] for p in sorted(seasons)],
        }  # fmt: skip
        path.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    write(
        Path(thresholds.__file__).with_suffix(".json"), [float(phi) for phi in sys.argv[1:]] or PHI
    )
