"""The consumer of a transaction loop: returns batches, and rebalances as events between them."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from confluent_kafka import KafkaException

from stream_scorer.errors import StreamScorerError, UnavailableError
from stream_scorer.kafka.client.consumer import GroupMetadata, Rebalance
from stream_scorer.kafka.client.library import NO_OFFSET
from stream_scorer.kafka.membership.join_check import GroupEntry
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import client_options, groups
from stream_scorer.kafka.topics.consumer_errors import Reading
from stream_scorer.kafka.topics.first_offsets import chosen_start
from stream_scorer.kafka.topics.offsets import EARLIEST, admin, bounds, offsets
from stream_scorer.ports import Paused, RawRecords, Start
from stream_scorer.settings import Kafka

_IDLE_SECONDS = 0.1
_REQUEST_SECONDS = 30.0
_SWEEP_SECONDS = 20.0
# Longer than a heartbeat, whose answer reports that the group has expelled the member.
_HEARING_SECONDS = 15.0
_LOWS_SECONDS = 5.0


class NotAMember(Exception):  # noqa: N818 an outcome that the loop handles, not a user's error
    """This process is currently outside its group; it may not commit offsets."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions were assigned; they are paused.

    Attributes:
        offsets: Next input offset by partition.
        fresh: The partitions among them for which the group had no committed offset.
        notes: The broker's notes with the committed offsets, by partition.
    """

    offsets: Mapping[int, int]
    fresh: frozenset[int]
    notes: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Revoked:
    """Partitions left; ``lost`` if the group had already given them to others."""

    partitions: tuple[int, ...]
    lost: bool


@dataclass(frozen=True, slots=True)
class Places:
    """Offsets of one topic, by its own partition numbers, and notes for some of them."""

    topic: str
    offsets: Mapping[int, int]
    notes: Mapping[int, bytes]


class Source(Protocol):
    """The input of a transaction loop: partitions by number, paused until they are resumed.

    :class:`KafkaSource` reads one topic as a group's member; see there.
    """

    before_revoke: Callable[[tuple[int, ...]], None] | None
    before_rebalance: Callable[[], None] | None

    @property
    def rebalanced(self) -> bool: ...  # noqa: D102 see KafkaSource
    def events(self) -> "list[Assigned | Revoked]": ...  # noqa: D102
    def owns(self, partition: int) -> bool: ...  # noqa: D102
    def settled(self, partitions: Iterable[int]) -> set[int]: ...  # noqa: D102
    def interrupted(self, partitions: set[int]) -> bool: ...  # noqa: D102
    def wait_for_revocation(self, partitions: set[int]) -> bool: ...  # noqa: D102
    def has_successor(self) -> bool: ...  # noqa: D102
    def poll(self, maximum: int, linger_seconds: float, wait: float) -> RawRecords | None: ...  # noqa: D102
    def serve(self, seconds: float) -> None: ...  # noqa: D102
    @property
    def reading(self) -> set[int]: ...  # noqa: D102
    def narrow(self, partitions: frozenset[int]) -> None: ...  # noqa: D102
    def pause(self) -> None: ...  # noqa: D102
    def resume(self, partitions: set[int] | None = None) -> None: ...  # noqa: D102
    def seek(self, offsets: Mapping[int, int]) -> None: ...  # noqa: D102
    def committed(self, partitions: set[int]) -> dict[int, int]: ...  # noqa: D102
    def places(  # noqa: D102
        self, offsets: Mapping[int, int], notes: Mapping[int, bytes]
    ) -> Sequence[Places]: ...
    def group_metadata(self) -> GroupMetadata: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class KafkaSource:
    """Consumes one topic read-committed, cooperatively, without committing.

    An assigned partition is paused: its new owner restores its state and then calls ``resume``.
    Rebalances happen inside ``poll`` and ``serve``; ``events`` returns them.

    Args:
        kafka: Cluster and time limits.
        topic: Input topic.
        group: Consumer group.
        start: Where a group's first run begins; None refuses a partition without an offset.

    Raises:
        UnavailableError: Under KIP-848, the topic cannot be read.

    Attributes:
        before_revoke: Called inside ``poll`` with partitions that are still ours but about to
            leave.
        before_rebalance: Called inside ``poll`` before partitions come, leave, or are found to be
            lost. Whoever gets a partition waits for its pending offsets, so none may be left open:
            two processes could wait for each other, or one for itself.
    """

    def __init__(self, kafka: Kafka, topic: str, group: str, start: Start | None = None) -> None:
        self.topic = topic
        self.group = group
        self._kafka = kafka
        self._start = start
        options = client_options.member(kafka, group)
        self._name = options["client.id"]
        self._reading = Reading(topic, group, self._name)
        self._consumer = PassingConsumer(options, topic)
        if kafka.group_protocol == "consumer":
            self._reading.refuse_missing(self._consumer.partition_count, _REQUEST_SECONDS)
        # A killed process leaves a transaction open until its time limit and the broker's next
        # sweep (10 s by default). Its offsets are not stable before.
        limit = kafka.transaction_timeout_ms / 1_000
        self._patience = max(_REQUEST_SECONDS, limit + _SWEEP_SECONDS)
        self._assigned: set[int] = set()
        self._never_resumed: set[int] = set()
        self._narrowed: frozenset[int] = frozenset()
        self._events: list[Assigned | Revoked] = []
        self._stash: list[RawRecords] = []
        self._failure: Exception | None = None
        self._leaving: set[int] = set()
        self._closing = False
        self._lows: dict[int, int] = {}
        self._lows_until = 0.0
        self._refusal = ""
        self.before_revoke: Callable[[tuple[int, ...]], None] | None = None
        self.before_rebalance: Callable[[], None] | None = None
        self._entry: GroupEntry | None = None
        if kafka.group_protocol == "consumer":
            self._entry = GroupEntry(kafka, group)
        else:
            self._join()

    def _join(self) -> None:
        self._entry = None
        self._consumer.subscribe(
            Rebalance(
                assigned=self._on_assign,
                revoked=lambda gone: self._on_revoke(gone, lost=False),
                lost=lambda gone: self._on_revoke(gone, lost=True),
            )
        )

    # -- rebalance callbacks; they run inside poll ------------------------------------------

    def _on_assign(self, partitions: tuple[int, ...]) -> None:
        self._refusal = ""
        offsets: dict[int, int] = {}
        notes: dict[int, bytes] = {}
        try:
            if partitions and self.before_rebalance is not None:
                self.before_rebalance()
            if partitions and not self._closing:
                found = self._consumer.noted(partitions, self._patience)
                offsets = {p: found[p][0] if p in found else NO_OFFSET for p in partitions}
                notes = {p: note for p, (_, note) in found.items() if note}
            fresh = frozenset(p for p, offset in offsets.items() if offset < 0)
            if fresh:
                offsets |= self._first_offsets(fresh)
        except (KafkaException, StreamScorerError) as error:
            # Assign nothing, but answer the client, or the rebalance would never end.
            self._failure = error
            offsets = {}
        self._consumer.add(offsets)
        if not offsets:
            return
        self._consumer.pause(partitions)
        self._assigned |= offsets.keys()
        self._never_resumed |= offsets.keys()
        self._events.append(Assigned(offsets, fresh, notes))

    def _first_offsets(self, fresh: frozenset[int]) -> dict[int, int]:
        missing = f"offset for {self.topic} partitions {sorted(fresh)}"
        start = chosen_start(self._start, self.group, missing)
        first, end = bounds(self._kafka, self.topic)
        where = first if start == "earliest" else end
        return {partition: where[partition] for partition in fresh}

    def _on_revoke(self, gone: tuple[int, ...], *, lost: bool) -> None:
        if gone and self.before_rebalance is not None:
            self.before_rebalance()
        if gone and not lost and self.before_revoke is not None:
            self._leaving = set(gone)
            try:
                self.before_revoke(gone)
            finally:
                self._leaving = set()
        self._consumer.remove(gone)
        if not gone:
            return
        self._assigned -= set(gone)
        self._never_resumed -= set(gone)
        self._drop_stashed(gone)
        self._events.append(Revoked(tuple(sorted(gone)), lost))

    # -- called by the loop -----------------------------------------------------------------

    def events(self) -> list[Assigned | Revoked]:
        """Return the rebalances since the last call, in order."""
        events, self._events = self._events, []
        return events

    def owns(self, partition: int) -> bool:
        """Whether a partition is assigned to this process now."""
        return partition in self._assigned

    def settled(self, partitions: Iterable[int]) -> set[int]:
        """Return those of our partitions for which ``events`` has no rebalance to return.

        For the others, the loop's knowledge is old: another process may already have them.
        """
        waiting: set[int] = set()
        for event in self._events:
            waiting.update(event.offsets if isinstance(event, Assigned) else event.partitions)
        return (self._assigned & set(partitions)) - waiting

    @property
    def rebalanced(self) -> bool:
        """Whether ``events`` has rebalances to return."""
        return bool(self._events)

    def interrupted(self, partitions: set[int]) -> bool:
        """Whether a rebalance that ``events`` will return took one of the partitions away."""
        return any(
            isinstance(event, Revoked) and not partitions.isdisjoint(event.partitions)
            for event in self._events
        )

    def wait_for_revocation(self, partitions: set[int]) -> bool:
        """Wait until this process would know of a revocation; return whether one took a partition.

        What leaves meanwhile is not flushed.
        """
        if partitions <= self._leaving:
            # Called inside a poll, which must end before another poll reports anything.
            return True
        flush, self.before_revoke = self.before_revoke, None
        until = time.monotonic() + _HEARING_SECONDS
        try:
            self.pause()
            while not self.interrupted(partitions) and time.monotonic() < until:
                self.serve(_IDLE_SECONDS)
        finally:
            self.resume(set())
            self.before_revoke = flush
        return self.interrupted(partitions)

    def has_successor(self) -> bool:
        """Whether another member of the group has this one's name.

        Raises:
            UnavailableError: The broker does not answer.
        """
        members = groups.members(self._kafka, self.group)
        # Requested afterwards: an expelled member joins again meanwhile, under a new id.
        own = self._consumer.member_id()
        return any(name == self._name and member != own for member, name in members)

    def poll(self, maximum: int, linger_seconds: float, wait: float = _IDLE_SECONDS) -> (
        RawRecords | None
    ):  # fmt: skip
        """Return up to ``maximum`` records, or None if there are none for ``wait`` seconds.

        A backlog fills the batch immediately; a batch that is not full waits for more, at most
        ``linger_seconds``.

        Raises:
            OffsetsError: The committed offset is outside the retained input, or is missing.
            Paused: The group does not accept this member yet.
            UnavailableError: The topic does not exist or may not be read.
        """
        if self._entry is not None:
            self._enter(self._entry, wait)
        stashed, self._stash = self._stash, []
        if stashed:
            wait = 0.0
        left = max(maximum - sum(map(len, stashed)), 1)
        found = self._poll(left, wait, linger_seconds)
        if found is not None:
            stashed.append(found)
        if self._refusal and not self._assigned:
            raise Paused("group", self._refusal)
        return self._live(stashed)

    def _enter(self, entry: GroupEntry, wait: float) -> None:
        """Join the group, or wait a moment and raise the reason.

        Raises:
            Paused: It cannot be joined yet.
        """
        if hindrance := entry.hindrance():
            time.sleep(wait)
            raise Paused("group", hindrance)
        self._join()

    def serve(self, seconds: float) -> None:
        """Stay in the group while a batch is being computed: every partition must be paused."""
        found = self._poll(1, seconds, 0.0)
        if found is not None:
            self._stash.append(found)

    def _poll(self, maximum: int, wait: float, linger: float) -> RawRecords | None:
        """Return the records of a poll; raise errors that waiting does not resolve."""
        try:
            polled = self._consumer.poll(maximum, wait, linger)
        except KafkaException as error:
            raise self._reading.ended(error.args[0]) from error
        self._raise_failure()
        for failure in polled.failures:
            if fault := self._reading.judge(failure):
                raise fault
            self._refusal = self._reading.refused(failure) or self._refusal
        return polled.records

    def pause(self) -> None:
        """Fetch nothing until ``resume``; positions stay."""
        if self._assigned:
            self._consumer.pause(tuple(self._assigned))

    def resume(self, partitions: set[int] | None = None) -> None:
        """Fetch again: the given partitions for the first time, or all that had been resumed."""
        if partitions is not None:
            self._never_resumed -= partitions
        live = self._fetched()
        if live:
            self._consumer.resume(tuple(live))

    @property
    def reading(self) -> set[int]:
        """The partitions that were resumed, and of which ``poll`` returns records."""
        return self._assigned - self._never_resumed

    def narrow(self, partitions: frozenset[int]) -> None:
        """Fetch only these of the partitions that were resumed; with none of them, fetch all."""
        if partitions == self._narrowed:
            return
        self._narrowed = partitions
        rest = self.reading - self._fetched()
        if rest:
            self._consumer.pause(tuple(rest))
        self.resume(set())

    def _fetched(self) -> set[int]:
        return (self.reading & self._narrowed) or self.reading

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read the given partitions again from the given offsets."""
        self._drop_stashed(offsets)
        for partition, offset in offsets.items():
            if partition not in self._assigned:
                continue
            try:
                self._consumer.seek({partition: offset}, _REQUEST_SECONDS)
            except KafkaException:
                # Not fetching yet, as just after a rebalance: assign it again at that offset.
                self._consumer.remove((partition,))
                self._consumer.add({partition: offset})
                if partition not in self._fetched():
                    self._consumer.pause((partition,))

    def _drop_stashed(self, partitions: Iterable[int]) -> None:
        """Forget records of partitions that are gone or read again."""
        gone = list(partitions)
        kept = (records.where(~np.isin(records.partition, gone)) for records in self._stash)
        self._stash = [records for records in kept if len(records)]

    def committed(self, partitions: set[int]) -> dict[int, int]:
        """Return the group's stable committed offsets; waits while a transaction holds them."""
        with self._asking(f"committed offsets of group {self.group}"):
            return self._consumer.committed(tuple(partitions), _REQUEST_SECONDS)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn a request's failure into one line that names what cannot be read."""
        try:
            yield
        except KafkaException as error:
            raise UnavailableError(
                f"{what} cannot be read: {error.args[0].str()}", "check the brokers"
            ) from error

    def places(self, offsets: Mapping[int, int], notes: Mapping[int, bytes]) -> Sequence[Places]:
        """Return offsets and notes under the input topic."""
        return [Places(self.topic, offsets, notes)]

    def group_metadata(self) -> GroupMetadata:
        """Return the member's identity for ``send_offsets_to_transaction``.

        The broker accepts offsets without generation and member from any client (KIP-447 keeps that
        for older clients), and librdkafka sends them so after the group has expelled this member.
        Another member may already have committed past them.

        Raises:
            NotAMember: The group has expelled this member, or it has not joined yet.
        """
        identity = self._consumer.group_metadata()
        if identity.generation < 0 or not identity.member:
            raise NotAMember(f"this process is not a member of group {self.group} at the moment")
        return identity

    def low_watermark(self, partition: int) -> int:
        """Return the oldest retained offset of a partition, at most five seconds old.

        One request covers all our partitions. It does not go through the consumer, whose requests
        wait for fetches.
        """
        if partition not in self._lows or time.monotonic() > self._lows_until:
            wanted = [(self.topic, each) for each in {partition, *self._assigned}]
            found = offsets(admin(self._kafka), self._kafka, wanted, EARLIEST)
            self._lows = {each: offset for (_, each), offset in found.items()}
            self._lows_until = time.monotonic() + _LOWS_SECONDS
        return self._lows[partition]

    def partition_count(self) -> int:
        """Return how many partitions the topic has."""
        with self._asking(f"the partitions of {self.topic}"):
            return self._consumer.partition_count(_REQUEST_SECONDS)

    def close(self) -> None:
        """Leave the group; partitions that are assigned meanwhile are ignored."""
        self._closing = True
        self._consumer.close()

    # -- the result of a poll ---------------------------------------------------------------

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if isinstance(failure, KafkaException):
            raise UnavailableError(
                f"group {self.group} could not take over partitions of {self.topic}: "
                f"{failure.args[0].str()}",
                "check the brokers",
            ) from failure
        if failure is not None:
            raise failure

    def _live(self, pieces: list[RawRecords]) -> RawRecords | None:
        """Return records as one batch; None if there is none."""
        if self._events:
            # After a rebalance in between, revoked or restarted partitions are not ours to score.
            live = sorted(self.reading)
            pieces = [records.where(np.isin(records.partition, live)) for records in pieces]
            pieces = [records for records in pieces if len(records)]
        if not pieces:
            return None
        return RawRecords.join(pieces)
