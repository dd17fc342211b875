"""Counts the dead letters that were not replayed yet."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError, TopicPartition

from stream_scorer.closing import Closing
from stream_scorer.dead_letters.copy import progress_of
from stream_scorer.dead_letters.format import parse
from stream_scorer.dead_letters.progress import LetterProgress, Selection, lane_of
from stream_scorer.errors import SettingsError, StreamScorerError, UnavailableError
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.offsets import unreachable
from stream_scorer.lag.broker.partition_offsets import PartitionOffsets
from stream_scorer.lag.watch.watch_thread import WatchThread
from stream_scorer.settings import Settings
from stream_scorer.telemetry import LettersCounted, Listener

_KEPT_MOST: Final = 200_000
"""Dead letters that are kept in memory; with more, the count is this number."""
_AT_ONCE: Final = 5_000
_POLL_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class WaitingLetter:
    """A dead letter that `dlq replay` may take.

    Attributes:
        offset: Its offset in the topic of dead letters.
        reason: Why it was rejected; ``*`` for a reason that this version does not know.
        time: When, seconds since the epoch.
    """

    offset: int
    reason: str
    time: float


class LetterPlace(NamedTuple):
    """How far a partition was replayed, and its first retained offset."""

    progress: LetterProgress
    start: int


@dataclass(slots=True)
class LetterQueue:
    """The dead letters of one partition that wait, oldest first.

    Attributes:
        letters: Them.
        seen: The reasons that were reported, so that a reason without letters is reported as 0.
    """

    letters: deque[WaitingLetter] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)

    def advance(self, there: LetterPlace) -> None:
        """Forget what was replayed, and what retention has deleted."""
        self.letters = deque(
            each
            for each in self.letters
            if each.offset >= max(there.progress.of(each.reason), there.start)
        )

    def count(self) -> tuple[Mapping[str, int], float | None]:
        """Return the number by reason, and the time of the oldest that a replay takes."""
        counts = Counter(each.reason for each in self.letters)
        self.seen |= counts.keys()
        taken = (each.time for each in self.letters if Selection().takes(each.reason))
        return {reason: counts[reason] for reason in sorted(self.seen)}, min(taken, default=None)


class LetterSource(Protocol):
    """What brings the numbers: a :class:`DeadLetterTopic`."""

    def progress(self) -> Mapping[int, LetterPlace]: ...  # noqa: D102 see there
    def read(self, queues: Mapping[int, LetterQueue]) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class DeadLetterTopic(Closing):
    """Reads the topic of dead letters, and how far they were replayed.

    Args:
        settings: The cluster, its topics, and ``replay.group``.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = kafka = settings.kafka
        self._group = settings.replay.group
        self.topic = kafka.topics.dead_letters
        self._input = kafka.topics.transactions
        self._offsets = PartitionOffsets(kafka, settings.lag.request_seconds)
        options = client_options.reader(kafka, self._group)
        self._noted = ColumnConsumer(options, self.topic)
        self._consumer: Any = Consumer(options | {"queued.max.messages.kbytes": 8_192})
        self._assigned: set[int] = set()
        self._ended: set[int] = set()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._noted.close()
        self._offsets.close()

    def progress(self) -> Mapping[int, LetterPlace]:
        """Return how far each partition was replayed: from its start on, if nothing was.

        Raises:
            SettingsError: The topic does not exist.
            OffsetsError: Another program commits for the group.
            UnavailableError: The broker does not answer.
        """
        leaders = {at: n for at, n in self._offsets.leaders().items() if at[0] == self.topic}
        if not leaders:
            raise SettingsError(
                f"topic {self.topic}: does not exist on {self._kafka.bootstrap}",
                "create it (stream-scorer topics create), or set lag.reconcile_seconds to 0",
            )
        starts = self._offsets.starts(leaders)
        known = progress_of(self._noted, self._group, sorted(p for _, p in leaders))
        found: dict[int, LetterPlace] = {}
        for at in sorted(leaders):
            start = starts[at]
            if isinstance(start, str):
                raise unreachable(self._kafka, f"{self.topic} {at[1]}: {start}")
            found[at[1]] = LetterPlace(known.get(at[1], LetterProgress.at(start)), start)
        added = sorted(found.keys() - self._assigned)
        if added:
            self._consumer.incremental_assign(
                [TopicPartition(self.topic, p, found[p].progress.offset) for p in added]
            )
            self._assigned.update(added)
        return found

    def read(self, queues: Mapping[int, LetterQueue]) -> None:
        """Append what has arrived, to the end of each partition.

        Args:
            queues: By partition.

        Raises:
            UnavailableError: The broker sent nothing for 10 s before an end.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        while sum(len(each.letters) for each in queues.values()) < _KEPT_MOST:
            messages = self._consumer.consume(_AT_ONCE, _POLL_SECONDS)
            for message in messages:
                self._take(message, queues)
            if any(message.error() is None for message in messages):
                until = time.monotonic() + _PATIENCE_SECONDS
            elif self._ended >= self._assigned:
                return
            elif time.monotonic() > until:
                raise UnavailableError(
                    f"topic {self.topic}: the brokers sent nothing for {_PATIENCE_SECONDS:.0f} s",
                    "check the brokers",
                )

    def _take(self, message: Any, queues: Mapping[int, LetterQueue]) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the binding's own name
                self._ended.add(message.partition())
            elif error.fatal():
                raise StreamScorerError(f"topic {self.topic}: {error.str()}", "check the brokers")
            return
        self._ended.discard(message.partition())
        try:
            letter = parse(message)
        except ValueError:
            return  # not one of ours: a replay leaves it
        if letter.source_topic == self._input and not letter.replayed:
            queues[letter.partition].letters.append(
                # Whoever can write to the topic chooses the reason: it must not choose series.
                WaitingLetter(letter.offset, lane_of(letter.reason), letter.timestamp / 1_000)
            )


class LetterWatch(WatchThread):
    """Counts on a thread of its own until closed.

    Args:
        source: Brings the dead letters.
        topic: Their topic, for the labels.
        listener: Notified of every count.
        every_seconds: Time between two counts.
    """

    def __init__(
        self, source: LetterSource, topic: str, listener: Listener, every_seconds: float
    ) -> None:
        super().__init__("dead-letters", "dead letters", listener, every_seconds)
        self._source = source
        self._topic = topic
        self._queues: dict[int, LetterQueue] = {}

    def _release(self) -> None:
        self._source.close()

    def _work(self) -> None:
        self.count()

    def count(self) -> None:
        """Count once, and report it."""
        progress = self._source.progress()
        for partition in progress:
            self._queues.setdefault(partition, LetterQueue())
        self._source.read(self._queues)
        for partition, there in progress.items():
            queue = self._queues[partition]
            queue.advance(there)
            self._listener(LettersCounted(self._topic, partition, *queue.count()))
