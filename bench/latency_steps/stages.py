"""The age of each decision, and the stages that make it up: arrays in, percentiles out.

::

    due ─ producer ─ sent ─ broker ─ appended ─ poll ─ polled ─ compute ─ computed ─ wait ─ begun
      ─ produce ─ produced ─ offsets ─ added ─ end_txn ─ committed ─ visible ─ seen

The stages of one event add up to its age. Their percentiles do not, so each has a mean, too.
The broker's clock has whole milliseconds: ``broker`` is up to 1 ms too short, ``poll`` too long.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.ports import Float64, Int64

STAGES = (
    "producer", "broker", "poll", "compute", "wait", "produce", "offsets", "end_txn", "visible",
)  # fmt: skip
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9}
MOST_SLIP_MS = 5.0
"""A producer keeps its schedule if this is the 99th percentile of its delay, or more."""
_ID_AT = 6
_OF_LOOP = ("poll", "wait", "begin", "send", "offsets", "commit")


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction of a loop.

    Attributes:
        at: When its commit returned, seconds since the epoch.
        records: Its input records.
        ends: The next input offset by partition.
        seconds: Duration by stage, in the loop's own names.
    """

    at: float
    records: int
    ends: Mapping[int, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sent:
    """n records of an input, in the order of their numbers.

    Attributes:
        due: float64[n], scheduled times, seconds since the epoch.
        sent: float64[n], when the client got each.
        acknowledged: float64[n], when the broker's answer had come; NaN where it was not noted.
    """

    due: Float64
    sent: Float64
    acknowledged: Float64


@dataclass(frozen=True, slots=True)
class Logged:
    """The same n records in the broker's log.

    Attributes:
        partition: int64[n].
        offset: int64[n].
        appended: float64[n], seconds since the epoch, in whole milliseconds.
    """

    partition: Int64
    offset: Int64
    appended: Float64


def row_number(value: bytes) -> int | None:
    """Return a simulated transaction's number: the first field of both schemas, in digits.

    None means a record that is not from the simulator.
    """
    try:
        return int(value[_ID_AT : _ID_AT + value[_ID_AT - 1] // 2])
    except (ValueError, IndexError):
        return None


def slip_ms(sent: Sent) -> Float64:
    """Return float64[n]: how long after its scheduled time the client got each record, ms."""
    return (sent.sent - sent.due) * 1_000


def counted(due: Float64, warm_up: float) -> NDArray[np.bool_]:
    """Return bool[n]: which records count; those of the first ``warm_up`` seconds do not."""
    return due >= due.min() + warm_up


def percentiles(values_ms: Float64) -> dict[str, float]:
    """Return the median and two high percentiles.

    Args:
        values_ms: float64[n], n >= 1.

    >>> percentiles(np.arange(1001.0))
    {'p50': 500.0, 'p99': 990.0, 'p999': 999.0}
    """
    found = np.percentile(values_ms, list(PERCENTILES.values()))
    return dict(zip(PERCENTILES, found.tolist(), strict=True))


def stages_ms(
    sent: Sent, logged: Logged, seen: Float64, batches: Sequence[Batch]
) -> dict[str, Float64]:
    """Return by stage float64[n], the milliseconds of each record; a record's stages add up.

    Args:
        sent: By the producer.
        logged: The same records on the broker.
        seen: float64[n], when a reader got each decision, seconds since the epoch.
        batches: The loop's transactions, in order.

    Raises:
        ValueError: A record is in no batch.
    """
    which = batch_of(logged, batches)
    bounds = np.array([_bounds(batch) for batch in batches])[which]
    times = np.column_stack([sent.due, sent.sent, logged.appended, bounds, seen])
    return dict(zip(STAGES, (np.diff(times, axis=1) * 1_000).T, strict=True))


def batch_of(logged: Logged, batches: Sequence[Batch]) -> Int64:
    """Return int64[n]: the number of the batch that each record was in.

    Raises:
        ValueError: A record is in none.
    """
    found = np.full(len(logged.offset), -1)
    for partition in np.unique(logged.partition).tolist():
        numbers = [n for n, batch in enumerate(batches) if partition in batch.ends]
        ends = np.array([batches[n].ends[partition] for n in numbers])
        rows = np.flatnonzero(logged.partition == partition)
        at = np.searchsorted(ends, logged.offset[rows], side="right")
        known = at < len(ends)
        found[rows[known]] = np.array(numbers, np.int64)[at[known]]
    if (found < 0).any():
        raise ValueError(f"{int((found < 0).sum())} records are in no batch of the trace")
    return found


def _bounds(batch: Batch) -> list[float]:
    """Return when the batch was polled, computed, begun, produced, added and committed.

    The laps of a batch follow each other, so they are counted back from the commit. Both loops add
    offsets before they produce; each of their stages is as long all the same.
    """
    took = loop_seconds(batch)
    spans = [
        took["compute"], took["wait"], took["begin"] + took["send"], took["offsets"],
        took["commit"],
    ]  # fmt: skip
    return [batch.at - sum(spans[first:]) for first in range(len(spans) + 1)]


def loop_seconds(batch: Batch) -> dict[str, float]:
    """Return a batch's seconds in the loop's stages; all others are the computation's."""
    found = {name: batch.seconds.get(name, 0.0) for name in _OF_LOOP}
    found["compute"] = sum(batch.seconds.values()) - sum(found.values())
    return found


def table_of(found: Mapping[str, Float64], chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Return by stage its percentiles and its mean, over the chosen records (bool[n]), ms."""
    return {
        name: {
            **{key: round(value, 2) for key, value in percentiles(values[chosen]).items()},
            "mean": round(float(values[chosen].mean()), 2),
        }
        for name, values in found.items()
    }


def batches_of(batches: Sequence[Batch], since: float) -> dict[str, Any]:
    """Return how large and how frequent the transactions after a time are, and their laps.

    Args:
        batches: In order.
        since: Seconds since the epoch.

    Returns:
        ``per_second``, ``records`` (mean), and ``lap_ms``: mean milliseconds by lap.
    """
    late = [batch for batch in batches if batch.at >= since]
    if len(late) <= 1:
        return {"per_second": None, "records": None, "lap_ms": {}}
    names = dict.fromkeys(name for batch in late for name in batch.seconds)
    return {
        "per_second": round((len(late) - 1) / (late[-1].at - late[0].at), 1),
        "records": round(float(np.mean([batch.records for batch in late])), 1),
        "lap_ms": {
            name: round(float(np.mean([b.seconds.get(name, 0.0) for b in late])) * 1_000, 3)
            for name in names
        },
    }


def write_batches(file: Path, batches: Iterable[Batch]) -> None:
    """Write a trace: one line of JSON for each batch."""
    with file.open("w") as out:
        for each in batches:
            line = {"at": each.at, "records": each.records, "ends": dict(each.ends),
                    "seconds": dict(each.seconds)}  # fmt: skip
            out.write(f"{json.dumps(line)}\n")


def read_batches(file: Path) -> list[Batch]:
    """Read what :func:`write_batches` wrote."""
    found = []
    for line in file.read_text().splitlines():
        read = json.loads(line)
        ends = {int(partition): end for partition, end in read["ends"].items()}
        found.append(Batch(read["at"], read["records"], ends, read["seconds"]))
    return found
