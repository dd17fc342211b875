"""The place of a measurement: a real Kafka, input topics, and a process for each contender."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench.harness.process import Contender, Entry, until
from bench.harness.traffic import registry_with_writers
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.dead_letters.format import parse
from stream_scorer.devkafka import DevKafka
from stream_scorer.devkafka.child import as_environment
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.client_options import common
from stream_scorer.kafka.topics.create_topics import COMPACTED
from stream_scorer.kafka.topics.offsets import LATEST, offsets
from stream_scorer.producing.transactions import open_feed
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import load_settings

FULL = "fraud:1.0.0"
"""The shipped version without terminal features: most benches run no profiler."""
PARTITIONS = 4
_START_SECONDS = 60.0
_ANSWER_SECONDS = 1.0
_SINGLE = frozenset(
    {"summaries", "drift_events", "drift_commands", "drift_state", "performance", "rollout",
     "activations"}
)  # fmt: skip
_OF_MONITORS = ("drift_commands", "drift_state", "performance")
_OUTPUTS = ("decisions", "dead_letters", "summaries", "drift_events", *_OF_MONITORS, "state")
_OF_TERMINALS = ("labels", "terminal_profiles")
_OF_ROLLOUTS = ("rollout", "activations", "shadow_scores")
_NAMED = (*_OUTPUTS, *_OF_TERMINALS, *_OF_ROLLOUTS)


class Arena:
    """A real Kafka with the benches' topics, as a context manager.

    Args:
        partitions: Of input topics and of their outputs.
        quick: Whether Kafka starts sooner but is slower: if speed is not measured.
    """

    def __init__(self, partitions: int = PARTITIONS, *, quick: bool = False) -> None:
        self.partitions = partitions
        self._quick = quick

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory("-bench")))
            # A bench measures the defaults, not this shell's settings.
            names = [name for name in os.environ if name.startswith("STREAM_SCORER_")]
            stack.callback(os.environ.update, {name: os.environ.pop(name) for name in names})
            schemas = registry_with_writers(self.directory / "schemas")
            self.registry = FileRegistry(schemas)
            self._kafka = stack.enter_context(
                DevKafka(1, self.directory / "kafka", quick=self._quick)
            )
            self.settings = load_settings(
                {
                    "kafka": {"bootstrap": self._kafka.bootstrap},
                    "registry": {"directory": schemas},
                    "http": {"port": 0},
                }
            )
            self._admin = AdminClient(common(self.settings.kafka))
            # An admin client that outlives its broker was seen to hang in its destructor.
            stack.callback(self.__delattr__, "_admin")
            # The first question makes the broker create its offsets topic, which takes seconds.
            self._readers: dict[str, Any] = {}
            stack.callback(self._close_readers)
            self.committed("first")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def feed(
        self, topic: str, batches: Iterable[tuple[Sequence[bytes], Sequence[bytes | None]]]
    ) -> float:
        """Create an input topic and send (keys, payloads); return the mean payload's bytes."""
        self.create({topic: self.partitions})
        count = size = 0
        with open_feed(self.settings.kafka, self.settings.registry, topic) as feed:
            for keys, payloads in batches:
                feed.send_encoded(keys, payloads)
                count += len(payloads)
                size += sum(len(payload or b"") for payload in payloads)
        return size / count

    def create(self, topics: Mapping[str, int], **config: str) -> None:
        """Create topics by name and number of partitions, and wait until all have leaders."""
        wanted = [NewTopic(name, count, 1, config=config) for name, count in topics.items()]
        for future in self._admin.create_topics(wanted).values():
            future.result()
        until(lambda: self._led(topics), f"{', '.join(topics)} have leaders", _START_SECONDS)

    def _led(self, topics: Mapping[str, int]) -> bool:
        known = self._admin.list_topics(timeout=_ANSWER_SECONDS).topics
        return all(
            name in known
            and len(known[name].partitions) == count
            and all(part.leader >= 0 for part in known[name].partitions.values())
            for name, count in topics.items()
        )

    def entry(
        self, name: str, source: str, *command: str, store: Path | None = None,
        outputs: str | None = None, probed: bool = False, **tables: Mapping[str, Any],
    ) -> Entry:  # fmt: skip
        """Describe a contender.

        Args:
            name: Unique in this arena.
            source: Input topic.
            command: Arguments of ``bench/harness/contender.py``.
            store: Model store; None takes the shipped one.
            outputs: Prefix of its output topics; None takes the name.
            probed: Whether its probe and its metrics will be read.
            tables: Further settings by group; ``kafka`` is merged with the settings made here.
        """
        kafka = {"bootstrap": self.settings.kafka.bootstrap, "group": name}
        kafka |= tables.pop("kafka", {})
        topics = {which: f"{outputs or name}.{which}" for which in _NAMED}
        topics["transactions"] = source
        table: dict[str, dict[str, Any]] = {
            "kafka": {**kafka, "topics": topics},
            "registry": {"directory": str(self.registry.directory)},
            "http": {"port": free_ports(1)[0] if probed else 0},
            "monitor": {"group": name},
            **{group: dict(values) for group, values in tables.items()},
        }
        if store is not None:
            table["models"] = {"directory": str(store)}
        return Entry(name, command, load_settings(table), as_environment(table))

    def create_outputs(self, *entries: Entry) -> None:
        """Create entries' output topics, whose records carry the broker's time of arrival."""
        names = [entry.settings.kafka.topics.model_dump() for entry in entries]
        self.create(
            {
                topics[which]: 1 if which in _SINGLE else self.partitions
                for topics in names
                for which in _OUTPUTS
                if which != "state"
            },
            **{"message.timestamp.type": "LogAppendTime"},
        )
        self.create({topics["state"]: self.partitions for topics in names}, **COMPACTED)

    def create_rollout(self, entry: Entry) -> None:
        """Create the topics by which an entry follows a rollout; they tell the broker's times."""
        topics = entry.settings.kafka.topics.model_dump()
        self.create(
            {topics[which]: 1 if which in _SINGLE else self.partitions for which in _OF_ROLLOUTS},
            **{"message.timestamp.type": "LogAppendTime"},
        )

    def start(self, entry: Entry) -> Contender:
        """Start a contender's process; it waits for ``go`` and is ended with the arena."""
        started = Contender(entry, self.directory / f"{entry.name}.log")
        self._stack.callback(started.stop)
        return started

    def committed(self, group: str, *topics: str) -> int:
        """Return the sum of a group's committed offsets in topics; -1 before the first commit."""
        reader = self._readers.get(group)
        if reader is None:
            # It never joins. The admin client's own call ends the process with a segmentation
            # fault when the coordinator moves (librdkafka#5040).
            # Do not wait for an open transaction to commit its offsets.
            options = {"group.id": group, "isolation.level": "read_uncommitted"}
            reader = Consumer(common(self.settings.kafka) | options)
            self._readers[group] = reader
        places = [
            TopicPartition(topic, partition)
            for topic in topics or ("none",)
            for partition in range(self.partitions)
        ]
        try:
            found = reader.committed(places, timeout=_ANSWER_SECONDS)
        except KafkaException:
            # The coordinator of a new group is elected a moment after the first request.
            return -1
        known = [place.offset for place in found if place.error is None and place.offset >= 0]
        return sum(known) if known else -1

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def members(self, group: str) -> dict[str, set[int]]:
        """Return the partitions of each member of a group by the member's id."""
        answer = self._admin.describe_consumer_groups([group], request_timeout=_ANSWER_SECONDS)
        try:
            members = answer[group].result().members
        except KafkaException:
            # As above.
            return {}
        return {
            member.member_id: {place.partition for place in member.assignment.topic_partitions}
            for member in members
        }

    def open_transactions(self, topic: str) -> set[int]:
        """Return the partitions of a topic that end in a transaction without an end."""
        wanted = [(topic, partition) for partition in range(self.partitions)]
        high = offsets(self._admin, self.settings.kafka, wanted, LATEST)
        stable = offsets(self._admin, self.settings.kafka, wanted, LATEST, stable=True)
        return {at[1] for at in wanted if stable[at] < high[at]}

    def wait_committed(self, runner: Contender, total: int, seconds: float) -> None:
        """Return when a contender has committed ``total`` input records; 0: when it has joined.

        It reads one number ten times a second, so as not to disturb the measurement.
        """
        kafka = runner.entry.settings.kafka
        topics = kafka.topics.transactions, kafka.topics.summaries

        def found() -> int:
            return self.committed(kafka.group, *topics)

        until(
            lambda: found() >= total,
            lambda: f"{runner.entry.name}: {found()} of {total} records",
            seconds, runner, glance=0.1,
        )  # fmt: skip

    def outputs(self, *topics: str) -> Iterator[Any]:
        """Yield the committed messages of topics."""
        # librdkafka stops fetching for a second by default whenever its queue is full.
        eager = self.settings.kafka.model_copy(update={"client": {"fetch.queue.backoff.ms": 10}})
        for topic in topics:
            yield from read_all(eager, topic)

    def codec(self, schema: str) -> RecordCodec:
        """Return the codec of one of our schemas by name, such as ``decision.v1``."""
        text = reader_schema(schema)
        return RecordCodec(self.registry.id_for(f"{schema}-value", text), text)

    def decode(self, topic: str, schema: str) -> Iterator[tuple[Any, Any]]:
        """Yield (message, record) of a topic's committed messages."""
        codec = self.codec(schema)
        for message in self.outputs(topic):
            yield message, codec.decode(message.value(), self.registry)

    def outcomes(self, entry: Entry) -> Iterator[tuple[tuple[int, int], int]]:
        """Yield (source partition and offset, time of arrival in ms) of all that was decided."""
        topics = entry.settings.kafka.topics
        for message, row in self.decode(topics.decisions, "decision.v1"):
            yield (row["source_partition"], row["source_offset"]), message.timestamp()[1]
        for message in self.outputs(topics.dead_letters):
            letter = parse(message)
            yield (letter.source_partition, letter.source_offset), message.timestamp()[1]

    @property
    def data(self) -> Path:
        """Where the broker keeps its log."""
        return self._kafka.directory / f"node-{self._kafka.brokers[0].node}" / "data"

    def stored_bytes(self, topic: str) -> int:
        """Return a topic's bytes on the broker's disk: compressed, with all overhead."""
        return sum(file.stat().st_size for file in self.data.glob(f"{topic}-*/*.log"))
