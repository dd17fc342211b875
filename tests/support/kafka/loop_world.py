"""Complete processes around a fake broker: the real loop, source and producer, and a plain work.

Only the clients under :class:`KafkaSource` and :class:`TransactionalProducer`, and time, are fakes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import FencedError, StreamScorerError
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.source import KafkaSource
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.kafka.loop.work_interface import (
    NO_ROWS,
    Deferred,
    LoopLimits,
    Result,
    Stages,
)
from stream_scorer.ports import BytesColumn, Outgoing, RawRecords
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchCommitted, Event
from tests.support.kafka.fake_broker import NO_OFFSET, Broker, Clock
from tests.support.kafka.fake_consumer import FakeConsumer
from tests.support.kafka.fake_network import Network
from tests.support.kafka.fake_producer import FakeProducer

INPUT, OUTPUT, STATE = "input", "output", "state"
GROUP = "group"
PARTITIONS = 2
KEYS = 3
BATCH = 3
SOCKET_SECONDS = 3
TIMEOUT_SECONDS = 15

Delta = list[tuple[int, int]]


class Folding:
    """Work whose state is, by partition, the list of input offsets that it has seen.

    Restoring gives a partition the fold of the input up to its committed offset.

    Args:
        committed: The broker's committed offsets; nothing beyond them may be left behind.
        poisons: Whether the computation fails for an offset; it is rejected then.
        waits: Whether an offset is not ready the first time that it is to be computed, so that
            the result is partial.
    """

    def __init__(
        self,
        committed: Callable[[], dict[int, int]],
        poisons: Callable[[int], bool],
        waits: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._committed = committed
        self._poisons = poisons
        self._waits = waits
        self._met: set[tuple[int, int]] = set()
        self.state: dict[int, list[int]] = {}
        self._coming: set[int] = set()

    def assigned(self, offsets: dict[int, int]) -> None:
        self.state |= {partition: self.fold(offset) for partition, offset in offsets.items()}
        self._coming |= offsets.keys()

    def fold(self, end: int) -> list[int]:
        """Return the state before an offset; a rejected record is negative."""
        return [_rejected(at) if self._poisons(at) else at for at in range(end)]

    def revoked(self, partitions: tuple[int, ...]) -> None:
        for partition in partitions:
            del self.state[partition]
        self._coming -= set(partitions)

    def close(self) -> None: ...

    def restoring(self) -> bool:
        return bool(self._coming)

    def restore(self) -> set[int]:
        ready, self._coming = self._coming, set()
        return ready

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Delta]:
        stages.lap("compute")
        every = list(zip(raw.partition.tolist(), raw.offset.tolist(), strict=True))
        behind = self._behind(every)
        if not any(offset < behind.get(partition, offset + 1) for partition, offset in every):
            raise Deferred("input", frozenset(behind))
        delta: Delta = []
        for row, (partition, offset) in enumerate(every):
            if offset >= behind.get(partition, offset + 1):
                continue
            seen = self.state[partition]
            assert offset == len(seen), f"partition {partition}: {offset} after {seen[-1:]}"
            if row in quarantined:
                assert self._poisons(offset), f"{partition}:{offset} was quarantined"
            elif self._poisons(offset):
                for number, _ in reversed(delta):
                    self.state[number].pop()
                raise ValueError(f"poison at {partition}:{offset}")
            seen.append(_rejected(offset) if row in quarantined else offset)
            delta.append((partition, offset))
        values = BytesColumn.of(b"%d:%d" % place for place in delta)
        keys = raw.keys.take(np.array([every.index(place) for place in delta], np.int64))
        ends = {partition: offset + 1 for partition, offset in delta} if behind else None
        return Result([Outgoing(OUTPUT, values, keys)], delta, ends=ends)

    def _behind(self, places: Delta) -> dict[int, int]:
        """Return each partition's first offset that is not ready; each waits once."""
        found: dict[int, int] = {}
        for partition, offset in places:
            if partition in found or (partition, offset) in self._met:
                continue
            if self._waits(offset):
                self._met.add((partition, offset))
                found[partition] = offset
        return found

    def keep(self, result: Result[Delta], stages: Stages, raw: RawRecords) -> BatchCommitted:
        del stages
        places = list(zip(raw.partition.tolist(), raw.offset.tolist(), strict=True))
        assert places == result.delta, "records are kept that are not in the result"
        return BatchCommitted(len(raw), {}, "m", "1", next_offsets=raw.next_offsets())

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:
        for partition in partitions:
            assert len(self.state[partition]) <= self._committed()[partition], "flushed too early"
        values = [b"%d:%d" % (p, len(self.state[p])) for p in sorted(partitions)]
        return [Outgoing(STATE, BytesColumn.of(values), BytesColumn.nulls(len(values)))]

    def undo(self, result: Result[Delta]) -> None:
        for partition, offset in reversed(result.delta):
            last = self.state[partition].pop()
            assert last in {offset, _rejected(offset)}, "undone out of order"


