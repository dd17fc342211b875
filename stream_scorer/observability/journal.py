"""What a process did: one JSON line for each start, model, assignment, revision, outage and end.

The log has lines for a person who must act, so normal operation leaves none. The journal answers
"what did it do at 03:12".
"""

import dataclasses
import hashlib
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import confluent_kafka
from pydantic import BaseModel

from stream_scorer import __version__
from stream_scorer import telemetry as events
from stream_scorer.closing import Closing
from stream_scorer.errors import SettingsError, StreamScorerError
from stream_scorer.observability.logging import process_logger
from stream_scorer.settings import journal_of_process

STANDARD_OUTPUT: Final = Path("-")
_DIGEST: Final = 12
"""Characters of a digest of settings: enough to see that two processes differ."""
_KEPT: Final[dict[type[events.Event], str]] = {
    events.ProcessBegan: "began",
    events.ModelVerified: "model_verified",
    events.PartitionsAssigned: "assigned",
    events.PartitionsRevoked: "revoked",
    events.StateRestored: "state_restored",
    events.RevisionLoaded: "revision_loaded",
    events.RevisionActivated: "revision_activated",
    events.RevisionRefused: "revision_refused",
    events.RolloutMoved: "rollout_moved",
    events.DependencyUnavailable: "dependency_unavailable",
    events.DependencyBack: "dependency_back",
    events.LagFailed: "lag_not_observed",
    events.WorkerStarted: "worker_started",
    events.WorkerLeft: "worker_left",
    events.Stopping: "stopping",
}
"""What is kept of the events of a process: few an hour, whatever the traffic."""
_REPEATED: Final = {events.LagFailed: "what", events.DependencyUnavailable: "name"}
"""What every try reports while something does not answer, and the field that tells them apart."""
_AGAIN_SECONDS: Final = 600.0
"""Time between two lines of a failure that lasts."""
_OVER_SECONDS: Final = 300.0
"""A failure that is reported again after so long is another one: each try reports it, and the time
between two looks of a lag process is at most two minutes."""
_KEPT_MARK: Final = "kept_in_journal"


class _Report(NamedTuple):
    """When a failure had its last line, and when it was last reported, seconds."""

    line: float
    last: float


class ProcessJournal(Closing):
    """A listener that appends lines to a file.

    A line that cannot be written, because a disk is full, ends nothing: the first is reported in
    the log.

    Args:
        path: The file; ``-`` is standard output; None keeps nothing.
        process: Kind of process.
        instance: Its stable name.

    Raises:
        SettingsError: The file cannot be opened.
    """

    def __init__(self, path: Path | None, process: str, instance: str) -> None:
        self._file: TextIO | None = None
        self._logger = None
        self._log = process_logger(process, instance)
        self._failed = False
        self._reported: dict[tuple[type[events.Event], str], _Report] = {}
        if path is None:
            return
        try:
            # Each line is one write at the end of the file, so several processes can share it.
            self._file = sys.stdout if path == STANDARD_OUTPUT else path.open("a", buffering=1)
        except OSError as error:
            raise SettingsError(
                f"logging.journal {path}: {error.strerror}", "name a file that can be written"
            ) from error
        self._logger = process_logger(process, instance, self._file)

    def __call__(self, event: events.Event) -> None:
        """Append a line if the event is one of those that are kept; safe from any thread."""
        if self._logger is None:
            return
        name = _KEPT.get(type(event))
        if name is not None and not self._repeats(event):
            self._write(name, dataclasses.asdict(event))

    def _repeats(self, event: events.Event) -> bool:
        """Return whether the event has no line: the same failure has one, or a check found none."""
        if isinstance(event, events.DependencyBack):
            self._reported.pop((events.DependencyUnavailable, event.name), None)
        key = _failure(event)
        if key is None:
            return False
        if isinstance(event, events.ModelVerified) and not event.refusal:
            self._reported.pop(key, None)
            return True
        now, known = time.monotonic(), self._reported.get(key)
        if known and now - known.line < _AGAIN_SECONDS and now - known.last < _OVER_SECONDS:
            self._reported[key] = _Report(known.line, now)
            return True
        self._reported[key] = _Report(now, now)
        return False

    def left(self, error: BaseException | None, reported: BaseException | None = None) -> None:
        """Append the last line: why the process ends.

        Args:
            error: What ends it; None: a signal.
            reported: What its user reads instead; None: the same.
        """
        if self._logger is None:
            return
        if error is not None:
            vars(error)[_KEPT_MARK] = True
            error = reported or error
        if error is None:
            self._write("left", {"exit_code": 0})
        elif isinstance(error, StreamScorerError):
            self._write("left", {"exit_code": error.exit_code, "error": str(error)})
        elif isinstance(error, SystemExit):
            self._write("left", {"exit_code": error.code})
        else:
            self._write("left", {"exit_code": 1, "error": f"{type(error).__name__}: {error}"})

    def close(self) -> None:
        """Close the file."""
        self._logger = None
        if self._file is not None and self._file is not sys.stdout:
            # What is still buffered could not be written before.
            with suppress(OSError):
                self._file.close()

    def _write(self, name: str, fields: dict[str, Any]) -> None:
        # "process" and "instance" are in every line already.
        given = {key: value for key, value in fields.items() if key not in {"process", "instance"}}
        if self._logger is None:
            return
        try:
            self._logger.info(name, **given)
        except OSError as error:
            if not self._failed:
                self._log.warning("journal_not_written", error=str(error))
            self._failed = True


def _failure(event: events.Event) -> tuple[type[events.Event], str] | None:
    """Return what tells a failure that may be reported again and again apart; None: of others."""
    if isinstance(event, events.ModelVerified):
        # Each minute the files are compared again.
        return (type(event), f"{event.model}:{event.version}") if event.cause == "time" else None
    field = _REPEATED.get(type(event))
    return None if field is None else (type(event), getattr(event, field))


def keep_last_error(error: BaseException, reported: BaseException, process: str) -> None:
    """Append the last line of a process that ends by an error, unless its journal has it already.

    A process may end before its journal is open: by a setting, or without an address of a broker.

    Args:
        error: What ended it.
        reported: What its user reads instead; else the same.
        process: Kind of process.
    """
    path, instance = journal_of_process()
    if path is None or _KEPT_MARK in vars(error):
        return
    # If the journal cannot be opened, stderr has the error.
    with suppress(SettingsError), ProcessJournal(path, process, instance) as journal:
        journal.left(error, reported)


def process_began(process: str, group: str, instance: str, settings: BaseModel) -> Any:
    """Return the event of a process that begins.

    Args:
        process: Its kind.
        group: Its consumer group.
        instance: Its stable name.
        settings: Its settings; secrets are masked before they are hashed.
    """
    return events.ProcessBegan(
        process,
        __version__,
        group,
        instance,
        settings_digest(settings),
        sys.version.split()[0],
        confluent_kafka.libversion()[0],
    )


def settings_digest(settings: BaseModel) -> str:
    """Return what two processes with the same settings have in common, secrets left out."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:_DIGEST]
