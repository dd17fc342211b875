"""The effect of each command on a rollout, and when it is refused; pure functions of the state."""

from dataclasses import replace
from typing import Final

from stream_scorer.core.events.plan import Plan
from stream_scorer.rollout.plan.command_kinds import (
    BODIES,
    Answer,
    CommandKind,
    Promote,
    Propose,
    Rollback,
    Step,
    Switch,
    Timed,
    VerdictGiven,
)
from stream_scorer.rollout.plan.granted_plans import with_grant, without_grant
from stream_scorer.rollout.plan.judging_rules import ControllerRules
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Strategy
from stream_scorer.rollout.plan.retrain_grant import RetrainGrant, RetrainRevoke
from stream_scorer.rollout.plan.rollout_state import Phase, Proposal, ReportedVerdict, RolloutState
from stream_scorer.rollout.plan.routes import alone, running
from stream_scorer.rollout.plan.strict_parsing import StrictModel, read

MAY_CHANGE: Final = frozenset(
    {"revision", "late_decision_ms", "model_error_share", "summary_window_ms", "policy", "events",
     "extras", "segments", "label_policy", "explore", "review_sample"}
)  # fmt: skip
"""Shared keys that a plan may change: no state depends on them, and readers use the newest plan."""
_READ_ONCE: Final = frozenset({"terminal_wait_ms"})
"""Shared keys on which no state depends, but which scorers read only when they start."""

_ALL: Final = 100.0
"""Per cent of customers."""
_MOVES: Final = frozenset(
    {CommandKind.STEP, CommandKind.SWITCH, CommandKind.PROMOTE, CommandKind.ROLLBACK}
)
_ALWAYS: Final = frozenset({CommandKind.VERDICT, CommandKind.PROPOSE})
"""Kinds of commands that a controller may always write."""


def next_state(
    state: RolloutState, kind: CommandKind, body: StrictModel, sequence: int, at: int
) -> RolloutState:
    """Return the state after an operator's command, except for its sequence and head.

    Args:
        state: Before the command.
        kind: Kind of the command.
        body: Its body.
        sequence: Its sequence number.
        at: When it was written, ms since the epoch.

    Raises:
        ValueError: The state does not allow it; gives the reason.
    """
    if isinstance(body, RolloutPlan):
        return _begun(state, body, sequence, at)
    if isinstance(body, RetrainGrant):
        return with_grant(state, body, sequence)
    if isinstance(body, RetrainRevoke):
        return without_grant(state, body, sequence)
    if state.plan is None:
        raise ValueError("there is no plan yet")
    return _of_rollout(state, state.plan, kind, body, sequence, at)


def _of_rollout(
    state: RolloutState, plan: RolloutPlan, kind: CommandKind, body: StrictModel, sequence: int,
    at: int,
) -> RolloutState:  # fmt: skip
    """Return the state after a command about the rollout of a plan."""
    if isinstance(body, VerdictGiven):
        told = ReportedVerdict(sequence, at, body)
        return replace(state, verdicts={**state.verdicts, body.guard: told})
    if isinstance(body, Answer):
        return _answered(state, kind, body, sequence, at)
    if kind in _MOVES:
        return _moved(state, plan, body, sequence, at)
    if not state.running:
        raise ValueError(_over(state))
    if isinstance(body, Propose):
        asked = CommandKind(body.kind)
        wanted = read(BODIES[asked], body.body)
        _moved(state, plan, wanted, sequence, at)
        return replace(state, pending=Proposal(sequence, asked, wanted, body.reason))
    if state.paused == (kind is CommandKind.PAUSE):
        raise ValueError("is paused already" if state.paused else "is not paused")
    return replace(state, paused=not state.paused)


def refuse_limits(state: RolloutState, kind: CommandKind, body: StrictModel) -> None:
    """Refuse a command that the plan does not allow its controller.

    Args:
        state: Before the command.
        kind: Kind of the command.
        body: Its body.

    Raises:
        ValueError: Only an operator may do that; gives the reason.
    """
    controller = state.plan.controller if state.plan else None
    if controller is None or state.plan is None:
        raise ValueError("the plan names no controller")
    if kind in _ALWAYS:
        return
    if kind not in controller.may:
        raise ValueError(f"the plan does not let its controller {kind}")
    if kind in controller.manual:
        raise ValueError(f"the plan has a person approve first: propose the {kind}")
    if not state.running:
        raise ValueError(_over(state))
    if isinstance(body, Step):
        _refuse_stage(state, state.plan, body, controller)
    if isinstance(body, Promote):
        _refuse_candidate(state.plan, body)
    if isinstance(body, Promote | Switch) and controller.up_to < _ALL:
        what = "promotion" if isinstance(body, Promote) else "switch"
        raise ValueError(
            f"the plan lets its controller go up to {controller.up_to:g} %, and a {what} is all"
        )


def _refuse_candidate(plan: RolloutPlan, body: Promote) -> None:
    """Refuse a controller's promotion of an arm that is not judged."""
    judged = plan.judged
    if judged is None:
        raise ValueError(
            f"strategy {plan.strategy} with {len(plan.candidates)} candidates has none that is "
            "judged: an operator promotes"
        )
    if body.arm != judged:
        raise ValueError(f"the controller promotes {judged}, which is judged, not {body.arm}")