def _rejected(offset: int) -> int:
    return -1 - offset


class Process:
    """One process: it starts, steps, and ends by itself, gracefully, or killed.

    Attributes:
        ended: Why it ended by itself; None while it runs.
    """

    def __init__(self, world: "World", number: int, instance: str) -> None:
        self.who = f"{instance}/{number}"
        self.instance = instance
        self.network = Network(world.clock, world.held)
        self.work = Folding(world.committed, world.poisons, world.waits)
        self.heard: list[Event] = []
        self.ended: StreamScorerError | None = None
        self.stepping = False
        self._world = world
        self._clients: list[FakeProducer] = []

    def start(self) -> None:
        """Start, or end immediately."""
        kafka = Kafka(
            bootstrap="b:1", group=GROUP, instance=self.instance,
            socket_timeout_ms=SOCKET_SECONDS * 1_000,
            transaction_timeout_ms=TIMEOUT_SECONDS * 1_000,
        )  # fmt: skip
        try:
            self.producer = TransactionalProducer(
                kafka, GROUP, self.heard.append, self._make, self._world.clock.since_boot
            )
        except StreamScorerError as error:
            self.ended = error
            return
        self.source = KafkaSource(kafka, INPUT, GROUP, "earliest")
        self.loop = TransactionLoop(
            self.source,
            self.producer,
            self.work,
            LoopLimits(maximum_batch=BATCH),
            self.heard.append,
        )
        # Without notes of attempts, whose commits would hide what a batch's own commit does.
        self.loop._limits.guarded = self._world.early

    def _make(self, options: Mapping[str, Any]) -> FakeProducer:
        self._clients.append(FakeProducer(self._world.broker, self.network, options, self.who))
        return self._clients[-1]

    def step(self, work: Callable[[], None] | None = None) -> None:
        """Do one step of the loop, or the given work; one of our errors ends the process."""
        self.stepping = True
        try:
            (work or self.loop.step)()
        except StreamScorerError as error:
            self.ended = error
            self.loop._pool.shutdown()
            self.source.before_revoke = self.source.before_rebalance = None
            self.producer.close()
            self.source.close()
        finally:
            self.stepping = False

    def leave(self) -> None:
        """End gracefully, as on SIGTERM."""
        self.loop.stop()
        self.loop.run()

    def kill(self) -> None:
        """End immediately, without any notice."""
        self.loop._pool.shutdown()

    @property
    def member(self) -> str:
        """Return its name in the group."""
        return self.source._consumer.member  # type: ignore[attr-defined]  # the fake's

    @property
    def has_reasons(self) -> bool:
        """Whether it will raise its epoch again, or knows of another cause that may."""
        producer = self.producer
        return bool(
            producer._suspicion
            or producer._transport_errors
            or self.network.errors
            or producer._own_doing._late
        )

    def reads(self, partition: int) -> bool:
        """Whether it decides a partition's records, unless the group assigns it to another."""
        known = self._world.broker.groups[GROUP]
        mine = known.members.get(self.member, set())
        return (
            not self.work.restoring()
            and not self.source.rebalanced
            and partition in mine & self.loop._positions.keys()
            and all(known.wanted.get(each) == self.member for each in mine)
        )

    def taken_over(self) -> bool:
        """Whether another process raised the epoch of its transactional id above its own."""
        name = f"{GROUP}:{self.instance}"
        births = self._world.broker.births
        own = max(n for n, birth in enumerate(births) if birth == (name, self.who))
        return any(each == name and who != self.who for each, who in births[own + 1 :]) or (
            # Or before a request of the same process that came late.
            self._clients[-1].identity[1] < self._world.broker.transactions[name].epoch
            and any(each == name and who != self.who for each, who in births[:own])
        )


