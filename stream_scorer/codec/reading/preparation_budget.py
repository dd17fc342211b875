"""How long a scorer may prepare schemas that are new to it, so that good records need not wait.

A schema within its limits takes up to 0.1 s to prepare, and a producer may name many in one batch.
"""

import time
from collections.abc import Callable
from typing import Final

RATE: Final = 0.05
"""Share of the time that may be spent in the long run."""
BURST_SECONDS: Final = 2.0
"""As at a start, when every schema is new."""
BATCH_SECONDS: Final = 0.02
"""What each batch may take in any case: enough for some ten schemas of common size."""


class PreparationBudget:
    """A token bucket of CPU seconds, for one thread.

    Args:
        clock: Seconds; only differences count.
        cpu: CPU seconds of the calling thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._left = BURST_SECONDS
        self._filled = clock()
        self._began = 0.0
        self._most = 0.0

    def begin(self) -> None:
        """Begin with the schemas of a batch."""
        now = self._clock()
        self._left = min(BURST_SECONDS, self._left + (now - self._filled) * RATE)
        self._filled = now
        self._began = self._cpu()
        self._most = max(self._left, BATCH_SECONDS)

    def is_spent(self) -> bool:
        """Whether the batch may prepare no further schema."""
        return self._cpu() - self._began >= self._most

    def end(self) -> None:
        """Take what the batch has spent."""
        self._left = max(self._left - (self._cpu() - self._began), 0.0)
