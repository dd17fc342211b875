"""Decides on the device: score, sign, log, answer.

The order is log, answer, outbox. A decision is answered when it is on the disk. Requests that wait
together share one write: while one group is written, the next ones are scored. If a write fails,
all that was scored since is undone, and the rings are as they were before.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.closing import Closing
from stream_scorer.core.decision.decide import ModelFailure
from stream_scorer.core.rings.rings import Journal
from stream_scorer.edge.claims.chain import signed_row
from stream_scorer.edge.claims.decision_record import EdgeClaimError, encode_decision
from stream_scorer.edge.device.clock import DeviceClock
from stream_scorer.edge.device.decide import DecidedRecord, Encoded, ReadRecord, RecordDecider
from stream_scorer.edge.device.recent import DeviceAnswer, identity_of
from stream_scorer.edge.device.state import DeviceState
from stream_scorer.edge.files.events import GROUP_BYTES, DecidedEvent, packed_group
from stream_scorer.edge.files.frames import DeviceFrame, FrameKind
from stream_scorer.edge.files.outbox import OutboxFullError

_WAITING_MOST: Final = 1_024


class DeviceRefused(Exception):  # noqa: N818 an answer, not a failure
    """The device cannot decide a transaction now, or must not.

    Attributes:
        kind: ``another-body``: the transaction's id was used for another body; ``outbox-full``: too
            many rows wait for their upload; ``storage-full``: the disk is full; ``busy``: too many
            requests wait; ``stopped``: the device has stopped deciding.
        detail: A sentence.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A decided transaction that is not on the disk yet."""

    identity: bytes
    digest: bytes
    packed: bytes
    sequence: int
    answer: DeviceAnswer
    journal: Journal | None
    noted: int
    before: bytes
    future: Future[DeviceAnswer] = field(default_factory=Future)


class DeviceScorer(Closing):
    """Decides records; thread-safe.

    Args:
        state: The device's files and history; closed with the scorer.
        decider: Reads and decides records.
        signing_key: Signs the rows.
        clock: The device's.
        rows_most: Rows that may wait for their upload.
        bytes_most: Bytes of these rows.

    Attributes:
        failure: What the device cannot recover from by itself; None: nothing.
    """

    def __init__(
        self, state: DeviceState, decider: RecordDecider, signing_key: Ed25519PrivateKey,
        clock: DeviceClock, *, rows_most: int, bytes_most: int,
    ) -> None:  # fmt: skip
        self._state = state
        self._history = state.history
        self._decider = decider
        self._key = signing_key
        self._clock = clock
        self._most = rows_most, bytes_most
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._pending: list[_Waiting] = []
        self._writing: list[_Waiting] = []
        self._by_identity: dict[bytes, _Waiting] = {}
        self._closing = False
        self.failure: BaseException | None = None
        self._wake: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="device-log", daemon=True)
        self._thread.start()

    def when_added(self, call: Callable[[], None]) -> None:
        """Call something whenever the outbox has new rows."""
        self._wake = call

    def decide(self, record: Encoded) -> DeviceAnswer:
        """Decide a record; its decision is on the disk when this returns.

        Raises:
            DeviceRefused: It cannot be decided now, or must not.
            ModelFailure: The model failed, and the plan does not allow that.
            RecordRejected: It is not a valid transaction.
        """
        return self.submit(record).result()

    def submit(self, record: Encoded) -> Future[DeviceAnswer]:
        """Decide a record; the result has the answer when the decision is on the disk.

        Raises:
            DeviceRefused: As for :meth:`decide`; the result may raise it, too.
            ModelFailure: As for :meth:`decide`.
            RecordRejected: As for :meth:`decide`.
        """
        with self._lock:
            if self._closing or self.failure is not None:
                raise DeviceRefused("stopped", "the device has stopped deciding")
            now = self._clock()
            read = self._decider.read(record.value, now)
            identity = identity_of(read.customer, read.transaction_id)
            known = self._known(identity, record.digest)
            if known is not None:
                return known
            self._refuse_full()
            waiting = self._decided(record, read, identity, now)
            self._pending.append(waiting)
            self._by_identity[identity] = waiting
            self._changed.notify_all()
            return waiting.future

    def _known(self, identity: bytes, digest: bytes) -> Future[DeviceAnswer] | None:
        """Return the answer to a repeated request.

        Raises:
            DeviceRefused: The request has another body than the first one.
        """
        waiting = self._by_identity.get(identity)
        if waiting is not None:
            first, future = waiting.digest, waiting.future
        else:
            found = self._history.recent.find(identity)
            if found is None:
                return None
            first, future = found[0], Future()
            future.set_result(found[1])
        if first != digest:
            raise DeviceRefused(
                "another-body", "a repeat must have the same body; a new transaction needs a new id"
            )
        return future

    def _refuse_full(self) -> None:
        """Refuse a transaction for which there is no room, before it is scored.

        Raises:
            DeviceRefused: There is none.
        """
        waiting = [*self._writing, *self._pending]
        if len(waiting) >= _WAITING_MOST:
            raise DeviceRefused("busy", "too many transactions wait for the disk")
        rows = self._history.sequence - self._state.outbox.deleted.sequence
        size = self._state.outbox.size()[1] + sum(len(each.packed) for each in waiting)
        if rows >= self._most[0] or size >= self._most[1]:
            raise DeviceRefused("outbox-full", f"{rows} rows wait for their upload")
        if self._state.log_full:
            raise DeviceRefused("storage-full", "the log has reached edge.log_bytes_most")

    def _decided(
        self, record: Encoded, read: ReadRecord, identity: bytes, now: int
    ) -> _Waiting:  # fmt: skip
        key = record.key(read.customer)
        made = self._decider.decide(read, now)
        try:
            return self._signed(record, read, identity, key, made)
        except BaseException:
            if made.journal is not None:
                self._history.own.undo(made.journal)
            raise

    def _signed(
        self, record: Encoded, read: ReadRecord, identity: bytes, key: bytes, made: DecidedRecord
    ) -> _Waiting:
        history, state, columns = self._history, self._state, made.columns
        sequence, before = history.sequence + 1, history.chain
        try:
            decision = encode_decision(made.decision)
        except EdgeClaimError as error:
            raise ModelFailure(1, f"its decision {error}") from error
        row, after = signed_row(
            state.device, sequence, key, record.value, decision, before, self._key
        )
        event = DecidedEvent(
            row, read.customer, int(columns.transaction[0]), int(columns.event_time[0]),
            int(columns.amount_minor[0]), tuple(columns.kept[:, 0].tolist()),
            made.decision.decided_at, record.digest,
        )  # fmt: skip
        packed = event.packed()
        waiting = _Waiting(
            identity, record.digest, packed, sequence, DeviceAnswer.of(sequence, made.decision),
            made.journal, event.noted, before,
        )  # fmt: skip
        # Who waits for it may stop waiting; the transaction is decided all the same.
        waiting.future.set_running_or_notify_cancel()
        history.sequence, history.chain = sequence, after
        return waiting

    # -- the writing thread -------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._pending and not self._closing:
                    self._changed.wait()
                group = self._next_group()
            if not group:
                return
            try:
                self._write(group)
                self._compact()
            except BaseException as error:  # noqa: BLE001 it ends the device's work, not only the thread
                self._give_up(error)
                return

    def _next_group(self) -> list[_Waiting]:
        size, count = 0, 0
        for each in self._pending:
            if count and size + len(each.packed) > GROUP_BYTES:
                break
            size, count = size + len(each.packed), count + 1
        group, self._pending = self._pending[:count], self._pending[count:]
        self._writing = group
        return group

    def _write(self, group: Sequence[_Waiting]) -> None:
        state = self._state
        body = packed_group(each.packed for each in group)
        try:
            state.add_to_outbox()
            state.log.append(DeviceFrame(FrameKind.EVENTS, group[-1].sequence, body))
        except (OSError, OutboxFullError):
            self._undo(DeviceRefused("storage-full", "the disk is full, or cannot be written"))
            return
        with self._lock:
            for each in group:
                if each.journal is not None:
                    self._history.own.release(each.journal)
                self._history.recent.add(each.identity, each.digest, each.answer)
                self._history.noted = max(self._history.noted, each.noted)
                del self._by_identity[each.identity]
            self._writing = []
            state.missing.extend((each.sequence, each.packed) for each in group)
        for each in group:
            each.future.set_result(each.answer)
        with suppress(OutboxFullError):  # the log has the rows; the next group tries again
            state.add_to_outbox()
        self._wake()

    def _compact(self) -> None:
        """Write the log again as a snapshot, with no transaction between rings and disk."""
        if not self._state.wants_compaction:
            return
        with self._lock:
            while self._pending:
                self._write(self._next_group())
            self._state.compact()

    def _undo(self, refused: DeviceRefused) -> None:
        """Undo all that is scored and not on the disk, newest first."""
        with self._lock:
            undone = [*self._writing, *self._pending]
            self._writing, self._pending = [], []
            for each in reversed(undone):
                if each.journal is not None:
                    self._history.own.undo(each.journal)
                self._history.sequence, self._history.chain = each.sequence - 1, each.before
                del self._by_identity[each.identity]
        for each in undone:
            each.future.set_exception(refused)

    def _give_up(self, error: BaseException) -> None:
        with self._lock:
            self.failure = error
            left = [*self._writing, *self._pending]
            self._pending, self._writing = [], []
        refused = DeviceRefused("stopped", "the device has stopped deciding")
        for each in left:
            if not each.future.done():
                each.future.set_exception(refused)

    def close(self) -> None:
        """Write what is scored, and close the device's files."""
        with self._lock:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._state.close()
