"""A silent replay: reads a partition's retained input again, up to an offset, to rebuild state."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Generic, Protocol, TypeVar

import numpy as np
from confluent_kafka import KafkaError

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.client.consumer import ConsumerError
from stream_scorer.kafka.reading.blamed_failures import MOST_RECORDS, blames_records, kind_of
from stream_scorer.kafka.reading.unreadable_batches import PassingConsumer
from stream_scorer.kafka.topics import config
from stream_scorer.ports import Paused, RawRecords
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Listener, ReplayLeftOut, ReplayProgress

_CHUNK = 10_000
_UNREADABLE = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 the binding's own name
    }
)
STEP_SECONDS = 0.05
"""How long a step of a replay waits for records."""


class PartitionReplay(Protocol):
    """What brings one partition's state to an offset, step by step.

    Attributes:
        partition: Input partition.
        next_offset: Where the replay stands.
        end: The offset at which live reading goes on.
    """

    @property
    def partition(self) -> int: ...  # noqa: D102 said above
    @property
    def next_offset(self) -> int: ...  # noqa: D102
    @property
    def end(self) -> int: ...  # noqa: D102

    def step(self) -> RawRecords | None:
        """Return some records before ``end``, or None when a short while brought none."""
        ...

    @property
    def done(self) -> bool:
        """Whether everything before ``end`` has been returned."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Consumers:
    """Consumers of replays; one that has done with a partition goes on with another.

    Args:
        kafka: Cluster.
        topic: Input topic.
    """

    def __init__(self, kafka: Kafka, topic: str) -> None:
        # What is deleted under our hands must not be passed over in silence.
        self._options = config.reader(kafka, f"{kafka.group}-replay")
        self._options["auto.offset.reset"] = "error"
        self._topic = topic
        self._idle: list[PassingConsumer] = []

    def take(self) -> PassingConsumer:
        """Return one that is assigned nothing."""
        return self._idle.pop() if self._idle else PassingConsumer(self._options, self._topic)

    def put(self, consumer: PassingConsumer) -> None:
        """Take one back."""
        consumer.assign({})
        self._idle.append(consumer)

    def close(self) -> None:
        """Let go of the connections of those that are idle."""
        while self._idle:
            self._idle.pop().close()


class InputReplay:
    """One partition's input from ``first`` up to, not including, ``end``.

    Args:
        kafka: Cluster.
        topic: Input topic.
        partition: Its partition.
        first: First offset to return; retained.
        end: The offset at which live reading goes on.
        consumers: Where its consumer comes from and goes to; None: it has one of its own.
    """

    def __init__(
        self, kafka: Kafka, topic: str, partition: int, first: int, end: int,
        consumers: Consumers | None = None,
    ) -> None:  # fmt: skip
        self.partition = partition
        self.end = end
        self.next_offset = first
        self._topic = topic
        self._consumers = consumers
        self._consumer = (consumers or Consumers(kafka, topic)).take()
        self._consumer.assign({partition: first})

    def step(self) -> RawRecords | None:
        """Return some records before ``end``, or None when a short while brought none.

        Raises:
            StateError: The input was deleted meanwhile.
            UnavailableError: The input cannot be read.
        """
        polled = self._consumer.poll(_CHUNK, STEP_SECONDS, 0.0)
        raw = polled.records
        if raw is not None:
            self.next_offset = int(raw.offset[-1]) + 1
            raw = raw.where(raw.offset < self.end)
        for failure in polled.failures:
            self._judge(failure)
        return raw if raw is not None and len(raw) else None

    def _judge(self, failure: ConsumerError) -> None:
        error = failure.error
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
            # Control records and aborted records may fill the rest up to the end.
            self.next_offset = max(self.next_offset, failure.offset)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 the binding's own name
            raise StateError(
                f"{self._topic} partition {self.partition}: the input from offset "
                f"{self.next_offset} on was deleted while it was replayed",
                "start again; raise the topic's retention if it happens again",
            )
        elif error.fatal() or error.code() in _UNREADABLE:
            raise UnavailableError(
                f"{self._topic} partition {self.partition} cannot be replayed: {error.str()}",
                "check the topic and the right to read it",
            )

    @property
    def done(self) -> bool:
        """Whether everything before ``end`` has been returned."""
        return self.next_offset >= self.end

    def close(self) -> None:
        """Let go of the connection."""
        if self._consumers is None:
            self._consumer.close()
        else:
            self._consumers.put(self._consumer)