class World:
    """A broker, its time, and the processes around it.

    Attributes:
        early: Whether processes that start send offsets while they compute.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = Broker(self.clock)
        self.held: list[Callable[[], Any]] = []
        self.running: list[Process] = []
        self.started = 0
        self.poison_every = 0
        self.wait_every = 0
        self.early = False
        self._patch = pytest.MonkeyPatch()
        for topic in (INPUT, OUTPUT, STATE):
            self.broker.create(topic, PARTITIONS)
        for module in ("publishing", "source", "transaction"):
            self._patch.setattr(f"stream_scorer.kafka.loop.{module}.time", self.clock)
        self._patch.setattr("stream_scorer.kafka.loop.source.PassingConsumer", self._consumer)
        self._patch.setattr("stream_scorer.kafka.loop.source.bounds", self._bounds)
        self._patch.setattr("stream_scorer.kafka.topics.groups.members", self._members)

    def _consumer(self, options: Mapping[str, Any], topic: str) -> FakeConsumer:
        return FakeConsumer(self.broker, options, topic)

    def _members(self, _: Kafka, group: str) -> list[tuple[str, str]]:
        known = self.broker.groups[group]
        return [(member, known.names[member]) for member in known.members]

    def _bounds(self, _: Kafka, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        logs = {p: self.broker.logs[topic, p] for p in range(PARTITIONS)}
        return dict.fromkeys(logs, 0), {p: log.stable_end() for p, log in logs.items()}

    def close(self) -> None:
        """End what runs and put everything back."""
        for process in self.running:
            process.kill()
        self._patch.undo()

    def poisons(self, offset: int) -> bool:
        """Whether the computation fails for an offset, in every partition."""
        return self.poison_every > 0 and offset % self.poison_every == self.poison_every - 1

    def waits(self, offset: int) -> bool:
        """Whether an offset is not ready at first, in every partition."""
        return self.wait_every > 0 and offset % self.wait_every == self.wait_every - 1

    # -- what can be done to it -------------------------------------------------------------

    def feed(self, partition: int, count: int) -> None:
        """Append records to the input; a key stays in its partition."""
        start = len(self.broker.logs[INPUT, partition].entries)
        self.broker.feed(
            INPUT,
            partition,
            [(b"%d-%d" % (partition, n % KEYS), b"v") for n in range(start, start + count)],
        )

    def release(self) -> None:
        """Deliver all held requests."""
        Network(self.clock, self.held).release()

    def start(self, instance: str) -> Process:
        """Start a process; it may end immediately."""
        process = Process(self, self.started, instance)
        self.started += 1
        process.start()
        if process.ended is None:
            self.running.append(process)
        return process

    def step(self, process: Process, work: Callable[[], None] | None = None) -> None:
        """Run a step of a process; it is removed if it ended meanwhile."""
        process.step(work)
        if process.ended is not None:
            self.running.remove(process)
            fenced = isinstance(process.ended, FencedError)
            assert fenced, f"{process.who} left with {process.ended!r}"
            assert process.taken_over(), f"{process.who} left and nobody took it over"

    # -- what must be so --------------------------------------------------------------------

    def committed(self) -> dict[int, int]:
        """Return the group's committed offsets, 0 for none."""
        offsets = self.broker.groups[GROUP].offsets
        found = {p: offsets.get((INPUT, p), NO_OFFSET) for p in range(PARTITIONS)}
        return {partition: max(offset, 0) for partition, offset in found.items()}

    def check(self) -> None:
        """Check that a read-committed reader sees the input up to the offsets, once, in order.

        Whether it sees a transaction's records before its offsets is up to the reader: both become
        visible with the transaction's end, here at the same time.
        """
        seen: dict[int, list[int]] = {p: [] for p in range(PARTITIONS)}
        committed_all: list[tuple[bytes | None, bytes | None]] = []
        for partition in range(PARTITIONS):
            entries = self.broker.logs[OUTPUT, partition].entries
            committed_all += [e.message for e in entries if e.committed and e.message is not None]
        by_key: dict[bytes, list[int]] = {}
        for key, value in committed_all:
            assert key is not None
            assert value is not None
            source, offset = map(int, value.split(b":"))
            seen[source].append(offset)
            by_key.setdefault(key, []).append(offset)
        expected = {p: list(range(end)) for p, end in self.committed().items()}
        assert {p: sorted(offsets) for p, offsets in seen.items()} == expected
        for key, offsets in by_key.items():
            assert offsets == sorted(offsets), f"key {key!r}: {offsets}"
        for process in self.running:
            self._check_state(process)

    def _check_state(self, process: Process) -> None:
        """Check that a process's state is the known committed input plus what it computed ahead."""
        if process.stepping:
            return
        ahead = process.loop._ahead
        ends = dict(process.loop._positions)
        if ahead is not None and ahead.future is not None and not ahead.future.exception():
            part = ahead.future.result().ends
            ends |= ahead.ends if part is None else part
        for partition, end in ends.items():
            assert process.work.state[partition] == process.work.fold(end), process.who

    def settle(self, steps: int = 60) -> None:
        """Deliver held requests and end all faults: the rest of the input is decided."""
        for process in self.running:
            process.network.plan.clear()
        self.release()
        self.check()
        ends = {p: len(self.broker.logs[INPUT, p].entries) for p in range(PARTITIONS)}
        if self.wait_every:
            # Each record may have to be read once more.
            steps += 4 * sum(ends.values())
        for _ in range(steps):
            if self.committed() == ends:
                break
            if not self.running:
                self.start("a")
            for process in list(self.running):
                self.step(process)
            self.check()
        assert self.committed() == ends, "it stands still"
