"""The parity bench's input as it is sent, and the undisturbed stream."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness.arena import Arena
from bench.harness.process import Contender, Entry, until
from bench.parity_steps.input import Input
from bench.parity_steps.labels import Labels
from bench.parity_steps.outcomes import Outcomes, places, published
from stream_scorer.codec.writing.encode import ColumnEncoder
from stream_scorer.kafka.reading.paced_producer import Riders
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.producing.transactions import TransactionEncoder, open_feed
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.checkpoints.ring_columns import columns_of
from stream_scorer.state.stores.topic_store import TopicStore

MODEL = "fraud:1.1.0"
"""The shipped version with terminal features."""

BATCH = 1_000
SECONDS = 240.0
GLANCE_SECONDS = 0.05
_FED_AT_ONCE = 250
_SLOWER = 25


@dataclass(frozen=True, slots=True)
class Traffic:
    """The input as it is sent: keys and payloads of n transactions and m labels, in order."""

    rows: Input
    labels: Labels
    keys: list[bytes]
    payloads: list[bytes]
    label_keys: list[bytes]
    label_payloads: list[bytes]

    @property
    def identities(self) -> list[str]:
        """The n transaction ids."""
        return list(self.rows.table.column("transaction_id").to_pylist())

    def riders(self, topic: str, first: int, behind: int) -> Riders:
        """Return the labels that are sent with the transactions of [``first``, ``behind``)."""
        end = behind + 1 if behind == len(self.keys) else behind
        part = slice(*np.searchsorted(self.labels.before, [first, end]).tolist())
        before = self.labels.before[part] - first
        return Riders(topic, self.label_keys[part], self.label_payloads[part], before)


@dataclass(slots=True)
class Run:
    """The result of a way, and its events meanwhile."""

    outcomes: Outcomes
    happened: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def encoded(rows: Input, labels: Labels, settings: Settings) -> Traffic:
    """Return the input as our producers write it."""
    (batch,) = rows.table.combine_chunks().to_batches()
    (told,) = labels.table(rows).combine_chunks().to_batches()
    schema = reader_schema("label.v2")
    number = open_registry(settings.registry).id_for("labels-value", schema)
    keys, label_keys = (
        [key.encode() for key in each.column("customer_id").to_pylist()] for each in (batch, told)
    )
    return Traffic(
        rows, labels, keys, TransactionEncoder(settings.registry)(batch),
        label_keys, ColumnEncoder(number, schema).encode_batch(told).to_list(),
    )  # fmt: skip


class Feeder(threading.Thread):
    """Sends the input as fast as it can, or at a pace up to its current share, then slowly.

    So records continue to flow until the events that are to happen meanwhile are over.

    Args:
        traffic: What is sent.
        settings: Where.
        rate: Transactions per second; None: as fast as the broker takes them.
    """

    def __init__(self, traffic: Traffic, settings: Settings, rate: float | None = None) -> None:
        super().__init__(name="feeder", daemon=True)
        self.sent = 0
        self._traffic = traffic
        self._settings = settings
        self._rate = rate
        self._free = 0.0
        self._freed = threading.Event()

    def run(self) -> None:
        """Send; ends when all is sent."""
        keys, payloads = self._traffic.keys, self._traffic.payloads
        kafka = self._settings.kafka
        with open_feed(kafka, self._settings.registry, kafka.topics.transactions) as feed:
            due = time.monotonic()
            for start in range(0, len(keys), _FED_AT_ONCE):
                behind = min(start + _FED_AT_ONCE, len(keys))
                if self._rate is not None:
                    due = self._wait(behind / len(keys), due)
                riders = self._traffic.riders(kafka.topics.labels, start, behind)
                feed.send_encoded(keys[start:behind], payloads[start:behind], riders)
                self.sent = feed.sent

    def _wait(self, share: float, due: float) -> float:
        """Wait until what makes a share of the input may be sent; return when."""
        while True:
            free = share <= self._free
            pace = (self._rate or 0) if free else (self._rate or 0) / _SLOWER
            until = due + _FED_AT_ONCE / pace
            left = until - time.monotonic()
            # The last ones wait until ``finish`` releases the rest.
            if left <= 0 and (free or share < 1):
                return max(until, time.monotonic() - _FED_AT_ONCE / pace)
            if self._freed.wait(max(left, GLANCE_SECONDS)):
                self._freed.clear()

    def free(self, share: float) -> None:
        """Allow it to send a share of the input at its pace."""
        self._free = share
        self._freed.set()

    def finish(self) -> None:
        """Allow it to send the rest; return when that is done."""
        self.free(1.0)
        self.join()


def profiler_entry(
    arena: Arena, name: str, way: str, plan: Path, store: Path | None = None
) -> Entry:  # fmt: skip
    """Describe a profiler of a way.

    Args:
        arena: The arena.
        name: Unique there.
        way: Prefix of the way's topics, and group of its scorers.
        plan: The plan's file.
        store: The model store; None: the shipped one.
    """
    return arena.entry(
        name, f"{way}.transactions", "profile", "--from", "earliest", "--model", MODEL,
        "--plan", str(plan), outputs=way, probed=True, profiler={"group": f"{way}-profiler"},
        kafka={"group": way}, store=store,
    )  # fmt: skip


def read(arena: Arena, traffic: Traffic, entry: Entry, partitions: int, width: int) -> Run:
    """Return a stream's results, and how many customers are missing in its checkpoint."""
    kafka = entry.settings.kafka
    outcomes, strange = published(
        arena.outputs(kafka.topics.decisions), arena.outputs(kafka.topics.dead_letters),
        places(traffic.keys, partitions), traffic.identities, traffic.payloads, width,
    )  # fmt: skip
    owner = Owner(kafka.group, kafka.topics.transactions)
    store = TopicStore(kafka, owner)
    buckets, known = 0, set()
    for partition in range(partitions):
        assembly = Assembly(owner, partition)
        for records in store.read(partition):
            assembly.add(records)
        for bucket in assembly.buckets().values():
            buckets += 1
            known.update(columns_of(bucket.payload).customers)
    decided = {traffic.keys[row] for row in np.flatnonzero(outcomes.decision >= 0)}
    run = Run(outcomes, {"buckets": buckets, "customers_evicted": len(decided - known)})
    if strange:
        run.faults.append(f"{strange} outcomes name a record that is not theirs")
    if not buckets:
        run.faults.append("no checkpoint was written")
    if not decided - known:
        run.faults.append("no customer's whole history left")
    return run


