"""Judges, from a process's use of resources second by second, whether the use grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import theilslopes

from bench.harness.script import missed
from stream_scorer.ports import Float64

WARM_UP_SHARE = 0.25
"""Share of the run for warm-up, in which histories and heap grow to their full size."""
MOST_GROWTH = {"rss": 0.05, "descriptors": 0.10, "threads": 0.10}
"""Fitted growth from the warm-up's end to the run's, as a share of the median."""
LEAST_WATCHED = 0.5
"""Minimum share of the run for which one process of the bystander must have been watched."""
MOST_RESUME_SECONDS = 60.0
LEAST_OF_SPANS = frozenset({"descriptors", "threads"})
"""Of these, the least of each span counts. A client for one look at the lag has threads for
seconds, and for longer on a busy machine. What leaks never goes away: the least of a span has it.
"""
_BINS = 200
_SPAN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A process's resources at a moment.

    Attributes:
        pid: Which process.
        second: When, from the run's beginning.
        rss: Resident memory, bytes.
        descriptors: Open file descriptors.
        threads: Threads.
    """

    pid: int
    second: float
    rss: int
    descriptors: int
    threads: int


def longest_life(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of the process that was watched for longest."""
    lives: dict[int, list[Sample]] = {}
    for sample in samples:
        lives.setdefault(sample.pid, []).append(sample)
    return max(lives.values(), key=lambda life: life[-1].second - life[0].second, default=[])


def growth(seconds: Float64, values: Float64, *, least: bool = False) -> float:
    """Return how much a line through the values rises from the first second to the last.

    The line is Theil and Sen's, the median of the slopes between all pairs: a peak of some seconds
    during a restore or reconnect does not tilt it. It is fitted to medians of equal spans of time,
    so that a day costs no more than an hour.

    Args:
        seconds: float64[n], ascending, n >= 2.
        values: float64[n].
        least: Whether it is fitted to the least values of spans of at least 30 seconds instead.

    >>> second = np.arange(100.0)
    >>> float(growth(second, 3 * second))
    297.0
    >>> spike = np.where((second > 40) & (second < 60), 1e9, 7.0)
    >>> float(growth(second, spike))
    0.0
    """
    span = float(seconds[-1] - seconds[0])
    bins = min(_BINS, len(seconds))
    if least:
        bins = max(min(bins, int(span / _SPAN_SECONDS)), 2)
    which = np.minimum(((seconds - seconds[0]) / span * bins).astype(np.int64), bins - 1)
    there = np.unique(which)
    middles = np.array([np.median(seconds[which == number]) for number in there])
    one = np.min if least else np.median
    levels = np.array([one(values[which == number]) for number in there])
    return float(theilslopes(levels, middles)[0]) * span


def watched(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """Return the resources of the longest-lived process after the warm-up.

    Args:
        samples: Of all processes, in order.
        seconds: How long the run took.

    Returns:
        ``watched_seconds`` and, by name, the median, the least of the first and of the last tenth
        of that time, the fitted growth and its share of the median.
    """
    life = longest_life(samples)
    kept = [sample for sample in life if sample.second >= seconds * WARM_UP_SHARE]
    found: dict[str, Any] = {"processes": len({sample.pid for sample in samples})}
    if len(kept) < 2:
        return found | {"watched_seconds": 0.0}
    moments = np.array([sample.second for sample in kept])
    found["watched_seconds"] = round(float(moments[-1] - moments[0]), 1)
    for name in MOST_GROWTH:
        values = np.array([float(getattr(sample, name)) for sample in kept])
        median = float(np.median(values))
        rise = growth(moments, values, least=name in LEAST_OF_SPANS)
        tenth = (moments[-1] - moments[0]) / 10
        found[name] = {
            "median": round(median),
            "most": round(float(values.max())),
            "least_first": round(float(values[moments <= moments[0] + tenth].min())),
            "least_last": round(float(values[moments >= moments[-1] - tenth].min())),
            "growth": round(rise, 2),
            "share": round(rise / median, 4),
        }
    return found


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    lines = [f"{kind}: {error}" for kind, error in document["failed"].items()]
    if not document["faults"]:
        lines.append("no fault happened")
    verdict = document["verdict"]
    if verdict is None:
        lines.append("nothing was judged")
    elif verdict["faults"]:
        counts = ", ".join(f"{name} {count}" for name, count in verdict["faults"].items())
        lines.append(f"the verifier counts {counts}: {verdict['examples']}")
    found = document["bystander"]
    least = document["seconds"] * (1 - WARM_UP_SHARE) * LEAST_WATCHED
    return lines + missed(
        (
            "commits resumed {} s after a fault",
            document["longest_resume_seconds"], "<=", MOST_RESUME_SECONDS,
        ),
        ("one process was watched for {} s", found["watched_seconds"], ">=", least),
        *(
            (f"{name} grew by {{:.1%}} of its median", found[name]["share"], "<=", most)
            for name, most in MOST_GROWTH.items()
            if found["watched_seconds"] >= least
        ),
    )  # fmt: skip
