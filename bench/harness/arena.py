"""Where contenders are measured: a real Kafka, input topics, and a process for each contender."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench.harness import contender
from bench.harness.traffic import registry_with_writers
from stream_scorer.devkafka import DevKafka, processes
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.config import common
from stream_scorer.kafka.topics.offsets import LATEST, offsets
from stream_scorer.kafka.topics.our_topics import COMPACTED
from stream_scorer.producing.transactions import open_feed
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import Settings, load_settings

PARTITIONS = 4
_START_SECONDS = 60.0
_GLANCE_SECONDS = 0.1
_ANSWER_SECONDS = 1.0
_STOP_SECONDS = 15.0
_SINGLE = frozenset({"summaries", "drift_events"})
_OUTPUTS = ("decisions", "dead_letters", "summaries", "drift_events", "state")
_OF_TERMINALS = ("labels", "terminal_profiles")
_OF_ROLLOUTS = {"rollout": 1, "activations": 1, "shadow_scores": PARTITIONS}


_NAMED = (*_OUTPUTS, *_OF_TERMINALS, *_OF_ROLLOUTS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of one contender: its settings and its processes, not started yet.

    Attributes:
        name: Unique in this arena; prefix of its topics and name of its group.
        command: Arguments of ``bench/harness/contender.py``.
        settings: As the process will read them.
        environment: What makes it read them so.
    """

    name: str
    command: tuple[str, ...]
    settings: Settings
    environment: Mapping[str, str]


