"""What can happen while a process runs: plain data, one small class per happening.

``observability.render`` turns each into its metric and, where a person must act, its log line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that metrics and logs should know of."""


@dataclass(frozen=True, slots=True)
class DecidedBy:
    """Decisions of one model by outcome (APPROVE, REVIEW, BLOCK)."""

    outcomes: Mapping[str, int]
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class BatchCommitted(Happening):
    """One transaction was committed.

    Attributes:
        records: Input records that it covers.
        outcomes: Decisions by outcome (APPROVE, REVIEW, BLOCK).
        model: The deciding model's name.
        version: Its version.
        rejected: Dead letters by reject reason.
        flagged: Decisions by flag.
        stage_seconds: Duration by stage (poll, decode, validate, features, score, encode, ...).
        age_seconds: Per decision, seconds between the record's Kafka timestamp and the commit;
            any sequence of floats or float64[n], one observation per decision.
        next_offsets: The next input offset by partition.
        others: What further models decided.
    """

    records: int
    outcomes: Mapping[str, int]
    model: str
    version: str
    rejected: Mapping[str, int] = field(default_factory=dict)
    flagged: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    age_seconds: Sequence[float] | NDArray[np.float64] = ()
    next_offsets: Mapping[int, int] = field(default_factory=dict)
    others: Sequence[DecidedBy] = ()


@dataclass(frozen=True, slots=True)
class BatchAborted(Happening):
    """A transaction was given up; state is as before it and its input will be read again."""

    cause: str
    records: int


@dataclass(frozen=True, slots=True)
class RecordQuarantined(Happening):
    """The computation failed for one record each time; it was rejected, and that is committed.

    Attributes:
        topic: Where the record is.
        partition: Its partition.
        offset: Its offset.
        error: What failed, and where in the code.
    """

    topic: str
    partition: int
    offset: int
    error: str


@dataclass(frozen=True, slots=True)
class ReplayLeftOut(Happening):
    """A silent replay fails for one record each time; the state was rebuilt without it.

    Attributes:
        partition: The record's partition.
        offset: Its offset.
        error: What failed, and where in the code.
    """

    partition: int
    offset: int
    error: str


@dataclass(frozen=True, slots=True)
class ComputationHung(Happening):
    """A batch is being computed for longer than ``scorer.hang_seconds``.

    Attributes:
        seconds: For how long.
        stack: Where the computing thread is, one line per frame, innermost last.
    """

    seconds: float
    stack: str


@dataclass(frozen=True, slots=True)
class ComputationOver(Happening):
    """The batch that hung has been computed after all, or failed."""


@dataclass(frozen=True, slots=True)
class ProducerReborn(Happening):
    """The producer was replaced so that a late request of the old one is fenced."""

    cause: str


@dataclass(frozen=True, slots=True)
class CommitSettled(Happening):
    """A commit whose answer was lost was settled by reading the stable committed offsets."""

    committed: bool


@dataclass(frozen=True, slots=True)
class PartitionsAssigned(Happening):
    """Partitions came to this process; ``fresh`` are those without a committed offset."""

    partitions: tuple[int, ...]
    fresh: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstOffsetsCommitted(Happening):
    """Where a first run begins is committed: from now on a start needs no ``--from``."""

    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartitionsRevoked(Happening):
    """Partitions left this process; ``lost`` when they had gone before it could finish."""

    partitions: tuple[int, ...]
    lost: bool = False


@dataclass(frozen=True, slots=True)
class StandingBy(Happening):
    """Whether this process, which has no partitions, is one that the group has none for."""

    spare: bool


@dataclass(frozen=True, slots=True)
class ReplayProgress(Happening):
    """A partition's state is being rebuilt from the input by a silent replay."""

    partition: int
    next_offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class StateIncomplete(Happening):
    """Less history is known of a partition than windows reach back: features lack it.

    Attributes:
        partition: Input partition.
        oldest_offset: The oldest retained offset.
        reasons: ``input`` where what was before it is not known; ``ring_cap`` where full rings
            were kept with a smaller cap.
    """

    partition: int
    oldest_offset: int
    reasons: tuple[str, ...] = ("input",)


