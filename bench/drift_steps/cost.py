"""What watching for drift costs: CPU time per event with it and without it.

``python -m bench.drift_steps.cost`` measures pairs of runs on one Kafka and one input topic. Both
score with a model of the same 15 features. With drift detection, the model has a reference, the
plan has 20 segments, and ``stream-scorer monitor`` reads the summaries. Without it, the model has
no reference, the plan no segments, and no monitor runs. The order alternates from pair to pair.

CPU time is user plus system time of all our processes, from a fifth of the events on: the scorer
takes over its partitions one by one, and the monitor has committed its first summaries by then, so
it has read the reference. The share of a pair is the additional CPU time per event. The gate is on
the lower 95 % bound of the mean share. Medians are printed, too, and the ratio of the events per
second.

The monitor computes once a window, for all streams: so its cost per event depends on how many
events a window has. The gate is for ``dense`` traffic: the simulated city with 240 times its
customers, 1.2 million, who make 25 events a second on average, 90,000 an hour. A few pairs of
``sparse`` traffic, the city as it is with 375 events an hour, are measured and printed next to it,
without a gate: there, 1,500,000 events are 4,000 windows.

First, the time of the counting kernel is printed: nanoseconds per event in one thread, for 15
features and four memberships. It has no gate.
"""

import os
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import stats

from bench.drift_steps.counting import SEGMENTS, kernel_ns, summary_ns
from bench.harness import traffic
from bench.harness.arena import Arena
from bench.harness.event_model import train_model
from bench.harness.process import Contender, until
from bench.harness.script import Number, Script, missed, table
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.models.commands.reference import BundleReferenceJob, add_reference
from stream_scorer.settings import load_settings
from stream_scorer.training.days import Days
from stream_scorer.training.features import CUSTOMER_FEATURES

NAME = "watched"
SHARE_MOST = 0.05
"""Maximum of the lower 95 % bound of the additional CPU time per event."""
KERNEL_NS_MOST = 105.0
"""Maximum time of counting 15 features of 10 bins in 4 segments, ns an event."""
PAIRS_LEAST = 11
CITIES = 240
"""Of how many simulated cities dense traffic is; one has 375 events an hour."""
_DENSE_EVENTS, _SPARSE_EVENTS = 3_000_000, 1_500_000
_SPARSE_PAIRS = 3
_WINDOWS = ("1h", "6h", "12h", "1d", "3d", "7d")
_REFERENCE_DAYS, _TRAINED_DAYS = 28, 14
_START_SECONDS, _END_SECONDS, _LEAST_RATE = 60.0, 120.0, 2_000
_TICKS = os.sysconf("SC_CLK_TCK")


