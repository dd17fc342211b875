"""Signals: handlers for as long as a context, and what is told of one that ends the process."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from stream_scorer.telemetry import Listener, Stopping

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Have signals handled; those before are put back at the end. In the main thread only."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell_of_stopping(number: int, listener: Listener) -> None:
    """Tell why the process stops, from a thread; safe in a signal handler.

    Not in the handler itself: the code that it interrupts may hold a lock that the listener takes.
    """
    cause = Stopping(signal.Signals(number).name)
    threading.Thread(target=listener, args=(cause,), daemon=True).start()
