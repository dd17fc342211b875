"""Signals: a graceful end that becomes a hard exit after a time limit, and a SIGHUP that asks."""

import os
import signal
import sys
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


@contextmanager
def asked_by_hangup(ask: Callable[[], object]) -> Iterator[None]:
    """Call ``ask`` on SIGHUP; it must be safe in a signal handler."""
    with handled({signal.SIGHUP: lambda *_: ask()}):
        # A supervisor starts its workers with it blocked, so that it kills none before the handler.
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def stopped_by_signals(
    stop: Callable[[], None], listener: Listener, seconds: float
) -> Iterator[None]:
    """Call ``stop`` on SIGTERM and SIGINT; exit hard when that takes longer than ``seconds``.

    A hard exit loses nothing: the partition's next owner reads uncommitted records again.
    """

    def leave_hard() -> None:
        sys.stderr.write(f"not finished within {seconds:.0f} s of the signal; exiting now\n")
        sys.stderr.flush()
        os._exit(1)

    def handle(number: int, _: FrameType | None) -> None:
        # First: it may give the next signal its default effect, and who reads the report may send
        # that signal at once. Python drops a signal that came while its handler was replaced.
        stop()
        timer = threading.Timer(seconds, leave_hard)
        timer.daemon = True
        timers.append(timer)
        timer.start()
        tell_of_stopping(number, listener)

    timers: list[threading.Timer] = []
    with handled({signal.SIGTERM: handle, signal.SIGINT: handle}):
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
