"""Reports on measured scorers with many customers, and judges the report."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from bench.harness.gates import rate
from bench.harness.script import missed
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.ports import Int64
from stream_scorer.state.checkpoints.schedule import BUCKET_BYTES

MOST_BYTES_PER_KEY = 2_048
MOST_RESTORE_SECONDS = 60.0
MOST_COST = 0.10
QUICK_MOST_COST = 0.25
"""Rounds of a second are too short to measure a tenth on cores that others use too."""
LEAST_FLATNESS = 0.75

_MARGIN = 1.05


@dataclass(slots=True)
class Size:
    """The measurements with one number of customers.

    Attributes:
        keys: Customers.
        cycles: Intended number of checkpoint cycles during the measured events.
        state_bytes: Size of the checkpoint's records.
        memory: Bytes of resident memory beyond that of a scorer without customers.
        restore_seconds: From the process's start until its state was complete.
        rates: Events per second by way, ``on`` and ``off``, one for each round.
        buckets: Buckets written during the measured rounds.
        events: Events of the measured rounds, with checkpoints.
        restart_seconds: As ``restore_seconds``, of a restart after the measured rounds.
        replayed: Input records that the restart replayed.
    """

    keys: int
    cycles: float
    state_bytes: int = 0
    memory: int = 0
    restore_seconds: float = 0.0
    rates: dict[str, list[float]] = field(default_factory=lambda: {"on": [], "off": []})
    buckets: int = 0
    events: int = 0
    restart_seconds: float = 0.0
    replayed: int = 0


def round_events(size: Size, partitions: int, bytes_per_event: float, rounds: int) -> int:
    """Return how many events of each round make the wanted cycles, with a margin."""
    cycle = size.state_bytes + partitions * BUCKETS * BUCKET_BYTES
    return int(_MARGIN * size.cycles * cycle / bytes_per_event / rounds)


def round_rates(times_ms: Int64, records: Int64, rounds: Sequence[int]) -> list[float]:
    """Return the events per second of each round, from the summaries of a scorer's transactions.

    Args:
        times_ms: int64[t], the broker's times of arrival.
        records: int64[t], input records of each transaction.
        rounds: Events of each round, the first of which is not measured.

    Raises:
        ValueError: The transactions do not end where the rounds end.
    """
    done = np.cumsum(records)
    ends = np.searchsorted(done, np.cumsum(rounds)) + 1
    if len(done) < ends[-1] or (done[ends - 1] != np.cumsum(rounds)).any():
        raise ValueError("a transaction holds events of two rounds, or events are missing")
    return [
        rate(np.repeat(times_ms[start:end], records[start:end])) for start, end in pairwise(ends)
    ]


def report(sizes: Sequence[Size], partitions: int) -> dict[str, Any]:
    """Return the report; ``checkpoint_cost`` is that of the dearest size."""
    rows = []
    for size in sizes:
        # Round by round: what else the machine does meanwhile slows both ways.
        kept = [on / off for on, off in zip(size.rates["on"], size.rates["off"], strict=True)]
        rows.append(
            {
                "keys": size.keys,
                "bytes_per_key": round(size.memory / size.keys),
                "restore_seconds": round(size.restore_seconds, 1),
                "events_per_second": round(statistics.median(size.rates["on"])),
                "without_checkpoints": round(statistics.median(size.rates["off"])),
                "checkpoint_cost": round(1 - statistics.median(kept), 3),
                "checkpoint_cycles": round(size.buckets / partitions / BUCKETS, 2),
                "state_bytes": size.state_bytes,
                "events": size.events,
                "restart_seconds": round(size.restart_seconds, 1),
                "replayed": size.replayed,
            }
        )
    speeds = [row["events_per_second"] for row in rows]
    return {
        "sizes": rows,
        "checkpoint_cost": max(row["checkpoint_cost"] for row in rows),
        "flatness": round(min(speeds) / speeds[0], 3),
    }


def failures(
    document: Mapping[str, Any], cycles: Sequence[float], most_cost: float = MOST_COST
) -> list[str]:
    """Return one line for each gate of a report that is missed.

    Args:
        document: The report.
        cycles: Checkpoint cycles that each size's measured events must hold.
        most_cost: Share of the throughput that checkpoints may cost.
    """
    lines = []
    for row, least in zip(document["sizes"], cycles, strict=True):
        where = f"{row['keys']} customers: "
        lines += missed(
            (where + "{} bytes each", row["bytes_per_key"], "<=", MOST_BYTES_PER_KEY),
            *(
                (where + name + " {}", row[name], "<=", MOST_RESTORE_SECONDS)
                for name in ("restore_seconds", "restart_seconds")
            ),
            (
                where + "checkpoints cost {} of the throughput",
                row["checkpoint_cost"], "<=", most_cost,
            ),
            (
                where + "{} checkpoint cycles were measured",
                row["checkpoint_cycles"], ">=", least,
            ),
        )  # fmt: skip
    return lines + missed(
        (
            "the slowest size makes {} of the events per second of the smallest",
            document["flatness"], ">=", LEAST_FLATNESS,
        )
    )  # fmt: skip
