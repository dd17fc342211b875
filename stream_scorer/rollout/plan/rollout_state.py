"""How far a rollout has come: the state that the control log folds to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.plan import Plan
from stream_scorer.rollout.plan.command_kinds import CommandKind, VerdictGiven
from stream_scorer.rollout.plan.control_record import BEGINNING
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Stage, Strategy
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.security.keys import TrustedKey


class Phase(StrEnum):
    """Where a rollout is."""

    EMPTY = "empty"
    """There is no plan yet."""
    STEADY = "steady"
    """One version decides, and nothing is tried."""
    RUNNING = "running"
    PROMOTED = "promoted"
    """A candidate is the champion now."""
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What waits for an operator's answer.

    Attributes:
        sequence: Of the command that proposed it.
        kind: What is to be done.
        body: Of that command.
        reason: Why.
    """

    sequence: int
    kind: CommandKind
    body: StrictModel
    reason: str


@dataclass(frozen=True, slots=True)
class ReportedVerdict:
    """A guard's last verdict.

    Attributes:
        sequence: Of its command.
        at: When it was written, ms since the epoch.
        verdict: What it says.
    """

    sequence: int
    at: int
    verdict: VerdictGiven


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What the log says up to a record.

    Attributes:
        sequence: Number of the last accepted record; 0 before the first.
        head: Its hash.
        shared: What the first plan shares: what state rests on in it is for ever.
        phase: Where the rollout is.
        plan: The last plan.
        plan_revision: Its sequence number: the rollout's id.
        stage: Place in the plan's ramp.
        moved_at: When the last command that changed the routing was written, ms since the epoch.
        colour: Of a blue-green rollout, who decides.
        paused: Whether nobody goes on.
        pending: What waits for an answer.
        verdicts: The last one of each guard in this rollout.
        routing: What the last revision means.
    """

    sequence: int = 0
    head: bytes = BEGINNING
    shared: Plan | None = None
    phase: Phase = Phase.EMPTY
    plan: RolloutPlan | None = None
    plan_revision: int = 0
    stage: int = 0
    moved_at: int = 0
    colour: str = ""
    paused: bool = False
    pending: Proposal | None = None
    verdicts: Mapping[str, ReportedVerdict] = field(default_factory=dict)
    routing: Routing | None = None

    @property
    def revision(self) -> int:
        """Number of the last revision; 0 before the first."""
        return 0 if self.routing is None else self.routing.revision

    @property
    def running(self) -> bool:
        """Whether a rollout is under way."""
        return self.phase is Phase.RUNNING

    @property
    def at_stage(self) -> Stage | None:
        """The ramp's stage that a running canary is at."""
        if self.plan is None or not self.running or self.plan.strategy is not Strategy.CANARY:
            return None
        return self.plan.ramp[self.stage]

    @property
    def controller(self) -> TrustedKey | None:
        """The key of the plan's controller."""
        named = self.plan.controller if self.plan else None
        key = named.public_key if named else None
        return TrustedKey("controller", key) if key else None
