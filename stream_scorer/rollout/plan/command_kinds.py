"""The kinds of commands in the control log, and the body of each."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, field_validator

from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.plan.plan_file import RolloutPlan
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant, RetrainRevoke
from stream_scorer.rollout.plan.strict_parsing import (
    FORMAT,
    Arm,
    Body,
    EventTime,
    Sequence,
    StrictModel,
    Text,
)


class CommandKind(StrEnum):
    """The kind of a command."""

    PLAN = "plan"
    """Begin a rollout, which replaces the previous one."""
    STEP = "step"
    """Advance to a later stage of the ramp."""
    SWITCH = "switch"
    """Let the other colour decide."""
    PROMOTE = "promote"
    """Make an arm's version the champion, which decides everything; the first one stays warm."""
    ROLLBACK = "rollback"
    """Let the plan's champion decide everything again, from the next offset on."""
    PAUSE = "pause"
    """Advance no further until it is resumed; shares stay, and a rollback is still possible."""
    RESUME = "resume"
    VERDICT = "verdict"
    """A guard's verdict; it changes no routing."""
    PROPOSE = "propose"
    """Ask an operator for a step, switch, promotion or rollback."""
    APPROVE = "approve"
    """Execute what was proposed."""
    REJECT = "reject"
    GRANT = "grant"
    """Let a trainer's key begin rollouts within limits; operators only."""
    REVOKE = "revoke"
    """End a grant; operators only."""


class Timed(Body):
    """A command that may wait for an event time.

    Attributes:
        effective_at: Event time, ms, of the first transaction that it decides; None: immediately.
    """

    effective_at: EventTime | None = None


class Step(Timed):
    """Advance to a later stage.

    Attributes:
        stage: Index in the plan's ramp, from 0.
    """

    stage: Annotated[int, Field(ge=0)]


class Switch(Timed):
    """Let the other colour decide."""

    to: Literal["blue", "green"]


class Promote(Timed):
    """Make an arm's version the champion."""

    arm: Arm


class Rollback(Body):
    """Return to the plan's champion."""


class Pause(Body):
    """Pause the rollout."""


class Resume(Body):
    """Resume the rollout."""


class VerdictGiven(Body):
    """A guard's verdict.

    Attributes:
        guard: The guard.
        verdict: See docs/ROLLOUT.md.
        reasons: One line each, the most important first.
        numbers: By name.
    """

    guard: Literal["fast", "slow"]
    verdict: Verdict
    reasons: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    numbers: Annotated[dict[str, float], Field(max_length=1_000)] = Field(default_factory=dict)


class Propose(Body):
    """Ask an operator for a command.

    Attributes:
        kind: Kind of the proposed command.
        body: Body of the proposed command.
    """

    kind: Literal["step", "switch", "promote", "rollback"]
    body: dict[str, JsonValue]

    @field_validator("body")
    @classmethod
    def _say_its_format(cls, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return {"format": FORMAT, **body}


class Answer(Body):
    """An operator's answer.

    Attributes:
        proposal: Sequence number of the proposal.
    """

    proposal: Sequence


BODIES: Final[dict[CommandKind, type[StrictModel]]] = {
    CommandKind.PLAN: RolloutPlan,
    CommandKind.STEP: Step,
    CommandKind.SWITCH: Switch,
    CommandKind.PROMOTE: Promote,
    CommandKind.ROLLBACK: Rollback,
    CommandKind.PAUSE: Pause,
    CommandKind.RESUME: Resume,
    CommandKind.VERDICT: VerdictGiven,
    CommandKind.PROPOSE: Propose,
    CommandKind.APPROVE: Answer,
    CommandKind.REJECT: Answer,
    CommandKind.GRANT: RetrainGrant,
    CommandKind.REVOKE: RetrainRevoke,
}
