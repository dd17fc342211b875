"""Admission: how many transactions may be in flight, so that accepted ones stay fast.

A queue in front of the scorers makes every request slower and decides none of them sooner. So the
number in flight is limited, and the limit follows the latency, as TCP Vegas does (Brakmo and
Peterson, "TCP Vegas: end to end congestion avoidance", 1995):

- The *base* is the latency without a queue: the 99th percentile of a round of decisions while no
  request is refused, in the median of half a minute.
- While requests are refused, the limit grows as long as three quarters of a round took less than
  1.45 times the base, and shrinks above that. Scorers decide in batches, and a record may have to
  wait for the batch before its own: the slowest take at most 1/7 longer than three quarters do. So
  the 99th percentile stays below twice the base. A higher percentile of a round would be that of
  one slow commit, and the limit would follow those.
- While requests are refused, admissions are paced: at 1.1 times the limit per mean latency, as
  Linux paces TCP. Otherwise the places that a commit frees would be taken within a moment, and one
  batch would hold all that is in flight. Then scorers compute and commit in turn, instead of at the
  same time, and have a third less throughput at the same latency.
- Under a lasting overload the latency without a queue cannot be seen. So every ten seconds the
  limit is a third for one round, as in the ProbeRTT of BBR (Cardwell et al., 2016).
- While nothing is refused, the limit is what arrives within the time limit of a request, so that a
  scorer may pause for a moment.
- The scorers also decide records of other producers. If their backlog alone takes longer than a
  request may wait, nothing is admitted.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_GAIN: Final = 1.45
_FLOOR: Final = 2
_START: Final = 32
_BURST: Final = 2
"""While nothing is refused and nothing queues, the limit is so many times what is in flight."""
_ROUND_LEAST, _REFUSING_ROUND_LEAST = 20, 50
"""Decisions of a round, unless they take longer than a second."""
_ROUND_LEAST_SECONDS: Final = 0.05
_REFUSING_ROUND_BASES: Final = 2
"""While requests are refused, a round takes at least so many times the base: a change of the limit
shows in what is decided one latency later."""
_ROUND_MOST_SECONDS: Final = 1.0
_CALM_ROUND_SECONDS: Final = 10.0
_CALM_SECONDS: Final = 2.0
"""After the last refusal; under an overload, a round may pass without one."""
_JUDGED_SHARE: Final = 0.75
_BASE_SECONDS: Final = 30.0
_BASE_OF_ROUND: Final = 0.99
_BASE_SHARE: Final = 0.5
"""Quantile of the rounds without a queue: some of them had one."""
_PROBE_SECONDS: Final = 10.0
_PROBE_SHARE: Final = 1 / 3
_RATE_SECONDS: Final = 10
_CHANGES: Final = 0.9, 1.2
_FAR_CHANGES: Final = 0.7, 1.4
_FAR: Final = 1.5
"""So many times above or below its bound, a latency changes the limit by more."""
_PACE: Final = 1.1
_TOGETHER: Final = 3
"""Admissions that may come together: who arrives does not arrive just when it is due."""
_PATIENCE: Final = 0.8
"""Share of the time limit that the backlog may take."""
_RETRY_MOST: Final = 30


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not admitted.

    Attributes:
        cause: ``limit``: enough are in flight; ``lag``: the scorers' backlog takes too long.
        retry_seconds: When to try again, whole seconds, at least 1.
    """

    cause: str
    retry_seconds: int


