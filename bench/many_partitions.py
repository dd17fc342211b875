"""One worker, 64 partitions, a backlog of a million: one producer, flat memory, nobody starved.

The backlog lies in the topic before the scorer starts; then further events are sent while it is
stopped, and it is started anew beside them.

- ``producers``: producer ids in the broker's log of the decisions.
- ``longest_pause_seconds``: the longest time for which a partition with a backlog had no decision.
- ``least_at_half_time``: what share of its records the slowest partition had decided when half of
  all were.
- ``memory``: resident memory while the backlog is decided; its growth is fitted behind a warm-up.
- ``restore_seconds``: from the restart until the state of all partitions was whole, and
  ``decided_while_restoring`` what was decided until then.
"""

import argparse
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console

from bench.harness import customers
from bench.harness.gates import conclude
from bench.verdicts.many_partitions import Drain, failures, report
from stream_scorer.devkafka import DevKafka
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics import config
from stream_scorer.kafka.topics.our_topics import create_topics
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.settings import Kafka, Registry, Topics
from tests.faults.verifier.segments import read_partition
from tests.support.faults.process import ScorerProcess, wait_until

PARTITIONS = 64
BACKLOG, QUICK_BACKLOG = 1_000_000, 60_000
_EVENTS_EACH = 500
"""Of the backlog, per customer: eight times what is remembered, so that memory can be flat."""
_LEAST_KEYS = 12
"""Customers for each partition at least, on average: none may be without."""
_AT_ONCE = 5_000
_QUEUE = 200_000
_GLANCE_SECONDS = 0.2
_LEAST_RATE = 2_000
_FLUSH_SECONDS = 120


class Crowd:
    """A topic of many partitions, and one scorer for all of them.

    Args:
        kafka: The broker.
        folder: Where the scorer's output is kept.
        partitions: How many.
        keys: How many customers.
    """

    def __init__(self, kafka: DevKafka, folder: Path, partitions: int, keys: int) -> None:
        unique = uuid.uuid4().hex[:8]
        topics = {name: f"{unique}-{field.default}" for name, field in Topics.model_fields.items()}
        self.partitions = partitions
        self.settings = Kafka(
            bootstrap=kafka.bootstrap, group=f"group-{unique}", instance="0",
            topics=Topics(**topics),
        )  # fmt: skip
        self._kafka = kafka
        self._folder = folder
        self._keys = keys
        self._sent = 0
        self._started = 0
        self._ends: dict[int, int] = defaultdict(int)
        create_topics(self.settings, partitions, replication=1)
        # It never joins.
        self._reader = Consumer(config.common(self.settings) | {"group.id": self.settings.group})

    def send(self, count: int) -> None:
        """Send so many further events; all lie at the broker when this returns."""
        encode = TransactionEncoder(Registry())
        producer: Any = Producer(
            config.common(self.settings)
            | {"enable.idempotence": True, "partitioner": "murmur2_random", "linger.ms": 20}
            | {"queue.buffering.max.messages": 2 * _QUEUE + _AT_ONCE}
        )

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                raise SystemExit(f"an event was refused: {error}")
            place = message.partition()
            self._ends[place] = max(self._ends[place], message.offset() + 1)

        for at in range(0, count, _AT_ONCE):
            number = min(_AT_ONCE, count - at)
            rows = customers.later_events(self._sent, number, self._keys)
            keys = rows.column("customer_id").cast(pa.binary()).to_pylist()
            messages = [
                {"key": key, "value": value, "callback": delivered}
                for key, value in zip(keys, encode(rows), strict=True)
            ]
            while len(producer) > _QUEUE:
                producer.poll(_GLANCE_SECONDS)
            taken = producer.produce_batch(self.settings.topics.transactions, messages)
            if taken != number:
                raise SystemExit(f"the producer took {taken} of {number} events")
            self._sent += number
        if producer.flush(_FLUSH_SECONDS):
            raise SystemExit("events were not acknowledged")

    def start(self) -> ScorerProcess:
        """Start the scorer."""
        first = () if self._started else ("--from", "earliest")
        self._started += 1
        return ScorerProcess(
            self.settings, self._folder / f"scorer-{self._started}.log", *first, fresh=True
        )

    def committed(self) -> int:
        """Return how many records the group has committed, over all partitions."""
        topic = self.settings.topics.transactions
        places = [TopicPartition(topic, partition) for partition in range(self.partitions)]
        return sum(max(place.offset, 0) for place in self._reader.committed(places, 30))

    def drained(self, scorer: ScorerProcess) -> tuple[list[float], list[float]]:
        """Wait until everything is committed; return (seconds, bytes of memory) meanwhile."""
        process = psutil.Process(scorer.pid)
        seconds: list[float] = []
        rss: list[float] = []

        def done() -> bool:
            if not scorer.alive:
                raise SystemExit(f"the scorer ended: {scorer.said}")
            time.sleep(_GLANCE_SECONDS)
            if (now := self.committed()) > 0:
                seconds.append(time.monotonic())
                rss.append(float(process.memory_info().rss))
            return now == self._sent

        patience = 60.0 + self._sent / _LEAST_RATE
        wait_until(done, lambda: f"all is committed: {scorer.said}", patience)
        return seconds, rss

    def decided(self) -> dict[int, list[int]]:
        """Return by partition when each decision was made, ms."""
        found: dict[int, list[int]] = defaultdict(list)
        for message in read_all(self.settings, self.settings.topics.decisions):
            found[message.partition()].append(message.timestamp()[1])
        return found

    def producers(self) -> set[int]:
        """Return the ids of the producers that wrote decisions, by the broker's log."""
        node = self._kafka.brokers[0].node
        replicas = [self._kafka.directory / f"node-{node}" / "data"]
        topic = self.settings.topics.decisions
        logs = [read_partition(replicas, topic, number) for number in range(self.partitions)]
        return {batch.producer for log in logs for batch in log.batches}

    @property
    def busy(self) -> int:
        """How many partitions have input."""
        return len(self._ends)

    def close(self) -> None:
        """Let go of the connection."""
        self._reader.close()


