"""How many unknown schema ids may be looked up, and when a batch waits for one.

A record may name any of four billion ids, so a producer could cause one registry query per record.
Failed look-ups are therefore limited by a token bucket. Successful look-ups are free: a registry
has a limited number of schemas, and each is queried once.
"""

import threading
from collections.abc import Callable
from typing import Final

WAITS: Final = (0.1, 0.3)
"""Seconds before the second and the third look-up of an id: a follower of the registry may not
have a schema yet that its leader has just registered."""
WAIT_EVERY_SECONDS: Final = 60.0
"""A batch waits for such an id at most once in this time, which delays records of known ids for at
most 0.7 % of it."""
WAITED_FOR: Final = 4
"""Number of ids that share such a wait: those with the most records."""
_RESERVED: Final = WAITED_FOR * len(WAITS)
_SHARE: Final = 0.01
"""Maximum share of time that batches may spend on failed look-ups in the long run: a slow registry
is queried less often."""
_DEBT_SECONDS_MOST: Final = 300.0


class LookupBudget:
    """A token bucket for look-ups of unknown ids; thread-safe.

    Args:
        rate: Tokens per second.
        burst: Maximum number of tokens; the bucket starts full.
        clock: Seconds; only differences count.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = self._burst
        self._filled = clock()
        self._waited: float | None = None

    def take(self, wanted: int) -> int:
        """Take up to ``wanted`` tokens for first look-ups; those for a wait are reserved."""
        return self._take(wanted, min(_RESERVED, self._burst / 2))

    def take_again(self, wanted: int) -> int:
        """Take up to ``wanted`` tokens for a second or third look-up."""
        return self._take(wanted, 0.0)

    def give_back(self, tokens: int) -> None:
        """Return the tokens of look-ups that found a schema, or that got no answer."""
        with self._lock:
            self._tokens = min(self._burst, self._tokens + tokens)

    def charge(self, seconds: float, tokens: int) -> None:
        """Charge for the time of failed look-ups, if it is worth more than their tokens.

        Args:
            seconds: How long a batch waited for them.
            tokens: Already paid.
        """
        with self._lock:
            more = max(0.0, min(seconds / _SHARE, _DEBT_SECONDS_MOST) * self._rate - tokens)
            self._tokens -= more

    def may_wait(self) -> bool:
        """Whether a batch may wait for an unknown id now; if so, the next may not for a while."""
        with self._lock:
            now = self._clock()
            if self._waited is not None and now - self._waited < WAIT_EVERY_SECONDS:
                return False
            self._waited = now
            return True

    def _take(self, wanted: int, left: float) -> int:
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            taken = max(0, min(wanted, int(self._tokens - left)))
            self._tokens -= taken
            return taken