class Admission:
    """Limits the transactions in flight. Not thread-safe: it belongs to the event loop.

    Args:
        limit_max: The limit is never higher.
        timeout_seconds: How long a request waits for its decision.
        clock: Seconds; only differences count.
    """

    def __init__(self, limit_max: int, timeout_seconds: float, clock: Callable[[], float]) -> None:
        self._limit_max = limit_max
        self._timeout = timeout_seconds
        self._clock = clock
        self._start = float(min(_START, limit_max))
        self._limit = self._start
        self._in_flight = 0
        self._overdue = 0
        self._lag_seconds = 0.0
        self._round = _Round(clock())
        self._bases: deque[tuple[float, float]] = deque()
        self._base = 0.0
        self._rate = _DecisionRate()
        self._probed = clock()
        self._refused_at = -math.inf
        self._probing = False
        self._mean = 0.0
        self._due = -math.inf

    @property
    def in_flight(self) -> int:
        """Transactions that were admitted and are not decided."""
        return self._in_flight + self._overdue

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        share = _PROBE_SHARE if self._probing else 1.0
        return max(math.floor(self._limit * share), _FLOOR)

    @property
    def base(self) -> float:
        """The latency without a queue, seconds; 0 before the first round."""
        return self._base

    def lagging(self, seconds: float) -> None:
        """Note how long the scorers' backlog takes that no request of this process is part of."""
        self._lag_seconds = seconds

    def full(self) -> Refused | None:
        """Return why not even one transaction would be admitted now; None if one would be."""
        if self._lag_seconds > self._timeout * _PATIENCE:
            return Refused("lag", _whole(self._lag_seconds - self._timeout * _PATIENCE))
        if self._in_flight >= self.limit or self.in_flight >= self._limit_max:
            return self._refuse()
        if self._clock() < self._due:
            return self._refuse()
        return None

    def admit(self, count: int) -> Refused | None:
        """Admit transactions, or return why they are refused.

        Args:
            count: How many; all are admitted or none. More than half of the limit are admitted if
                at most half of it is in flight, because they could never be admitted otherwise.
        """
        refused = self.full()
        if refused is not None:
            return refused
        limit = self.limit
        large = count > limit / 2 and self._in_flight <= limit / 2
        fits = large or self._in_flight + count <= limit
        if not fits or self.in_flight + count > self._limit_max:
            return self._refuse()
        self._in_flight += count
        self._round.peak = max(self._round.peak, self._in_flight)
        self._pace(count)
        return None

    def released(self, count: int = 1) -> None:
        """Note that admitted transactions end without a decision."""
        self._leave(count)

    def overdue(self) -> None:
        """Note that an admitted transaction was answered provisionally.

        It leaves its place in the limit: otherwise a scorer that has stopped would hold the places
        of transactions that other scorers decide. It still counts for ``limit_max``.
        """
        self._leave(1)
        self._overdue += 1

    def ended_overdue(self) -> None:
        """Note that such a transaction is decided or given up."""
        self._overdue -= 1

    def decided(self, seconds: float) -> None:
        """Note a decision and its latency."""
        self._leave(1)
        self._rate.note(self._clock())
        # While the limit is low, what was admitted before still has the latency of the queue.
        if not self._probing or self._clock() - seconds >= self._round.begin:
            self._round.latencies.append(seconds)
        self.advance()

    def advance(self) -> None:
        """Let time pass; also called while nothing is decided."""
        now = self._clock()
        took, count = now - self._round.begin, len(self._round.latencies)
        if took >= _ROUND_MOST_SECONDS and not count:
            if self._in_flight and took >= self._timeout:
                # The scorers have stopped. What is admitted now waits for them to come back.
                self._limit = max(self._limit * _FAR_CHANGES[0], _FLOOR)
                self._round = _Round(now)
            elif not self._in_flight:
                self._round = _Round(now)
        elif count and (
            took >= (_ROUND_MOST_SECONDS if self._round.refused else _CALM_ROUND_SECONDS)
            or self._full_round(took, count)
        ):
            self._end_round(now)

    def _full_round(self, took: float, count: int) -> bool:
        if self._round.refused and not self._probing:
            least = max(_ROUND_LEAST_SECONDS, _REFUSING_ROUND_BASES * self._base)
            turns = max(_ROUND_LEAST, min(_REFUSING_ROUND_LEAST, 2 * self.limit))
            return count >= turns and took >= least
        return count >= _ROUND_LEAST and took >= max(_ROUND_LEAST_SECONDS, self._base)

    def _pace(self, count: int) -> None:
        """Note when the next transaction is due, after some were admitted."""
        now = self._clock()
        if self._calm(now) or not self._mean:
            self._due = -math.inf
            return
        gap = self._mean / (_PACE * self.limit)
        due = max(self._due, now - _TOGETHER * gap) + count * gap
        # A batch may be many times the limit. It is in flight for about one latency, not for many.
        self._due = min(due, now + self._mean)

    def _leave(self, count: int) -> None:
        """Note that transactions give their places in the limit back."""
        self._in_flight -= count
        if not self._in_flight:
            # Nothing queues, so the next one is due.
            self._due = min(self._due, self._clock())

    def _calm(self, now: float) -> bool:
        return now - self._refused_at > _CALM_SECONDS

    def _end_round(self, now: float) -> None:
        ended, self._round = self._round, _Round(now)
        latencies = sorted(ended.latencies)
        judged = _quantile(latencies, _JUDGED_SHARE)
        known = bool(self._bases)
        calm = self._calm(now)
        if self._probing or calm or not known:
            self._note_base(now, _quantile(latencies, _BASE_OF_ROUND))
        # Scorers that stood still must not be paced as if they were that slow.
        self._mean = min(sum(latencies) / len(latencies), _GAIN * self._base)
        if self._probing:
            self._probing, self._probed = False, now
        elif ended.refused:
            change = _GAIN * self._base / max(judged, 1e-6)
            least, most = _CHANGES if 1 / _FAR < change < _FAR else _FAR_CHANGES
            self._limit *= min(max(change, least), most)
            self._limit = min(max(self._limit, _FLOOR), self._limit_max)
            # A first base under load is not one.
            if now - self._probed > _PROBE_SECONDS or not known:
                self._begin_probe(now)
        elif calm:
            self._probed = now
            # Scorers that pause for a moment must not be taken for an overload.
            pause = self._rate.per_second * self._timeout
            # Where a queue grows, what is in flight is not what a burst may need.
            burst = _BURST * ended.peak if judged <= _GAIN * self._base else 0
            self._limit = min(max(self._start, burst, pause), self._limit_max)

    def _refuse(self) -> Refused:
        self._round.refused = True
        self._refused_at = self._clock()
        return Refused("limit", _whole(self._in_flight / max(self._rate.per_second, 1)))

    def _begin_probe(self, now: float) -> None:
        self._probing = True
        self._round = _Round(now)

    def _note_base(self, now: float, high: float) -> None:
        self._bases.append((now, high))
        while self._bases[0][0] < now - _BASE_SECONDS:
            self._bases.popleft()
        ordered = sorted(each for _, each in self._bases)
        self._base = _quantile(ordered, _BASE_SHARE)


class _DecisionRate:
    """Decisions per second: the most of any of the last seconds.

    Decisions come in batches, so a shorter time shows a rate that no scorer has; and a pause of the
    scorers does not make them slower.
    """

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque([[0, 0]], maxlen=_RATE_SECONDS)

    def note(self, now: float) -> None:
        """Note a decision."""
        second = math.floor(now)
        if self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += 1

    @property
    def per_second(self) -> int:
        """The rate; 0 before the first decision."""
        return max(count for _, count in self._seconds)


class _Round:
    """The decisions of about one latency."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.latencies: list[float] = []
        self.refused = False
        self.peak = 0


def _whole(seconds: float) -> int:
    return min(max(math.ceil(seconds), 1), _RETRY_MOST)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
