"""Grants of retraining, and the limits of a plan that a trainer signs; pure functions of the state.

A trainer begins a rollout of a version that it made, without an operator. So a plan of it is
accepted only if nothing in it is its own choice except for the version, the rollout's name and the
ramp: guard, controller and what is shared are those of the grant and of the plan in force, the salt
is given by the log, the first stage is a shadow, and the share is limited. Time is the broker's, as
the trainer chooses the time in its command.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from stream_scorer.core.decision.routing import CANARY, CHAMPION
from stream_scorer.models.bundles.trust import GrantedBundle
from stream_scorer.rollout.plan.command_kinds import CommandKind
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Strategy
from stream_scorer.rollout.plan.retrain_grant import Provenance, RetrainGrant, RetrainRevoke
from stream_scorer.rollout.plan.rollout_state import Granted, RolloutState
from stream_scorer.rollout.plan.strict_parsing import StrictModel
from stream_scorer.security.keys import TrustedKey

GRANTS_KEPT: Final = 100
"""Number of grants that a state has; a newer one replaces the oldest."""
_SALT_DIGITS = 32


def salt_of(state: RolloutState) -> str:
    """Return the salt that a trainer's plan must have as the next record: the log's head begins so.

    A trainer that could choose the salt could choose the customers of its version.
    """
    return state.head.hex()[:_SALT_DIGITS]


def champion_of(state: RolloutState) -> str:
    """Return NAME:VERSION of the version that decides; empty before the first plan."""
    return "" if state.routing is None else state.routing.versions[CHAMPION].label


def with_grant(state: RolloutState, grant: RetrainGrant, sequence: int) -> RolloutState:
    """Return the state after a grant.

    Args:
        state: Before it.
        grant: Its limits.
        sequence: Its number in the log.
    """
    kept = [*state.grants.items(), (sequence, Granted(grant))][-GRANTS_KEPT:]
    return replace(state, grants=dict(kept))


def without_grant(state: RolloutState, body: RetrainRevoke, sequence: int) -> RolloutState:
    """Return the state after the end of a grant. A rollout that it began continues.

    Args:
        state: Before it.
        body: Names the grant.
        sequence: Number of this command in the log.

    Raises:
        ValueError: There is no such grant, or it was revoked.
    """
    found = state.grants.get(body.grant)
    if found is None:
        raise ValueError(f"there is no grant number {body.grant}")
    if found.revoked:
        raise ValueError(f"grant {body.grant} was revoked by number {found.revoked}")
    return replace(state, grants={**state.grants, body.grant: replace(found, revoked=sequence)})


def refuse_trainer(
    state: RolloutState, kind: CommandKind, body: StrictModel, key_id: str, appended_at: int | None
) -> None:
    """Refuse a trainer's command that its grant does not allow.

    Args:
        state: Before the command.
        kind: Kind of the command.
        body: Its body.
        key_id: Id of the key that signed it: a grant's.
        appended_at: Broker time of its record, ms; None if there is none.

    Raises:
        ValueError: The grant does not allow it; gives the first reason.
    """
    if not isinstance(body, RolloutPlan):
        raise ValueError(f"a trainer only writes plans, not {kind}")  # noqa: TRY004 a refusal
    of_key = {n: each for n, each in state.grants.items() if each.grant.key_id == key_id}
    newest = max(of_key)
    granted = of_key[newest]
    if body.provenance is None:
        raise ValueError("provenance: is missing, and a trainer's plan needs it")
    reasons = (
        *_refused_right(granted, newest, body.provenance.grant, appended_at),
        *_refused_moment(state, granted.grant, appended_at),
        *_refused_version(state, granted.grant, body, body.provenance),
        *_refused_choices(state, granted.grant, body),
    )
    if reasons:
        raise ValueError(reasons[0])


def with_trained(state: RolloutState, plan: RolloutPlan, appended_at: int | None) -> RolloutState:
    """Return the state with the bundle of an accepted trainer's plan; unchanged for any other plan.

    Args:
        state: After the plan.
        plan: The plan.
        appended_at: Broker time of its record, ms.
    """
    origin = plan.provenance
    if origin is None or appended_at is None:
        return state
    label = plan.versions[CANARY]
    bundle = GrantedBundle(
        label, TrustedKey("trainer", state.grants[origin.grant].grant.public_key),
        **origin.model_dump(),
    )  # fmt: skip
    return replace(state, trained={**state.trained, label: bundle}, trained_at=appended_at)


def _refused_right(
    granted: Granted, newest: int, named: int, appended_at: int | None
) -> Iterator[str]:
    """Yield why the grant is not valid for a plan."""
    if named != newest:
        yield f"provenance.grant: names {named}, and the key's newest grant is {newest}"
    if granted.revoked:
        yield f"grant {newest} was revoked by number {granted.revoked}"
    if appended_at is None:
        yield (
            "the topic keeps its writers' times, so the end of a grant cannot be judged: it needs "
            "message.timestamp.type=LogAppendTime"
        )
    elif appended_at >= granted.grant.expires_at:
        yield f"grant {newest} expired at {granted.grant.expires_at}, before {appended_at}"


def _refused_moment(
    state: RolloutState, grant: RetrainGrant, appended_at: int | None
) -> Iterator[str]:
    """Yield why no rollout may begin now."""
    if state.plan is None:
        yield "there is no plan yet"
    if state.running:
        yield f"rollout {state.plan_revision} is running: a trainer waits for its end"
    due = state.trained_at + grant.cooldown_seconds * 1_000
    if state.trained_at and appended_at is not None and appended_at < due:
        yield (
            f"its grant lets a trainer begin a rollout every {grant.cooldown_seconds} s: the next "
            f"from {due} on, not at {appended_at}"
        )


def _refused_version(
    state: RolloutState, grant: RetrainGrant, plan: RolloutPlan, origin: Provenance
) -> Iterator[str]:
    """Yield why the version may not be proposed."""
    champion = champion_of(state)
    if plan.strategy is not Strategy.CANARY or set(plan.versions) != {CHAMPION, CANARY}:
        yield f"a trainer's plan is a canary with the arms {CHAMPION} and {CANARY} alone"
        return
    if origin.parent != champion:
        yield f"provenance.parent: is {origin.parent}, and {champion} decides now"
    if plan.versions[CHAMPION] != champion:
        yield f"versions: the champion is {plan.versions[CHAMPION]}, and {champion} decides now"
    for label in plan.versions.values():
        if label.partition(":")[0] != grant.model:
            yield f"versions: {label} is not a version of {grant.model}, the grant's model"
    if plan.versions[CANARY] in state.named:
        yield f"versions: {plan.versions[CANARY]} was in a plan before: a trainer proposes new ones"
    if origin.feature_set not in grant.feature_sets:
        yield "provenance.feature_set: is not one of the grant's"


def _refused_choices(state: RolloutState, grant: RetrainGrant, plan: RolloutPlan) -> Iterator[str]:
    """Yield what a trainer has chosen that is not its choice."""
    percents = [stage.percent for stage in plan.ramp]
    if percents and percents[0] != 0:
        yield f"ramp: a trainer's begins with a shadow, at 0 %, not at {percents[0]:g} %"
    if percents and max(percents) > grant.share:
        yield f"ramp: goes up to {max(percents):g} %, and the grant to {grant.share:g} %"
    if plan.overrides:
        yield "overrides: a trainer's plan has none"
    if plan.effective_at is not None:
        yield "effective_at: a trainer's plan has none"
    if plan.salt != (salt := salt_of(state)):
        yield f"salt: must be {salt}, with which the log's head begins"
    promotes = plan.controller is not None and "promote" in plan.controller.may
    if promotes and not grant.promote:
        yield "controller.may: the grant gives no right to promote"
    if plan.guard != grant.guard:
        yield "guard: is not the grant's"
    if plan.controller != grant.controller:
        yield "controller: is not the grant's"
    if state.plan is not None and plan.shared != state.plan.shared:
        yield "shared: is not what is shared now"
