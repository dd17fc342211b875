"""A scorer that notes each of its transactions, for ``bench/latency.py``.

It is the product's own entry. Its loop gets a hook, which notes when a commit returned, and a
listener, which keeps the batch's own stopwatch. Both cost microseconds a batch. The notes are
written when the process ends.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.latency_steps.stages import Batch, write_batches
from stream_scorer.cli import main as stream_scorer
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.scoring import process
from stream_scorer.telemetry import BatchCommitted, Event, Listener


class Trace:
    """Notes the transactions of one loop.

    The loop reports each commit in order, a moment after it returned.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._returned: deque[float] = deque()
        self.batches: list[Batch] = []

    def hook(self, stage: str) -> None:
        """Note when a commit returned."""
        if stage == "commit":
            self._returned.append(self._clock())

    def listening(self, listener: Listener) -> Listener:
        """Return a listener that notes commits, and passes every event on."""

        def told(event: Event) -> None:
            if isinstance(event, BatchCommitted):
                at = self._returned.popleft()
                self.batches.append(
                    Batch(at, event.records, event.next_offsets, event.stage_seconds)
                )
            listener(event)

        return told


def prepare(arguments: Sequence[str]) -> Callable[[], None]:
    """Return the run of a scorer.

    Args:
        arguments: The trace's file, and the command of ``stream-scorer`` with its arguments.
    """
    trace = Trace()

    def loop(
        source: Any, producer: Any, work: Any, limits: Any, listener: Listener, _: Any = None
    ) -> TransactionLoop[Any]:
        return TransactionLoop(
            source, producer, work, limits, trace.listening(listener), trace.hook
        )

    vars(process)["TransactionLoop"] = loop
    sys.argv = ["stream-scorer", *arguments[1:]]

    def run() -> None:
        try:
            stream_scorer()
        finally:
            write_batches(Path(arguments[0]), trace.batches)

    return run
