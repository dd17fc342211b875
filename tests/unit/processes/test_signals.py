"""A signal that only asks."""

import os
import signal

from stream_scorer.processes.signals import asked_by_hangup


def test_a_hangup_asks_and_is_afterwards_what_it_was() -> None:
    before = signal.getsignal(signal.SIGHUP)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    asked: list[int] = []
    try:
        with asked_by_hangup(lambda: asked.append(1)):
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked == [1]
        assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert signal.getsignal(signal.SIGHUP) is before
