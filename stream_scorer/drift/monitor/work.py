"""What the monitor does with each batch of summaries, for a transaction loop.

Commands are not a second input of the loop. They are polled at the start of each batch, and folded
before its summaries. A batch with a command always writes a snapshot, which has the next offset of
the commands. So the commands, their effect, the events and the summaries' offset are committed in
one transaction, and a restart never interleaves two topics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder, RecordError
from stream_scorer.core.decision.given_rows import EDGE_ARM
from stream_scorer.core.summaries.plausible_summary import refuse_implausible
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.events import events_of, signal_of, watched_of
from stream_scorer.drift.monitor.references import Name
from stream_scorer.drift.monitor.state_keeping import StateKeeper
from stream_scorer.drift.monitor.watch import DriftWatch, UnreadableSummaryError
from stream_scorer.drift.operator.command import DriftAuthority, in_milliseconds
from stream_scorer.drift.windows.windows import OPEN_MOST
from stream_scorer.errors import RegistryUnavailableError, SchemaError, UnavailableError
from stream_scorer.kafka.loop.control_topic import ControlRecord
from stream_scorer.kafka.loop.work_interface import NO_ROWS, Result, Stages
from stream_scorer.kafka.reading.replay import InputReplay, Replays
from stream_scorer.ports import Outgoing, Paused, RawRecords
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.telemetry import (
    BatchCommitted,
    DriftCommandFolded,
    DriftDetected,
    DriftSnapshot,
    DriftStateMissing,
    Listener,
    RecordsSkipped,
)

_UNREADABLE: Final = "MALFORMED"
_QUARANTINED: Final = "INTERNAL"
_PARTITION: Final = 0


class ReferenceSource(Protocol):
    """Reads references: :class:`~stream_scorer.drift.monitor.references.References`."""

    def prepare(self, names: Sequence[Name]) -> None: ...  # noqa: D102 see there


class CommandSource(Protocol):
    """Returns the commands that have come since the last call."""

    def __call__(self) -> Sequence[ControlRecord]: ...  # noqa: D102 see above
    def close(self) -> None: ...  # noqa: D102 see above


@dataclass(frozen=True, slots=True)
class Watched:
    """The result of a batch of summaries.

    Attributes:
        before: The state before it.
        alarms: The alarms that it gave.
        skipped: Records that were not summaries, or of which windows were dropped.
        commands: The results of commands.
        snapshot_bytes: Size of its snapshot; 0 for none.
        quarantined: Records that were skipped because the computation fails for them.
    """

    before: DriftWatch
    alarms: tuple[Alarm, ...]
    skipped: RecordsSkipped | None
    commands: tuple[DriftCommandFolded, ...]
    snapshot_bytes: int
    quarantined: int = 0


class MonitorWork:
    """Watches summaries for a transaction loop.

    Args:
        fresh: Makes an empty watch.
        references: Reads the references that summaries name.
        registry: Contains the writers' schemas.
        events: Encodes drift events.
        topic: Topic of the drift events.
        listener: Notified of alarms, commands, snapshots and replays.
        replay_of: Opens a replay of [first, end) of the summaries; None for an empty range.
        keeper: Writes and reads snapshots.
        commands: Returns the commands that have come since the last call; None: there are none.
        authority: Whose commands count.
    """

    def __init__(
        self,
        fresh: Callable[[], DriftWatch],
        references: ReferenceSource,
        registry: SchemaSource,
        events: RecordCodec,
        topic: str,
        listener: Listener,
        replay_of: Callable[[int, int], InputReplay | None],
        keeper: StateKeeper,
        commands: CommandSource | None = None,
        authority: DriftAuthority | None = None,
    ) -> None:
        self._fresh = fresh
        self._references = references
        self._summaries = RecordDecoder(registry, reader_schema("summary.v4"))
        self._commands = RecordDecoder(registry, reader_schema("drift-command.v1"))
        self._events = events
        self._topic = topic
        self._listener = listener
        self._keeper = keeper
        self._command_source = commands
        self._authority = authority or DriftAuthority()
        self._pending: list[ControlRecord] = []
        self._commands_read = self._commands_again = False
        self._watch = fresh()
        self._first = 0
        self._assigned: dict[int, int] = {}
        self._replays = Replays(lambda _, end: replay_of(self._first, end), self._refold, listener)

    @property
    def watch(self) -> DriftWatch:
        """The state of the newest batch that was computed."""
        return self._watch

    # -- assignment of the summaries' partition ---------------------------------------------

    def assigned(self, offsets: dict[int, int]) -> None:
        """Add the summaries' partition; ``restore`` reads the snapshot first."""
        self._watch = self._fresh()
        self._assigned = dict(offsets)

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget everything: the summaries have one partition, and another process has it now."""
        self._watch = self._fresh()
        self._assigned = {}
        self._replays.end(partitions)
        # Another process reports the open alarms now.
        self._tell_open(self._watch)

    def close(self) -> None:
        """Close the connections of the replay and of the commands."""
        self._replays.close()
        if self._command_source is not None:
            self._command_source.close()

    def restoring(self) -> bool:
        """Whether the snapshot is not read, or summaries are still being replayed."""
        return bool(self._assigned) or self._replays.pending

    def restore(self) -> set[int]:
        """Read the snapshot, or replay some summaries; return the complete partitions.

        Raises:
            Paused: The model store, the registry or the broker does not answer.
            StateError: The snapshot is damaged, or is after the committed offset.
        """
        if self._assigned:
            offsets = self._assigned
            self._watch, self._first = self._keeper.restored(
                self._fresh(), offsets.get(_PARTITION, 0)
            )
            self._assigned = {}
            self._replays.begin(offsets)
        ready, _ = self._replays.step()
        if not self._replays.pending:
            self._tell_open(self._watch)
        return ready

    # -- batches ----------------------------------------------------------------------------

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Watched]:
        """Fold the commands that have come, then a batch of summaries.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: Rows that are skipped.

        Raises:
            Paused: The registry, the model store or the broker does not answer.
        """
        self._await_commands()
        before = self._watch.copy()
        try:
            if self._commands_again:
                self._watch.commands.offset = 0
            alarms, commands = self._obey()
            found, skipped = self._fold(raw.without(quarantined)[0] if quarantined else raw)
            alarms += found
            stages.lap("detect")
            outgoing: list[Outgoing] = events_of(alarms, self._events, self._topic)
            end = raw.next_offsets().get(_PARTITION, 0)
            kept, size = self._keeper.snapshot(self._watch, end, forced=bool(commands))
            outgoing += kept
            stages.lap("encode")
        except BaseException:
            self._watch = before
            raise
        watched = Watched(before, tuple(alarms), skipped, tuple(commands), size, len(quarantined))
        return Result(outgoing, watched)

    def keep(self, result: Result[Watched], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Return the event of the commit; the watch is already updated."""
        watched = result.delta
        self._commands_again = False
        unreadable = watched.skipped.records if watched.skipped else 0
        rejected = {_UNREADABLE: unreadable, _QUARANTINED: watched.quarantined}
        self._pending = [
            each for each in self._pending if each.offset >= self._watch.commands.offset
        ]
        if watched.snapshot_bytes:
            self._keeper.kept(self._watch)
        self._tell(watched)
        return BatchCommitted(
            records=len(raw),
            outcomes={},
            model="",
            version="",
            rejected={reason: count for reason, count in rejected.items() if count},
            stage_seconds=stages.seconds,
            next_offsets=raw.next_offsets(),
        )

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:  # noqa: ARG002 see Work
        """Return nothing: a restart replays the summaries since the last snapshot."""
        return ()

    def undo(self, result: Result[Watched]) -> None:
        """Restore the state before the batch; its commands are folded again with the next."""
        self._watch = result.delta.before

    def _tell(self, watched: Watched) -> None:
        for alarm in watched.alarms:
            if alarm.change == "opened":
                self._listener(DriftDetected(alarm.detector, signal_of(alarm)))
        for command in watched.commands:
            self._listener(command)
        if watched.skipped is not None:
            self._listener(watched.skipped)
        if watched.snapshot_bytes:
            self._listener(DriftSnapshot(watched.snapshot_bytes))
        # A snooze ends with time: the open alarms are pages again without a window or a command.
        now, before = self._watch, watched.before
        changed = now.commands.open_by_severity(now) != before.commands.open_by_severity(before)
        if now.closed != before.closed or watched.commands or changed:
            self._tell_open(before)

    def _tell_open(self, before: DriftWatch) -> None:
        self._listener(watched_of(self._watch, before))

    # -- commands ---------------------------------------------------------------------------

    def _await_commands(self) -> None:
        if self._command_source is None:
            return
        try:
            found = self._command_source()
        except UnavailableError as error:
            raise Paused("commands", str(error)) from error
        self._pending += found
        end = found[-1].offset + 1 if found else 0
        if not self._commands_read and end < self._watch.commands.offset:
            # The topic ends before what was folded. Ids keep old commands from a second effect.
            self._commands_again = True
            self._listener(DriftStateMissing("commands_created_again", 0))
        self._commands_read = True

    def _obey(self) -> tuple[list[Alarm], list[DriftCommandFolded]]:
        """Fold the commands that are not in the state; return the events, and each result."""
        decoded: list[tuple[int, dict[str, Any] | None, str]] = []
        for record in self._pending:
            if record.offset < self._watch.commands.offset:
                continue
            try:
                command = in_milliseconds(self._commands.decode(record.value))
                self._authority.refuse(command)
            except RegistryUnavailableError as error:
                raise Paused("registry", str(error)) from error
            except (RecordError, SchemaError, ValueError) as error:
                decoded.append((record.offset, None, str(error)))
            else:
                decoded.append((record.offset, command, ""))
        alarms: list[Alarm] = []
        results = []
        for offset, allowed, why in decoded:
            result = "refused"
            if allowed is not None:
                before = self._watch.commands.accepted
                alarms += self._watch.command(allowed)
                done = self._watch.commands.accepted > before
                result = "done" if done else "without_effect"
            self._watch.commands.offset = offset + 1
            results.append(DriftCommandFolded(result, why))
        return alarms, results

    # -- summaries --------------------------------------------------------------------------

    def _refold(self, raw: RawRecords) -> None:
        before = self._watch.copy()
        try:
            self._fold(raw)
        except BaseException:
            self._watch = before
            raise

    def _fold(self, raw: RawRecords) -> tuple[list[Alarm], RecordsSkipped | None]:
        """Fold summaries; return the alarms, and records that do not count in full."""
        summaries: list[tuple[int, dict[str, Any]]] = []
        skipped: RecordsSkipped | None = None
        for row, value in enumerate(raw.values):
            try:
                summary = self._summaries.decode(value)
                refuse_implausible(summary)
                if summary["arm"] == EDGE_ARM:
                    # Devices decide other transactions than scorers: no stream of the version.
                    summary = summary | {"windows": []}
            except RegistryUnavailableError as error:
                raise Paused("registry", str(error)) from error
            except (RecordError, SchemaError, ValueError) as error:
                skipped = _and_skipped(skipped, raw, row, str(error))
                continue
            summaries.append((row, summary))
        self._references.prepare(
            [(each["model"], each["model_version"], each["reference"]) for _, each in summaries]
        )
        # Everything outside is read before anything is folded, so that a pause leaves no trace.
        alarms: list[Alarm] = []
        for row, summary in summaries:
            before = self._watch.dropped
            try:
                alarms += self._watch.update(summary, int(raw.timestamp[row]))
            except UnreadableSummaryError as error:
                skipped = _and_skipped(skipped, raw, row, str(error))
            if self._watch.dropped > before:
                why = f"more than {OPEN_MOST} windows are open, and those that end last are dropped"
                skipped = _and_skipped(skipped, raw, row, f"summary: {why}")
        return alarms, skipped


def _and_skipped(
    before: RecordsSkipped | None, raw: RawRecords, row: int, why: str
) -> RecordsSkipped:
    """Return the event with one more record; it names the first one."""
    if before is not None:
        return replace(before, records=before.records + 1)
    return RecordsSkipped("summaries", 1, int(raw.partition[row]), int(raw.offset[row]), why)
