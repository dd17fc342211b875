"""Events of a rollout: its plan, as processes follow it, and its controller."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line

_PLAN = "Revisions are loaded, refused, activated"
_CONTROLLER = "Log lines of the rollout controller"

_HOLDING = frozenset({"INVALID", "INCONCLUSIVE"})
"""Verdicts that need a person's attention."""


@dataclass(frozen=True, slots=True)
class PlanAwaited(Event):
    """The control log contains no plan yet; ``over``: now it does."""

    over: bool = False

    AWAITED = Gauge(
        "plan_awaited", "1 while the control log holds no plan, and nothing is decided."
    )
    LINE = Line("plan_awaited", _PLAN, fields=("mend",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.AWAITED, not self.over
        if not self.over:
            yield self.LINE.given(mend="stream-scorer rollout start")


@dataclass(frozen=True, slots=True)
class RevisionLoaded(Event):
    """The versions of a revision of the plan are ready to decide.

    Attributes:
        revision: Its number.
        versions: NAME:VERSION by arm.
    """

    revision: int
    versions: Mapping[str, str]

    REVISION = Gauge(
        "plan_revision", "Newest revision of the plan that is ready to decide; 0 without a rollout."
    )
    LINE = Line("revision_loaded", _PLAN, "info", per=("revision",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REVISION, self.revision
        yield self.LINE


@dataclass(frozen=True, slots=True)
class RevisionRefused(Event):
    """A revision of the plan cannot be used here, in one partition or in all.

    Attributes:
        revision: Its number.
        reason: Why.
        partition: The partition; None: all.
    """

    revision: int
    reason: str
    partition: int | None = None

    REFUSED = Counter(
        "revisions_refused",
        "Revisions of the plan that cannot be used here, in a partition or at all.",
    )
    LINE = Line("revision_refused", _PLAN, per=("revision", "partition"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REFUSED, 1
        yield self.LINE


@dataclass(frozen=True, slots=True)
class RevisionActivated(Event):
    """From ``offset`` on, a revision of the plan decides a partition; that is committed."""

    partition: int
    offset: int
    revision: int

    ACTIVE = Gauge(
        "active_revision", "Revision of the plan that decides an input partition.", "partition"
    )
    LINE = Line("revision_activated", _PLAN, "info", per=("partition", "revision"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ACTIVE, self.revision, self.partition
        yield self.LINE


@dataclass(frozen=True, slots=True)
class RolloutEvidence(Event):
    """A controller read records.

    Attributes:
        waiting: Decisions that wait for their labels.
        labels: Labels that are kept.
        full: Decisions and labels that were left out, because the maximum is waiting.
        late_labels: Labels that arrived after their decision had matured.
        unreadable: Records that do not belong in their topic.
    """

    waiting: int
    labels: int
    full: int = 0
    late_labels: int = 0
    unreadable: int = 0

    WAITING = Gauge("rollout_decisions_waiting", "Decisions that wait for their labels.")
    LABELS = Gauge("rollout_labels_waiting", "Labels that are kept for their decision.")
    LEFT_OUT = Counter(
        "rollout_rows_left_out", "Decisions and labels left out because too many wait."
    )
    LATE = Counter("rollout_labels_late", "Labels that came when their decision had matured.")
    UNREADABLE = Counter(
        "rollout_records_unreadable", "Records that were not what their topic holds."
    )
    LINE = Line("rollout_rows_left_out", _CONTROLLER, fields=("rows",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.WAITING, self.waiting
        yield self.LABELS, self.labels
        yield self.LEFT_OUT, self.full
        yield self.LATE, self.late_labels
        yield self.UNREADABLE, self.unreadable
        if self.full:
            yield self.LINE.given(rows=self.full)


@dataclass(frozen=True, slots=True)
class RolloutJudged(Event):
    """A rollout was judged in one look.

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

    LOOKS = Counter(
        "rollout_looks", "Looks taken, by guard, way and verdict.", "guard", "way", "verdict"
    )
    LINE = Line("rollout_holds", _CONTROLLER, fields=("guard", "verdict"), per=("guard", "verdict"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LOOKS, 1, self.guard, self.way, self.verdict
        if self.verdict in _HOLDING:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class RolloutMoved(Event):
    """A controller wrote a step, promotion or rollback to the control log, or proposed one."""

    kind: str
    proposed: bool
    reason: str

    MOVES = Counter(
        "rollout_moves", "Commands written to the control log, done or proposed.", "kind", "how"
    )
    LINE = Line("rollout_moved", _CONTROLLER, fields=("kind", "how", "reason"), per=("kind", "how"))

    def effects(self, history: History) -> Iterable[Effect]:
        how = "proposed" if self.proposed else "done"
        yield self.MOVES, 1, self.kind, how
        yield self.LINE.given(how=how)


@dataclass(frozen=True, slots=True)
class RolloutHeld(Event):
    """A controller could not write to the control log."""

    kind: str
    refusal: str

    REFUSED = Counter(
        "rollout_commands_refused", "Commands that the control log did not take.", "kind"
    )
    LINE = Line("rollout_command_refused", _CONTROLLER, "error", per=("kind",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REFUSED, 1, self.kind
        yield self.LINE
