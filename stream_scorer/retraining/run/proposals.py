"""The plan that a trainer proposes, the grant that it needs, and how its rollout ended."""

from collections.abc import Iterator

from stream_scorer.core.decision.routing import CANARY, CHAMPION
from stream_scorer.errors import RolloutError
from stream_scorer.rollout.plan.granted_plans import champion_of, salt_of
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Stage, Strategy
from stream_scorer.rollout.plan.retrain_grant import Provenance
from stream_scorer.rollout.plan.rollout_state import Granted, Phase, RolloutState
from stream_scorer.rollout.plan.strict_parsing import PLAN_FORMAT


def grant_of(state: RolloutState, key_id: str) -> tuple[int, Granted] | None:
    """Return the newest grant of a key with its number; None without one."""
    found = [(n, each) for n, each in state.grants.items() if each.grant.key_id == key_id]
    return max(found, key=lambda each: each[0]) if found else None


def grant_refusal(state: RolloutState, key_id: str, now_ms: int, share: float) -> str:
    """Return why a trainer may not propose now; empty if it may.

    The control log judges again, by the broker's time.

    Args:
        state: Of the control log.
        key_id: Id of the trainer's key.
        now_ms: Time, ms since the epoch.
        share: Largest percentage of its ramp.
    """
    found = grant_of(state, key_id)
    if found is None:
        return f"key {key_id} has no grant: an operator writes one with `retrain grant`"
    return next(_refusals(state, *found, now_ms, share), "")


def _refusals(
    state: RolloutState, number: int, granted: Granted, now_ms: int, share: float
) -> Iterator[str]:
    grant = granted.grant
    if granted.revoked:
        yield f"grant {number} was revoked by number {granted.revoked}"
    if now_ms >= grant.expires_at:
        yield f"grant {number} expired at {grant.expires_at}"
    if share > grant.share:
        yield f"the ramp goes up to {share:g} %, and grant {number} to {grant.share:g} %"
    due = state.trained_at + grant.cooldown_seconds * 1_000
    if state.trained_at and now_ms < due:
        yield f"grant {number} lets a rollout begin from {due} on"
    if (model := champion_of(state).partition(":")[0]) != grant.model:
        yield f"grant {number} is for the model {grant.model}, not {model}"


def proposal(
    state: RolloutState, key_id: str, label: str, ramp: tuple[float, ...], origin: dict[str, str]
) -> RolloutPlan:
    """Return the plan of a trainer for the next position of the log.

    Args:
        state: Of the control log.
        key_id: Id of the trainer's key.
        label: NAME:VERSION of the bundle.
        ramp: Percentages of the stages.
        origin: The digests of its provenance, with ``parent`` and ``parent_content``.

    Raises:
        RolloutError: The key has no grant, or there is no plan.
    """
    found = grant_of(state, key_id)
    if found is None or state.plan is None:
        raise RolloutError("a trainer needs a grant and a running champion", "see docs/RETRAINING")
    number, granted = found
    return RolloutPlan(
        format=PLAN_FORMAT,
        name=f"retrained {label.partition(':')[2]}",
        strategy=Strategy.CANARY,
        versions={CHAMPION: champion_of(state), CANARY: label},
        salt=salt_of(state),
        ramp=tuple(Stage(percent=percent) for percent in ramp),
        guard=granted.grant.guard,
        controller=granted.grant.controller,
        shared=state.plan.shared,
        provenance=Provenance.model_validate({"grant": number, **origin}),
    )


def ended(state: RolloutState, label: str) -> str:
    """Return how the rollout of a trainer's version ended: ``promoted``, or why it was not.

    Args:
        state: Of the control log.
        label: NAME:VERSION.

    Returns:
        Empty while it runs.
    """
    plan = state.plan
    if champion_of(state) == label:
        return "promoted"
    if plan is None or plan.provenance is None or plan.versions.get(CANARY) != label:
        return "an operator's rollout replaced it"
    if state.phase is Phase.ROLLED_BACK:
        last = state.verdicts.get("slow") or state.verdicts.get("fast")
        told = f": {last.verdict.verdict} {'; '.join(last.verdict.reasons)}" if last else ""
        return f"rolled back{told}"
    return ""
