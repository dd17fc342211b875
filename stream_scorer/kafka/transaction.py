"""The transaction loop: one batch of input, one Kafka transaction, exactly once.

::

    poll → compute (another thread) → begin → send → offsets + commit → keep
               │ slow: pause, stay in the group        │ aborted: undo, seek back
               │ outage: pause, try again              │ answer lost: rebirth, read the offsets
               └ revoked meanwhile: undo               └ fenced: leave and do not come back

What is computed is a :class:`Work`: the scorer, the monitor. Nothing of an aborted batch stays,
and nothing of a batch leaves the process before its own commit.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from confluent_kafka import KafkaException

from stream_scorer.errors import OffsetsError, TransactionError
from stream_scorer.happenings import (
    BatchAborted,
    BatchCommitted,
    CommitSettled,
    DependencyBack,
    DependencyUnavailable,
    Listener,
    PartitionsAssigned,
    PartitionsRevoked,
)
from stream_scorer.kafka.producer import (
    CommitUncertain,
    Outgoing,
    TransactionAborted,
    TransactionalProducer,
)
from stream_scorer.kafka.source import Assigned, KafkaSource
from stream_scorer.ports import RawRecords

_IDLE_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_SERVE_SECONDS = 0.05
_MOST_ABORTS = 5


class Paused(Exception):  # noqa: N818 an outcome that the loop handles, not a user's error
    """The work cannot be done now, through no fault of the batch; the loop waits and retries.

    Attributes:
        dependency: What is missing: ``registry``, ``model``.
    """

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(detail)
        self.dependency = dependency


Delta = TypeVar("Delta")


@dataclass(frozen=True, slots=True)
class Result(Generic[Delta]):
    """What a batch came to.

    Attributes:
        outgoing: Records to publish, in order.
        delta: What ``keep`` or ``undo`` needs.
    """

    outgoing: Sequence[Outgoing]
    delta: Delta


class Stages:
    """A stopwatch over the named stages of one batch.

    Args:
        hook: Called with each stage's name when it is over; a test raises from it.
    """

    def __init__(self, hook: Callable[[str], None] | None = None) -> None:
        self._hook = hook
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
        if self._hook is not None:
            self._hook(stage)


class Work(Protocol[Delta]):
    """What a process does with each batch."""

    def assigned(self, offsets: dict[int, int]) -> None:
        """Take partitions over; ``restore`` then brings their state to these offsets."""
        ...

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget partitions that left."""
        ...

    def restoring(self) -> bool:
        """Whether ``restore`` has work to do."""
        ...

    def restore(self) -> set[int]:
        """Do a step of restoring; return the partitions that are ready now."""
        ...

    def compute(self, raw: RawRecords, stages: Stages) -> Result[Delta]:
        """Turn a batch into records; runs on another thread; may raise ``Paused``."""
        ...

    def keep(self, result: Result[Delta], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """The batch is committed: keep its delta and say what happened."""
        ...

    def undo(self, result: Result[Delta]) -> None:
        """The batch is given up: take its delta back."""
        ...


@dataclass(slots=True)
class Limits:
    """How the loop sizes and times its batches; seconds."""

    maximum_batch: int = 5_000
    linger: float = 0.004
    slow: float = 1.0


@dataclass(slots=True)
class _Aborts:
    """Consecutive aborts that were not the network's fault."""

    count: int = 0
    cause: str = field(default="")


class TransactionLoop(Generic[Delta]):
    """Runs a :class:`Work` over a source and a producer until it is told to stop.

    Args:
        source: Input.
        producer: Output.
        work: What to do with a batch.
        limits: Batch size and times.
        listener: Told of everything that happens.
        hook: Called with each step's name when it is over; a test raises from it.
    """

    def __init__(
        self,
        source: KafkaSource,
        producer: TransactionalProducer,
        work: Work[Delta],
        limits: Limits,
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
        self._stopping = False
        self._aborts = _Aborts()
        self._missing = ""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compute")

    def stop(self) -> None:
        """Finish the batch in hand, commit it and leave; safe in a signal handler."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping

    def run(self, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Run until ``stop``; leaves the group and the broker clean on the way out.

        Args:
            heartbeat: Called each time round.
        """
        try:
            while not self._stopping:
                heartbeat()
                self.step()
        finally:
            self._pool.shutdown(wait=True)
            self._producer.close()
            self._source.close()

    def step(self) -> None:
        """Do what is next: a rebalance, a step of restoring, or one transaction."""
        self._rebalance()
        patience = _IDLE_SECONDS
        if self._work.restoring():
            self._restore()
            patience = 0.0
        stages = Stages(self._hook)
        raw = self._source.poll(self._limits.maximum_batch, self._limits.linger, patience)
        self._rebalance()
        if raw is None:
            return
        stages.lap("poll")
        self._transact(raw, stages)

    def _restore(self) -> None:
        """Bring partitions that came a step nearer to being read."""
        try:
            ready = self._work.restore()
        except Paused as pause:
            self._say_missing(pause)
            self._wait_out()
            return
        self._say_back()
        if ready:
            self._source.resume(ready)

    def _rebalance(self) -> None:
        """Carry out what happened inside polls, in order."""
        for event in self._source.events():
            if isinstance(event, Assigned):
                self._positions |= event.offsets
                self._work.assigned(dict(event.offsets))
                self._listener(PartitionsAssigned(tuple(sorted(event.offsets))))
                if event.fresh:
                    self._commit_first(event)
            else:
                for partition in event.partitions:
                    self._positions.pop(partition, None)
                self._work.revoked(event.partitions)
                self._listener(PartitionsRevoked(event.partitions, event.lost))

    def _commit_first(self, event: Assigned) -> None:
        """Commit where a first run begins, so that the next start needs no ``--from``."""
        offsets = {p: event.offsets[p] for p in event.fresh}
        while not self._stopping:
            try:
                self._producer.begin(lambda: self._stopping)
                self._producer.offsets(self._source.places(offsets), self._source.group_metadata())
                self._producer.commit()
            except TransactionAborted as error:
                self._note_abort(error, 0)
            except CommitUncertain:
                self._producer.rebirth("commit", lambda: self._stopping)
            else:
                return

    def _transact(self, raw: RawRecords, stages: Stages) -> None:
        """Compute one batch and publish it in one transaction, or leave no trace of it."""
        ends = {p: int(raw.offset[raw.partition == p].max()) + 1 for p in _partitions(raw)}
        result: Result[Delta] | None = None
        try:
            result = self._compute(raw, stages)
            committed = result is not None and self._publish(result, ends, stages)
        except TransactionAborted as error:
            self._give_up(result, ends)
            self._note_abort(error, len(raw))
            return
        except BaseException:
            if result is not None:
                self._work.undo(result)
            raise
        if result is None or not committed:
            self._give_up(result, ends)
            return
        self._aborts = _Aborts()
        self._positions |= {p: end for p, end in ends.items() if p in self._positions}
        stages.lap("commit")
        self._listener(self._work.keep(result, stages, raw))

    def _publish(self, result: Result[Delta], ends: dict[int, int], stages: Stages) -> bool:
        """Send a result with its offsets; return whether it is committed.

        Raises:
            TransactionAborted: It is not, and the transaction is aborted.
        """
        starts = {p: self._positions[p] for p in ends}
        try:
            self._producer.begin(lambda: self._stopping)
            try:
                stages.lap("begin")
                for outgoing in result.outgoing:
                    self._producer.send(outgoing)
                stages.lap("send")
                self._producer.offsets(self._source.places(ends), self._source.group_metadata())
                stages.lap("offsets")
            except KafkaException as error:
                raise self._producer.given_up(error) from error
            self._producer.commit()
        except CommitUncertain as error:
            return self._settle(str(error), starts, ends)
        return True

    def _settle(self, cause: str, starts: dict[int, int], ends: dict[int, int]) -> bool:
        """Find out whether a commit whose answer was lost has happened."""
        # The new producer's init_transactions ends the old transaction one way or the other.
        self._producer.rebirth(cause, lambda: self._stopping)
        found = self._source.committed(set(ends))
        if found == ends:
            self._listener(CommitSettled(committed=True))
            return True
        if found == starts:
            self._listener(CommitSettled(committed=False))
            return False
        raise OffsetsError(
            f"after a lost commit answer the group's offsets are {found}, neither the batch's "
            f"start {starts} nor its end {ends}",
            "another process commits for this group; give it a group of its own",
        )

    def _compute(self, raw: RawRecords, stages: Stages) -> Result[Delta] | None:
        """Compute on the other thread; None when a partition of the batch was revoked."""
        while True:
            future = self._pool.submit(self._work.compute, raw, stages)
            try:
                result = self._await(future)
            except Paused as pause:
                self._say_missing(pause)
                self._wait_out()
                if self._stopping or not self._owns_all(raw):
                    return None
                continue
            self._say_back()
            if not self._owns_all(raw):
                self._work.undo(result)
                return None
            return result

    def _await(self, future: "Future[Result[Delta]]") -> Result[Delta]:
        """Wait for a computation; one that is slow pauses its partitions and keeps polling."""
        wait([future], timeout=self._limits.slow)
        if future.done():
            return future.result()
        self._source.pause()
        while not future.done():
            self._source.serve(_SERVE_SECONDS)
        self._source.resume(set())
        return future.result()

    def _wait_out(self) -> None:
        """Stay in the group for a moment without fetching."""
        self._source.pause()
        until = time.monotonic() + _RETRY_SECONDS
        while time.monotonic() < until and not self._stopping:
            self._source.serve(_SERVE_SECONDS)
        self._source.resume(set())

    def _say_missing(self, pause: Paused) -> None:
        if self._missing != pause.dependency:
            self._say_back()
            self._missing = pause.dependency
            self._listener(DependencyUnavailable(pause.dependency, str(pause)))

    def _say_back(self) -> None:
        if self._missing:
            self._listener(DependencyBack(self._missing))
            self._missing = ""

    def _owns_all(self, raw: RawRecords) -> bool:
        """Whether no partition of the batch was revoked since it was polled."""
        return not self._source.interrupted(_partitions(raw))

    def _give_up(self, result: Result[Delta] | None, ends: dict[int, int]) -> None:
        """Take the batch back and read it again."""
        if result is not None:
            self._work.undo(result)
        self._source.seek({p: self._positions[p] for p in ends if p in self._positions})

    def _note_abort(self, error: TransactionAborted, records: int) -> None:
        """Count what repeats: a batch that can never be published must not spin for ever."""
        self._listener(BatchAborted(str(error), records))
        if error.network:
            time.sleep(_SERVE_SECONDS)
            return
        self._aborts = _Aborts(self._aborts.count + 1, str(error))
        if self._aborts.count >= _MOST_ABORTS:
            raise TransactionError(
                f"{_MOST_ABORTS} transactions in a row were aborted: {error}",
                "see docs/RUNBOOK.md, section 'The scorer left with exit code 8'",
            )


def _partitions(raw: RawRecords) -> set[int]:
    return set(raw.partition.tolist())
