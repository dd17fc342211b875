"""One worker, 64 partitions, a backlog of a million: one producer, flat memory, no starvation.

The backlog is in the topic before the scorer starts. Then further events are sent while it is
stopped, and it is restarted with them as a new backlog.

- ``producers``: producer ids in the broker's log of the decisions.
- ``longest_pause_seconds``: the longest time for which a partition with a backlog had no decision.
- ``least_at_half_time``: the share of its records that the slowest partition had decided when half
  of all were.
- ``memory``: resident memory while the backlog is decided; its growth is fitted after a warm-up.
- ``restore_seconds``: from the restart until the state of all partitions was complete, and
  ``decided_while_restoring``, the decisions until then.
"""

import sys
import time
from collections import defaultdict
from typing import Any

import numpy as np

from bench.harness import customers
from bench.harness.arena import FULL, Arena
from bench.harness.process import Contender, until
from bench.harness.script import Number, Script, say
from bench.verdicts.many_partitions import Drain, failures, report
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.producing.transactions import open_feed
from tests.faults.verifier.segments import read_partition

PARTITIONS = 64
QUICK_BACKLOG = 60_000
_SOURCE = "crowd.transactions"
_EVENTS_EACH = 500
"""Of the backlog, per customer: eight times the remembered events, so that memory can be flat."""
_LEAST_KEYS = 12
"""Minimum of customers per partition, on average, so that every partition has some."""
_AT_ONCE = 5_000
_GLANCE_SECONDS = 0.2
_LEAST_RATE = 2_000
_READY_SECONDS = 90.0


class Crowd:
    """A topic of many partitions, and one scorer for all of them.

    Args:
        arena: Where.
        keys: How many customers.
    """

    def __init__(self, arena: Arena, keys: int) -> None:
        self._arena = arena
        self._keys = keys
        self._sent = 0
        arena.create({_SOURCE: arena.partitions})
        self._entry = arena.entry(
            "crowd", _SOURCE, "run", "--from", "earliest", "--model", FULL, probed=True
        )
        arena.create_outputs(self._entry)
        self._kafka = self._entry.settings.kafka

    def send(self, count: int) -> None:
        """Send so many further events; the broker has all of them when this returns."""
        with open_feed(self._kafka, self._entry.settings.registry) as feed:
            for at in range(0, count, _AT_ONCE):
                number = min(_AT_ONCE, count - at)
                feed.send(customers.later_events(self._sent, number, self._keys))
                self._sent += number

    def start(self) -> Contender:
        """Start the scorer."""
        scorer = self._arena.start(self._entry)
        scorer.begin()
        return scorer

    def committed(self) -> int:
        """Return how many records the group has committed, over all partitions."""
        return self._arena.committed(self._kafka.group, _SOURCE)

    def drained(self, scorer: Contender) -> tuple[list[float], list[float]]:
        """Wait until everything is committed; return (seconds, bytes of memory) meanwhile."""
        seconds: list[float] = []
        rss: list[float] = []

        def done() -> bool:
            if (now := self.committed()) > 0:
                seconds.append(time.monotonic())
                rss.append(float(scorer.resident))
            return now == self._sent

        until(
            done, lambda: f"all is committed: {scorer.last}", 60.0 + self._sent / _LEAST_RATE,
            scorer, glance=_GLANCE_SECONDS,
        )  # fmt: skip
        return seconds, rss

    def decided(self) -> dict[int, list[int]]:
        """Return by partition when each decision arrived at the broker, ms."""
        found: dict[int, list[int]] = defaultdict(list)
        for message in self._arena.outputs(self._kafka.topics.decisions):
            found[message.partition()].append(message.timestamp()[1])
        return found

    def producers(self) -> set[int]:
        """Return the ids of the producers that wrote decisions, by the broker's log."""
        topic, numbers = self._kafka.topics.decisions, range(self._arena.partitions)
        logs = [read_partition([self._arena.data], topic, number) for number in numbers]
        return {batch.producer for log in logs for batch in log.batches}

    def refuse_empty(self) -> None:
        """Raise when a partition has no input."""
        _, ends = bounds(self._kafka, _SOURCE)
        if busy := sum(end == 0 for end in ends.values()):
            raise SystemExit(f"{busy} of {len(ends)} partitions have no input: use a larger one")


def measure(partitions: int, backlog: int, *, quick: bool) -> dict[str, Any]:
    """Run one worker over a backlog, then restart it with another; return the report.

    Args:
        partitions: Of the input.
        backlog: Number of events before it starts; half as many when it is restarted.
        quick: Whether Kafka starts sooner but is slower.
    """
    with Arena(partitions, quick=quick) as arena:
        crowd = Crowd(arena, max(backlog // _EVENTS_EACH, _LEAST_KEYS * partitions))
        crowd.send(backlog)
        crowd.refuse_empty()
        say(f"{backlog} events are in {partitions} partitions")
        scorer = crowd.start()
        seconds, rss = crowd.drained(scorer)
        times = {p: np.sort(np.array(t, np.int64)) for p, t in crowd.decided().items()}
        drain = Drain(times, np.array(seconds), np.array(rss))
        say("the backlog is decided")
        # As a crash would, so that the restart has records to replay and buckets to load.
        scorer.kill()
        before = crowd.committed()
        crowd.send(backlog // 2)
        began = time.monotonic()
        scorer = crowd.start()
        until(scorer.ready, "the scorer is ready", _READY_SECONDS)
        ready = time.monotonic() - began
        meanwhile = crowd.committed() - before
        say(f"ready after {ready:.1f} s")
        crowd.drained(scorer)
        scorer.stop()
        producers = len(crowd.producers())
    return report(drain, producers, ready, meanwhile) | {"backlog": backlog}


def main() -> int:
    script = Script(
        __doc__, "a small backlog",
        backlog=Number(1_000_000, QUICK_BACKLOG, "events"),
        partitions=Number(PARTITIONS, PARTITIONS, "of the input"),
    )  # fmt: skip
    document = measure(script.options.partitions, script.options.backlog, quick=script.quick)
    shown = (f"{name}: {value}" for name, value in document.items())
    return script.conclude(document, failures(document), *shown)


if __name__ == "__main__":
    sys.exit(main())