@dataclass(frozen=True, slots=True)
class StateComplete(Happening):
    """No window of a partition reaches back to what was missing any more."""

    partition: int


@dataclass(frozen=True, slots=True)
class StateRestored(Happening):
    """A partition's state is whole: its buckets were loaded and the input behind them replayed.

    Attributes:
        partition: Input partition.
        buckets: Buckets that were found; 0 without a checkpoint.
        first_offset: Where the replay began.
        end_offset: Where live reading begins.
    """

    partition: int
    buckets: int
    first_offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class ModelWarming(Happening):
    """A version that does not decide yet was judged by the histories that are kept for it.

    Attributes:
        model: Its name.
        version: Its version.
        partition: Input partition.
        features: Those that lack history; none when it could decide.
        warm_from_ms: Event time from which on none does, ms.
    """

    model: str
    version: str
    partition: int
    features: tuple[str, ...]
    warm_from_ms: int


@dataclass(frozen=True, slots=True)
class ColdAccepted(Happening):
    """A model decides although some of its features lack history; ``--accept-cold`` says so.

    Attributes:
        partition: Input partition.
        features: Those that lack it.
        warm_from_ms: Event time from which on they do not, ms.
    """

    partition: int
    features: tuple[str, ...]
    warm_from_ms: int


@dataclass(frozen=True, slots=True)
class CheckpointWritten(Happening):
    """Some buckets of the rolling checkpoint are safe.

    Attributes:
        buckets: How many.
        bytes: Their records' sizes.
        age_records: By partition, records that a restart would replay now.
        cycle_seconds: By partition, how long the last whole cycle took, once there is one.
    """

    buckets: int
    bytes: int
    age_records: Mapping[int, int]
    cycle_seconds: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class CheckpointFailed(Happening):
    """Buckets could not be written; scoring goes on, and a restart would replay more."""

    detail: str


@dataclass(frozen=True, slots=True)
class DependencyUnavailable(Happening):
    """A registry or broker cannot be reached; the process is paused and tries again."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class DependencyBack(Happening):
    """What was unavailable answers again."""

    name: str


@dataclass(frozen=True, slots=True)
class LagObserved(Happening):
    """Records between the group's committed offset and the input's end, by partition.

    ``to_stable`` is measured against the last stable offset, ``to_high`` against the high
    watermark; a difference that stays is a hanging transaction upstream. ``seconds`` is the age
    of the oldest record that is not committed.
    """

    to_high: Mapping[int, int]
    to_stable: Mapping[int, int]
    seconds: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stuck(Happening):
    """There is lag, and the position of some partitions has not moved.

    Attributes:
        seconds: For how long the longest of them has not.
        partitions: Which; all are this process's.
    """

    seconds: float
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Moving(Happening):
    """No partition is stuck any more."""


@dataclass(frozen=True, slots=True)
class KeyMisplaced(Happening):
    """A sampled record's key does not belong to its partition: upstream partitions otherwise."""

    sampled: int
    misplaced: int


@dataclass(frozen=True, slots=True)
class ModelFailed(Happening):
    """The model raised; ``rows`` were decided by the bundle's ``on_model_error``."""

    model: str
    version: str
    rows: int
    error: str


@dataclass(frozen=True, slots=True)
class ModelVerified(Happening):
    """A deployed bundle's files were compared with what was loaded.

    Attributes:
        model: Its name.
        version: Its version.
        cause: Why now: ``start``, when it was loaded; ``signal``; ``time``; or
            ``unload``, when no revision names it any more and it is watched no longer.
        refusal: Why a start would refuse them now, though the loaded copy goes on; empty when
            they are whole.
    """

    model: str
    version: str
    cause: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class DriftDetected(Happening):
    """A detector on the stream reported a change."""

    detector: str
    signal: str


