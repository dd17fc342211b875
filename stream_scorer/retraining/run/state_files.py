"""The folder of a trainer: the run that is under way, the history, and what a person asks for.

``run.json`` is replaced in one step and flushed, so a kill leaves the state before or after a step.
A run that has ended is in the history before its file is removed; a kill between the two is
repaired at the next start.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from stream_scorer.durable_files import SHARED, replace_file
from stream_scorer.errors import SettingsError, StateError
from stream_scorer.retraining.run.contract import ENDED, STEPS, Run
from stream_scorer.retraining.search.contract import SearchTrial

_RUN, _HISTORY, _ASKED = "run.json", "history.jsonl", "asked.json"
_LOCK, _ASKING = "lock", "asked.lock"
_FIX: Final = "move the folder away; the control log has what was proposed"


class RunStore:
    """The folder of a trainer.

    Args:
        directory: The folder; created if it does not exist.

    Raises:
        SettingsError: It cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingsError(
                f"retrain.directory {directory}: {error.strerror}", "name another folder"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the folder while the context lasts; yield whether no other process has it."""
        with (self.directory / _LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def current(self) -> Run | None:
        """Return the run that is under way; None without one. One that has ended is recorded.

        Raises:
            StateError: The file is not that of a run.
        """
        run = self.look()
        if run is not None and run.step in ENDED:
            self.close(run)
            return None
        return run

    def look(self) -> Run | None:
        """Return the run of the state file, which may have ended, without a change of any file.

        Raises:
            StateError: The file is not that of a run.
        """
        path = self.directory / _RUN
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        try:
            return run_of(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{path}: is not the state of a retraining ({error})", _FIX) from error

    def write(self, run: Run) -> None:
        """Replace the state of the run that is under way."""
        self._replace(_RUN, json.dumps(document_of(run), allow_nan=False, indent=1))

    def close(self, run: Run) -> None:
        """Record a run that has ended."""
        self.write(run)
        if run.number not in {each.number for each in self.history()}:
            path = self.directory / _HISTORY
            # A line that was cut off must not take this one with it.
            begun = path.exists() and not path.read_bytes().endswith(b"\n")
            line = json.dumps(document_of(run), allow_nan=False)
            with path.open("a") as file:
                file.write(f"\n{line}\n" if begun else f"{line}\n")
                file.flush()
                os.fsync(file.fileno())
        (self.directory / _RUN).unlink(missing_ok=True)

    def history(self) -> list[Run]:
        """Return the runs that have ended, oldest first. A line that a kill cut off is left out."""
        try:
            lines = (self.directory / _HISTORY).read_text().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(run_of(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def ask(self, reason: str) -> str:
        """Ask the process that has the folder for a retraining; the last call counts.

        Returns:
            What :meth:`withdraw` needs.
        """
        text = json.dumps({"reason": reason, "id": uuid4().hex})
        with self._asking():
            self._replace(_ASKED, text)
        return text

    def withdraw(self, asked: str) -> None:
        """Take back what :meth:`ask` asked for, unless another call has asked since."""
        with self._asking(), suppress(FileNotFoundError):
            if (self.directory / _ASKED).read_text() == asked:
                self.answered()

    def asked(self) -> str:
        """Return why a person asks for a retraining; empty if none does."""
        try:
            return str(json.loads((self.directory / _ASKED).read_text())["reason"])
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError):
            return "asked.json"

    def answered(self) -> None:
        """Forget what a person asked for."""
        (self.directory / _ASKED).unlink(missing_ok=True)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Let others wait that want to ask: only one at a time may replace the file."""
        with (self.directory / _ASKING).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _replace(self, name: str, text: str) -> None:
        replace_file(self.directory / name, text.encode(), SHARED)


def document_of(run: Run) -> dict[str, Any]:
    """Return a run as JSON; a number that is not finite becomes null."""
    document = asdict(run)
    for trial in document["trials"]:
        trial["value"] = None if math.isnan(trial["value"]) else trial["value"]
    if not math.isfinite(run.tolerance):
        document["tolerance"] = None
    return document


def run_of(document: Mapping[str, Any]) -> Run:
    """Return the run of a document.

    Raises:
        ValueError: A value is wrong; likewise KeyError and TypeError.
    """
    trials = tuple(
        SearchTrial(**{**each, "value": math.nan if each["value"] is None else each["value"]})
        for each in document["trials"]
    )
    tolerance = math.inf if document["tolerance"] is None else document["tolerance"]
    run = Run(**{**document, "trials": trials, "tolerance": tolerance})
    if run.step not in STEPS or run.number < 1:
        raise ValueError(f"step {run.step!r} of run {run.number}")
    return run