class Contender:
    """A contender's process, waiting for ``go``.

    Args:
        entry: What it is.
        log: File of its output.
    """

    def __init__(self, entry: Entry, log: Path) -> None:
        self.entry = entry
        self._log = log
        self._before = log.stat().st_size if log.exists() else 0
        self._process = processes.start(
            [sys.executable, contender.__file__, *entry.command],
            log,
            environment=entry.environment,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return when its imports are done."""
        deadline = time.monotonic() + _START_SECONDS
        while contender.READY not in self._said():
            self.refuse_death()
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.entry.name}: not ready after {_START_SECONDS:.0f} s")
            time.sleep(_GLANCE_SECONDS)

    @property
    def ready_at(self) -> float:
        """When its imports were done, seconds since the epoch; asked before ``go``."""
        return self._log.stat().st_mtime

    def go(self) -> None:
        """Let it begin."""
        self._process.send_signal(signal.SIGUSR1)

    def ended(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.poll()

    def refuse_death(self) -> None:
        """Raise when it has ended by itself."""
        if self._process.poll() is not None:
            raise SystemExit(f"{self.entry.name} ended: {self.last}")

    @property
    def last(self) -> str:
        """The last line that it said."""
        return (self._said().strip().splitlines() or ["no output"])[-1]

    def ask_to_end(self) -> None:
        """Ask it to end and return at once."""
        self._process.terminate()

    def freeze(self) -> None:
        """Let it stand still."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would, and return when it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it, or wait until it has ended; return its exit code."""
        started = processes.started_at(self._process.pid)
        if started is not None:
            processes.end_all([(self._process.pid, started)], _STOP_SECONDS)
        return self._process.wait()

    def _said(self) -> str:
        return self._log.read_bytes()[self._before :].decode(errors="replace")


class Arena:
    """A real Kafka with the benches' topics, as a context manager.

    Args:
        quick: Whether Kafka starts sooner and is slower: where speed is not what is measured.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self._quick = quick

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory("-bench")))
            for name in [name for name in os.environ if name.startswith("STREAM_SCORER_")]:
                # A bench measures the defaults, whatever this shell is set up for.
                del os.environ[name]
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

    def feed(self, topic: str, batches: Iterable[tuple[Sequence[bytes], Sequence[bytes]]]) -> float:
        """Create an input topic and send (keys, payloads); return the mean payload's bytes."""
        self.create({topic: PARTITIONS})
        count = size = 0
        with open_feed(self.settings.kafka, self.settings.registry, topic) as feed:
            for keys, payloads in batches:
                feed.send_encoded(keys, payloads)
                count += len(payloads)
                size += sum(map(len, payloads))
        return size / count

    def create(self, topics: Mapping[str, int], **config: str) -> None:
        """Create topics by name and number of partitions, and wait until all have leaders."""
        wanted = [NewTopic(name, count, 1, config=config) for name, count in topics.items()]
        for future in self._admin.create_topics(wanted).values():
            future.result()
        deadline = time.monotonic() + _START_SECONDS
        while not self._led(topics):
            if time.monotonic() > deadline:
                raise SystemExit(f"topics {', '.join(topics)}: no leaders")
            time.sleep(_GLANCE_SECONDS / 2)

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
        outputs: str | None = None, **tables: Mapping[str, Any],
    ) -> Entry:  # fmt: skip
        """Describe a contender.

        Args:
            name: Unique in this arena.
            source: Input topic.
            command: Arguments of ``bench/harness/contender.py``.
            store: Model store; None takes the shipped one.
            outputs: Prefix of its output topics; None takes the name.
            tables: Further settings by group; ``kafka`` goes beside what is said here.
        """
        kafka = {"bootstrap": self.settings.kafka.bootstrap, "group": name}
        kafka |= tables.pop("kafka", {})
        topics = {which: f"{outputs or name}.{which}" for which in _NAMED}
        topics["transactions"] = source
        table: dict[str, dict[str, Any]] = {
            "kafka": {**kafka, "topics": topics},
            "registry": {"directory": str(self.registry.directory)},
            "http": {"port": 0},
            "monitor": {"group": name},
            **{group: dict(values) for group, values in tables.items()},
        }
        if store is not None:
            table["models"] = {"directory": str(store)}
        return Entry(name, command, load_settings(table), _environment(table))

    def create_outputs(self, *entries: Entry) -> None:
        """Create entries' output topics, whose records carry the broker's time of arrival."""
        names = [entry.settings.kafka.topics.model_dump() for entry in entries]
        self.create(
            {
                topics[which]: 1 if which in _SINGLE else PARTITIONS
                for topics in names
                for which in _OUTPUTS
                if which != "state"
            },
            **{"message.timestamp.type": "LogAppendTime"},
        )
        self.create({topics["state"]: PARTITIONS for topics in names}, **COMPACTED)

    def create_rollout(self, entry: Entry) -> None:
        """Create the topics by which an entry follows a rollout; they tell the broker's times."""
        topics = entry.settings.kafka.topics.model_dump()
        self.create(
            {topics[which]: count for which, count in _OF_ROLLOUTS.items()},
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
            # What an open transaction is about to commit must not be waited for.
            options = {"group.id": group, "isolation.level": "read_uncommitted"}
            reader = Consumer(common(self.settings.kafka) | options)
            self._readers[group] = reader
        places = [
            TopicPartition(topic, p) for topic in topics or ("none",) for p in range(PARTITIONS)
        ]
        try:
            found = reader.committed(places, timeout=_ANSWER_SECONDS)
        except KafkaException:
            # The coordinator of a new group is chosen a moment after it is asked for.
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
        wanted = [(topic, partition) for partition in range(PARTITIONS)]
        high = offsets(self._admin, self.settings.kafka, wanted, LATEST)
        stable = offsets(self._admin, self.settings.kafka, wanted, LATEST, stable=True)
        return {at[1] for at in wanted if stable[at] < high[at]}

    def wait_committed(self, runner: Contender, total: int, seconds: float) -> None:
        """Return when a contender has committed ``total`` input records; 0: when it has joined.

        It asks for one number ten times a second, so as not to take part in the race.
        """
        deadline = time.monotonic() + seconds
        kafka = runner.entry.settings.kafka
        while (
            found := self.committed(kafka.group, kafka.topics.transactions, kafka.topics.summaries)
        ) < total:
            runner.refuse_death()
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"{runner.entry.name}: {found} of {total} records after {seconds:.0f} s"
                )
            time.sleep(_GLANCE_SECONDS)

    def outputs(self, *topics: str) -> Iterator[Any]:
        """Yield the committed messages of topics."""
        # librdkafka stops fetching for a second by default whenever its queue is full.
        eager = self.settings.kafka.model_copy(update={"client": {"fetch.queue.backoff.ms": 10}})
        for topic in topics:
            yield from read_all(eager, topic)

    def stored_bytes(self, topic: str) -> int:
        """Return what a topic takes on the broker's disk: compressed, with all overhead."""
        data = self._kafka.directory / "node-0" / "data"
        return sum(file.stat().st_size for file in data.glob(f"{topic}-*/*.log"))


def _environment(table: Mapping[str, Any], prefix: str = "STREAM_SCORER") -> dict[str, str]:
    """Spell a table of settings as environment variables."""
    spelled: dict[str, str] = {}
    for key, value in table.items():
        name = (
            f"{prefix}_{key.upper()}" if prefix == "STREAM_SCORER" else f"{prefix}__{key.upper()}"
        )
        if isinstance(value, Mapping):
            spelled |= _environment(value, name)
        else:
            spelled[name] = str(value)
    return spelled
