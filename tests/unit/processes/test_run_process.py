"""A signal that comes before there is anything to stop, and heartbeats of a slow start."""

import os
import signal
import threading

import pytest

from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.processes.run_process import beating, run_process
from stream_scorer.settings import load_settings
from stream_scorer.telemetry import Listener


def test_a_signal_while_the_process_is_wired_ends_it_in_order() -> None:
    def wire(_: Listener) -> TransactionLoop[None]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on after the signal")

    settings = load_settings({"kafka": {"bootstrap": "127.0.0.1:9"}, "http": {"port": 0}})
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        run_process("scorer", settings, "transactions", wire)
    assert left.value.code == 0
    # The timer for a forced exit must not be left running in this process.
    timers = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
    assert all(timer.finished.is_set() for timer in timers)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_slow_start_sends_the_heartbeat_until_it_is_over() -> None:
    third = threading.Event()
    beats: list[int] = []

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) == 3:
            third.set()

    with beating(beat, every_seconds=0.001):
        assert third.wait(60)
    count = len(beats)
    assert not any(thread.name == "start-heartbeat" for thread in threading.enumerate())
    assert len(beats) == count


def test_a_hanging_start_does_not_stay_alive() -> None:
    beats: list[int] = []
    with beating(lambda: beats.append(1), every_seconds=0.001, most_seconds=0.0):
        beating_ones = [each for each in threading.enumerate() if each.name == "start-heartbeat"]
        for thread in beating_ones:
            thread.join(60)
            assert not thread.is_alive()
    assert beats == []
