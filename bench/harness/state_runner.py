"""One scorer of ``bench/state.py``: its input, its checkpoint, its process, what it tells."""

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from bench.harness.arena import PARTITIONS, Arena, Contender, Entry
from bench.verdicts.state import Size, round_rates
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.kafka.topics import config
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import Settings
from stream_scorer.state.stores.topic_store import publish

MODEL = "state"
_LEAST_RATE = 2_000
_GLANCE_SECONDS = 0.05
_WHOLE_SECONDS = 600.0
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
            config.producer(settings.kafka, f"{self._topic}-feed")
            | {"transaction.timeout.ms": _SEND_SECONDS * 1_000, "linger.ms": 20}
        )
        self._producer.init_transactions(_SEND_SECONDS)
        self.rounds: list[int] = []

    def begin(self) -> None:
        """Begin a round; nobody sees its events before ``commit``."""
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
        # A marker of each earlier round lies in every partition.
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
        self._port = _free_port()
        self._source = f"{name}.transactions"
        self._store = arena.directory / "models"
        self.entry = self._entry(name, paid)
        arena.create({self._source: PARTITIONS})
        arena.create_outputs(self.entry)
        self.feed = Feed(self.entry.settings)
        self._started = 0.0
        self._contender: Contender | None = None

    def _entry(self, name: str, paid: float) -> Entry:
        state = {"bytes_per_event": paid} if self.way == "on" else _OFF
        return self._arena.entry(
            name, self._source, "run", "--model", MODEL, store=self._store,
            http={"port": self._port}, state=state,
        )  # fmt: skip

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
        """Start the process; it waits behind its imports."""
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
        """Let it begin; return the seconds from its start until its state is whole.

        While it waits for its turn behind its imports, no time passes.
        """
        self.start()
        self.contender.wait_ready()
        imported = self.contender.ready_at - self._started
        self.contender.go()
        begun = time.time()
        while not self._whole():
            self.contender.refuse_death()
            if time.time() - begun > _WHOLE_SECONDS:
                raise SystemExit(f"{self.entry.name}: not whole after {_WHOLE_SECONDS:.0f} s")
            time.sleep(_GLANCE_SECONDS)
        return imported + time.time() - begun

    def renew(self) -> None:
        """End it in order and start its process anew; it waits behind its imports."""
        self.stop()
        self._contender = None
        self.start()

    def restart(self) -> float:
        """End it in order and restore it anew."""
        self.renew()
        return self.restore()

    def stop(self) -> None:
        """End it in order."""
        self.contender.stop()

    @property
    def resident(self) -> int:
        """Bytes of resident memory."""
        status = Path(f"/proc/{self.contender.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1_024

    def drain(self) -> None:
        """Show it the round and wait until it has decided all of it."""
        total = self.feed.commit()
        seconds = 60.0 + self.feed.rounds[-1] / _LEAST_RATE
        self._arena.wait_committed(self.contender, total, seconds)

    def metric(self, name: str) -> int:
        """Return a metric's value, summed over its labels."""
        return int(
            sum(
                sample.value
                for family in text_string_to_metric_families(self._get("/metrics").decode())
                for sample in family.samples
                if sample.name == f"stream_scorer_{name}"
            )
        )

    def rates(self) -> list[float]:
        """Return the events per second of every round but the first."""
        arena, topic = self._arena, self.entry.settings.kafka.topics.summaries
        text = reader_schema("summary.v1")
        codec = RecordCodec(arena.registry.id_for("summaries-value", text), text)
        seen = [
            (message.timestamp()[1], codec.decode(message.value(), arena.registry)["records"])
            for message in arena.outputs(topic)
        ]
        times, records = np.array(seen, np.int64).T
        return round_rates(times, records, self.feed.rounds)

    def _whole(self) -> bool:
        try:
            return bool(json.loads(self._get("/health/ready"))["ready"])
        except OSError:
            return False

    def _get(self, path: str) -> bytes:
        address = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            body: bytes = answer.read()
        return body


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
