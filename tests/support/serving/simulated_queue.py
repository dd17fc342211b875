"""Scorers as a queue with simulated time, to see what admission does to latency and rate."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stream_scorer.serving.decisions.admission import Admission


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
    """A scorer that takes all that waits as one batch; the commit overlaps the next computation.

    Args:
        row_seconds: Computing time of a record, at a time.
        commit_seconds: Time from the end of a batch's computation until its decisions are read.
        seed: Of the arrivals and of the noise.
        noise: Largest share by which times are longer.
    """

    def __init__(
        self, row_seconds: Callable[[float], float], commit_seconds: float, seed: int = 1,
        noise: float = 0.3,
    ) -> None:  # fmt: skip
        self.now = 0.0
        self._row = row_seconds
        self._commit = commit_seconds
        self._random = random.Random(seed)  # noqa: S311 a simulation
        self._noise = noise
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._waiting: deque[float] = deque()
        self._busy = False
        self._committing = False
        self._ahead: list[float] | None = None
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

    def _arrive(self) -> None:
        rate = self._arrivals(self.now)
        if rate:
            if self.admission is not None and self.admission.admit(1) is not None:
                self.seen.refused.append(self.now)
            else:
                self._waiting.append(self.now)
                self._take()
        gap = self._random.expovariate(rate) if rate else 0.01
        if self.now + gap < self._end:
            self._at(self.now + gap, self._arrive)

    def _longer(self, seconds: float) -> float:
        return seconds * (1 + self._random.random() * self._noise)

    def _take(self) -> None:
        if self._busy or not self._waiting:
            return
        row = self._row(self.now)
        if row == float("inf"):
            self._at(self.now + 0.01, self._take)
            return
        batch = list(self._waiting)
        self._waiting.clear()
        self._busy = True
        self._at(self.now + self._longer(row * len(batch)), self._computed, batch)

    def _computed(self, batch: list[float]) -> None:
        # At most one batch is computed ahead: it waits for the commit of the one before it.
        if self._committing:
            self._ahead = batch
            return
        self._busy = False
        self._committing = True
        self._at(self.now + self._longer(self._commit), self._committed, batch)
        self._take()

    def _committed(self, batch: list[float]) -> None:
        self._committing = False
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            self._computed(ahead)
        for arrived in batch:
            took = self.now - arrived
            self.seen.accepted.append((arrived, took))
            if self.admission is not None:
                self.admission.decided(took)