class Undisturbed:
    """One scorer and one profiler on an input of one partition; its processes wait for ``run``.

    Args:
        arena: Where.
        traffic: What is sent.
        plan: The plan's file.
        name: Its name in the arena.
        store: The model store; None: the shipped one.
    """

    def __init__(
        self, arena: Arena, traffic: Traffic, plan: Path, name: str = "stream",
        store: Path | None = None,
    ) -> None:  # fmt: skip
        self._arena = arena
        self._traffic = traffic
        self._entry = arena.entry(
            name, f"{name}.transactions", "run", "--from", "earliest", "--model", MODEL,
            "--plan", str(plan), scorer={"maximum_batch": BATCH}, store=store,
        )  # fmt: skip
        self._profiling = profiler_entry(arena, f"{name}-profiler", name, plan, store=store)
        create_topics(self._entry.settings.kafka, 1)

    def run(self, width: int) -> Run:
        """Run both until the input is drained."""
        arena, traffic = self._arena, self._traffic
        processes = [arena.start(self._profiling), arena.start(self._entry)]
        feeder = Feeder(traffic, self._entry.settings)
        feeder.start()
        for process in processes:
            process.begin()
        feeder.finish()
        wait(lambda: self._scored() == len(traffic.keys), "the stream is decided", *processes)
        count = len(traffic.keys) + len(traffic.labels)
        wait(lambda: self._profiled() == count, "the stream is profiled", *processes)
        counted = _late_labels(processes[0])
        codes = {process.entry.name: process.stop() for process in processes}
        run = read(arena, traffic, self._entry, 1, width)
        run.happened["late_labels"] = counted
        run.faults += [f"{name} left with {code}" for name, code in codes.items() if code]
        if sum(counted.values()) != traffic.labels.too_late or not all(counted.values()):
            run.faults.append(f"{traffic.labels.too_late} labels came too late, counted: {counted}")
        return run

    def _scored(self) -> int:
        kafka = self._entry.settings.kafka
        return self._arena.committed(kafka.group, kafka.topics.transactions)

    def _profiled(self) -> int:
        topics = self._profiling.settings.kafka.topics
        group = self._profiling.settings.profiler.group
        return self._arena.committed(group, topics.transactions, topics.labels)


def _late_labels(profiler: Contender) -> dict[str, int]:
    """Return a profiler's counts of labels without effect, by cause."""
    return {each.labels["cause"]: int(each.value) for each in profiler.metric("labels_late_total")}


def wait(holds: Callable[[], bool], what: str, *needed: Contender) -> None:
    """Return when a condition holds; end the bench if it does not in four minutes."""
    until(holds, what, SECONDS, *needed)
