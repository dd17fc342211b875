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
from stream_scorer.kafka.topics import client_options
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
"""How long a step of a replay waits for records, seconds."""


class PartitionReplay(Protocol):
    """Brings one partition's state to an offset, step by step.

    Attributes:
        partition: Input partition.
        next_offset: The replay's next offset.
        end: The offset at which live reading continues.
    """

    @property
    def partition(self) -> int: ...  # noqa: D102 see above
    @property
    def next_offset(self) -> int: ...  # noqa: D102
    @property
    def end(self) -> int: ...  # noqa: D102

    def step(self) -> RawRecords | None:
        """Return some records before ``end``, or None if there were none for a short while."""
        ...

    @property
    def done(self) -> bool:
        """Whether everything before ``end`` has been returned."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Consumers:
    """Consumers of replays; after one partition, a consumer is used for another.

    Args:
        kafka: Cluster.
        topic: Input topic.
    """

    def __init__(self, kafka: Kafka, topic: str) -> None:
        # Records that are deleted during the read must not be skipped silently.
        self._options = client_options.reader(kafka, f"{kafka.group}-replay")
        self._options["auto.offset.reset"] = "error"
        self._topic = topic
        self._idle: list[PassingConsumer] = []

    def take(self) -> PassingConsumer:
        """Return a consumer without an assignment."""
        return self._idle.pop() if self._idle else PassingConsumer(self._options, self._topic)

    def put(self, consumer: PassingConsumer) -> None:
        """Take a consumer back."""
        consumer.assign({})
        self._idle.append(consumer)

    def close(self) -> None:
        """Close the connections of the idle consumers."""
        while self._idle:
            self._idle.pop().close()


class InputReplay:
    """One partition's input of ``[first, end)``.

    Args:
        kafka: Cluster.
        topic: Input topic.
        partition: Its partition.
        first: First offset to return; retained.
        end: The offset at which live reading continues.
        consumers: The pool of its consumer; None: it makes a separate one.
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
        """Return some records before ``end``, or None if there were none for a short while.

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
            # The rest up to the end may be control records and aborted records.
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
        """Close the connection."""
        if self._consumers is None:
            self._consumer.close()
        else:
            self._consumers.put(self._consumer)


Opened = TypeVar("Opened", bound=PartitionReplay)


class Replays(Generic[Opened]):
    """The replays of the partitions that a process is taking over, step by step.

    A few take turns, so that one can work while another waits for its connection. A replay that
    holds much memory continues alone, so that the memory in use is bounded.

    Args:
        open_replay: Opens the replay of (partition, end offset); None if nothing is to be replayed.
        fold: Folds replayed records into the state. It may raise without a trace, and gets the same
            records again later.
        listener: Notified of progress.
        at_once: How many take turns.
        alone: Whether a replay holds so much that the others wait until it holds less.
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
        """Add partitions; their state is to reach these offsets."""
        for partition, offset in offsets.items():
            replay = self._open(partition, offset)
            if replay is None:
                self._ready.add(partition)
                self._listener(ReplayProgress(partition, offset, offset))
            else:
                self._running[partition] = replay

    def end(self, partitions: tuple[int, ...]) -> None:
        """Abandon the replays of partitions that left."""
        for partition in partitions:
            self._ready.discard(partition)
            self._unfolded.pop(partition, None)
            self._left_out.pop(partition, None)
            replay = self._running.pop(partition, None)
            if replay is not None:
                replay.close()

    def close(self) -> None:
        """Close the connections of the replays that have not ended."""
        self.end(tuple(self._running))

    @property
    def pending(self) -> bool:
        """Whether ``step`` has not returned all partitions yet."""
        return bool(self._running or self._ready)

    def step(self) -> tuple[set[int], Opened | None]:
        """Replay some records of one partition.

        Returns:
            (partitions whose state is complete, the replay that ended in this step).
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
        """Fold pieces in order; a failing one is halved, down to the record that is left out.

        If it raises, ``pieces`` holds the rest.

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
        """Return the next partition in turn, and its replay."""
        begun = list(islice(self._running.items(), self._at_once))
        for partition, replay in begun:
            if self._alone(replay):
                return partition, replay
        self._turn = (self._turn + 1) % len(begun)
        return begun[self._turn]


def _halves(raw: RawRecords) -> tuple[RawRecords, RawRecords]:
    first = np.arange(len(raw)) < len(raw) // 2
    return raw.where(first), raw.where(~first)
