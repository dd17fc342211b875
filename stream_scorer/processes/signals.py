"""Signals: handlers within a context, and the report of a signal that ends the process."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from stream_scorer.telemetry import Listener, Stopping

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Handle signals within the context and then restore the handlers; only in the main thread."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell_of_stopping(number: int, listener: Listener) -> None:
    """Report why the process stops, from a thread; safe in a signal handler.

    Not in the handler itself: the code that it interrupts may hold a lock that the listener needs.
    """
    cause = Stopping(signal.Signals(number).name)
    threading.Thread(target=listener, args=(cause,), daemon=True).start()
