"""A signal that comes before there is anything to stop, and heartbeats of a slow start."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

import stream_scorer
from stream_scorer.errors import UnavailableError
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


@pytest.fixture
def collector() -> Iterator[None]:
    """Restore the garbage collector, which a process adjusts for good."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


class _Watched:
    """A loop that notes how soon a thread that waits for the GIL gets it.

    Args:
        noted: Where to.
        fails: Whether it ends with an error.
    """

    def __init__(self, noted: list[float], *, fails: bool) -> None:
        self._noted = noted
        self._fails = fails

    def run(self, heartbeat: Callable[[], None]) -> None:
        heartbeat()
        self._noted.append(sys.getswitchinterval())
        if self._fails:
            raise UnavailableError("gone", "wait")

    def stop(self) -> None: ...


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("fails", [False, True])
def test_threads_of_a_running_loop_alone_get_the_gil_sooner(
    fails: bool,  # noqa: FBT001 a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing answers at the address, and the watch of the lag waits for an answer.
    monkeypatch.setattr("stream_scorer.kafka.topics.offsets.ANSWER_SECONDS", 0.1)
    settings = load_settings({"kafka": {"bootstrap": "127.0.0.1:9"}, "http": {"port": 0}})
    before = sys.getswitchinterval()
    noted: list[float] = []

    def wire(_: Listener) -> _Watched:
        noted.append(sys.getswitchinterval())
        return _Watched(noted, fails=fails)

    with pytest.raises(UnavailableError) if fails else nullcontext():
        run_process("scorer", settings, "transactions", wire)
    assert noted == [pytest.approx(before), pytest.approx(0.0001)]
    assert noted[1] < before
    assert sys.getswitchinterval() == pytest.approx(before)


def test_no_other_module_sets_the_switch_interval() -> None:
    root = Path(stream_scorer.__file__).parent
    setting = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "setswitchinterval(" in path.read_text()
    }
    assert setting == {"processes/run_process.py", "serving/server/interpreter.py"}


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
