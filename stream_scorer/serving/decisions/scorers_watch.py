"""Watches the scorers from outside: whether one is assigned, and how long their backlog takes."""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.kafka.topics.lag import LagReader
from stream_scorer.settings import Kafka

NO_BROKER: Final = "no broker"
NO_SCORER: Final = "no assigned scorer"
_EVERY_SECONDS: Final = 0.5
_RATE_SECONDS: Final = 10.0


class DecisionRate:
    """The rate at which the scorers have ended records lately: decided or rejected.

    Args:
        clock: Seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._total = 0

    def add(self, records: int) -> None:
        """Count records; thread-safe."""
        with self._lock:
            self._total += records

    def per_second(self) -> float:
        """Return the highest rate of the last ten seconds, by the calls of this method."""
        now = self._clock()
        with self._lock:
            self._counted.append((now, self._total))
            while len(self._counted) > 2 and self._counted[1][0] < now - _RATE_SECONDS:  # noqa: PLR2004 a difference needs two
                self._counted.popleft()
            places = list(self._counted)
        rates = [
            (count - before) / (at - since)
            for (since, before), (at, count) in pairwise(places)
            if at > since
        ]
        return max(rates, default=0.0)


def backlog_seconds(lag: int, own: int, rate: float, timeout: float) -> float:
    """Return how long the scorers need for the records of other producers.

    Args:
        lag: Records that are not decided.
        own: How many of them this process waits for.
        rate: Decisions per second; 0: none lately.
        timeout: The result for a backlog that nothing is decided of.
    """
    others = max(lag - own, 0)
    if not others:
        return 0.0
    return others / rate if rate else timeout


class ScorersWatch:
    """Watches on a thread.

    Args:
        kafka: The cluster, and the scorers' group.
        seen: Called on the thread with the lag in records after each observation.
    """

    def __init__(self, kafka: Kafka, seen: Callable[[int], None]) -> None:
        self._kafka = kafka
        self._seen = seen
        self._topic = kafka.topics.transactions
        self._lag = LagReader(kafka, kafka.group, self._topic, settle_seconds=0.0)
        self._groups = Groups(kafka)
        self._down = NO_SCORER
        self._committed: dict[int, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scorers-watch", daemon=True)

    @property
    def down(self) -> str:
        """Why nothing can be decided now: ``NO_BROKER``, ``NO_SCORER``, or empty."""
        return self._down

    def committed(self, partition: int) -> int:
        """Return the next offset that the scorers decide, as of the last observation."""
        return self._committed.get(partition, 0)

    def start(self) -> None:
        """Observe once, then go on on a thread."""
        self._observe()
        self._thread.start()

    def close(self) -> None:
        """Stop watching, and close the connections."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._lag.close()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_SECONDS):
            self._observe()

    def _observe(self) -> None:
        try:
            assigned = self._assigned()
            if assigned:
                lags = self._lag.read()
                self._committed = {each.partition: each.committed or 0 for each in lags}
                self._seen(sum(each.to_high for each in lags))
        except (UnavailableError, SettingsError):
            self._down = NO_BROKER
            return
        self._down = "" if assigned else NO_SCORER

    def _assigned(self) -> bool:
        described = self._groups.described(self._kafka.group, 0.0)
        if described is None:
            return False
        return any(
            at.topic == self._topic
            for member in described.members
            if member.assignment
            for at in member.assignment.topic_partitions
        )