@dataclass(frozen=True, slots=True)
class RowsSettled(Happening):
    """Terminals' rows were published in a committed transaction.

    Attributes:
        rows: How many.
        watermark_ms: Every row up to here is out, event time in ms; None before the first.
        pending: Rows that wait for their cut-off.
        late_rows: Transactions that came when their row could no longer leave.
        late_labels: Labels that changed nothing, by cause: ``delivered_late`` or ``after_cutoff``.
    """

    rows: int
    watermark_ms: int | None
    pending: int
    late_rows: int
    late_labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TerminalsRead(Happening):
    """A scorer took terminals' rows in.

    Attributes:
        rows: How many it holds.
        watermark_ms: It has every row up to here, event time in ms; None before the first.
        left: Records of the topic that it still reads before it scores.
    """

    rows: int
    watermark_ms: int | None
    left: int = 0


@dataclass(frozen=True, slots=True)
class RecordsSkipped(Happening):
    """Records of a topic of ours that are not of its family, or over its limits, were passed over.

    Attributes:
        topic: Which topic, by its name in ``kafka.topics``.
        records: How many.
        partition: Of the first of them.
        offset: Of the first of them.
        why: What is wrong with that one.
    """

    topic: str
    records: int
    partition: int
    offset: int
    why: str


@dataclass(frozen=True, slots=True)
class RolloutEvidence(Happening):
    """A controller took records in.

    Attributes:
        waiting: Decisions that wait for their labels.
        labels: Labels that are kept.
        full: Decisions and labels that were left out, because as many wait as may.
        late_labels: Labels that came when their decision had matured.
        unreadable: Records that were not what their topic holds.
    """

    waiting: int
    labels: int
    full: int = 0
    late_labels: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class RolloutJudged(Happening):
    """A look was taken at a rollout.

    Attributes:
        guard: ``fast`` or ``slow``.
        way: ``canary`` or ``shadow``.
        verdict: See docs/ROLLOUT.md.
        look: Its number.
    """

    guard: str
    way: str
    verdict: str
    look: int


@dataclass(frozen=True, slots=True)
class RolloutMoved(Happening):
    """A controller wrote a step, promotion or rollback to the control log, or proposed one."""

    kind: str
    proposed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutHeld(Happening):
    """A controller wanted to write something to the control log, and could not."""

    kind: str
    refusal: str


@dataclass(frozen=True, slots=True)
class WorkerStarted(Happening):
    """A supervisor started the process of a worker."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerLeft(Happening):
    """A worker left unasked.

    Attributes:
        worker: Its number.
        cause: ``exit 1``, ``SIGKILL`` and the like.
        again_seconds: It is started again after this; None: it is not, and the others end too.
    """

    worker: int
    cause: str
    again_seconds: float | None


@dataclass(frozen=True, slots=True)
class Stopping(Happening):
    """The process was asked to leave and is finishing its batch."""

    cause: str


Listener = Callable[[Happening], None]


@dataclass(frozen=True, slots=True)
class PlanAwaited(Happening):
    """The control log holds no plan yet; ``over``: now it does."""

    over: bool = False


@dataclass(frozen=True, slots=True)
class RevisionLoaded(Happening):
    """What a revision of the plan names is ready to decide.

    Attributes:
        revision: Its number.
        versions: NAME:VERSION by arm.
    """

    revision: int
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RevisionRefused(Happening):
    """A revision of the plan cannot be used here, in a partition or at all.

    Attributes:
        revision: Its number.
        reason: Why.
        partition: Where; None: everywhere.
    """

    revision: int
    reason: str
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class RevisionActivated(Happening):
    """From ``offset`` on a revision of the plan decides a partition; that is committed."""

    partition: int
    offset: int
    revision: int
