"""A fenced process stays outside the group while a newer namesake runs, even if restarted."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream_scorer.errors import FencedError, SettingsError, UnavailableError
from stream_scorer.kafka.membership import fenced_wait as module
from stream_scorer.kafka.membership.fenced_wait import StayingOut
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import (
    DependencyBack,
    DependencyUnavailable,
    Event,
    PartitionsAssigned,
    PartitionsRevoked,
)

NAME = "g-a"
GONE = 30


def fenced() -> None:
    raise FencedError("transactional id g:a was taken over by another process", "do not restart")


class Orchestrated:
    """A process with a fenced file, and the answers of the group's coordinator.

    Args:
        file: Its file.
        answers: The members' names, second by second; None if the broker does not answer. The last
            answer is repeated.
        stop_after: Rounds until it is asked to stop.
    """

    def __init__(
        self,
        file: Path | None,
        answers: Sequence[list[str] | None],
        stop_after: int = 10_000,
        *,
        member: bool = True,
    ) -> None:
        self.heard: list[Event] = []
        self.beats = 0
        self.rounds = 0
        self._answers = list(answers)
        self._stop_after = stop_after
        self._stopped = threading.Event()
        self.out = StayingOut(
            Kafka(bootstrap="b:1", group="g", instance="a", fenced_file=file),
            self.heard.append, self._beat, self._stopped, member=member,
            describe=self._describe, clock=lambda: float(self.rounds),
        )  # fmt: skip

    def _beat(self) -> None:
        self.beats += 1
        self.rounds += 1
        if self.rounds >= self._stop_after:
            self._stopped.set()

    def _describe(self, group: str) -> Any:
        assert group == "g"
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            raise UnavailableError("silent", "check the brokers")
        return SimpleNamespace(members=[SimpleNamespace(client_id=name) for name in answer])


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASK_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fenced"


def ran(process: Orchestrated, run: Callable[[], None] = fenced) -> bool:
    """Run a process; return whether it exited as fenced."""
    try:
        process.out.around(run)
    except FencedError:
        return True
    return False


def test_a_fenced_process_without_the_file_leaves_immediately() -> None:
    process = Orchestrated(None, [[NAME]])
    assert ran(process)
    assert (process.rounds, process.heard) == (0, [])


def test_a_fenced_process_waits_for_the_newer_one_and_leaves(file: Path) -> None:
    process = Orchestrated(file, [[NAME, "g-b"]] * 5 + [["g-b"]])
    assert ran(process)
    assert process.rounds == 5 + GONE
    assert process.beats == process.rounds
    assert not file.exists()
    told = [type(each) for each in process.heard]
    assert told == [DependencyUnavailable, DependencyBack]
    assert "a newer process runs as g-a" in str(process.heard[0])


def test_killed_while_it_waits_it_waits_again_before_it_starts(file: Path) -> None:
    assert not ran(Orchestrated(file, [[NAME]], stop_after=3))
    assert file.exists()
    started: list[int] = []
    again = Orchestrated(file, [[NAME]] * 4 + [[]])
    again.out.around(lambda: started.append(again.rounds))
    # It starts only when the newer one has been gone for long enough.
    assert started == [4 + GONE]
    assert not file.exists()
    stopped = Orchestrated(file, [[NAME]], stop_after=3)
    file.touch()
    assert not ran(stopped)
    assert file.exists()


def test_a_newer_process_that_returns_restarts_the_wait(file: Path) -> None:
    # Like a process that restarts: gone for a shorter time than the limit.
    gone = [["g-b"]] * (GONE - 1)
    process = Orchestrated(file, [*gone, [NAME], *gone, [NAME], []])
    assert ran(process)
    assert process.rounds == 2 * GONE + GONE


def test_a_silent_broker_does_not_end_the_wait(file: Path) -> None:
    answers: list[list[str] | None] = [None] * 100
    process = Orchestrated(file, [*answers, []])
    assert ran(process)
    assert process.rounds == 100 + GONE


def test_a_new_pod_has_no_note_and_starts_immediately(file: Path) -> None:
    process = Orchestrated(file, [[NAME]])
    started: list[int] = []
    process.out.around(lambda: started.append(process.rounds))
    assert started == [0]


def test_one_that_is_in_no_group_waits_until_it_is_stopped(file: Path) -> None:
    process = Orchestrated(file, [[]], stop_after=5 * GONE, member=False)
    assert not ran(process)
    assert process.rounds == 5 * GONE
    # No note is written, because the next start could not check for a newer process.
    assert not file.exists()


def test_a_fenced_process_no_longer_shows_its_partitions(file: Path) -> None:
    process = Orchestrated(file, [[NAME]], stop_after=2)
    process.out(PartitionsAssigned((0, 1, 2), ()))
    process.out(PartitionsRevoked((1,), lost=False))
    assert not ran(process)
    assert process.heard[0] == PartitionsRevoked((0, 2), lost=True)


def test_a_folder_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"kafka\.fenced_file: .*missing is not a directory"):
        Orchestrated(tmp_path / "missing" / "fenced", [[]])


def test_a_note_that_cannot_be_written_is_reported(file: Path) -> None:
    def in_the_way() -> None:
        file.mkdir()
        fenced()

    with pytest.raises(SettingsError, match="cannot note it"):
        ran(Orchestrated(file, [[]]), in_the_way)
