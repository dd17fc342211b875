"""Watches the scorers from outside: whether one is assigned, and how long their backlog takes."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from confluent_kafka import ConsumerGroupState

from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.kafka.topics.lag import LagReader
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Listener

NO_BROKER: Final = "no broker"
NO_SCORER: Final = "no assigned scorer"
_GROUP: Final = "scorers' group"
_LAG: Final = "scorers' lag"
_MOVING: Final = (
    ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING,
)  # fmt: skip
_EVERY_SECONDS: Final = 0.5
_OBSERVATIONS: Final = 240
"""Two minutes: a backlog that is older refuses all the same."""
_Answer = TypeVar("_Answer")


class BacklogAge:
    """How long the scorers' backlog is, in time: how old the records are that they decide now.

    A rate is not needed: the oldest record without a decision has come after the last observation
    in which its offset was not there. So an age is up to one observation too low.
    """

    def __init__(self) -> None:
        self._ends: dict[int, deque[tuple[float, int]]] = {}

    def note(self, now: float, offsets: Mapping[int, tuple[int, int]]) -> float:
        """Note an observation, and return the median age over the partitions, seconds.

        A partition whose scorer has stopped does not count for the customers of the others.

        Args:
            now: Seconds.
            offsets: Next offset that the scorers decide, and end of the partition, by partition.
        """
        ages = []
        for partition, (committed, end) in offsets.items():
            ends = self._ends.setdefault(partition, deque(maxlen=_OBSERVATIONS))
            ends.append((now, end))
            while ends and ends[0][1] <= committed:
                ends.popleft()
            ages.append(now - ends[0][0] if ends else 0.0)
        ages.sort()
        return ages[(len(ages) - 1) // 2] if ages else 0.0


class ScorersWatch:
    """Watches on a thread.

    Args:
        kafka: The cluster, and the scorers' group.
        reached: Called on the thread each time that a broker has answered.
        seen: Called on the thread with the age of the backlog, seconds, each time that it is known.
        listener: Notified why nothing can be observed.

    Attributes:
        failure: What ended its thread; None while it runs.
    """

    def __init__(
        self, kafka: Kafka, reached: Callable[[], None], seen: Callable[[float], None],
        listener: Listener,
    ) -> None:  # fmt: skip
        self._kafka = kafka
        self._reached = reached
        self._seen = seen
        self._listener = listener
        self._topic = kafka.topics.transactions
        self._lag = LagReader(kafka, kafka.group, self._topic, settle_seconds=0.0)
        self._groups = Groups(kafka)
        self._down = NO_SCORER
        self._committed: dict[int, int] = {}
        self._backlog = BacklogAge()
        self._unanswered: set[str] = set()
        self.failure: BaseException | None = None
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
        try:
            while not self._stopped.wait(_EVERY_SECONDS):
                self._observe()
        except BaseException as error:  # noqa: BLE001 a thread that ends must not look alive
            self.failure = error

    def _observe(self) -> None:
        assigned = self._noting(_GROUP, self._assigned)
        if assigned is None:
            self._down = NO_BROKER
            return
        self._reached()
        self._down = "" if assigned else NO_SCORER
        # A partition may have no leader for some seconds. The scorers of the others still decide,
        # so an unknown lag does not make a gateway unready.
        lags = self._noting(_LAG, self._lag.read) if assigned else None
        if lags is not None:
            self._committed = {each.partition: each.committed or 0 for each in lags}
            offsets = {each.partition: (each.high - each.to_high, each.high) for each in lags}
            self._seen(self._backlog.note(time.monotonic(), offsets))

    def _noting(self, subject: str, ask: Callable[[], _Answer]) -> _Answer | None:
        """Return an answer; None without one. The first and the last failure are reported."""
        try:
            found = ask()
        except (UnavailableError, SettingsError) as error:
            if subject not in self._unanswered:
                self._unanswered.add(subject)
                self._listener(DependencyUnavailable(subject, str(error)))
            return None
        if subject in self._unanswered:
            self._unanswered.remove(subject)
            self._listener(DependencyBack(subject))
        return found

    def _assigned(self) -> bool:
        described = self._groups.described(self._kafka.group, 0.0)
        if described is None:
            return False
        if described.members and described.state in _MOVING:
            # During a rebalance the broker names no assignments. All gateways see it: they must not
            # leave the load balancer together each time that a scorer starts or ends.
            return not self._down
        return any(
            at.topic == self._topic
            for member in described.members
            if member.assignment
            for at in member.assignment.topic_partitions
        )
