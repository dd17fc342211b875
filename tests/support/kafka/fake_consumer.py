"""A member of a group, on the fake broker; replaces ``ColumnConsumer``.

Partitions are assigned, revoked and lost inside ``poll``, one rebalance at a time. For
transactions, tests/contract/test_transactions.py checks it against the real one's contract.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.client.consumer import Polled, Rebalance
from stream_scorer.ports import BytesColumn, RawRecords
from tests.support.kafka.fake_broker import Broker, Message

_ASK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class FakeGroupMetadata:
    """A member's identity at the time of the call."""

    group: str
    member: str
    generation: int


class FakeConsumer:
    """A client that consumes one topic.

    Args:
        broker: The fake broker.
        options: As ``ColumnConsumer`` takes them.
        topic: The topic.
    """

    def __init__(self, broker: Broker, options: Mapping[str, Any], topic: str) -> None:
        self.topic = topic
        self.member = ""
        self._broker = broker
        self._name: str = options["group.id"]
        self._client_id: str = options.get("client.id", "")
        self._group = broker.groups[self._name]
        self._told: Rebalance | None = None
        self._held: set[int] = set()
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._fetching: set[int] = set()

    def subscribe(self, rebalance: Rebalance) -> None:
        self._told = rebalance
        self.member = self._group.join(self._client_id)

    def member_id(self) -> str:
        return self.member

    def _rebalance(self) -> None:
        """Call the rebalance callbacks; ``poll`` raises their exceptions."""
        told, group = self._told, self._group
        if told is None:
            return
        if self.member not in group.members:
            asked = tuple(sorted(self._held & group.asked_for.pop(self.member, set())))
            if asked:
                # As if nothing had happened.
                told.revoked(asked)
                self._held -= set(asked)
            gone, self._held = tuple(sorted(self._held)), set()
            if gone:
                told.lost(gone)
            self.member = group.join(self._client_id)
        gone = tuple(sorted(p for p in self._held if group.wanted.get(p) != self.member))
        if gone:
            told.revoked(gone)
            self._held -= set(gone)
            if self.member not in group.members:
                return
            group.members[self.member] -= set(gone)
            group.generation += 1
        self._share_out()
        free = {p for p, name in group.wanted.items() if name == self.member} - self._held
        come = tuple(sorted(p for p in free if group.owner(p) is None))
        if come:
            group.members[self.member] |= set(come)
            self._held |= set(come)
            told.assigned(come)

    def _share_out(self) -> None:
        """Give each partition without a future owner to the member with the fewest."""
        group = self._group
        for partition in range(self._broker.partitions(self.topic)):
            if partition not in group.wanted:
                held = list(group.wanted.values())
                group.wanted[partition] = min(group.members, key=held.count)

    def add(self, offsets: Mapping[int, int]) -> None:
        self._positions |= offsets

    def remove(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._positions.pop(partition, None)
        self._paused -= set(partitions)
        self._fetching -= set(partitions)

    def pause(self, partitions: Sequence[int]) -> None:
        self._paused |= set(partitions)

    def resume(self, partitions: Sequence[int]) -> None:
        self._paused -= set(partitions)

    def seek(self, offsets: Mapping[int, int], _: float) -> None:
        if not offsets.keys() <= self._fetching:
            raise KafkaException(KafkaError(KafkaError._STATE, "not fetching yet"))
        self._positions |= offsets

    def committed(self, partitions: Sequence[int], seconds: float) -> dict[int, int]:
        clock = self._broker.clock
        until = clock.now + seconds
        while True:
            found = self._broker.committed(self._name, [(self.topic, p) for p in partitions])
            if found is not None:
                return {partition: offset for (_, partition), offset in found.items()}
            if clock.now >= until:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "timed out"))
            clock.sleep(_ASK_AGAIN_SECONDS)

    def noted(self, partitions: Sequence[int], seconds: float) -> dict[int, tuple[int, bytes]]:
        found = self.committed(partitions, seconds)
        return {partition: (offset, b"") for partition, offset in found.items() if offset >= 0}

    def group_metadata(self) -> FakeGroupMetadata:
        group = self._group
        if self.member in group.members:
            return FakeGroupMetadata(self._name, self.member, group.generation)
        if self.member in group.unaware:
            # No heartbeat has been answered since: the client still names its old generation.
            return FakeGroupMetadata(self._name, self.member, group.generation - 1)
        # As librdkafka, from the answer to its heartbeat until it has joined again.
        return FakeGroupMetadata(self._name, "", -1)

    def partition_count(self, _: float) -> int:
        return self._broker.partitions(self.topic)

    def close(self) -> None:
        if self._told is not None and self.member in self._group.members:
            if self._held:
                self._told.revoked(tuple(sorted(self._held)))
            self._group.drop(self.member)
        self._told = None

    def poll(self, maximum: int, wait: float, _: float) -> Polled:
        # Records fetched before a rebalance are returned together with later ones.
        rows = self._fetch(maximum)
        self._rebalance()
        rows += self._fetch(maximum - len(rows))
        if not rows:
            self._broker.clock.sleep(wait)
            return Polled(None, ())
        offsets = np.array([offset for _, offset, _ in rows], np.int64)
        return Polled(
            RawRecords(
                BytesColumn.of(value for _, _, (_, value) in rows),
                BytesColumn.of(key for _, _, (key, _) in rows),
                None,
                np.array([partition for partition, _, _ in rows], np.int32),
                offsets,
                offsets,
            ),
            (),
        )

    def _fetch(self, maximum: int) -> list[tuple[int, int, Message]]:
        """Return (partition, offset, message) of the next records."""
        rows: list[tuple[int, int, Message]] = []
        for partition in sorted(self._positions.keys() - self._paused):
            self._fetching.add(partition)
            log = self._broker.logs[self.topic, partition]
            found = log.visible(self._positions[partition])[: maximum - len(rows)]
            rows += [(partition, offset, message) for offset, message in found]
            if found:
                self._positions[partition] = found[-1][0] + 1
        return rows
