"""The time in which a scorer may prepare new schemas, so that good records are not delayed.

A schema within its limits takes up to 0.1 s to prepare, and a producer may name many in one batch.
"""

import time
from collections.abc import Callable
from typing import Final

RATE: Final = 0.05
"""Share of the time that may be spent in the long run."""
BURST_SECONDS: Final = 2.0
"""CPU seconds that may be spent in one go, for example after a start, when every schema is new."""
BATCH_SECONDS: Final = 0.02
"""CPU seconds that each batch may always spend: enough for about ten schemas of usual size."""


class PreparationBudget:
    """A token bucket of CPU seconds, for one thread.

    Args:
        clock: Returns seconds; only differences matter.
        cpu: Returns the CPU seconds of the calling thread.

    Attributes:
        repeats: How many other decoders prepare each schema once more. Their time counts, too.
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
        self.repeats = 0

    def begin(self) -> None:
        """Begin to prepare the schemas of a batch."""
        now = self._clock()
        self._left = min(BURST_SECONDS, self._left + (now - self._filled) * RATE)
        self._filled = now
        self._began = self._cpu()
        self._most = max(self._left, BATCH_SECONDS) if self._left >= 0 else 0.0

    def is_spent(self) -> bool:
        """Whether the batch may prepare no more schemas."""
        return (self._cpu() - self._began) * (1 + self.repeats) >= self._most

    def end(self, *, owed: bool = False) -> None:
        """Subtract what the batch has spent.

        Args:
            owed: Whether the budget may become negative. Until it is not, later batches may prepare
                no schema, not even within ``BATCH_SECONDS``.
        """
        left = self._left - (self._cpu() - self._began)
        self._left = left if owed else max(left, min(self._left, 0.0))
