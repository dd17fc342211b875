"""How often a client may call: a token bucket for the rate, and a quota for the day."""

import math
from dataclasses import dataclass
from typing import Final, Literal

DAY_SECONDS: Final = 86_400
Limit = Literal["rate", "quota"]


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A request that is past a limit.

    Attributes:
        limit: Which.
        seconds: When the next one will be within it.
    """

    limit: Limit
    seconds: float


class TokenBucket:
    """A token bucket: ``burst`` requests come together, and ``rate`` per second in the long run.

    Args:
        rate: Tokens per second.
        burst: Most tokens; it begins full.
        now: Seconds of a clock that never goes back.

    Example:
        >>> bucket = TokenBucket(rate=2.0, burst=1, now=0.0)
        >>> bucket.wait(0.0), bucket.take(0.0), bucket.wait(0.1), bucket.wait(0.5)
        (0.0, None, 0.4, 0.0)
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = float(burst)
        self._at = now

    def wait(self, now: float) -> float:
        """Return in how many seconds a token is there; 0: now."""
        tokens = self._filled(now)
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) / self.rate

    def take(self, now: float, tokens: int = 1) -> None:
        """Take tokens; more than there are is a debt, which the next requests wait for."""
        self._tokens = self._filled(now) - tokens
        self._at = now

    def left(self, now: float) -> int:
        """Return how many requests may come now."""
        return max(math.floor(self._filled(now)), 0)

    def change(self, rate: float, burst: int, now: float) -> None:
        """Continue with other limits; what was taken stays taken."""
        taken = self.burst - self._filled(now)
        self.rate, self.burst = rate, burst
        self._tokens, self._at = burst - taken, now

    def _filled(self, now: float) -> float:
        tokens = self._tokens + (now - self._at) * self.rate
        return tokens if tokens < self.burst else float(self.burst)


class ClientLimits:
    """The limits of one client.

    Args:
        rate: Requests per second.
        burst: Requests that may come together.
        quota: Requests per day, from midnight UTC; None: no quota.
        now: Seconds of a clock that never goes back.
    """

    __slots__ = ("_day", "_used", "bucket", "quota")

    def __init__(self, rate: float, burst: int, quota: int | None, now: float) -> None:
        self.bucket = TokenBucket(rate, burst, now)
        self.quota = quota
        self._day = 0
        self._used = 0

    def take(self, now: float, wall: float, requests: int = 1) -> LimitReached | None:
        """Count requests if they are within the limits.

        Args:
            now: Seconds of the clock of the bucket.
            wall: Seconds since the epoch.
            requests: How many; several are one batch.

        Returns:
            The limit that they are past; then nothing is counted.
        """
        wait = self.bucket.wait(now)
        if wait > 0.0:
            return LimitReached("rate", wait)
        if self.quota is not None:
            day = int(wall // DAY_SECONDS)
            # A clock that was set back does not begin a new day.
            if day > self._day:
                self._day, self._used = day, 0
            if self._used + requests > self.quota:
                return LimitReached("quota", (self._day + 1) * DAY_SECONDS - wall)
            self._used += requests
        self.bucket.take(now, requests)
        return None

    def change(self, rate: float, burst: int, quota: int | None, now: float) -> None:
        """Continue with other limits; what was used stays used."""
        if (rate, burst) != (self.bucket.rate, self.bucket.burst):
            self.bucket.change(rate, burst, now)
        self.quota = quota

    def unused(self, now: float, wall: float) -> bool:
        """Return whether the client would gain nothing if its limits began again."""
        counted = self.quota is not None and self._used and wall // DAY_SECONDS <= self._day
        return not counted and self.bucket.left(now) >= self.bucket.burst

    def headers(self, now: float) -> tuple[tuple[str, str], ...]:
        """Return the limits as headers: requests together, how many are left, seconds until all."""
        left = self.bucket.left(now)
        full = math.ceil((self.bucket.burst - left) / self.bucket.rate)
        return (
            ("ratelimit-limit", str(self.bucket.burst)),
            ("ratelimit-remaining", str(left)),
            ("ratelimit-reset", str(full)),
        )
