"""A broker in memory, for transactions only: logs, their markers, coordinators, and a clock.

It answers as Apache Kafka 4 answers a client of version 1 of the transaction protocol;
tests/contract/test_transactions.py checks this. Requests are its methods; a refusal is raised as
:class:`Refused`. Nothing happens by itself: a test moves the clock, and then transactions that are
too old are ended.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError

Place = tuple[str, int]
"""A topic and a partition."""
Message = tuple[bytes | None, bytes | None]
"""A key and a value."""
NOBODY: Final = -1
NO_OFFSET: Final = -1001


class Refused(Exception):  # noqa: N818 an answer, not a user's error
    """The broker's answer is an error.

    Attributes:
        code: Of which kind.
    """

    def __init__(self, code: int) -> None:
        super().__init__(KafkaError(code).name())
        self.code = code


class Clock:
    """The time of the processes under test and of the broker; replaces the module ``time``.

    Attributes:
        now: The broker's time, which suspension does not stop.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        self.ticked: list[Callable[[], None]] = []
        self._suspended = 0.0

    def monotonic(self) -> float:
        return self.now - self._suspended

    def since_boot(self) -> float:
        return self.now

    def suspend(self, seconds: float) -> None:
        """Suspend the machine of the processes, not the broker."""
        self._suspended += seconds
        self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for tick in self.ticked:
            tick()


@dataclass(slots=True)
class Entry:
    """A record or, without a message, a place in the log that a marker takes."""

    producer: int
    message: Message | None
    committed: bool | None = None


