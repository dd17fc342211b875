"""The consumer of a process that alone reads complete topics, in one order.

Records of all partitions are merged by Kafka timestamp. For equal milliseconds the topic in
``first`` comes first, then the lower partition. No record is returned while an earlier one may
still arrive: each partition must have shown its next record, or have reached its end and then left
the others time. So the order does not depend on the fetches, and a restart continues in the same
order.

The work is not shared in a group. All processes of a group have the same transactional id, which
fences an older process, and the offsets are committed in the group's name. So a crash costs no
session timeout.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.core.terminals.profile_kernels import merge
from stream_scorer.errors import OffsetsError, StateError
from stream_scorer.kafka.client.consumer import ConsumerError, GroupMetadata
from stream_scorer.kafka.loop.source import Assigned, Places, Revoked
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.consumer_errors import refuse_unreadable
from stream_scorer.kafka.topics.first_offsets import chosen_start
from stream_scorer.kafka.topics.groups import noted
from stream_scorer.kafka.topics.offsets import EARLIEST, LATEST, admin, offsets, partitions
from stream_scorer.ports import Int64, RawRecords, Start
from stream_scorer.settings import Kafka

_SETTLE_SECONDS = 0.25
"""How long a record waits for partitions that have reached their end, seconds."""
_BUFFERED = 50_000
_ANSWER_SECONDS = 30.0
_BREATH_SECONDS = 0.02
_COUNT_SECONDS = 10.0


@dataclass(slots=True)
class _FetchedPartition:
    """Records of one partition that were fetched and not handed out.

    Attributes:
        topic: Its topic.
        number: Its number there.
        next_offset: The next offset after the returned records.
        pieces: Records and their time of arrival, monotonic seconds.
        at_end: Whether the partition's end was reached after them.
        paused: Whether fetching is paused.
    """

    topic: str
    number: int
    next_offset: int
    pieces: deque[tuple[RawRecords, float]] = field(default_factory=deque)
    at_end: bool = False
    paused: bool = False

    def __len__(self) -> int:
        return sum(len(piece) for piece, _ in self.pieces)


class MergedSource:
    """Reads topics read-committed, ordered by their records' times; see the module.

    Partitions are numbered consecutively: by topic, in the order of ``topics``.

    Args:
        kafka: Cluster and time limits.
        topics: The topics, in the order of the partitions' numbers.
        first: The topics in the order in which equal times are read.
        group: The group whose offsets are committed.
        start: Where a first run begins; None refuses a first run.
        settle_seconds: How long a record waits for partitions that have reached their end.
        begin: Where to begin, by topic and partition, if that is not kept in the group; other
            partitions are read from their beginning.

    Attributes:
        counts: Partitions by topic.
        notes: The notes of the last commit, by partition.

    Raises:
        OffsetsError: Nothing is committed and ``start`` is None, or a committed offset is outside
            the retained input.
        SettingsError: A topic does not exist.
        UnavailableError: The broker does not answer.
    """

    def __init__(
        self,
        kafka: Kafka,
        topics: Sequence[str],
        first: Sequence[str],
        group: str,
        start: Start | None = None,
        settle_seconds: float = _SETTLE_SECONDS,
        begin: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self.group = group
        self.before_revoke: Callable[[tuple[int, ...]], None] | None = None
        self.before_rebalance: Callable[[], None] | None = None
        self._kafka = kafka
        self._settle = settle_seconds
        self._admin: Any = admin(kafka)
        found = partitions(self._admin, kafka, topics)
        self.counts = {topic: len(found[topic]) for topic in topics}
        self._places = [(topic, number) for topic in topics for number in found[topic]]
        rank = {topic: position for position, topic in enumerate(first)}
        self._order = sorted(
            range(len(self._places)),
            key=lambda p: (rank[self._places[p][0]], self._places[p][1]),
        )
        options = client_options.consumer(kafka, group) | {"enable.partition.eof": True}
        self._consumers = {topic: PassingConsumer(options, topic) for topic in topics}
        with ExitStack() as failed:
            failed.callback(self.close)
            self.lows = self._bounds(EARLIEST)
            self._held = set(range(len(self._places)))
            if begin is None:
                committed, self.notes = self._committed(range(len(self._places)))
                first_offsets = self._begin(committed, start)
            else:
                self.notes = {}
                first_offsets = self._begin_at(begin)
            self._partitions = [
                _FetchedPartition(topic, number, first_offsets[p])
                for p, (topic, number) in enumerate(self._places)
            ]
            for topic in topics:
                self._assign(topic)
            failed.pop_all()
        self._events: list[Assigned | Revoked] = [Assigned(first_offsets, frozenset())]
        self._counted = time.monotonic()

    # -- start ------------------------------------------------------------------------------

    def _bounds(self, spec: object) -> dict[int, int]:
        found = offsets(self._admin, self._kafka, self._places, spec, stable=spec is LATEST)
        return {p: found[place] for p, place in enumerate(self._places)}

    def _begin(self, committed: Mapping[int, int], start: Start | None) -> dict[int, int]:
        if not committed:
            start = chosen_start(start, self.group, "offsets")
            return self._bounds(EARLIEST if start == "earliest" else LATEST)
        # A partition that was added since then is read from its beginning.
        begin = {p: committed.get(p, self.lows[p]) for p in self.lows}
        fix = "decide what to do about the gap, then start with another group"
        self._refuse_gaps(begin, f"group {self.group}: ", "committed", fix)
        return begin

    def _begin_at(self, noted: Mapping[tuple[str, int], int]) -> dict[int, int]:
        begin = {p: noted.get(place, self.lows[p]) for p, place in enumerate(self._places)}
        self._refuse_gaps(
            begin, "", "noted", "remove the file that notes it; it then starts from the beginning"
        )
        return begin

    def _refuse_gaps(self, begin: Mapping[int, int], whose: str, what: str, fix: str) -> None:
        ends = self._bounds(LATEST)
        for p, (topic, number) in enumerate(self._places):
            if not self.lows[p] <= begin[p] <= ends[p]:
                raise OffsetsError(
                    f"{whose}{topic} partition {number}: the {what} offset {begin[p]} is outside "
                    f"the retained {self.lows[p]} to {ends[p]}",
                    fix,
                )

    def _committed(self, wanted: Sequence[int]) -> tuple[dict[int, int], dict[int, bytes]]:
        """Return committed offsets and notes, if there are any."""
        numbers = {self._places[p]: p for p in wanted}
        found, notes = {}, {}
        for topic, consumer in self._consumers.items():
            mine = [number for of, number in numbers if of == topic]
            for number, at in noted(consumer, self.group, mine).items():
                found[numbers[topic, number]], notes[numbers[topic, number]] = at
        return found, notes

    # -- called by the loop -----------------------------------------------------------------

    @property
    def rebalanced(self) -> bool:
        """Whether ``events`` was not called yet; partitions never leave."""
        return bool(self._events)

    def events(self) -> list[Assigned | Revoked]:
        """Return all partitions as assigned, once."""
        events, self._events = self._events, []
        return events

    def owns(self, partition: int) -> bool:
        """Whether the partition exists: all are ours."""
        return partition < len(self._partitions)

    def settled(self, partitions: Iterable[int]) -> set[int]:
        """Return the existing ones of the partitions: none ever leaves."""
        return {partition for partition in partitions if self.owns(partition)}

    def interrupted(self, partitions: set[int]) -> bool:  # noqa: ARG002 see Source
        """Return False: no partition is revoked."""
        return False

    def wait_for_revocation(self, partitions: set[int]) -> bool:  # noqa: ARG002 see Source
        """Return False: no partition is revoked."""
        return False

    def has_successor(self) -> bool:
        """Return True: any other process that commits for its group has its name."""
        return True

    def poll(self, maximum: int, linger_seconds: float, wait: float) -> RawRecords | None:
        """Return up to ``maximum`` records in order; None if ``wait`` seconds bring none.

        Args:
            maximum: Maximum number of records.
            linger_seconds: How long a batch that is not full waits for more.
            wait: How long to wait for the first record.

        Raises:
            OffsetsError: A partition's next offset is no longer retained.
            StateError: A topic has another number of partitions than at the start.
            UnavailableError: A topic is gone or may not be read.
        """
        until = time.monotonic() + wait
        pieces: list[RawRecords] = []
        count = 0
        while True:
            self._fetch(maximum)
            if not self._held and (taken := self._take(maximum - count)) is not None:
                if not pieces:
                    until = time.monotonic() + linger_seconds
                pieces.append(taken)
                count += len(taken)
            left = until - time.monotonic()
            if count >= maximum or left <= 0:
                break
            time.sleep(min(_BREATH_SECONDS, left))
        self._refuse_growth()
        return None if not pieces else RawRecords.join(pieces)

    def serve(self, seconds: float) -> None:
        """Let time pass; records that are fetched meanwhile are kept."""
        self._fetch(1)
        time.sleep(seconds)

    @property
    def reading(self) -> set[int]:
        """All partitions, once all were given to ``resume``."""
        return set() if self._held else set(range(len(self._partitions)))

    def narrow(self, partitions: frozenset[int]) -> None:
        """Do nothing: records are returned in the order of their times."""

    def pause(self) -> None:
        """Do nothing: records are returned only by ``poll``, and buffers are bounded."""

    def resume(self, partitions: set[int] | None = None) -> None:
        """Return records once all partitions were given here."""
        self._held -= partitions or set()

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read the given partitions again from the given offsets."""
        topics = set()
        for p, offset in offsets.items():
            self._partitions[p].next_offset = offset
            topics.add(self._partitions[p].topic)
        for topic in topics:
            self._assign(topic)

    def committed(self, partitions: set[int]) -> dict[int, int]:
        """Return the group's stable committed offsets; waits while a transaction holds them."""
        return self._committed(sorted(partitions))[0]

    def places(self, offsets: Mapping[int, int], notes: Mapping[int, bytes]) -> Sequence[Places]:
        """Return offsets and notes by topic."""
        found: dict[str, Places] = {}
        kept: dict[str, tuple[dict[int, int], dict[int, bytes]]] = {}
        for p, offset in offsets.items():
            topic, number = self._places[p]
            ours, noted = kept.setdefault(topic, ({}, {}))
            ours[number] = offset
            if p in notes:
                noted[number] = notes[p]
        for topic, (ours, noted) in kept.items():
            found[topic] = Places(topic, ours, noted)
        return list(found.values())

    def positions(self) -> dict[tuple[str, int], int]:
        """Return the next offset after the returned records, by topic and partition."""
        return {(p.topic, p.number): p.next_offset for p in self._partitions}

    def ends(self) -> dict[tuple[str, int], int]:
        """Return the stable end of each partition.

        Raises:
            UnavailableError: The broker does not answer.
        """
        return {self._places[p]: end for p, end in self._bounds(LATEST).items()}

    def reached(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """Return whether all records before the given ends were returned."""
        return all(
            p.next_offset >= ends.get((p.topic, p.number), 0) or (p.at_end and not p.pieces)
            for p in self._partitions
        )

    def group_metadata(self) -> GroupMetadata:
        """Return the group without a member, for ``send_offsets_to_transaction``."""
        return next(iter(self._consumers.values())).group_metadata()

    def close(self) -> None:
        """Close the connections."""
        for consumer in self._consumers.values():
            consumer.close()
        self._admin = None

    # -- fetching ---------------------------------------------------------------------------

    def _assign(self, topic: str) -> None:
        """Forget a topic's fetched records, and continue after the returned ones."""
        mine = [p for p in self._partitions if p.topic == topic]
        for partition in mine:
            partition.pieces.clear()
            partition.at_end = partition.paused = False
        self._consumers[topic].assign({p.number: p.next_offset for p in mine})

    def _fetch(self, maximum: int) -> None:
        """Take the records that have arrived, and keep the buffers bounded."""
        now = time.monotonic()
        base = 0
        for topic, consumer in self._consumers.items():
            polled = consumer.poll(maximum, 0.0, 0.0)
            for failure in polled.failures:
                self._judge(topic, base, failure)
            if polled.records is not None:
                self._keep(base, polled.records, polled.failures, now)
            self._bound(base, self.counts[topic], consumer)
            base += self.counts[topic]

    def _keep(
        self, base: int, raw: RawRecords, failures: Sequence[ConsumerError], now: float
    ) -> None:
        for number in np.unique(raw.partition).tolist():
            piece = raw.where(raw.partition == number)
            partition = self._partitions[base + number]
            partition.pieces.append((piece, now))
            # The end event may come before or after these records in the poll.
            partition.at_end = any(
                f.partition == number and f.offset > int(piece.offset[-1]) for f in failures
            )

    def _judge(self, topic: str, base: int, failure: ConsumerError) -> None:
        code = failure.error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
            self._partitions[base + failure.partition].at_end = True
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 the binding's own name
            raise OffsetsError(
                f"group {self.group}: {topic} partition {failure.partition}: the input was deleted "
                f"before it was read ({failure.error.str()})",
                "raise the topic's retention; start with another group",
            )
        else:
            refuse_unreadable(topic, failure)

    def _bound(self, base: int, count: int, consumer: PassingConsumer) -> None:
        for partition in self._partitions[base : base + count]:
            held = len(partition)
            if held > _BUFFERED and not partition.paused:
                partition.paused = True
                consumer.pause((partition.number,))
            elif partition.paused and held < _BUFFERED // 2:
                partition.paused = False
                consumer.resume((partition.number,))

    def _refuse_growth(self) -> None:
        now = time.monotonic()
        if now - self._counted < _COUNT_SECONDS:
            return
        self._counted = now
        for topic, consumer in self._consumers.items():
            try:
                found = consumer.partition_count(_ANSWER_SECONDS)
            except KafkaException:
                return  # the broker is asked again; polling reports what is wrong
            if found != self.counts[topic]:
                raise StateError(
                    f"topic {topic} has {found} partitions now, and had {self.counts[topic]}",
                    "start again: a restart reads them all",
                )

    # -- merging ----------------------------------------------------------------------------

    def _take(self, most: int) -> RawRecords | None:
        """Return the records before which no other record can still arrive."""
        now = time.monotonic()
        times: list[Int64] = []
        begins, ends, free, at_end = [], [], [], []
        at = 0
        for p in self._order:
            partition = self._partitions[p]
            begins.append(at)
            settled = at
            for piece, came in partition.pieces:
                times.append(piece.timestamp[: most - (at - begins[-1])])
                at += len(times[-1])
                if came <= now - self._settle:
                    settled = at
                if at - begins[-1] >= most:
                    break
            ends.append(at)
            free.append(settled)
            at_end.append(partition.at_end)
        if not at:
            return None
        left = np.array(begins)
        order = np.empty(most, np.int64)
        count = merge(
            np.concatenate(times), left, np.array(ends), np.array(free),
            np.array(at_end, np.bool_), most, order,
        )  # fmt: skip
        if not count:
            return None
        order = order[:count]
        counts = left - np.array(begins)
        pieces = [
            piece
            for p, wanted in zip(self._order, counts.tolist(), strict=True)
            for piece in self._drop(p, wanted)
        ]
        # The returned records are closer together than those that were examined.
        source = np.searchsorted(np.array(begins), order, side="right") - 1
        shift = np.cumsum(counts) - counts - np.array(begins)
        return RawRecords.join(pieces).take(order + shift[source])

    def _drop(self, p: int, count: int) -> list[RawRecords]:
        """Remove the first ``count`` buffered records of a partition, and return them."""
        partition = self._partitions[p]
        pieces = []
        while count:
            piece, came = partition.pieces.popleft()
            last = min(count, len(piece))
            partition.next_offset = int(piece.offset[last - 1]) + 1
            pieces.append(piece.between(0, last).of_partition(p))
            if last < len(piece):
                partition.pieces.appendleft((piece.between(last, len(piece)), came))
            count -= last
        return pieces