def _refuse_stage(
    state: RolloutState, plan: RolloutPlan, body: Step, controller: ControllerRules
) -> None:
    if body.stage > state.stage + 1:
        raise ValueError(
            f"the controller advances by one stage, not from {state.stage} to {body.stage}"
        )
    if body.stage < len(plan.ramp) and plan.ramp[body.stage].percent > controller.up_to:
        raise ValueError(
            f"the plan lets its controller go up to {controller.up_to:g} %, not to "
            f"{plan.ramp[body.stage].percent:g} %"
        )


def _begun(state: RolloutState, plan: RolloutPlan, sequence: int, at: int) -> RolloutState:
    shared = plan.shared_plan(sequence)
    if state.shared is not None:
        _refuse_changes(state.shared, shared)
    colour = plan.first if plan.strategy is Strategy.BLUE_GREEN else ""
    if plan.strategy is Strategy.CHAMPION:
        phase = Phase.STEADY
        routing = alone(plan.version(plan.first), sequence, shared, plan.effective_at)
    else:
        phase = Phase.RUNNING
        routing = running(plan, sequence, 0, colour, plan.effective_at)
    return RolloutState(
        shared=shared if state.shared is None else state.shared,
        phase=phase, plan=plan, plan_revision=sequence, moved_at=at, colour=colour,
        routing=routing, named=state.named | frozenset(plan.versions.values()),
        grants=state.grants, trained=state.trained, trained_at=state.trained_at,
    )  # fmt: skip


def _refuse_changes(first: Plan, now: Plan) -> None:
    for name in Plan.__dataclass_fields__:
        was, wanted = getattr(first, name), getattr(now, name)
        if name in MAY_CHANGE or was == wanted:
            continue
        if name == "currencies" and first.events.get("rates") and now.events.get("rates"):
            # With rates, stored amounts are in the base currency.
            continue
        if name in _READ_ONCE:
            raise ValueError(
                f"shared.{name}: scorers read it once, when they begin, and it is {was}: "
                f"no plan can change it to {wanted}"
            )
        raise ValueError(
            f"shared.{name}: the state rests on {was}, and no plan can change it to {wanted}"
        )
    if first.unit != now.unit:
        raise ValueError(
            f"shared.events: the state rests on amounts in {first.unit}, and no plan can change "
            f"them to {now.unit}"
        )


def _moved(
    state: RolloutState, plan: RolloutPlan, body: StrictModel, sequence: int, at: int
) -> RolloutState:
    """Return the state after a command that changes the routing."""
    after = replace(state, moved_at=at, pending=None)
    shared = plan.shared_plan(sequence)
    if isinstance(body, Rollback):
        if state.phase not in {Phase.RUNNING, Phase.PROMOTED}:
            raise ValueError(_over(state))
        routing = alone(plan.version(plan.first), sequence, shared, None)
        return replace(
            after, phase=Phase.ROLLED_BACK, paused=False, colour=_colour(plan), routing=routing
        )
    if not state.running:
        raise ValueError(_over(state))
    if state.paused:
        raise ValueError("the rollout is paused: resume it first, or roll it back")
    effective_at = body.effective_at if isinstance(body, Timed) else None
    if isinstance(body, Promote):
        # The colour that decided first can be promoted, too, which ends the rollout.
        if body.arm not in plan.versions or (body.arm == plan.first and not state.colour):
            raise ValueError(
                f"arm {body.arm!r} is not a candidate; there are {', '.join(plan.candidates)}"
            )
        previous = plan.version(plan.first)
        routing = alone(plan.version(body.arm), sequence, shared, effective_at, previous)
        colour = body.arm if state.colour else ""
        return replace(after, phase=Phase.PROMOTED, colour=colour, routing=routing)
    stage, colour = state.stage, state.colour
    if isinstance(body, Step):
        stage = _stage(state, plan, body)
    elif isinstance(body, Switch):
        colour = _switched(state, plan, body)
    routing = running(plan, sequence, stage, colour, effective_at)
    return replace(after, stage=stage, colour=colour, routing=routing)


def _stage(state: RolloutState, plan: RolloutPlan, body: Step) -> int:
    if plan.strategy is not Strategy.CANARY:
        raise ValueError(f"strategy {plan.strategy} has no ramp")
    if body.stage >= len(plan.ramp):
        raise ValueError(f"the ramp ends at stage {len(plan.ramp) - 1}; there is no {body.stage}")
    if body.stage <= state.stage:
        raise ValueError(f"a ramp only ascends, and this is at stage {state.stage}: roll it back")
    return body.stage


def _switched(state: RolloutState, plan: RolloutPlan, body: Switch) -> str:
    if plan.strategy is not Strategy.BLUE_GREEN:
        raise ValueError(f"strategy {plan.strategy} has no blue and green")
    if body.to == state.colour:
        raise ValueError(f"{body.to} decides already")
    return body.to


def _answered(
    state: RolloutState, kind: CommandKind, body: Answer, sequence: int, at: int
) -> RolloutState:
    pending = state.pending
    if pending is None or pending.sequence != body.proposal:
        waits = f"number {pending.sequence} does" if pending else "none does"
        raise ValueError(f"proposal {body.proposal} does not wait for an answer: {waits}")
    if kind is CommandKind.REJECT:
        return replace(state, pending=None)
    return next_state(state, pending.kind, pending.body, sequence, at)


def _colour(plan: RolloutPlan) -> str:
    return plan.first if plan.strategy is Strategy.BLUE_GREEN else ""


def _over(state: RolloutState) -> str:
    """Return why the rollout cannot be moved."""
    if state.phase is Phase.STEADY:
        return "nothing is rolled out: one version decides everything"
    return f"the rollout has been {state.phase}: start another"