def features() -> tuple[FeatureSpec, ...]:
    """Return 15 features that need no terminals, and at most seven days of history."""
    pattern = {spec["name"]: spec for spec in CUSTOMER_FEATURES}
    count, mean = (pattern[f"CUSTOMER_ID_{kind}_1DAY_WINDOW"] for kind in ("NB_TX", "AVG_AMOUNT"))
    return (
        *CUSTOMER_FEATURES[:3],
        *(
            each | {"name": f"{each['name']}_{window}", "window": window}
            for each in (count, mean)
            for window in _WINDOWS
        ),
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """One run.

    Attributes:
        microseconds: CPU time per event of all processes.
        rate: Events per second of the scorer.
    """

    microseconds: float
    rate: float


def stores(directory: Path, transactions: pa.Table) -> dict[bool, Path]:
    """Make a store with a reference and segments (True), and one without (False).

    Args:
        directory: Where.
        transactions: Labelled transactions of the reference's days at least.
    """
    made = {watched: directory / ("watched" if watched else "plain") for watched in (True, False)}
    for store in made.values():
        train_model(transactions, store, NAME, features())
    data = directory / "reference.parquet"
    first = transactions["event_time"][0].as_py().date()
    last = first + timedelta(days=_REFERENCE_DAYS - 1)
    until_ms = pa.scalar(last + timedelta(days=1), pa.date32()).cast(pa.timestamp("ms"))
    times = transactions["event_time"]
    pq.write_table(transactions.filter(pc.less(times, until_ms)), data)
    plan = made[True] / NAME / "plan.toml"
    text = "".join(f"{name} = {values}\n" for name, values in SEGMENTS.items()).replace("'", '"')
    plan.write_text(f"{plan.read_text()}\n[segments]\n{text}")
    split = first + timedelta(days=_TRAINED_DAYS)
    add_reference(
        load_settings({"models": {"directory": str(made[True])}}),
        BundleReferenceJob(
            f"{NAME}:1.0.0", data, "1.0.1",
            train=Days(first, split - timedelta(days=1)), held=Days(split, last),
        ),
    )  # fmt: skip
    return made


def measure(arena: Arena, name: str, events: int, store: Path, *, watched: bool) -> Cost:
    """Run a scorer, and a monitor if drift is watched, over the input topic.

    Args:
        arena: Has the topic ``clean``.
        name: Unique in the arena.
        events: Records of the topic.
        store: Model store.
        watched: Whether the monitor runs, and the model with a reference.
    """
    label = f"{NAME}:{'1.0.1' if watched else '1.0.0'}"
    entry = arena.entry(
        name, "clean", "run", "--from", "earliest", "--model", label, store=store
    )  # fmt: skip
    arena.create_outputs(entry)
    scorer = arena.start(entry)
    monitor: Contender | None = None
    if watched:
        plan = store / NAME / "plan.toml"
        monitor = arena.start(
            arena.entry(
                f"{name}-monitor", "clean", "monitor", "--from", "earliest", "--plan", str(plan),
                outputs=name, store=store,
            )
        )  # fmt: skip
        monitor.begin()
        arena.wait_committed(monitor, 0, _START_SECONDS)
    scorer.begin()
    group = entry.settings.kafka.group
    limit = _START_SECONDS + events / _LEAST_RATE
    arena.wait_committed(scorer, events // 5, limit)
    if monitor is not None:
        until(partial(_has_read, arena, monitor, 1), "the monitor reads", limit, monitor)
    began, from_ = time.monotonic(), arena.committed(group, "clean")
    before = cpu_seconds(scorer)
    of_monitor = cpu_seconds(monitor)
    arena.wait_committed(scorer, events, limit)
    counted, seconds = events - from_, time.monotonic() - began
    used = cpu_seconds(scorer) - before
    scorer.ask_to_end()
    if monitor is not None:
        # What it has not read yet is part of the cost.
        kafka = monitor.entry.settings.kafka
        last = max(each.offset() for each in read_all(kafka, kafka.topics.summaries))
        until(
            partial(_has_read, arena, monitor, last + 1), "the monitor has read all", _END_SECONDS,
            monitor,
        )  # fmt: skip
        used += cpu_seconds(monitor) - of_monitor
        monitor.stop()
    scorer.stop()
    return Cost(used / counted * 1e6, counted / seconds)


def _has_read(arena: Arena, monitor: Contender, next_offset: int) -> bool:
    kafka = monitor.entry.settings.kafka
    return arena.committed(kafka.group, kafka.topics.summaries) >= next_offset


def cpu_seconds(process: Contender | None) -> float:
    """Return the user and system time of a process and of its children that have ended."""
    if process is None:
        return 0.0
    # The name in parentheses may have blanks.
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def lower_bound(shares: list[float]) -> float:
    """Return the lower 95 % bound of the mean (Student's t, one-sided)."""
    values = np.array(shares)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - stats.t.ppf(0.95, len(values) - 1) * error)


def many_cities(transactions: pa.Table, cities: int) -> pa.Table:
    """Return as many transactions, those of the first days, in several equal cities.

    >>> table = pa.table({"transaction_id": ["1", "2"], "customer_id": ["7", "8"]})
    >>> many_cities(table, 2)["customer_id"].to_pylist()
    ['7-0', '7-1']
    """
    rows = len(transactions) // cities
    found = transactions.take(np.repeat(np.arange(rows), cities))
    city = pa.array(np.tile(np.arange(cities), rows)).cast(pa.string())
    for name in ("transaction_id", "customer_id"):
        place = found.column_names.index(name)
        ids = pc.binary_join_element_wise(found[name], city, "-")
        found = found.set_column(place, found.schema.field(place), ids)
    return found


def costs(events: int, pairs: int, *, dense: bool) -> dict[str, Any]:
    """Measure pairs of runs; see the module.

    Args:
        events: Records of each run.
        pairs: Interleaved pairs, after one that does not count.
        dense: Whether windows have many events.
    """
    with Arena() as arena:
        transactions = traffic.transactions(events)
        made = stores(arena.directory, transactions)
        sent = many_cities(transactions, CITIES) if dense else transactions
        arena.feed("clean", traffic.clean(sent, arena.registry))
        found: dict[bool, list[Cost]] = {True: [], False: []}
        for pair in range(pairs + 1):
            for watched in (bool(pair % 2), not pair % 2):
                name = f"{'watched' if watched else 'plain'}-{pair}"
                cost = measure(arena, name, events, made[watched], watched=watched)
                if pair:
                    found[watched].append(cost)
    with_, without = found[True], found[False]
    shares = [
        a.microseconds / b.microseconds - 1 for a, b in zip(with_, without, strict=True)
    ]  # fmt: skip
    ratios = [a.rate / b.rate for a, b in zip(with_, without, strict=True)]
    return {
        "share_lower": round(lower_bound(shares), 4) if len(shares) > 1 else None,
        "share_mean": round(float(np.mean(shares)), 4),
        "with_us": round(float(np.median([each.microseconds for each in with_])), 3),
        "without_us": round(float(np.median([each.microseconds for each in without])), 3),
        "throughput_ratio": round(float(np.median(ratios)), 3),
        "pairs": len(shares),
    }


def run(*, quick: bool = False) -> dict[str, Any]:
    """Return ``cost_share``, the mean share, and ``cost``: bound, times, throughput.

    Args:
        quick: One pair of fewer events, without a bound.
    """
    return report(_SPARSE_EVENTS, 1) if quick else report(_DENSE_EVENTS, PAIRS_LEAST)


def report(events: int, pairs: int) -> dict[str, Any]:
    """Return the keys ``cost_share`` and ``cost``; see :func:`costs`."""
    found = costs(events, pairs, dense=True)
    sparse = costs(min(events, _SPARSE_EVENTS), min(pairs, _SPARSE_PAIRS), dense=False)
    found |= {f"sparse_{key}": value for key, value in sparse.items()}
    found |= {"kernel_ns": kernel_ns(), "summary_ns": summary_ns()}
    return {"cost_share": found["share_mean"], "cost": found}


def gates(found: dict[str, Any]) -> list[str]:
    """Return one line for each limit that the part ``cost`` misses."""
    return missed(
        ("{} is the lower bound of the share of CPU time", found["share_lower"], "<=", SHARE_MOST),
        ("{} ns to count an event", found["kernel_ns"], "<=", KERNEL_NS_MOST),
    )


def main() -> int:
    script = Script(
        __doc__, "one pair of fewer events, no bound",
        events=Number(_DENSE_EVENTS, _SPARSE_EVENTS, "records of each run"),
        pairs=Number(PAIRS_LEAST, 1, "interleaved pairs"),
    )  # fmt: skip
    document = report(script.options.events, script.options.pairs)
    return script.conclude(
        document, [] if script.quick else gates(document["cost"]),
        table("CPU time of drift detection", "what", "value", rows=document["cost"].items()),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
