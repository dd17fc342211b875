"""A retraining's steps, its files, and that a kill repeats at most one step."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError, StateError, UnavailableError
from stream_scorer.performance.warning.contract import LossReference
from stream_scorer.retraining.gate.contract import Gated
from stream_scorer.retraining.run.contract import ENDED, STEPS, Run
from stream_scorer.retraining.run.state_files import RunStore
from stream_scorer.retraining.run.steps import GateReport, advance
from stream_scorer.retraining.search.contract import SearchTrial

BEGUN = Run(1, "triggered", "it rose", "loss", 1_000, parent="fraud:1.0.0", version="1.1.0")
DAYS = LossReference(0.1, 0.2, 0.0, 0.1, 2, 200.0)


class Kill(BaseException):
    """A kill -9."""


class FakeWork:
    """Counts the calls of each step; killed at one of them, before or after its work."""

    def __init__(self, killed: str = "", *, passed: bool = True, ended: str = "promoted") -> None:
        self.calls: list[str] = []
        self.killed = killed
        self.passed = passed
        self.ended = ended

    def _call(self, name: str) -> str:
        self.calls.append(name)
        if self.killed == name:
            self.killed = ""
            raise Kill
        return name.ljust(64, "0")

    def dataset(self, run: Run) -> str:
        assert run.step == "triggered"
        return self._call("dataset")

    def search(self, run: Run, keep: Callable[[SearchTrial], None]) -> Sequence[SearchTrial]:
        trials = list(run.trials)
        for number in range(len(trials), 3):
            trials.append(SearchTrial(number, {"rate": number}, [math.nan, 0.7, 0.5][number], 0.0))
            keep(trials[-1])
            self._call(f"trial {number}")
        return trials

    def fit(self, run: Run) -> str:
        assert [each.number for each in run.trials] == [0, 1, 2]
        return self._call("fit")

    def gate(self, run: Run) -> GateReport:
        self._call("gate")
        assert run.digests["fit"]
        found = Gated(self.passed, 10, 2, (0.1, 0.2, 0.3), (-3.0, -2.0, -1.0), DAYS)
        return GateReport(found, b"{}")

    def bundle(self, run: Run) -> str:
        assert run.label == "fraud:1.1.0"
        return self._call("bundle")

    def propose(self, run: Run) -> str:
        assert run.digests["bundle"]
        return self._call("propose")

    def watch(self, run: Run) -> str:
        assert run.step == "proposed"
        self._call("watch")
        return self.ended


def to_end(store: RunStore, work: FakeWork, most: int = 20) -> None:
    for _ in range(most):
        run = store.current()
        if run is None:
            return
        after = advance(run, work, store.write)
        (store.close if after.step in ENDED else store.write)(after)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    made = RunStore(tmp_path / "retrain")
    made.write(BEGUN)
    return made


CALLS = ["dataset", "trial 0", "trial 1", "trial 2", "fit", "gate", "bundle", "propose", "watch"]


def test_it_goes_through_all_steps(store: RunStore) -> None:
    work = FakeWork()
    to_end(store, work)
    assert work.calls == CALLS
    (run,) = store.history()
    assert run.step == "done"
    assert list(run.digests) == [
        "dataset", "search", "fit", "gate", "bundle", "proposed", "watched",
    ]  # fmt: skip
    assert [each.value for each in run.trials[1:]] == [0.7, 0.5]
    assert math.isnan(run.trials[0].value)
    assert store.look() is None


@pytest.mark.parametrize("killed", CALLS)
def test_a_kill_repeats_at_most_one_step(store: RunStore, killed: str) -> None:
    work = FakeWork(killed)
    with pytest.raises(Kill):
        to_end(store, work)
    # Another process continues from the files alone.
    to_end(RunStore(store.directory), work)
    repeated = [name for name in CALLS if work.calls.count(name) > 1]
    assert repeated == ([] if killed.startswith("trial") else [killed])
    (run,) = store.history()
    assert (run.step, [each.number for each in run.trials]) == ("done", [0, 1, 2])


def test_a_challenger_that_is_not_better_is_not_proposed(store: RunStore) -> None:
    work = FakeWork(passed=False)
    to_end(store, work)
    assert work.calls == CALLS[: CALLS.index("gate") + 1]
    (run,) = store.history()
    assert run.step == "failed"
    assert run.reason.startswith("the challenger is not better: cost per decision -2 (-3 to -1)")


def test_a_rollout_that_is_rolled_back_fails_the_run(store: RunStore) -> None:
    to_end(store, FakeWork(ended="rolled back: HARM"))
    (run,) = store.history()
    assert (run.step, run.reason) == ("failed", "rolled back: HARM")


def test_a_running_rollout_is_waited_for(store: RunStore) -> None:
    work = FakeWork(ended="")
    to_end(store, work)
    assert store.look() is not None
    assert work.calls.count("watch") > 1
    assert work.calls.count("propose") == 1
    work.ended = "promoted"
    to_end(store, work)
    assert store.history()[0].step == "done"


def test_an_error_ends_the_run_and_an_outage_does_not(store: RunStore) -> None:
    class Failing(FakeWork):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        def dataset(self, run: Run) -> str:  # noqa: ARG002 it fails at once
            raise self.error

    with pytest.raises(UnavailableError):
        to_end(store, Failing(UnavailableError("no answer")))
    assert store.look() == BEGUN
    to_end(store, Failing(SettingsError("no frauds", "wait")))
    (run,) = store.history()
    assert run.step == "failed"
    assert run.reason.startswith("after triggered: no frauds")


def test_files_survive_a_kill_between_them(store: RunStore) -> None:
    ended = replace(BEGUN, step="done", ended_at=5)
    # Killed after the state, before the history.
    store.write(ended)
    assert store.current() is None
    # Killed after the history, before the file is removed.
    store.write(ended)
    assert store.current() is None
    assert store.history() == [ended]
    history = store.directory / "history.jsonl"
    history.write_text(history.read_text() + '{"number": 2, "st')
    assert store.history() == [ended]
    assert RunStore(store.directory).look() is None
    # What is recorded after the line that was cut off is not lost with it.
    later = replace(ended, number=2)
    store.close(later)
    assert store.history() == [ended, later]


@pytest.mark.parametrize("text", ["", "{}", '{"number": 1}', "[1]"])
def test_a_foreign_state_is_refused(store: RunStore, text: str) -> None:
    (store.directory / "run.json").write_text(text)
    with pytest.raises(StateError, match="is not the state of a retraining"):
        store.current()


def test_one_process_has_the_folder(store: RunStore) -> None:
    with store.locked() as mine:
        assert mine
        with RunStore(store.directory).locked() as other:
            assert not other
        RunStore(store.directory).ask("we want it")
    assert store.asked() == "we want it"
    store.answered()
    assert store.asked() == ""


def test_the_tolerance_may_be_without_a_limit(store: RunStore) -> None:
    store.write(replace(BEGUN, tolerance=math.inf))
    assert json.loads((store.directory / "run.json").read_text())["tolerance"] is None
    found = store.current()
    assert found is not None
    assert found.tolerance == math.inf
    assert STEPS[-2:] == ENDED
