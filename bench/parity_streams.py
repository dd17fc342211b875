"""The parity bench's streams: one left alone, one with a kill and two rebalances as it flows."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.arena import PARTITIONS, Arena, Contender, Entry
from bench.parity_input import Input
from bench.parity_outcomes import Outcomes, places, published
from stream_scorer.apps.feeding import TransactionEncoder, open_feed
from stream_scorer.kafka.state_topic import TopicStore
from stream_scorer.kafka.topics import create_topics
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoint import Assembly, Owner
from stream_scorer.state.rings import columns_of

MODEL = "fraud:1.0.0"
"""The shipped version that asks for no terminals, for the bench runs no profiler."""

_BATCH = 1_000
_JOIN_AT, _KILL_AT, _HOLD_AT = 0.15, 0.35, 0.9
_SECONDS = 120.0
_GLANCE_SECONDS = 0.05
_FED_AT_ONCE = 250
_SESSION_MS = 6_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """The input as it is sent: n keys and payloads in order."""

    rows: Input
    keys: list[bytes]
    payloads: list[bytes]

    @property
    def identities(self) -> list[str]:
        """The n transaction ids."""
        return list(self.rows.table.column("transaction_id").to_pylist())


@dataclass(slots=True)
class Run:
    """What a way left, and what happened meanwhile."""

    outcomes: Outcomes
    happened: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def encoded(rows: Input, settings: Settings) -> Traffic:
    """Return the input as our producers write it."""
    (batch,) = rows.table.combine_chunks().to_batches()
    keys = batch.column("customer_id").to_pylist()
    payloads = TransactionEncoder(settings.registry)(batch)
    return Traffic(rows, [key.encode() for key in keys], payloads)


class Feeder(threading.Thread):
    """Sends the input at a pace; the last tenth only when it is told to finish."""

    def __init__(self, traffic: Traffic, settings: Settings, rate: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self.sent = 0
        self._traffic = traffic
        self._settings = settings
        self._rate = rate
        self._finish = threading.Event()

    def run(self) -> None:
        """Send; ends when all is sent."""
        keys, payloads = self._traffic.keys, self._traffic.payloads
        kafka = self._settings.kafka
        with open_feed(
            kafka, self._settings.registry, kafka.topics.transactions, self._rate
        ) as feed:
            for start in range(0, len(keys), _FED_AT_ONCE):
                if start >= _HOLD_AT * len(keys):
                    self._finish.wait()
                part = slice(start, start + _FED_AT_ONCE)
                feed.send_encoded(keys[part], payloads[part])
                self.sent = feed.sent

    def finish(self) -> None:
        """Let it send the rest; return when that is done."""
        self._finish.set()
        self.join()


def _read(arena: Arena, traffic: Traffic, entry: Entry, partitions: int, width: int) -> Run:
    """Return what a stream has published, and how many customers its checkpoint has not."""
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


def one_partition(arena: Arena, traffic: Traffic, width: int) -> Run:
    """Let one scorer drain an input of one partition."""
    entry = arena.entry(
        "stream", "stream.transactions", "run", "--from", "earliest", "--model", MODEL,
        scorer={"maximum_batch": _BATCH},
    )  # fmt: skip
    create_topics(entry.settings.kafka, 1)
    scorer = arena.start(entry)
    with open_feed(entry.settings.kafka, entry.settings.registry) as feed:
        feed.send_encoded(traffic.keys, traffic.payloads)
    scorer.wait_ready()
    scorer.go()
    arena.wait_committed(scorer, len(traffic.keys), _SECONDS)
    code = scorer.stop()
    run = _read(arena, traffic, entry, 1, width)
    if code:
        run.faults.append(f"the scorer left with {code}: {scorer.last}")
    return run


class Killed:
    """Four partitions, two instances, a kill and two rebalances, while records flow.

    Its processes start at once and wait for their turn.

    Args:
        arena: Where.
        traffic: What is sent.
        rate: Records per second.
    """

    def __init__(self, arena: Arena, traffic: Traffic, rate: float) -> None:
        self._arena = arena
        self._traffic = traffic
        names = {"first": "a", "second": "b", "again": "a"}
        self._entries = {
            name: arena.entry(
                f"killed-{name}", "killed.transactions",
                "run", "--from", "earliest", "--model", MODEL,
                outputs="killed", scorer={"maximum_batch": _BATCH},
                kafka={"group": "killed", "instance": instance, "session_timeout_ms": _SESSION_MS},
            )
            for name, instance in names.items()
        }  # fmt: skip
        self._entry = self._entries["first"]
        create_topics(self._entry.settings.kafka, PARTITIONS)
        self._feeder = Feeder(traffic, self._entry.settings, rate)
        self._happened: dict[str, Any] = {}
        self._faults: list[str] = []
        self._scorers = {name: arena.start(entry) for name, entry in self._entries.items()}
        self._running: list[Contender] = []

    def run(self, width: int) -> Run:
        """Go through it all; return what is left."""
        scorers = self._scorers
        for scorer in scorers.values():
            scorer.wait_ready()
        self._running = [scorers["first"]]
        scorers["first"].go()
        self._until(lambda: sum(map(len, self._members().values())) == PARTITIONS, "first member")
        (first,) = self._members()
        self._feeder.start()
        self._fed(_JOIN_AT)
        self._joins("second_joins", scorers["second"], {first})
        self._fed(_KILL_AT)
        self._kill(scorers["first"], first)
        known = set(self._members())
        self._joins("first_returns", scorers["again"], known, first)
        self._feeder.finish()
        count = len(self._traffic.keys)
        self._until(lambda: self._committed() == count, f"{count} committed")
        codes = [scorer.stop() for scorer in self._running]
        if any(codes):
            self._faults.append(f"the scorers left with {codes}: {[s.last for s in self._running]}")
        left = _read(self._arena, self._traffic, self._entry, PARTITIONS, width)
        left.happened |= self._happened
        left.faults += self._faults
        return left

    def _joins(self, name: str, scorer: Contender, known: set[str], gone: str = "") -> None:
        """Let a scorer begin; return when it and the others share all partitions."""
        before = self._feeder.sent
        scorer.go()
        self._running.append(scorer)

        def shared() -> bool:
            members = self._members()
            new = set().union(*(members[m] for m in members.keys() - known))
            every = set().union(*members.values())
            return bool(new) and len(every) == PARTITIONS and gone not in members

        self._until(shared, name)
        after = self._feeder.sent
        self._happened[name] = {
            "sent_meanwhile": after - before,
            "sent": after,
            "partitions": sorted(map(len, self._members().values())),
        }
        if not before < after < len(self._traffic.keys):
            self._faults.append(f"{name}: no records were sent meanwhile")

    def _kill(self, scorer: Contender, member: str) -> None:
        """Kill a scorer while a transaction of its own is open."""
        topic = self._entry.settings.kafka.topics.decisions
        deadline = time.monotonic() + _SECONDS
        while True:
            owned = self._members().get(member, set())
            scorer.freeze()
            # What the coordinator had in hand already is over a moment later.
            self._arena.open_transactions(topic)
            time.sleep(_GLANCE_SECONDS)
            opened = self._arena.open_transactions(topic) & owned
            if opened:
                break
            scorer.thaw()
            if time.monotonic() > deadline:
                raise SystemExit("no transaction was open when the scorer was to be killed")
            time.sleep(_GLANCE_SECONDS / 4)
        scorer.kill()
        self._running.remove(scorer)
        committed, sent = self._committed(), self._feeder.sent
        self._happened["killed"] = {
            "sent": sent,
            "committed": committed,
            "open_partitions": sorted(opened),
        }
        if not 0 <= committed < sent < len(self._traffic.keys):
            self._faults.append(f"killed with {committed} of {sent} sent records committed")

    def _members(self) -> dict[str, set[int]]:
        return self._arena.members("killed")

    def _committed(self) -> int:
        return self._arena.committed("killed", self._entry.settings.kafka.topics.transactions)

    def _fed(self, share: float) -> None:
        count = int(share * len(self._traffic.keys))
        self._until(lambda: self._feeder.sent >= count, f"{count} sent")

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not holds():
            for scorer in self._running:
                scorer.refuse_death()
            if time.monotonic() > deadline:
                raise SystemExit(f"not in {_SECONDS:.0f} s: {what}")
            time.sleep(_GLANCE_SECONDS)
