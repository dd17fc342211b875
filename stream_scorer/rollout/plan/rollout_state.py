"""The state of a rollout: the result of the fold over the control log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.plan import Plan
from stream_scorer.models.bundles.trust import GrantedBundle
from stream_scorer.rollout.plan.command_kinds import CommandKind, VerdictGiven
from stream_scorer.rollout.plan.control_record import BEGINNING
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Stage, Strategy
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.security.keys import TrustedKey, key_id


class Phase(StrEnum):
    """The phase of a rollout."""

    EMPTY = "empty"
    """There is no plan yet."""
    STEADY = "steady"
    """One version decides; there is no candidate."""
    RUNNING = "running"
    PROMOTED = "promoted"
    """A candidate is the champion now."""
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A command that waits for an operator's answer.

    Attributes:
        sequence: Sequence number of the proposal.
        kind: Kind of the proposed command.
        body: Body of the proposed command.
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
        sequence: Sequence number of its command.
        at: When it was written, ms since the epoch.
        verdict: The verdict.
    """

    sequence: int
    at: int
    verdict: VerdictGiven


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant of the log.

    Attributes:
        grant: Its limits.
        revoked: Sequence number of the command that ended it; 0 if none did.
    """

    grant: RetrainGrant
    revoked: int = 0


@dataclass(frozen=True, slots=True)
class RolloutState:
    """The state after a record of the log.

    Attributes:
        sequence: Number of the last accepted record; 0 before the first.
        head: Hash of that record.
        shared: What the first plan shares. Later plans cannot change those keys of it on which
            state depends.
        phase: Where the rollout is.
        plan: The last plan.
        plan_revision: Its sequence number: the rollout's id.
        stage: Index in the plan's ramp.
        moved_at: When the last command that changed the routing was written, ms since the epoch.
        colour: The colour that decides in a blue-green rollout; otherwise empty.
        paused: Whether the rollout is paused.
        pending: The proposal that waits for an answer.
        verdicts: The last one of each guard in this rollout.
        routing: The routing of the last revision.
        named: All versions that accepted plans named, as NAME:VERSION.
        grants: By sequence number, the newest ``granted_plans.GRANTS_KEPT`` grants.
        trained: By NAME:VERSION, the bundles that accepted plans of trainers named.
        trained_at: Broker time of the last accepted plan of a trainer, ms since the epoch; 0
            without one.
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
    named: frozenset[str] = frozenset()
    grants: Mapping[int, Granted] = field(default_factory=dict)
    trained: Mapping[str, GrantedBundle] = field(default_factory=dict)
    trained_at: int = 0

    @property
    def revision(self) -> int:
        """Number of the last revision; 0 before the first."""
        return 0 if self.routing is None else self.routing.revision

    @property
    def running(self) -> bool:
        """Whether a rollout is running."""
        return self.phase is Phase.RUNNING

    @property
    def at_stage(self) -> Stage | None:
        """The current stage of a running canary; None without one."""
        if self.plan is None or not self.running or self.plan.strategy is not Strategy.CANARY:
            return None
        return self.plan.ramp[self.stage]

    @property
    def controller(self) -> TrustedKey | None:
        """The key of the plan's controller; None without one."""
        named = self.plan.controller if self.plan else None
        key = named.public_key if named else None
        return TrustedKey("controller", key) if key else None

    @property
    def trainers(self) -> Mapping[str, TrustedKey]:
        """By key id, the keys of the grants, whether these are still valid or not."""
        keys = (each.grant.public_key for each in self.grants.values())
        return {key_id(key): TrustedKey("trainer", key) for key in keys}