Opened = TypeVar("Opened", bound=PartitionReplay)


class Replays(Generic[Opened]):
    """The replays of the partitions that a process is taking over, step by step.

    A few take turns, so that while one waits for its connection another has something to do. One
    that holds much goes on alone: what is held at once stays bounded.

    Args:
        open_replay: Opens the replay of (partition, end offset); None when there is nothing.
        fold: Takes replayed records into the state; may raise to be given them again later. What
            it raises leaves no trace.
        listener: Told of progress.
        at_once: How many take turns.
        alone: Whether a replay holds so much that the others stand still until it holds less.
    """

    def __init__(
        self,
        open_replay: Callable[[int, int], Opened | None],
        fold: Callable[[RawRecords], object],
        listener: Listener,
        at_once: int = 1,
        alone: Callable[[Opened], bool] = lambda _: False,
    ) -> None:
        self._open = open_replay
        self._fold = fold
        self._listener = listener
        self._at_once = at_once
        self._alone = alone
        self._turn = 0
        self._running: dict[int, Opened] = {}
        self._unfolded: dict[int, list[RawRecords]] = {}
        self._left_out: dict[int, int] = {}
        self._ready: set[int] = set()

    def begin(self, offsets: Mapping[int, int]) -> None:
        """Take partitions over; their state is to reach these offsets."""
        for partition, offset in offsets.items():
            replay = self._open(partition, offset)
            if replay is None:
                self._ready.add(partition)
                self._listener(ReplayProgress(partition, offset, offset))
            else:
                self._running[partition] = replay

    def end(self, partitions: tuple[int, ...]) -> None:
        """Give up the replays of partitions that left."""
        for partition in partitions:
            self._ready.discard(partition)
            self._unfolded.pop(partition, None)
            self._left_out.pop(partition, None)
            replay = self._running.pop(partition, None)
            if replay is not None:
                replay.close()

    @property
    def pending(self) -> bool:
        """Whether some partition is not handed out by ``step`` yet."""
        return bool(self._running or self._ready)

    def step(self) -> tuple[set[int], Opened | None]:
        """Replay some records of one partition.

        Returns:
            (partitions whose state is whole, the replay that ended in this step).
        """
        ended = None
        if self._running:
            partition, replay = self._next()
            pieces = self._unfolded.get(partition, [])
            if not pieces and (raw := replay.step()) is not None:
                pieces = self._unfolded[partition] = [raw]
            self._fold_pieces(partition, pieces)
            self._listener(ReplayProgress(partition, replay.next_offset, replay.end))
            if replay.done:
                ended = self._running.pop(partition)
                ended.close()
                self._ready.add(partition)
        ready, self._ready = self._ready, set()
        return ready, ended

    def _fold_pieces(self, partition: int, pieces: list[RawRecords]) -> None:
        """Fold pieces in order; one that fails is halved, down to the record that is left out.

        What is raised leaves the rest in ``pieces``.

        Raises:
            Paused: More records of the replay fail than may be left out.
        """
        again = True
        while pieces:
            try:
                self._fold(pieces[0])
            except Exception as error:
                if not blames_records(error):
                    raise
                if len(pieces[0]) > 1:
                    pieces[:1] = _halves(pieces[0])
                elif again:
                    again = False
                    continue
                else:
                    self._leave_out(partition, pieces[0], error)
                    del pieces[0]
            else:
                del pieces[0]
            again = True

    def _leave_out(self, partition: int, record: RawRecords, error: Exception) -> None:
        left_out = self._left_out.get(partition, 0)
        if left_out >= MOST_RECORDS:
            raise Paused(
                "computation",
                f"partition {partition}: more than {MOST_RECORDS} records cannot be replayed; "
                f"last offset {record.offset[0]}: {kind_of(error)}",
            ) from error
        self._left_out[partition] = left_out + 1
        self._listener(ReplayLeftOut(partition, int(record.offset[0]), kind_of(error)))

    def _next(self) -> tuple[int, Opened]:
        """Return the partition and the replay whose turn it is."""
        begun = list(islice(self._running.items(), self._at_once))
        for partition, replay in begun:
            if self._alone(replay):
                return partition, replay
        self._turn = (self._turn + 1) % len(begun)
        return begun[self._turn]


def _halves(raw: RawRecords) -> tuple[RawRecords, RawRecords]:
    first = np.arange(len(raw)) < len(raw) // 2
    return raw.where(first), raw.where(~first)
