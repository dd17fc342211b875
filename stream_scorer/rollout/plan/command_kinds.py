"""What may be written to the control log: the kinds of commands and what each says."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, field_validator

from stream_scorer.rollout.evidence.guardrail import Verdict
from stream_scorer.rollout.plan.plan_file import RolloutPlan
from stream_scorer.rollout.plan.strict_parsing import (
    FORMAT,
    Arm,
    Body,
    EventTime,
    StrictModel,
    Text,
)

Sequence = Annotated[int, Field(ge=1)]


class CommandKind(StrEnum):
    """What a command does."""

    PLAN = "plan"
    """Begin a rollout; it takes the place of the one before."""
    STEP = "step"
    """Another stage of the ramp."""
    SWITCH = "switch"
    """Another colour."""
    PROMOTE = "promote"
    """An arm's version is the champion now, alone; the one before is kept warm."""
    ROLLBACK = "rollback"
    """The plan's champion decides everything again, from the next offset on."""
    PAUSE = "pause"
    """Nobody goes on until it is resumed; shares stay, and a rollback is still possible."""
    RESUME = "resume"
    VERDICT = "verdict"
    """What a guard says; no effect."""
    PROPOSE = "propose"
    """Ask an operator for a step, switch, promotion or rollback."""
    APPROVE = "approve"
    """Do what was proposed."""
    REJECT = "reject"


class Timed(Body):
    """A command that may wait for an event time.

    Attributes:
        effective_at: Event time, ms, of the first transaction that it is for; None: at once.
    """

    effective_at: EventTime | None = None


class Step(Timed):
    """Go on to a later stage.

    Attributes:
        stage: Its place in the plan's ramp, from 0.
    """

    stage: Annotated[int, Field(ge=0)]


class Switch(Timed):
    """Let the other colour decide."""

    to: Literal["blue", "green"]


class Promote(Timed):
    """Make an arm's version the champion."""

    arm: Arm


class Rollback(Body):
    """Go back to the plan's champion."""


class Pause(Body):
    """Hold the rollout."""


class Resume(Body):
    """Let it go on."""


class VerdictGiven(Body):
    """What a guard says.

    Attributes:
        guard: Which.
        verdict: See docs/ROLLOUT.md.
        reasons: One line each, most weighty first.
        numbers: By name.
    """

    guard: Literal["fast", "slow"]
    verdict: Verdict
    reasons: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    numbers: Annotated[dict[str, float], Field(max_length=1_000)] = Field(default_factory=dict)


class Propose(Body):
    """Ask an operator.

    Attributes:
        kind: Of the command that is asked for.
        body: Of that command.
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
}