@dataclass(slots=True)
class Log:
    """A partition: its entries, and each producer's epoch and next sequence."""

    entries: list[Entry] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)
    sequences: dict[int, int] = field(default_factory=dict)

    def open(self, producer: int) -> bool:
        """Whether the producer has records here whose transaction is not over."""
        return any(e.producer == producer and e.committed is None for e in self.entries)

    def append(self, producer: int, epoch: int, sequence: int, messages: Sequence[Message]) -> None:
        """Append a batch whose first record has this sequence number."""
        known = self.epochs.get(producer, -1)
        if epoch < known:
            raise Refused(KafkaError.INVALID_PRODUCER_EPOCH)
        expected = self.sequences.get(producer, 0) if epoch == known else 0
        if sequence + len(messages) == expected:
            return  # The batch of before, sent again.
        # A log that has forgotten a producer, or never knew it, takes any number.
        if sequence != expected and (known >= 0 or sequence < 0):
            raise Refused(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.epochs[producer] = epoch
        self.sequences[producer] = sequence + len(messages)
        self.entries += [Entry(producer, message) for message in messages]

    def mark(self, producer: int, epoch: int, *, committed: bool) -> None:
        """Write the marker that ends a producer's transaction."""
        for entry in self.entries:
            if entry.producer == producer and entry.committed is None:
                entry.committed = committed
        if epoch > self.epochs.get(producer, -1):
            self.epochs[producer] = epoch
            self.sequences[producer] = 0
        self.entries.append(Entry(producer, None, committed))

    def stable_end(self) -> int:
        """Return the offset up to which a reader of committed records may read."""
        return next(
            (n for n, entry in enumerate(self.entries) if entry.committed is None),
            len(self.entries),
        )

    def visible(self, start: int = 0) -> list[tuple[int, Message]]:
        """Return (offset, message) of the records that such a reader gets from an offset on."""
        return [
            (offset, entry.message)
            for offset, entry in enumerate(self.entries[: self.stable_end()])
            if offset >= start and entry.committed and entry.message is not None
        ]


@dataclass(slots=True)
class Transactional:
    """The coordinator's state of a transactional id."""

    producer: int
    timeout: float
    epoch: int = 0
    state: str = "empty"
    places: set[Place] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    began: float = 0.0


@dataclass(slots=True)
class Group:
    """A consumer group: its members' partitions, its generation, and its offsets.

    ``asked_for`` has the partitions that an expelled member had been asked to release. ``unaware``
    has the expelled members that do not know it yet. ``pending`` has offsets by producer until its
    transaction is over; ``epochs`` has each producer's epoch in the offsets' own log.
    """

    generation: int = 0
    members: dict[str, set[int]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    wanted: dict[int, str] = field(default_factory=dict)
    asked_for: dict[str, set[int]] = field(default_factory=dict)
    unaware: set[str] = field(default_factory=set)
    offsets: dict[Place, int] = field(default_factory=dict)
    notes: dict[Place, bytes] = field(default_factory=dict)
    pending: dict[int, dict[Place, tuple[int, bytes]]] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    joined: int = 0

    def join(self, name: str) -> str:
        """Take a member in, without partitions yet; return its id."""
        self.joined += 1
        member = f"member-{self.joined}"
        self.members[member] = set()
        self.names[member] = name
        self.generation += 1
        return member

    def drop(self, member: str, *, unaware: bool = True) -> None:
        """Forget a member; its partitions are free.

        Args:
            member: Its id.
            unaware: Whether its client does not know yet.
        """
        held = self.members.pop(member, None)
        if held is not None:
            if unaware:
                self.unaware.add(member)
            self.asked_for[member] = {p for p in held if self.wanted.get(p) != member}
            self.generation += 1
            self.wanted = {p: name for p, name in self.wanted.items() if name != member}

    def owner(self, partition: int) -> str | None:
        """Return whose a partition is."""
        return next((name for name, held in self.members.items() if partition in held), None)

    def validate(self, member: str, generation: int) -> None:
        """Refuse offsets of a process that is not a member, or is one of another generation."""
        if generation < 0 and not member:
            return  # As from clients that know no groups.
        if member not in self.members:
            raise Refused(KafkaError.UNKNOWN_MEMBER_ID)
        if generation != self.generation:
            raise Refused(KafkaError.ILLEGAL_GENERATION)


class Broker:
    """One broker that leads and coordinates everything.

    Args:
        clock: Its time; moving it makes the broker end transactions that are too old.

    Attributes:
        births: (transactional id, client) of each epoch that was raised for a client.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        clock.ticked.append(self._end_old)
        self.logs: dict[Place, Log] = {}
        self.transactions: dict[str, Transactional] = {}
        self.groups: dict[str, Group] = defaultdict(Group)
        self.births: list[tuple[str, str]] = []

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic."""
        self.logs |= {(topic, partition): Log() for partition in range(partitions)}

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return sum(name == topic for name, _ in self.logs)

    def feed(self, topic: str, partition: int, messages: Iterable[Message]) -> None:
        """Append records outside any transaction."""
        entries = self.logs[topic, partition].entries
        entries += [Entry(NOBODY, message, committed=True) for message in messages]

    # -- the coordinator of transactions ----------------------------------------------------

    def init_producer_id(self, name: str, timeout: float, who: str = "") -> tuple[int, int]:
        """Return (producer id, epoch), higher than any before.

        An open transaction is aborted first, under an epoch that no client has, and the client is
        refused so that it retries.
        """
        known = self.transactions.get(name)
        self.births.append((name, who))
        if known is None:
            known = self.transactions[name] = Transactional(len(self.transactions) + 1, timeout)
            return known.producer, known.epoch
        known.epoch += 1
        known.timeout = timeout
        if known.state == "ongoing":
            self._end(known, committed=False)
            raise Refused(KafkaError.CONCURRENT_TRANSACTIONS)
        known.state = "empty"
        return known.producer, known.epoch

    def _checked(self, name: str, producer: int, epoch: int) -> Transactional:
        known = self.transactions.get(name)
        if known is None or known.producer != producer:
            raise Refused(KafkaError.INVALID_PRODUCER_ID_MAPPING)
        if known.epoch != epoch:
            raise Refused(KafkaError.PRODUCER_FENCED)
        return known

    def _ongoing(self, known: Transactional) -> None:
        if known.state != "ongoing":
            known.state, known.began = "ongoing", self.clock.now

    def add_partitions(self, name: str, producer: int, epoch: int, places: Iterable[Place]) -> None:
        """Put partitions into the transaction, which begins with that."""
        known = self._checked(name, producer, epoch)
        if not set(places) <= self.logs.keys():
            raise Refused(KafkaError.UNKNOWN_TOPIC_OR_PART)
        self._ongoing(known)
        known.places |= set(places)

    def add_offsets(self, name: str, producer: int, epoch: int, group: str) -> None:
        """Put a group's offsets into the transaction, which may begin with that."""
        known = self._checked(name, producer, epoch)
        self._ongoing(known)
        known.groups.add(group)

    def end_txn(self, name: str, producer: int, epoch: int, *, committed: bool) -> None:
        """End the transaction; repeating a request that was carried out is not an error."""
        known = self._checked(name, producer, epoch)
        if known.state == "ongoing":
            self._end(known, committed=committed)
        elif known.state != ("committed" if committed else "aborted"):
            raise Refused(KafkaError.INVALID_TXN_STATE)

    def _end(self, known: Transactional, *, committed: bool) -> None:
        known.state = "committed" if committed else "aborted"
        for place in known.places:
            self.logs[place].mark(known.producer, known.epoch, committed=committed)
        for name in known.groups:
            group = self.groups[name]
            group.epochs[known.producer] = known.epoch
            pending = group.pending.pop(known.producer, {})
            if committed:
                group.offsets |= {place: offset for place, (offset, _) in pending.items()}
                group.notes |= {place: note for place, (_, note) in pending.items()}
        known.places, known.groups = set(), set()

    def _end_old(self) -> None:
        """Abort transactions past their time limit, under an epoch that no client has."""
        for known in self.transactions.values():
            if known.state == "ongoing" and self.clock.now - known.began > known.timeout:
                known.epoch += 1
                self._end(known, committed=False)

    # -- the partitions' leaders ------------------------------------------------------------

    def produce(
        self,
        name: str,
        producer: int,
        epoch: int,
        place: Place,
        sequence: int,
        messages: Sequence[Message],
    ) -> None:
        """Append a batch; the leader asks the coordinator whether its transaction is open."""
        log = self.logs.get(place)
        if log is None:
            raise Refused(KafkaError.UNKNOWN_TOPIC_OR_PART)
        if epoch < log.epochs.get(producer, -1):
            raise Refused(KafkaError.INVALID_PRODUCER_EPOCH)
        if not log.open(producer):
            self._verify(name, producer, epoch, lambda known: place in known.places)
        log.append(producer, epoch, sequence, messages)

    def _verify(
        self, name: str, producer: int, epoch: int, has: Callable[[Transactional], bool]
    ) -> None:
        known = self.transactions.get(name)
        if known is None or known.producer != producer:
            raise Refused(KafkaError.INVALID_PRODUCER_ID_MAPPING)
        if known.epoch != epoch:
            raise Refused(KafkaError.INVALID_PRODUCER_EPOCH)
        if known.state != "ongoing" or not has(known):
            raise Refused(KafkaError.INVALID_TXN_STATE)

    # -- the group's coordinator ------------------------------------------------------------

    def offset_commit(
        self,
        name: str,
        producer: int,
        epoch: int,
        group: str,
        member: tuple[str, int],
        offsets: Mapping[Place, tuple[int, bytes]],
    ) -> None:
        """Keep offsets and notes until the transaction is over; ``member``: (id, generation)."""
        known = self.groups[group]
        if epoch < known.epochs.get(producer, -1):
            raise Refused(KafkaError.INVALID_PRODUCER_EPOCH)
        if producer not in known.pending:
            self._verify(name, producer, epoch, lambda its: group in its.groups)
        known.validate(*member)
        known.epochs[producer] = epoch
        known.pending.setdefault(producer, {}).update(offsets)

    def committed(self, group: str, places: Iterable[Place]) -> dict[Place, int] | None:
        """Return stable offsets, NO_OFFSET for none; None: retry."""
        known = self.groups[group]
        wanted = list(places)
        if any(place in pending for pending in known.pending.values() for place in wanted):
            return None
        return {place: known.offsets.get(place, NO_OFFSET) for place in wanted}
