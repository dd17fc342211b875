"""The control log as a process reads and writes it: records of the topic, decoded and folded."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec, RecordError
from stream_scorer.errors import (
    RolloutError,
    SchemaError,
    UnavailableError,
)
from stream_scorer.kafka.loop.control_topic import ControlRecord, KeptTopic, append
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.control_record import Command, authority_of, write
from stream_scorer.rollout.plan.fold_commands import FoldedRecord, Log
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RecordsSkipped

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP_SECONDS = 0.05
_TRIES = 10
"""How often a command is written whose number others take meanwhile."""
_MARGIN_SECONDS = 15.0
"""The broker aborts a transaction at most this long after its timeout."""
_FIELDS = {
    "sequence": int, "previous": bytes, "kind": str, "at": datetime, "key_id": str, "body": str,
    "signature": bytes,
}  # fmt: skip


class ControlLog:
    """Reads the topic ``rollout`` and appends to it. Not thread-safe.

    If the registry is unavailable, a record that needs it is kept, and folded first by the next
    call. A record that is not a command is an entry of the log without effect. If it is a command
    that this process cannot read, the next command of an operator does not follow the last one. So
    the process stops, instead of continuing without that command.

    Args:
        settings: The cluster, the registry, and whose commands count.
        listener: Notified of records that are not commands.
        on_record: Given each record in the order of the topic, with all that it contains.

    Attributes:
        log: The fold of the records that were read.

    Raises:
        RolloutError: The topic's beginning was deleted, or it has several partitions.
        SchemaError: The registry does not know our schema.
        SettingsError: The topic does not exist, or an operator's key cannot be read.
        UnavailableError: Broker or registry do not answer.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener = lambda _: None,
        on_record: Callable[[FoldedRecord], None] = lambda _: None,
    ) -> None:
        self._listener = listener
        self._on_record = on_record
        self._kafka = settings.kafka
        self._topic = settings.kafka.topics.rollout
        self._source = open_registry(settings.registry)
        schema = reader_schema("rollout.v1", settings.registry.directory)
        self._codec = RecordCodec(self._source.id_for(f"{self._topic}-value", schema), schema)
        self.log = Log(authority_of(settings.rollout))
        self._records = KeptTopic(settings.kafka, self._topic)
        self._waiting: deque[ControlRecord] = deque()

    def refresh(self) -> RolloutState:
        """Read to the end that the topic has now, and return the state.

        Raises:
            RolloutError: A newer version wrote there, or a command is missing here. Every further
                call raises it, too.
            UnavailableError: Broker or registry do not answer.
        """
        self._take_waiting()
        for part in self._records.parts_to_end():
            self._waiting.extend(part)
            self._take_waiting()
        return self.log.state

    def poll(self, wait: float) -> list[FoldedRecord]:
        """Return the entries of records that arrive within ``wait`` seconds; raises as above."""
        if not self._waiting:
            self._waiting.extend(self._records.poll(wait))
        return self._take_waiting()

    def prepare(
        self, kind: CommandKind, body: StrictModel, key: Ed25519PrivateKey | None, at: int
    ) -> Command:
        """Return a command for the position after the last record that was read.

        Args:
            kind: Kind of the command.
            body: Its body.
            key: Signs it; None: it is not signed.
            at: ms since the epoch.

        Raises:
            RolloutError: It would be refused; gives the reason.
        """
        state = self.log.state
        command = write(state.sequence + 1, state.head, kind, body, at, key)
        entry = self.log.would(command)
        if entry.refused:
            unsigned = key is None and self.log.authority.required
            fix = "sign it: --key FILE" if unsigned else "nothing was written"
            raise RolloutError(f"{kind} is refused: {entry.refused}", fix)
        return command

    def encode(self, command: Command) -> bytes:
        """Return a record's bytes."""
        return self._codec.encode(asdict(command))

    def append(
        self,
        kind: CommandKind,
        body: StrictModel,
        key: Ed25519PrivateKey | None,
        at: int | None = None,
        expected: bytes | None = None,
    ) -> FoldedRecord:
        """Write a command at the end of the topic, and return its entry.

        Args:
            kind: As for :meth:`prepare`; so are the next two.
            body: Its body.
            key: Signs it; None: it is not signed.
            at: ms since the epoch; None for now.
            expected: Head of the state for which it was decided. Only verdicts may have come since,
                as they change no routing; if one takes its number while it is being written, it is
                written again. None: any state.

        Raises:
            RolloutError: It was not written, because it would be refused or another command came
                since ``expected``; or it was written without effect, because another command came
                first.
            UnavailableError: The broker does not answer; it may have been written.
        """
        self.refresh()
        if expected is not None and self.log.moved_since(expected):
            raise RolloutError(
                f"{kind} was not written: another command came first",
                "look at `stream-scorer rollout status`, and give it again if it is still meant",
            )
        when = time.time_ns() // 1_000_000 if at is None else at
        for _ in range(_TRIES):
            command = self.encode(self.prepare(kind, body, key, when))
            entry = self._found(append(self._kafka, self._topic, command))
            if entry.accepted:
                return entry
            if expected is None or self.log.moved_since(expected):
                break
            # Only verdicts came in between, and one of them took its number.
        raise RolloutError(
            f"{kind} changed nothing: {entry.refused}",
            "look at `stream-scorer rollout status`, and give it again if it is still meant",
        )

    def _found(self, offset: int) -> FoldedRecord:
        """Read up to a record, and return its entry.

        The records after another writer's open transaction can be read only when it has ended.
        """
        deadline = time.monotonic() + self._kafka.transaction_timeout_ms / 1_000 + _MARGIN_SECONDS
        found: list[FoldedRecord] = []
        while self.log.last_offset < offset:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"topic {self._topic}: the command was written at offset {offset}, and cannot "
                    "be read: a transaction is open before it",
                    "look again when that has ended: stream-scorer rollout history",
                )
            found = self.poll(_STEP_SECONDS)
        return next(each for each in found if each.offset == offset)

    def close(self) -> None:
        """Close the connections."""
        self._records.close()

    def _take_waiting(self) -> list[FoldedRecord]:
        """Fold what was read; a record that raises an error stays the next."""
        found = []
        while self._waiting:
            entry = self._take(self._waiting[0])
            self._waiting.popleft()
            self._on_record(entry)
            found.append(entry)
        return found

    def _take(self, record: ControlRecord) -> FoldedRecord:
        try:
            command = self._decoded(record.value)
        except (RecordError, SchemaError) as error:
            self._listener(RecordsSkipped("rollout", 1, 0, record.offset, error.what))
            return self.log.pass_over(record.offset, f"is not a command: {error.what}")
        return self.log.take(record.offset, command, record.appended_at)

    def _decoded(self, value: bytes | None) -> Command:
        if value is None:
            raise RecordError("record: no value")
        record = self._codec.decode(value, self._source)
        for name, kind in _FIELDS.items():
            if not isinstance(record.get(name), kind):
                raise RecordError(f"record: has no field {name} of ours")
        return Command(**{**_known(record), "at": _milliseconds(record["at"])})


def _known(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in _FIELDS}


def _milliseconds(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(milliseconds=1)
