"""When snapshots are written, and how a start continues from one."""

from collections.abc import Callable, Sequence
from typing import Final

from stream_scorer.drift.monitor.references import Name
from stream_scorer.drift.monitor.snapshots import continue_from, snapshot_of, versions_in
from stream_scorer.drift.monitor.watch import DriftWatch, ReferenceOf
from stream_scorer.drift.state.chunks import Snapshot, chunks_of, key_of, leftover
from stream_scorer.drift.state.topic import mac_key
from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.ports import BytesColumn, Outgoing, Paused
from stream_scorer.state.checkpoints.record_mac import OPEN, RecordMac
from stream_scorer.telemetry import DriftStateMissing, Listener

INTERVAL_MS: Final = 60_000
"""Kafka time between two snapshots without a command."""
WINDOWS: Final = 24
"""So many closed windows make a snapshot without waiting for the interval."""


class StateKeeper:
    """Writes snapshots and reads the newest one.

    Args:
        topic: The topic of snapshots.
        newest: Reads the newest snapshot; None if there is none.
        prepare: Reads references; may raise ``Paused``.
        reference_of: Looks up references.
        oldest: Returns the oldest retained offset of the summaries.
        listener: Notified when state is missing.
        mac: Gives each record a MAC.
    """

    def __init__(
        self, topic: str, newest: Callable[[], Snapshot | None],
        prepare: Callable[[Sequence[Name]], None], reference_of: ReferenceOf,
        oldest: Callable[[], int], listener: Listener, mac: RecordMac = OPEN,
    ) -> None:  # fmt: skip
        self._topic = topic
        self._newest = newest
        self._prepare = prepare
        self._reference_of = reference_of
        self._oldest = oldest
        self._listener = listener
        self._mac = mac
        self._sequence = 0
        self._chunks = 0
        self._written_chunks = 0
        self._saved_at = -1
        self._saved_closed = 0

    def restored(self, fresh: DriftWatch, committed: int) -> tuple[DriftWatch, int]:
        """Return the state of the newest snapshot, and from which offset summaries are replayed.

        Args:
            fresh: An empty watch.
            committed: The group's committed offset, up to which they are replayed.

        Raises:
            Paused: The broker or the model store does not answer.
            StateError: The snapshot is damaged, or is after the committed offset.
        """
        try:
            snapshot, oldest = self._newest(), self._oldest()
        except UnavailableError as error:
            raise Paused("state", str(error)) from error
        if snapshot is None:
            self._sequence = self._chunks = 0
            if committed > oldest:
                self._listener(DriftStateMissing("no_snapshot", oldest))
            return fresh, oldest
        if snapshot.summaries_offset > committed:
            raise StateError(
                f"topic {self._topic}: the snapshot is of summaries up to offset "
                f"{snapshot.summaries_offset}, and the group has committed {committed}",
                "the group's offset was moved back: move it forward, or delete the records of "
                f"{self._topic}; then the alarms of the summaries between are raised again",
            )
        try:
            self._prepare(versions_in(snapshot.data))
            watch = continue_from(snapshot.data, fresh, self._reference_of)
        except ValueError as error:
            raise StateError(
                f"topic {self._topic}: {error}",
                "start the release that wrote it, or delete the topic's records",
            ) from error
        self._sequence, self._chunks = snapshot.sequence, snapshot.chunks
        self._saved_at, self._saved_closed = watch.detected_at, watch.closed
        first = snapshot.summaries_offset
        if oldest > first:
            watch.tiles.lost()
            self._listener(DriftStateMissing("summaries_deleted", oldest))
            first = min(oldest, committed)
        return watch, first

    def snapshot(
        self, watch: DriftWatch, summaries_offset: int, *, forced: bool
    ) -> tuple[list[Outgoing], int]:
        """Return the records of a snapshot and its size in bytes; nothing if none is due.

        Args:
            watch: The state after a batch.
            summaries_offset: Next offset of the summaries.
            forced: Whether a snapshot is due in any case.
        """
        closed = watch.closed - self._saved_closed
        waited = abs(watch.detected_at - self._saved_at)  # Kafka time can go back
        due = closed > 0 and (closed >= WINDOWS or waited >= INTERVAL_MS)
        if not (due or forced):
            return [], 0
        data = snapshot_of(watch, summaries_offset)
        parts = chunks_of(data, self._sequence + 1, summaries_offset, watch.commands.offset)
        self._written_chunks = len(parts)
        keys = [key_of(number) for number in range(len(parts))]
        values: list[bytes | None] = [
            self._mac.close(mac_key(self._topic, key), part)
            for key, part in zip(keys, parts, strict=True)
        ]
        gone = list(leftover(self._chunks, len(parts)))
        keys += gone
        values += [None] * len(gone)
        return [Outgoing(self._topic, BytesColumn.of(values), BytesColumn.of(keys))], len(data)

    def kept(self, watch: DriftWatch) -> None:
        """Note that the last snapshot is committed.

        Args:
            watch: Its state.
        """
        self._sequence += 1
        self._chunks = self._written_chunks
        self._saved_at, self._saved_closed = watch.detected_at, watch.closed
