"""The interface of a transaction loop's work: batches in, records out, and a delta."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from stream_scorer.ports import Outgoing, Paused, RawRecords
from stream_scorer.settings import Scorer
from stream_scorer.telemetry import (
    BatchCommitted,
    DependencyBack,
    DependencyUnavailable,
    Listener,
)

Delta = TypeVar("Delta")

NO_ROWS: Mapping[int, str] = MappingProxyType({})
"""No record of a batch is rejected before it is computed."""


@dataclass(frozen=True, slots=True)
class Result(Generic[Delta]):
    """The result of a batch.

    Attributes:
        outgoing: Records to publish, in order.
        delta: The argument of ``keep`` or ``undo``.
        notes: Notes for the broker to keep with the partitions' committed offsets. If there are
            any, the offsets of all partitions are committed, not only those of the batch.
        ends: For a *partial* result: the next offset by partition after the records that are a part
            of it. They are a prefix of the batch's records in each of its partitions; a partition
            without any is left out. The others are read again. None: all records of the batch.
    """

    outgoing: Sequence[Outgoing]
    delta: Delta
    notes: Mapping[int, bytes] = field(default_factory=dict)
    ends: Mapping[int, int] | None = None


class Deferred(Paused):
    """Nothing of a batch can be computed yet: it is read again, after records of other partitions.

    Args:
        dependency: What is missing, as for :class:`Paused`.
        partitions: Partitions whose next records cannot be computed yet.
    """

    def __init__(self, dependency: str, partitions: frozenset[int]) -> None:
        super().__init__(dependency, f"partitions {sorted(partitions)} wait")
        self.partitions = partitions


class Stages:
    """A stopwatch over the named stages of one batch.

    Args:
        hook: Called with each stage's name when it is over; a test raises from it.
    """

    def __init__(self, hook: Callable[[str], None] | None = None) -> None:
        self._hook = hook
        self.seconds: dict[str, float] = {}
        self.committed_ms = 0
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
        if self._hook is not None:
            self._hook(stage)

    def passed(self, moment: str) -> None:
        """Call the hook for a moment that ends no stage."""
        if self._hook is not None:
            self._hook(moment)

    def computing_seconds(self) -> float:
        """Return the duration of all stages so far without polling: once a batch is computed."""
        return sum(self.seconds.values()) - self.seconds.get("poll", 0.0)

    def finish(self) -> None:
        """End the last stage, the commit, and note the wall-clock time, ms since the epoch."""
        self.lap("commit")
        self.committed_ms = time.time_ns() // 1_000_000


@dataclass(slots=True)
class PolledBatch(Generic[Delta]):
    """A polled batch.

    Attributes:
        raw: Its records.
        ends: The next offset by partition.
        stages: Its stopwatch.
        polled: Whether the stage of polling is over.
        future: Its computation, until its result or its failure is known.
        result: The result of the computation.
        computed: Whether nothing is being computed.
        unmarked: Whether it was polled ahead and waits for the mark of its attempt.
        opened: Whether its transaction was opened, or refused, before it was computed.
        quarantined: The failure of each quarantined record, by row; ``result`` rejects them.
    """

    raw: RawRecords
    ends: dict[int, int]
    stages: Stages
    polled: bool = False
    future: Future[Result[Delta]] | None = None
    result: Result[Delta] | None = None
    computed: bool = False
    unmarked: bool = False
    opened: bool = False
    quarantined: Mapping[int, str] = field(default_factory=dict)

    def cut(self) -> set[int]:
        """Keep the part that a partial result is of; return the partitions with further records.

        Of the batch's other partitions, ``ends`` then has those that were read to their end.
        """
        ends = None if self.result is None else self.result.ends
        if ends is None:
            return set()
        raw = self.raw
        limit = np.zeros(max(self.ends) + 1, np.int64)
        limit[list(ends)] = list(ends.values())
        taken = raw.offset < limit[raw.partition]
        number = np.cumsum(taken) - 1
        self.quarantined = {
            int(number[row]): why for row, why in self.quarantined.items() if taken[row]
        }
        self.raw = raw.where(taken)
        left = set(np.unique(raw.partition[~taken]).tolist())
        self.ends = {p: end if p not in left else ends[p]
                     for p, end in self.ends.items() if p in ends}  # fmt: skip
        return left


class Outage:
    """A dependency that the work cannot reach; reported once, and once when it is back.

    Args:
        listener: Notified.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._missing = ""

    def begin(self, pause: Paused) -> None:
        """Report what is missing, unless it was reported."""
        if self._missing != pause.dependency:
            self.end()
            self._missing = pause.dependency
            self._listener(DependencyUnavailable(pause.dependency, str(pause)))

    def end(self) -> None:
        """Report that it is back, if it was missing."""
        if self._missing:
            self._listener(DependencyBack(self._missing))
            self._missing = ""


class Work(Protocol[Delta]):
    """What a process does with each batch."""

    def assigned(self, offsets: dict[int, int]) -> None:
        """Add partitions; ``restore`` then brings their state to these offsets."""
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

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Delta]:
        """Turn a batch into records; runs on another thread; may raise ``Paused``.

        The result may be partial. If nothing can be computed yet, it raises ``Deferred``.

        If it raises, it leaves no trace. For an exception that may be the records' fault, trials
        find the records, and the batch is computed once more without them; see
        ``kafka.loop.quarantine``.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: Rows that must be rejected unread, each with its failure.
        """
        ...

    def keep(self, result: Result[Delta], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Keep the delta of a committed batch, on the thread of ``compute``.

        ``raw`` has only the records that the result is of.
        """
        ...

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:
        """Return the records to leave for partitions that are about to be revoked.

        Runs on the thread of ``compute`` when every batch is kept or undone. The records are
        published with the partitions' committed offsets; if that fails, nothing is lost.
        """
        ...

    def undo(self, result: Result[Delta]) -> None:
        """Undo the delta of an aborted batch; runs on the thread of ``compute``."""
        ...

    def close(self) -> None:
        """Close its connections at the loop's end; its state stays as it is."""
        ...


@dataclass(slots=True)
class LoopLimits:
    """Batch sizes and time limits of the loop; seconds.

    ``linger``: the time from one poll to the next for which a batch that is not full waits.
    ``ahead``: whether the work can compute on top of a batch that is not committed yet. ``hang``: a
    computation that takes longer is reported as hung. ``guarded``: whether processes that end in
    the same batch are counted (``kafka.loop.attempts``), and whether offsets are sent while their
    batch is being computed; only for work that commits no notes. ``takes``: whether ``dlq take``
    can take a record of the loop's topic.
    """

    maximum_batch: int = 25_000
    linger: float = 0.004
    slow: float = 1.0
    ahead: bool = True
    hang: float = 300.0
    guarded: bool = False
    takes: bool = True

    @classmethod
    def of(
        cls,
        scorer: Scorer,
        linger: float,
        *,
        ahead: bool = True,
        guarded: bool = False,
        takes: bool = True,
    ) -> Self:
        """Return the limits that the settings give every loop.

        Args:
            scorer: Batch size and times.
            linger: As above.
            ahead: As above.
            guarded: As above.
            takes: As above.
        """
        slow = scorer.model_timeout_ms / 1_000
        return cls(scorer.maximum_batch, linger, slow, ahead, scorer.hang_seconds, guarded, takes)
