"""Scorers as a queue with simulated time, to see what admission does to latency and rate."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from stream_scorer.serving.decisions.admission import Admission

NOISE: Final = 0.3
"""Largest share by which times are longer."""
_BROKER_SECONDS: Final = 0.005
"""From a process to the broker and to the next process."""
_BATCH_SECONDS: Final = 0.003
"""Computing time of a batch besides its records."""
_LINGER_SECONDS: Final = 0.004


@dataclass
class Seen:
    """What a run has shown: times of arrival, and latencies of what was accepted."""

    accepted: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)

    def latency(self, share: float, begin: float = 0.0, end: float = 1e9) -> float:
        """Return a quantile of the latencies of what arrived in a time, seconds."""
        found = sorted(took for at, took in self.accepted if begin <= at < end)
        return found[min(int(len(found) * share), len(found) - 1)]

    def rate(self, begin: float, end: float) -> float:
        """Return accepted decisions per second of arrivals in a time."""
        return sum(begin <= at < end for at, _ in self.accepted) / (end - begin)


class SimulatedScorers:
    """A scorer that decides in batches, as ``stream_scorer/kafka/loop/transaction.py`` does.

    It takes all that waits as one batch, computes it, and commits it. What waits when a batch is
    computed is computed while that one is committed, but only if computing took longer than the
    last commit. So a batch that holds all that is in flight leaves the scorer idle while it is
    committed.

    Args:
        row_seconds: Computing time of a record, at a time; infinite while the scorer stands still.
        commit_seconds: Time of a commit.
        seed: Of the arrivals and of the noise.
        slow_commits: Share of the commits that take 80 ms longer.
    """

    def __init__(
        self, row_seconds: Callable[[float], float], commit_seconds: float, seed: int = 1,
        slow_commits: float = 0.0,
    ) -> None:  # fmt: skip
        self.now = 0.0
        self._row = row_seconds
        self._commit = commit_seconds
        self._random = random.Random(seed)  # noqa: S311 a simulation
        self._slow_commits = slow_commits
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._waiting: deque[float] = deque()
        self._idle = True
        self._polled = -1.0
        self._committing_took = float("inf")
        self.seen = Seen()
        self.admission: Admission | None = None

    def run(
        self, rate: Callable[[float], float], seconds: float, admission: Admission | None
    ) -> Seen:
        """Let records arrive at a rate for some seconds, and decide those that are admitted."""
        self.admission = admission
        self._arrivals, self._end = rate, seconds
        self._at(0.0, self._arrive)
        self._at(0.01, self._tick)
        while self._events:
            self.now, _, happen, arguments = heapq.heappop(self._events)
            happen(*arguments)
        return self.seen

    def _at(self, time: float, happen: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, happen, arguments))

    def _tick(self) -> None:
        if self.admission is not None:
            self.admission.advance()
            self.seen.limits.append((self.now, self.admission.limit))
        if self.now < self._end:
            self._at(self.now + 0.01, self._tick)

    def _longer(self, seconds: float) -> float:
        return seconds * (1 + self._random.random() * NOISE)

    # -- a record's way -----------------------------------------------------------------------

    def _arrive(self) -> None:
        rate = self._arrivals(self.now)
        if rate:
            if self.admission is not None and self.admission.admit(1) is not None:
                self.seen.refused.append(self.now)
            else:
                self._at(self.now + self._longer(_BROKER_SECONDS), self._appended, self.now)
        gap = self._random.expovariate(rate) if rate else 0.01
        if self.now + gap < self._end:
            self._at(self.now + gap, self._arrive)

    def _appended(self, arrived: float) -> None:
        self._waiting.append(arrived)
        if self._idle:
            self._idle = False
            self._at(max(self.now, self._polled + _LINGER_SECONDS), self._poll)

    def _told(self, batch: list[float]) -> None:
        for arrived in batch:
            took = self.now - arrived
            self.seen.accepted.append((arrived, took))
            if self.admission is not None:
                self.admission.decided(took)

    # -- a scorer's turn ----------------------------------------------------------------------

    def _taken(self) -> tuple[list[float], float]:
        """Return what waits, as a batch, and the time of its computation."""
        self._polled = self.now
        batch = list(self._waiting)
        self._waiting.clear()
        return batch, self._longer(_BATCH_SECONDS + self._row(self.now) * len(batch))

    def _poll(self) -> None:
        if self._row(self.now) == float("inf"):
            self._at(self.now + 0.01, self._poll)
            return
        batch, took = self._taken()
        self._at(self.now + took, self._computed, batch, took)

    def _computed(self, batch: list[float], took: float) -> None:
        ahead = None
        pays = took > self._committing_took and self._row(self.now) < float("inf")
        if self._waiting and pays:
            following, seconds = self._taken()
            ahead = following, seconds, self.now + seconds
        commit = self._longer(self._commit)
        if self._random.random() < self._slow_commits:
            commit += 0.08
        self._at(self.now + commit, self._committed, batch, commit, ahead)

    def _committed(
        self, batch: list[float], took: float, ahead: tuple[list[float], float, float] | None
    ) -> None:
        self._committing_took = took
        self._at(self.now + self._longer(_BROKER_SECONDS), self._told, batch)
        if ahead is not None:
            following, seconds, until = ahead
            self._at(max(self.now, until), self._computed, following, seconds)
        elif self._waiting:
            self._at(max(self.now, self._polled + _LINGER_SECONDS), self._poll)
        else:
            self._idle = True
