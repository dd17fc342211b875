"""The producer of ``bench/latency.py``: sends on a schedule, and notes how well it kept it.

The schedule is open loop: record i is due at start + i / rate, however late others are. What is due
goes to the client, and then the producer sleeps until the next record is due, or a millisecond at
high rates. Before the schedule, which begins at a second signal, it sends the history.
"""

import gc
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from bench.latency_steps.stages import Sent
from bench.latency_steps.traffic import Traffic, in_order, labels_between
from stream_scorer.kafka.reading import paced_producer
from stream_scorer.settings import Kafka, load_settings

HISTORY_SENT = "the history is sent"
_LINGER_MS = 1
_ROOM_SECONDS = 0.05
_LEAST_SLEEP_SECONDS = 0.001
_FLUSH_SECONDS = 120.0
_LEAD_SECONDS = 0.2


class Schedule:
    """When records are due, and what is due now.

    Args:
        rate: Records a second.
        count: How many.
        start: When the first is due, seconds since the epoch.
    """

    def __init__(self, rate: float, count: int, start: float) -> None:
        self._rate = rate
        self._start = start
        self.due = start + np.arange(count) / rate

    def end_at(self, now: float) -> int:
        """Return how many records are due at a time."""
        return int(np.searchsorted(self.due, now, side="right"))

    def wait_at(self, now: float, given: int) -> float:
        """Return how long to sleep when ``given`` records were sent; 0 if the next is due."""
        left = float(self.due[given]) - now
        return max(left, _LEAST_SLEEP_SECONDS) if left > 0 else 0.0


class Sender:
    """Sends transactions and labels to their topics.

    Args:
        kafka: Cluster and topics.
        traffic: What is sent.
    """

    def __init__(self, kafka: Kafka, traffic: Traffic) -> None:
        self._topics = kafka.topics
        self._keys, self._values = traffic.keys.to_list(), traffic.values.to_list()
        self._labels, self._history = traffic.labels.to_list(), traffic.history.to_list()
        self._before = traffic.before
        self._places = traffic.before.tolist()
        self._producer = Producer(
            paced_producer.options(kafka, _LINGER_MS) | {"delivery.report.only.error": False}
        )
        # Connects, so that the first record does not wait for it.
        for topic in (self._topics.transactions, self._topics.labels):
            self._producer.list_topics(topic, 10.0)
        self._acknowledged = np.full(len(self._values), np.nan)
        self._failure: Any = None

    def send_history(self) -> None:
        """Send the history as fast as the broker accepts it.

        Raises:
            SystemExit: The broker refused a record.
        """
        for key, value in zip(self._keys, self._history, strict=False):
            while True:
                try:
                    self._producer.produce(self._topics.transactions, value, key)
                    break
                except BufferError:
                    self._producer.poll(_ROOM_SECONDS)
        self._flush()

    def _flush(self) -> None:
        if self._producer.flush(_FLUSH_SECONDS) or self._failure is not None:
            raise SystemExit(f"the broker did not accept all records: {self._failure}")

    def run(self, schedule: Schedule, clock: Callable[[], float] = time.time) -> Sent:
        """Send all as they become due; return when each was sent and acknowledged.

        Raises:
            SystemExit: The broker refused a record.
        """
        given, count = 0, len(self._values)
        sent = np.empty(count)
        while given < count:
            now = clock()
            end = schedule.end_at(now)
            if end > given:
                self._send(given, end)
                sent[given:end] = clock()
                given = end
            self._producer.poll(0)
            if given < count and (wait := schedule.wait_at(clock(), given)):
                time.sleep(wait)
        self._flush()
        return Sent(schedule.due, sent, self._acknowledged)

    def _send(self, first: int, end: int) -> None:
        produce, topics = self._producer.produce, self._topics
        labels = labels_between(self._before, first, end)
        for is_label, number in in_order(self._places, first, end, labels):
            if is_label:
                produce(topics.labels, self._labels[number], self._keys[number])
            elif number == end - 1:
                produce(
                    topics.transactions, self._values[number], self._keys[number],
                    on_delivery=partial(self._note, number),
                )  # fmt: skip
            else:
                produce(topics.transactions, self._values[number], self._keys[number])

    def _note(self, number: int, error: Any, _: object) -> None:
        """Note an answer; only the last record of a chunk has this callback."""
        self._acknowledged[number] = time.time()
        self._failure = self._failure or error


def prepare(arguments: Sequence[str]) -> Callable[[], None]:
    """Return the run of a producer.

    Args:
        arguments: File of the traffic, file for the result, rate, count.
    """
    traffic, out = Path(arguments[0]), Path(arguments[1])
    rate, count = float(arguments[2]), int(arguments[3])
    sender = Sender(load_settings().kafka, Traffic.read(traffic, count))

    def run() -> None:
        gc.disable()
        sender.send_history()
        print(HISTORY_SENT, flush=True)
        # Blocked since the process began.
        signal.sigwait({signal.SIGUSR1})
        found = sender.run(Schedule(rate, count, time.time() + _LEAD_SECONDS))
        # Complete under its name, or not there.
        part = out.with_suffix(".part.npz")
        np.savez(part, due=found.due, sent=found.sent, acknowledged=found.acknowledged)
        part.rename(out)

    return run


def read_sent(file: Path) -> Sent:
    """Read what a producer noted."""
    with np.load(file) as found:
        return Sent(found["due"], found["sent"], found["acknowledged"])
