"""One scorer of ``bench/state.py``: its input, its checkpoint, its process, its metrics."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from confluent_kafka import Producer

from bench.harness.arena import PARTITIONS, Arena
from bench.harness.process import Contender, until
from bench.verdicts.state import Size, round_rates
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Settings
from stream_scorer.state.stores.topic_store import publish

MODEL = "state"
_LEAST_RATE = 2_000
_GLANCE_SECONDS = 0.05
_READY_SECONDS = 600.0
_SEND_SECONDS = 600
_QUEUE = 200_000
_OFF = {"bytes_per_event": 0, "buckets_per_second": 0}


class Feed:
    """Sends rounds of events to an input topic, each in one transaction.

    Args:
        settings: The cluster and the topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.kafka.topics.transactions
        self._producer = Producer(
            client_options.producer(settings.kafka, f"{self._topic}-feed")
            | {"transaction.timeout.ms": _SEND_SECONDS * 1_000, "linger.ms": 20}
        )
        self._producer.init_transactions(_SEND_SECONDS)
        self.rounds: list[int] = []

    def begin(self) -> None:
        """Begin a round; its events are invisible before ``commit``."""
        self._producer.begin_transaction()
        self.rounds.append(0)

    def send(self, keys: list[bytes], values: list[bytes]) -> None:
        """Send events."""
        messages: list[Any] = [
            {"key": key, "value": value} for key, value in zip(keys, values, strict=True)
        ]
        while len(self._producer) > _QUEUE:
            self._producer.poll(_GLANCE_SECONDS)
        if self._producer.produce_batch(self._topic, messages) != len(messages):
            raise SystemExit(f"{self._topic}: events were refused")
        self._producer.poll(0)
        self.rounds[-1] += len(messages)

    def flush(self) -> None:
        """Wait until the broker has all events of the round."""
        self._producer.flush(_SEND_SECONDS)

    def commit(self) -> int:
        """Show the round; return the sum of the offsets that a group has committed after it."""
        self._producer.commit_transaction(_SEND_SECONDS)
        # Every partition has a marker of each earlier round.
        return sum(self.rounds) + PARTITIONS * (len(self.rounds) - 1)


class Runner:
    """One scorer with its input and its checkpoint.

    Args:
        arena: Where.
        size: How many customers; None for the one without.
        way: ``on`` or ``off``.
        paid: Checkpoint bytes that an event pays for where they are on.
    """

    def __init__(self, arena: Arena, size: Size | None, way: str, paid: float) -> None:
        name = f"{size.keys if size else 0}-{way}"
        self.size, self.way = size, way
        self._arena = arena
        source = f"{name}.transactions"
        self.entry = arena.entry(
            name, source, "run", "--model", MODEL, store=arena.directory / "models", probed=True,
            state={"bytes_per_event": paid} if way == "on" else _OFF,
        )  # fmt: skip
        arena.create({source: PARTITIONS})
        arena.create_outputs(self.entry)
        self.feed = Feed(self.entry.settings)
        self._started = 0.0
        self._contender: Contender | None = None

    def fill(self, checkpoint: Iterator[tuple[int, Any]]) -> int:
        """Write its checkpoint and set its group's offsets; return the bytes of the records."""
        size = 0

        def weighed() -> Iterator[tuple[int, Any]]:
            nonlocal size
            for partition, records in checkpoint:
                size += sum(len(value) for _, value in records)
                yield partition, records

        kafka = self.entry.settings.kafka
        publish(kafka, kafka.topics.state, weighed(), dict.fromkeys(range(PARTITIONS), 0))
        return size

    def start(self) -> None:
        """Start the process; it waits after its imports."""
        if self._contender is None:
            self._started = time.time()
            self._contender = self._arena.start(self.entry)

    @property
    def contender(self) -> Contender:
        """Its process."""
        if self._contender is None:
            raise RuntimeError("not started")
        return self._contender

    def restore(self) -> float:
        """Start its work; return the seconds from its start until its state is complete.

        The time in which it waits for its turn after its imports does not count.
        """
        self.start()
        self.contender.wait_ready()
        imported = self.contender.ready_at - self._started
        self.contender.go()
        begun = time.time()
        what = f"{self.entry.name} is ready"
        until(self.contender.ready, what, _READY_SECONDS, self.contender)
        return imported + time.time() - begun

    def renew(self) -> None:
        """End it gracefully and start a new process, which waits after its imports."""
        self.stop()
        self._contender = None
        self.start()

    def restart(self) -> float:
        """End it gracefully, restart it, and wait for its restore."""
        self.renew()
        return self.restore()

    def stop(self) -> None:
        """End it in order."""
        self.contender.stop()

    def drain(self) -> None:
        """Show it the round and wait until it has decided all of it."""
        total = self.feed.commit()
        seconds = 60.0 + self.feed.rounds[-1] / _LEAST_RATE
        self._arena.wait_committed(self.contender, total, seconds)

    def total(self, name: str) -> int:
        """Return a metric's value, summed over its labels."""
        return int(sum(sample.value for sample in self.contender.metric(name)))

    def rates(self) -> list[float]:
        """Return the events per second of every round but the first."""
        topic = self.entry.settings.kafka.topics.summaries
        seen = [
            (message.timestamp()[1], summary["records"])
            for message, summary in self._arena.decode(topic, "summary.v1")
        ]
        times, records = np.array(seen, np.int64).T
        return round_rates(times, records, self.feed.rounds)
