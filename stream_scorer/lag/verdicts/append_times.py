"""When a record was appended, from observations of the log's end."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

_POINTS_MOST = 400
"""Points of a curve; when there are more, every other one of the older half is dropped."""


@dataclass(frozen=True, slots=True)
class AppendTime:
    """When a record was appended.

    Attributes:
        time: Seconds since the epoch, by the observer's clock.
        skew: Seconds by which the record's timestamp is outside of the interval in which the log
            end passed it: positive if it is later; None without a timestamp.
    """

    time: float
    skew: float | None = None


class LogEndCurve:
    """The log's end over time.

    The curve does not depend on the clocks of producers and brokers. The record with offset o was
    appended between the last observation whose end is at most o and the next one.

    Example:
        >>> curve = LogEndCurve()
        >>> curve.add(100.0, 10)
        >>> curve.add(110.0, 30)
        >>> curve.append_time(20).time
        105.5
        >>> curve.append_time(20, record_time=103.0)
        AppendTime(time=103.0, skew=0.0)
        >>> curve.append_time(20, record_time=163.0)
        AppendTime(time=110.0, skew=53.0)
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._times)

    @property
    def last_growth(self) -> int:
        """Records between the last two observations that are kept."""
        return self._ends[-1] - self._ends[-2] if len(self._ends) > 1 else 0

    def add(self, time: float, end: int) -> None:
        """Note an observation; a log that became shorter begins a new curve.

        Args:
            time: Seconds, not before the last one.
            end: The high watermark.
        """
        if self._ends and end < self._ends[-1]:
            self._times.clear()
            self._ends.clear()
        two = 2
        if len(self._ends) >= two and self._ends[-1] == self._ends[-2] == end:
            self._times[-1] = time  # the last observation before the next append is enough
            return
        self._times.append(time)
        self._ends.append(end)
        if len(self._times) > _POINTS_MOST:
            half = _POINTS_MOST // 2
            self._times[:half] = self._times[:half:2]
            self._ends[:half] = self._ends[:half:2]

    def append_time(self, offset: int, record_time: float | None = None) -> AppendTime | None:
        """Return when a record was appended; None if it is not known.

        Args:
            offset: Its offset.
            record_time: Its timestamp. It is moved into the interval in which the log end passed
                the offset, so the clock of the producer cannot falsify the result.
        """
        if not self._ends or offset >= self._ends[-1]:
            return None
        if offset < self._ends[0]:
            return self._before(record_time)
        after = bisect_right(self._ends, offset)
        begin, end = self._times[after - 1], self._times[after]
        if record_time is None:
            low, high = self._ends[after - 1], self._ends[after]
            return AppendTime(begin + (end - begin) * (offset + 1 - low) / (high - low))
        time = min(max(record_time, begin), end)
        return AppendTime(time, record_time - time)

    def _before(self, record_time: float | None) -> AppendTime | None:
        """Return the append time of a record that is older than the observation."""
        if record_time is None:
            return None
        time = min(record_time, self._times[0])
        return AppendTime(time, record_time - time)

    def end_at(self, time: float) -> float | None:
        """Return the log's end at a time, linear between observations; None: not observed."""
        if not self._times or not self._times[0] <= time <= self._times[-1]:
            return None
        at = bisect_left(self._times, time)
        if self._times[at] == time:
            return float(self._ends[at])
        begin, end = self._times[at - 1], self._times[at]
        low, high = self._ends[at - 1], self._ends[at]
        return low + (high - low) * (time - begin) / (end - begin)