def measure(
    partitions: int, backlog: int, say: Callable[[str], None] = lambda _: None, *, quick: bool
) -> dict[str, Any]:
    """Let one worker decide a backlog, then start it anew beside another; return the report.

    Args:
        partitions: Of the input.
        backlog: Events that lie there before it starts; half as many when it is started anew.
        say: Told how far it is.
        quick: Whether Kafka starts sooner and is slower.
    """
    with (
        tempfile.TemporaryDirectory(prefix="many-") as folder,
        DevKafka(1, Path(folder) / "kafka", quick=quick) as kafka,
    ):
        crowd = Crowd(
            kafka, Path(folder), partitions, max(backlog // _EVENTS_EACH, _LEAST_KEYS * partitions)
        )
        crowd.send(backlog)
        if crowd.busy < partitions:
            raise SystemExit(f"{crowd.busy} of {partitions} partitions have input: take more")
        say(f"{backlog} events lie in {partitions} partitions")
        with crowd.start() as scorer:
            seconds, rss = crowd.drained(scorer)
            times = {p: np.sort(np.array(t, np.int64)) for p, t in crowd.decided().items()}
            drain = Drain(times, np.array(seconds), np.array(rss))
            say("the backlog is decided")
            # As a crash would, so that there is something to replay beside what is to be loaded.
            scorer.kill()
        before = crowd.committed()
        crowd.send(backlog // 2)
        began = time.monotonic()
        with crowd.start() as scorer:
            scorer.wait_ready()
            whole = time.monotonic() - began
            meanwhile = crowd.committed() - before
            say(f"whole after {whole:.1f} s")
            crowd.drained(scorer)
        producers = len(crowd.producers())
        crowd.close()
    return report(drain, producers, whole, meanwhile) | {"backlog": backlog}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small backlog")
    parser.add_argument("--backlog", type=int, help="events")
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    options = parser.parse_args()

    def say(line: str) -> None:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        sys.stderr.flush()

    backlog = options.backlog or (QUICK_BACKLOG if options.quick else BACKLOG)
    document = measure(options.partitions, backlog, say, quick=options.quick)
    failed = failures(document)
    document["missed"] = failed
    Console(width=100).print(document)
    return conclude(document, failed)


if __name__ == "__main__":
    sys.exit(main())
