"""Judges one worker's run over many partitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.harness.script import missed
from bench.verdicts.soak import growth
from stream_scorer.ports import Float64, Int64

MOST_PAUSE_SECONDS = 10.0
MOST_MEMORY_GROWTH = 0.10
"""Fitted growth of resident memory after the warm-up, as a share of its median."""
MOST_RESTORE_SECONDS = 60.0
WARM_UP_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Drain:
    """How a backlog was decided.

    Attributes:
        times_ms: By partition, int64[n] ascending: when each of its decisions was made.
        seconds: float64[m], ascending: when memory was looked at.
        rss: float64[m]: resident memory then, bytes.
    """

    times_ms: Mapping[int, Int64]
    seconds: Float64
    rss: Float64

    def longest_pause(self) -> tuple[float, int]:
        """Return (seconds, partition): the longest time without a decision while some were due.

        All input was there before the first decision of all, so a partition's time begins with that
        one and ends with the partition's own last.
        """
        begin = min(int(times[0]) for times in self.times_ms.values())
        pauses = {
            partition: int(np.diff(times, prepend=begin).max()) / 1_000
            for partition, times in self.times_ms.items()
        }
        partition = max(pauses, key=lambda each: pauses[each])
        return pauses[partition], partition

    def least_at_half_time(self) -> float:
        """Return the share of its records that the slowest partition had when half of all were."""
        every = np.sort(np.concatenate(list(self.times_ms.values())))
        half = every[len(every) // 2]
        return min(float((times <= half).mean()) for times in self.times_ms.values())

    def records_per_second(self) -> float:
        """Return decisions per second from the first to the last."""
        every = np.concatenate(list(self.times_ms.values()))
        return len(every) / max(float(every.max() - every.min()) / 1_000, 1e-3)

    def memory(self) -> dict[str, float]:
        """Return median, maximum, and fitted growth of memory after the warm-up."""
        kept = self.seconds >= self.seconds[0] + WARM_UP_SHARE * np.ptp(self.seconds)
        median, rise = float(np.median(self.rss[kept])), growth(self.seconds[kept], self.rss[kept])
        return {
            "median": round(median),
            "most": round(float(self.rss.max())),
            "growth": round(rise / median, 4),
        }


def report(drain: Drain, producers: int, restore_seconds: float, meanwhile: int) -> dict[str, Any]:
    """Return the report.

    Args:
        drain: Of the backlog.
        producers: How many producer ids wrote decisions, by the broker's log.
        restore_seconds: From a restart with a backlog until all partitions were complete.
        meanwhile: Decisions that were made until then.
    """
    pause, partition = drain.longest_pause()
    return {
        "partitions": len(drain.times_ms),
        "decisions": sum(map(len, drain.times_ms.values())),
        "producers": producers,
        "decisions_per_second": round(drain.records_per_second()),
        "longest_pause_seconds": round(pause, 2),
        "paused_partition": partition,
        "least_at_half_time": round(drain.least_at_half_time(), 3),
        "memory": drain.memory(),
        "restore_seconds": round(restore_seconds, 1),
        "decided_while_restoring": meanwhile,
    }


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each thing that a report must show and does not."""
    partition = document["paused_partition"]
    lines = missed(
        ("{} producers wrote the decisions", document["producers"], "==", 1),
        (
            f"partition {partition} paused for {{}} s with records left",
            document["longest_pause_seconds"], "<=", MOST_PAUSE_SECONDS,
        ),
        (
            "memory grew by {:.1%} of its median",
            document["memory"]["growth"], "<=", MOST_MEMORY_GROWTH,
        ),
        (
            "a restart with a backlog took {} s",
            document["restore_seconds"], "<=", MOST_RESTORE_SECONDS,
        ),
    )  # fmt: skip
    if not document["decided_while_restoring"]:
        lines.append("nothing was decided while partitions were restored")
    return lines
