"""Keeps a fenced process that an orchestrator restarts out of the group while the newer one runs.

Two processes of one name fence each other: the one that starts later fences the other. An
orchestrator that restarts both makes this endless. So a fenced process with a
``kafka.fenced_file`` writes a note there, and waits outside the group until the group has had no
member of its name for a while. If it is restarted meanwhile, it finds the note and waits again,
before it uses the transactional id. A new pod has no note: it starts, and fences the older one.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import ConsumerGroupDescription

from stream_scorer.errors import FencedError, SettingsError, UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.groups import Groups
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import (
    DependencyBack,
    DependencyUnavailable,
    Event,
    Listener,
    PartitionsRevoked,
)
from stream_scorer.telemetry.partitions import follow_assignment

_ASK_SECONDS = 1.0
_LEAST_GONE_SECONDS = 15.0
_SESSIONS = 3
_NOTE = "Fenced by a newer process of the same name; see docs/RELIABILITY.md.\n"
_DEPENDENCY = "group"

Describe = Callable[[str], ConsumerGroupDescription | None]
"""Returns the broker's description of a group; raises UnavailableError."""


class StayingOut:
    """Remembers that this process was fenced, and waits until the newer one is gone.

    A listener for this process's partitions.

    Args:
        kafka: The cluster, the group, this process's name in it, and ``fenced_file``; without
            the file it does nothing.
        listener: Notified that this process waits, and that it has lost its partitions.
        heartbeat: Called while it waits: a waiting process is alive.
        stopped: Set when this process is to end.
        member: Whether processes of this name are members of the group. One that is not, such as
            the profiler, cannot be seen there: when fenced, it waits until it is stopped, and
            writes no note.
        describe: Queries the broker.
        clock: Seconds, monotonic.

    Attributes:
        gone_seconds: For how long no member of its name must have been in the group.
    """

    def __init__(
        self,
        kafka: Kafka,
        listener: Listener,
        heartbeat: Callable[[], None],
        stopped: threading.Event,
        *,
        member: bool = True,
        describe: Describe | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = kafka.fenced_file
        self._kafka = kafka
        self._name = client_options.member_name(kafka)
        self._listener = listener
        self._heartbeat = heartbeat
        self._stopped = stopped
        self._member = member
        self._describe = describe
        self._clock = clock
        self._assigned: set[int] = set()
        self.gone_seconds = max(_SESSIONS * kafka.session_timeout_ms / 1_000, _LEAST_GONE_SECONDS)
        if self._file is not None and not self._file.parent.is_dir():
            raise SettingsError(
                f"setting kafka.fenced_file: {self._file.parent} is not a directory",
                "create it, where a restart keeps it and no other instance sees it",
            )

    def __call__(self, event: Event) -> None:
        """Note partitions that were assigned or revoked."""
        follow_assignment(self._assigned, event)

    def around(self, run: Callable[[], None]) -> None:
        """Run a process; without ``kafka.fenced_file`` do nothing else.

        With it, a process that finds the note of an earlier run waits first, and a process that is
        fenced waits before it leaves. A process that is stopped while it waits exits normally.

        Args:
            run: Until the process ends.

        Raises:
            FencedError: The process was fenced, and no other of its name is there now.
            SettingsError: The file cannot be written.
        """
        noted = self._file is not None and self._member and self._file.is_file()
        if noted and not self._wait():
            return
        try:
            run()
        except FencedError:
            if self._file is None:
                raise
            self._note(self._file)
            if self._wait():
                raise

    def _note(self, file: Path) -> None:
        if self._assigned:
            gone, self._assigned = tuple(sorted(self._assigned)), set()
            self._listener(PartitionsRevoked(gone, lost=True))
        if not self._member:
            return
        try:
            file.write_text(_NOTE)
        except OSError as error:
            raise SettingsError(
                f"setting kafka.fenced_file: {file}: {error.strerror}",
                "this process was fenced by a newer one of its name and cannot note it: fix the "
                "file's permissions before it is started again",
            ) from error

    def _wait(self) -> bool:
        """Wait until the group has had no member of this name for ``gone_seconds``.

        Returns:
            True if so, with the note removed; False if this process is to end.
        """
        self._listener(
            DependencyUnavailable(
                _DEPENDENCY,
                f"a newer process runs as {self._name}; this one was fenced and stays out",
            )
        )
        ask = self._describe or Groups(self._kafka).described
        seen = self._clock()
        while not self._stopped.wait(_ASK_SECONDS):
            self._heartbeat()
            if not self._member or self._is_there(ask):
                seen = self._clock()
            elif self._clock() - seen >= self.gone_seconds:
                if self._file is not None:
                    self._file.unlink(missing_ok=True)
                self._listener(DependencyBack(_DEPENDENCY))
                return True
        return False

    def _is_there(self, ask: Describe) -> bool:
        """Whether a member of this name is in the group, or the broker does not answer."""
        try:
            found = ask(self._kafka.group)
        except UnavailableError:
            return True
        return found is not None and any(each.client_id == self._name for each in found.members)
