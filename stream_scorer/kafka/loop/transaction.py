"""The transaction loop: one batch of input, one Kafka transaction, exactly once.

::

    poll → compute (another thread) → send → commit → keep
        └→ begin → offsets (meanwhile) ↗
               │ backlog: the next batch is computed while this one is committed
               │ slow: pause, stay in the group        │ aborted: undo, seek back
               │ outage: pause, try again              │ answer lost: rebirth, read the offsets
               ├ revoked meanwhile: undo               └ fenced: leave and do not come back
               ├ partial: the rest of the batch is read again after the commit
               └ fails each time: the records that cause it are rejected (kafka/loop/quarantine.py)

The computation is a :class:`Work`: the scorer's, the profiler's, the monitor's. An aborted batch
leaves no trace, and nothing of a batch leaves the process before its commit.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

from confluent_kafka import OFFSET_INVALID

from stream_scorer.kafka.loop.attempts import Attempts
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.publishing import Aborts, Publisher
from stream_scorer.kafka.loop.quarantine import Quarantine, SearchBrokenOff
from stream_scorer.kafka.loop.source import Assigned, Source
from stream_scorer.kafka.loop.thread_stacks import stack_of
from stream_scorer.kafka.loop.work_interface import (
    NO_ROWS,
    Deferred,
    LoopLimits,
    Outage,
    PolledBatch,
    Result,
    Stages,
    Work,
)
from stream_scorer.kafka.reading.blamed_failures import blames_records
from stream_scorer.ports import Outgoing, Paused, RawRecords, TransactionAborted
from stream_scorer.telemetry import (
    BatchAborted,
    BatchCommitted,
    BatchUnreadable,
    ComputationHung,
    ComputationOver,
    FirstOffsetsCommitted,
    Listener,
    PartitionsAssigned,
    PartitionsRevoked,
    RecordQuarantined,
)

_IDLE_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_SERVE_SECONDS = 0.05
_LONGEST_TURN_SECONDS = 1.0
"""Maximum time for which partitions are restored before others are polled again, seconds."""
_EARLY_SECONDS = 0.5
"""Maximum time for which an open transaction waits for the computation, seconds; half of the
shortest time limit of a transaction."""
_SOON_SECONDS = 0.1
"""A transaction is only opened before its records are computed if the last batch took no longer."""
_LEAVE_SECONDS = 3.0
"""Maximum time for which the last flush is retried while the group rebalances, seconds."""


Delta = TypeVar("Delta")


class TransactionLoop(Generic[Delta]):
    """Runs a :class:`Work` over a source and a producer until it is stopped.

    Args:
        source: Input.
        producer: Output.
        work: Processes the batches.
        limits: Batch size and times.
        listener: Notified of every event.
        hook: Called with each step's name when it is over; a test raises from it.
    """

    def __init__(
        self,
        source: Source,
        producer: TransactionalProducer,
        work: Work[Delta],
        limits: LoopLimits,
        listener: Listener,
        hook: Callable[[str], None] | None = None,
    ) -> None:
        self._source = source
        self._producer = producer
        self._work = work
        self._limits = limits
        self._listener = listener
        self._hook = hook
        self._positions: dict[int, int] = {}
        self._fresh: dict[int, int] = {}
        self._whole: set[int] = set()
        self._stopping = False
        self._deciding_seconds = 0.0
        self._computing_seconds = 0.0
        self._committing_seconds = float("inf")
        self._polled = float("-inf")
        self._heartbeat: Callable[[], None] = _no_heartbeat
        self._aborts = Aborts(listener)
        self._outage = Outage(listener)
        self._outside = Outage(listener)
        self._ahead: PolledBatch[Delta] | None = None
        self._widened = False
        self._waiting: frozenset[int] = frozenset()
        self._kept: Future[BatchCommitted] | None = None
        self._current: PolledBatch[Delta] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._attempts = Attempts(guarded=limits.guarded, takes=limits.takes)
        self._quarantine = Quarantine(self._trial, self._undone, self._searching)
        self._publisher = Publisher(source, producer, listener, self._stop_asked)
        source.before_revoke = self._flush
        source.before_rebalance = self._release

    def stop(self) -> None:
        """Finish the current batch, commit it and leave; safe in a signal handler."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping

    def _stop_asked(self) -> bool:
        """Send a heartbeat and return whether to stop; called while waiting for the broker."""
        self._heartbeat()
        return self._stopping

    def run(self, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Run until ``stop``; leaves the group and closes transactions at the end.

        Args:
            heartbeat: Called in each iteration, and while waiting.
        """
        self._heartbeat = heartbeat
        try:
            while not self._stop_asked():
                self.step()
            self._leave()
        finally:
            self._source.before_revoke = self._source.before_rebalance = None
            self._pool.shutdown(wait=True)
            self._producer.close()
            self._source.close()
            self._work.close()

    def _leave(self) -> None:
        """Publish what was computed ahead, and flush the committed state."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._transact(ahead)
        self._say_kept()
        # Partitions that left during a wait are another process's: do not commit their offsets.
        self._rebalance()
        self._flush(tuple(self._positions), _LEAVE_SECONDS)

    def step(self) -> None:
        """Do the next thing: a rebalance, a step of restoring, or one transaction."""
        self._producer.settle(self._stop_asked)
        batch, self._ahead = self._ahead, None
        if batch is None or (batch.future is None and not batch.unmarked):
            # Nothing is being computed, so state may change.
            self._rebalance()
        if batch is None:
            patience = _IDLE_SECONDS
            if self._restoring:
                self._say_kept()
                self._restore_in_turn()
                patience = 0.0
            batch = self._poll(self._linger_seconds(), patience)
            if batch is None:
                self._say_kept()
            self._rebalance()
        if batch is not None:
            began = time.monotonic()
            self._transact(batch)
            self._deciding_seconds = time.monotonic() - began

    def _poll(self, linger: float, patience: float) -> PolledBatch[Delta] | None:
        stages = Stages(self._hook)
        try:
            raw = self._source.poll(self._most_records(), linger, patience)
        except Paused as pause:
            self._outside.begin(pause)
            return None
        self._outside.end()
        self._widened = raw is None and not self._widened
        if raw is None:
            return None
        self._polled = time.monotonic()
        return PolledBatch(raw, raw.next_offsets(), stages)

    def _linger_seconds(self) -> float:
        """Return how long a batch that is not full waits for more records.

        Transactions begin at most once in ``linger``. So a record after a pause is not delayed, nor
        is one that has waited for a transaction of that length: other records came meanwhile.
        """
        return max(0.0, self._polled + self._limits.linger - time.monotonic())

    def _most_records(self) -> int:
        """Return the next batch's maximum; read no others where records are taken one by one.

        Records of other partitions would come one by one, too, and might come first for a long
        time. If there is nothing to read, as while a broker is away, the next poll reads all.

        A partition whose next record cannot be computed yet is left out once: other partitions'
        records may be what it waits for.
        """
        reading = self._source.reading
        chosen = self._attempts.singly(reading)
        if self._waiting:
            others = frozenset(reading) - self._waiting
            chosen = (chosen - self._waiting) or others
        self._source.narrow(frozenset() if self._widened else chosen)
        return self._attempts.most(self._limits.maximum_batch, reading)

    def _look_ahead(self, batch: PolledBatch[Delta]) -> None:
        """Poll the next batch and compute it while this one is committed, if that is earlier.

        It depends on an uncommitted delta; if that batch is aborted, so is this one.
        """
        if not self._limits.ahead or self._restoring or self._stopping or not self._pays(batch):
            return
        ahead = self._ahead = self._poll(0.0, 0.0)
        if ahead is not None and not self._source.rebalanced:
            ahead.stages.lap("poll")
            ahead.polled = True
            ahead.unmarked = self._attempts.unmarked(ahead.ends)
            if ahead.unmarked:
                # Its mark cannot be committed before this batch's records are.
                return
            ahead.future = self._pool.submit(self._work.compute, ahead.raw, ahead.stages)

    def _pays(self, batch: PolledBatch[Delta]) -> bool:
        """Whether records are committed earlier if they are polled before this batch's commit.

        With a backlog, yes. Otherwise let a computation take K and a commit C. Records wait on
        average for half a turn, then for their computation and their commit: 1.5 (K + C). Ahead,
        with K > C, a turn takes K: 1.5 K + C. Ahead, with K < C, a turn takes C, and a computed
        batch also waits for the commit before: 2.5 C, which is soon more than 1.5 (K + C).

        Never where batches are small because processes ended at these offsets: such a batch must be
        committed before the next one can end this process, or it would be blamed.
        """
        most = self._limits.maximum_batch
        if self._attempts.most(most, self._source.reading) < most:
            return False
        return len(batch.raw) >= most or self._computing_seconds > self._committing_seconds

    @property
    def _restoring(self) -> bool:
        """Whether some partition of ours is not being read yet."""
        return self._work.restoring() or bool(self._whole)

    def _restore_in_turn(self) -> None:
        """Restore for as long as the last batch took, so that a backlog does not delay it."""
        until = time.monotonic() + min(self._deciding_seconds, _LONGEST_TURN_SECONDS)
        self._deciding_seconds = 0.0
        while self._restore() and self._restoring:
            if time.monotonic() >= until or self._source.rebalanced or self._stop_asked():
                return

    def _restore(self) -> bool:
        """Do a step of restoring new partitions; False: continue after a poll."""
        try:
            self._whole |= self._work.restore()
        except Paused as pause:
            self._outage.begin(pause)
            self._wait_out()
            return False
        self._outage.end()
        if not self._whole:
            return True
        if not self._commit_first():
            return False
        self._source.resume(self._whole)
        self._whole = set()
        return True

    def _rebalance(self) -> None:
        """Handle the rebalances that happened inside polls, in order."""
        if self._source.rebalanced:
            self._say_kept()
        for event in self._source.events():
            if isinstance(event, Assigned):
                self._fresh |= {p: event.offsets[p] for p in event.fresh}
                self._positions |= {p: o for p, o in event.offsets.items() if p not in event.fresh}
                self._attempts.begin(event.offsets, event.notes)
                self._work.assigned(dict(event.offsets))
                fresh = tuple(sorted(event.fresh))
                self._listener(PartitionsAssigned(tuple(sorted(event.offsets)), fresh))
            else:
                for partition in event.partitions:
                    self._positions.pop(partition, None)
                    self._fresh.pop(partition, None)
                self._attempts.end(event.partitions)
                self._whole.difference_update(event.partitions)
                self._work.revoked(event.partitions)
                self._listener(PartitionsRevoked(event.partitions, event.lost))

    def _commit_first(self) -> bool:
        """Commit where a first run begins, so that the next start needs no ``--from``.

        This waits until the partitions are complete. A refused restore must not leave an offset, or
        the next start would not know that there was none. False: retry after a poll.
        """
        offsets = {p: offset for p, offset in self._fresh.items() if p in self._whole}
        starts = dict.fromkeys(offsets, OFFSET_INVALID)
        try:
            if offsets and not self._publisher.publish((), starts, offsets, 0):
                return False
        except TransactionAborted as error:
            self._aborts.note(error, 0)
            return False
        if offsets:
            self._listener(FirstOffsetsCommitted(tuple(sorted(offsets))))
        self._positions |= offsets
        self._fresh = {p: offset for p, offset in self._fresh.items() if p not in offsets}
        return True

    def _transact(self, batch: PolledBatch[Delta]) -> None:
        """Compute one batch and publish it in one transaction, or leave no trace of it."""
        self._current = batch
        committed = False
        try:
            if not batch.polled:
                batch.stages.lap("poll")
            if not self._mark(batch):
                self._give_up(batch)
                return
            batch.result = self._compute(batch)
            batch.computed = True
            if batch.result is not None:
                if batch.result.ends is None:
                    self._look_ahead(batch)
                began = time.monotonic()
                committed = self._publish(batch)
                self._committing_seconds = time.monotonic() - began
        except TransactionAborted as error:
            self._give_up(batch)
            self._aborts.note(error, len(batch.raw))
            return
        except BaseException:
            self._give_up(batch)
            raise
        finally:
            self._current = None
        if batch.result is None or not committed:
            self._give_up(batch)
            return
        self._aborts.over()
        left = batch.cut()
        self._waiting = frozenset(left)
        self._positions |= {p: end for p, end in batch.ends.items() if p in self._positions}
        if left:
            self._source.seek(self._settled(left))
        self._quarantine.passed(len(batch.raw), len(batch.quarantined))
        self._attempts.passed(batch.ends)
        batch.stages.finish()
        # In the order of the pool: after the batch computed ahead, before the next one.
        self._say_kept()
        for row, why in sorted(batch.quarantined.items()):
            self._report_quarantined(batch.raw, row, why)
        self._report_unreadable(batch.raw)
        # Reported when the next batch is being computed, so that it delays no record.
        self._kept = self._pool.submit(self._work.keep, batch.result, batch.stages, batch.raw)

    def _mark(self, batch: PolledBatch[Delta]) -> bool:
        """Commit a first batch's mark before computing it; return whether it may be computed."""
        if not self._attempts.unmarked(batch.ends):
            return True
        if not self._owns_all(batch.raw):
            return False
        notes = self._attempts.marks(batch.ends)
        at = {partition: self._positions[partition] for partition in notes}
        if not self._publisher.publish((), at, at, 0, notes=notes):
            return False
        self._attempts.marked(batch.ends)
        return True

    def _say_kept(self) -> None:
        """Report the last commit once its delta is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._listener(self._result(kept))

    def _say_kept_before(self, future: "Future[Result[Delta]]") -> None:
        """Report the last commit if its delta is kept before a computation is over.

        A batch that was computed ahead is in the pool before that delta. A wait for the delta would
        be a wait for the computation, without polling; the report comes after it.
        """
        kept = self._kept
        if kept is None:
            return
        either: list[Future[Any]] = [kept, future]
        wait(either, timeout=_EARLY_SECONDS, return_when=FIRST_COMPLETED)
        if kept.done():
            self._say_kept()

    def _release(self) -> None:
        """End the open transaction before a rebalance, even if the broker did not get its abort.

        Otherwise other members would wait for its offsets inside their polls, possibly while this
        one waits for theirs.
        """
        self._publisher.discard()
        self._producer.settle(self._stop_asked)

    def _publish(self, batch: PolledBatch[Delta]) -> bool:
        """Send a batch's result with its offsets; return whether it is committed."""
        if batch.result is None or not self._owns_all(batch.raw):
            # There was a rebalance while the next batch was polled.
            return False
        batch.stages.lap("wait")
        notes = batch.result.notes
        ends = batch.ends
        if batch.result.ends is not None:
            # With the offsets of the others, so that no attempt is noted for their records.
            ends = {p: self._positions[p] for p in ends} | dict(batch.result.ends)
        if notes:
            ends = self._positions | ends
        starts = {p: self._positions[p] for p in ends}
        return self._publisher.publish(
            batch.result.outgoing, starts, ends, len(batch.raw), batch.stages.lap,
            notes or self._attempts.carried(ends),
        )  # fmt: skip

    def _flush(self, partitions: tuple[int, ...], patience: float = 0.0) -> None:
        """Publish what the work leaves for partitions that are about to be revoked.

        Called inside a poll, while the partitions are still ours, or at the end. Nothing depends on
        it: the partitions' next owner computes again what is not written.

        Args:
            partitions: The partitions.
            patience: For how many seconds it is retried; 0 inside a poll.
        """
        gone = self._settled(partitions)
        if not gone:
            return
        # This process did not crash in the batches that it leaves: they do not count as attempts.
        notes = self._attempts.forgotten(gone)
        batch = self._current
        if batch is not None and not batch.computed:
            if notes:
                self._left_behind((), {p: gone[p] for p in notes}, notes)
            return
        if batch is not None and batch.result is not None:
            # The state contains uncommitted changes; the caller of the poll aborts the batch.
            result, batch.result = batch.result, None
            self._undone(result)
        self._say_kept()
        outgoing = self._result(self._pool.submit(self._work.flush, set(gone)))
        until = time.monotonic() + patience
        while (outgoing or notes) and not self._left_behind(outgoing, gone, notes):
            if time.monotonic() >= until:
                return
            # If others leave or join at the same time, their rebalance ends the generation of the
            # offsets; the next generation serves as well.
            self._source.pause()
            self._source.serve(_SERVE_SECONDS)
            if self._settled(gone) != gone:
                return

    def _left_behind(
        self, outgoing: Sequence[Outgoing], gone: Mapping[int, int], notes: Mapping[int, bytes]
    ) -> bool:
        """Publish without moving offsets; return whether it is committed."""
        try:
            return self._publisher.publish(outgoing, gone, gone, 0, notes=notes)
        except TransactionAborted as error:
            self._listener(BatchAborted(str(error), 0))
            return False

    def _compute(self, batch: PolledBatch[Delta]) -> Result[Delta] | None:
        """Compute on the other thread; None when a partition of the batch was revoked."""
        while True:
            try:
                result = self._computed(batch)
            except SearchBrokenOff:
                return None
            except Deferred as deferred:
                self._outage.end()
                self._waiting = deferred.partitions
                return None
            except Paused as pause:
                self._outage.begin(pause)
                self._wait_out()
                if self._stopping or not self._owns_all(batch.raw):
                    return None
                continue
            self._outage.end()
            return result

    def _computed(self, batch: PolledBatch[Delta]) -> Result[Delta]:
        """Compute a batch, without the records for which that fails each time."""
        batch.quarantined = NO_ROWS
        if batch.future is None:
            batch.future = self._pool.submit(self._work.compute, batch.raw, batch.stages)
        future = batch.future
        self._open(batch)
        try:
            result = self._await(future)
        except Exception as error:
            if future.done() and future.exception() is error:
                # It has left no trace.
                batch.future = None
            # An outage or a search may take any time.
            self._publisher.discard()
            if batch.future is not None or not blames_records(error):
                raise
            result, batch.quarantined = self._quarantine.compute(batch.raw, batch.stages, error)
        batch.future = None
        self._computing_seconds = batch.stages.computing_seconds()
        return result

    def _open(self, batch: PolledBatch[Delta]) -> None:
        """Open the transaction with the batch's offsets while the batch is being computed.

        The work must not add notes to the offsets. A batch that must be computed again opens its
        transaction when it is published.
        """
        if not self._limits.guarded or batch.opened or self._computing_seconds > _SOON_SECONDS:
            return
        batch.opened = True
        batch.stages.passed("open")
        if self._owns_all(batch.raw):
            self._publisher.open(batch.ends, self._attempts.carried(batch.ends))

    def _trial(self, raw: RawRecords, stages: Stages, rejected: Mapping[int, str]) -> Result[Delta]:
        return self._await(self._pool.submit(self._work.compute, raw, stages, rejected))

    def _undone(self, result: Result[Delta]) -> None:
        self._result(self._pool.submit(self._work.undo, result))

    def _searching(self) -> bool:
        """Whether to continue searching; stays in the group meanwhile."""
        batch = self._current
        if batch is None or self._stop_asked():
            return False
        self._source.pause()
        self._source.serve(0.0)
        self._source.resume(set())
        return self._owns_all(batch.raw)

    def _report_quarantined(self, raw: RawRecords, row: int, error: str) -> None:
        offset = int(raw.offset[row])
        for at in self._source.places({int(raw.partition[row]): offset}, {}):
            for partition in at.offsets:
                self._listener(RecordQuarantined(at.topic, partition, offset, error))

    def _report_unreadable(self, raw: RawRecords) -> None:
        if raw.unreadable is None:
            return
        unread = raw.where(raw.unreadable)
        for partition in sorted(_partitions(unread)):
            mine = unread.offset[unread.partition == partition]
            for at in self._source.places({partition: int(mine.min())}, {}):
                for number, offset in at.offsets.items():
                    self._listener(BatchUnreadable(at.topic, number, offset, len(mine)))

    def _await(self, future: "Future[Result[Delta]]") -> Result[Delta]:
        """Wait for a computation; a slow one pauses its partitions and keeps polling."""
        began, slow = time.monotonic(), self._limits.slow
        self._say_kept_before(future)
        if self._publisher.opened:
            _wait_until(future, began + min(_EARLY_SECONDS, slow))
            if not future.done():
                # Its time limit has begun, and it keeps offsets from a next owner.
                self._publisher.discard()
        _wait_until(future, began + slow)
        if future.done():
            return future.result()
        self._source.pause()
        self._watch(future, lambda: self._source.serve(_SERVE_SECONDS))
        self._source.resume(set())
        return future.result()

    def _result(self, future: "Future[Any]") -> Any:
        """Return the other thread's result where polling is not possible, as inside a poll.

        The other thread may have to compute the next batch first.
        """
        self._watch(future)
        return future.result()

    def _watch(self, future: "Future[Any]", meanwhile: Callable[[], object] | None = None) -> None:
        """Wait until the other thread is done; a slow one counts as alive, one that hangs does not.

        Args:
            future: What it makes.
            meanwhile: Called until then; returns after a moment. None: nothing is polled.
        """
        meanwhile = meanwhile or (lambda: wait([future], timeout=_SERVE_SECONDS))
        began = time.monotonic()
        hung = False
        while not future.done():
            seconds = time.monotonic() - began
            if seconds < self._limits.hang:
                self._heartbeat()
            elif not hung:
                hung = True
                self._listener(ComputationHung(seconds, stack_of(self._pool)))
            meanwhile()
        if hung:
            self._listener(ComputationOver())

    def _wait_out(self) -> None:
        """Stay in the group for a moment without fetching."""
        self._source.pause()
        until = time.monotonic() + _RETRY_SECONDS
        while time.monotonic() < until and not self._stop_asked():
            self._source.serve(_SERVE_SECONDS)
        self._source.resume(set())

    def _owns_all(self, raw: RawRecords) -> bool:
        """Whether no partition of the batch was revoked since it was polled."""
        return not self._source.interrupted(_partitions(raw))

    def _give_up(self, batch: PolledBatch[Delta]) -> None:
        """Abort a batch, after the one that was computed on top of it; read both again."""
        ahead, self._ahead = self._ahead, None
        ends = dict(batch.ends)
        if ahead is not None:
            ends |= ahead.ends
            self._undo(ahead)
        self._undo(batch)
        self._say_kept()
        self._publisher.discard()
        self._source.seek(self._settled(ends))

    def _undo(self, batch: PolledBatch[Delta]) -> None:
        """Undo what a batch has changed, or is changing."""
        future, batch.future = batch.future, None
        if future is not None:
            self._watch(future)
            if not future.exception():
                self._undone(future.result())
        if batch.result is not None:
            self._undone(batch.result)

    def _settled(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the committed offsets of those partitions for which they are certain."""
        return {p: self._positions[p] for p in self._source.settled(partitions)
                if p in self._positions}  # fmt: skip


def _wait_until(future: "Future[Any]", at: float) -> None:
    wait([future], timeout=max(0.0, at - time.monotonic()))


def _partitions(raw: RawRecords) -> set[int]:
    return set(raw.partition.tolist())


def _no_heartbeat() -> None:
    pass
