"""Computes the routing that scorers follow, from a plan and the rollout's progress."""

from typing import Final

from stream_scorer.core.decision.routing import (
    BUCKETS,
    CHAMPION,
    CONTROL,
    Routing,
    Slice,
    Version,
    canary_slices,
    split_slices,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.rollout.plan.plan_file import COLOURS, RolloutPlan, Strategy
from stream_scorer.rollout.plan.strict_parsing import buckets_of

PREVIOUS: Final = "previous"
"""The arm of the former champion after a promotion: kept warm, without customers."""


def alone(
    version: Version,
    revision: int,
    shared: Plan,
    effective_at: int | None,
    previous: Version | None = None,
) -> Routing:
    """Return the routing in which one version decides everything, as the champion.

    Args:
        version: The version.
        revision: Sequence number of the command that set this routing.
        shared: What all arms share.
        effective_at: Event time, ms, from which it decides; None: immediately.
        previous: The version to which a rollback returns. Scorers load it and keep the history that
            it needs, but it scores nothing, like the idle colour. None: no rollback is possible.
    """
    versions = {CHAMPION: version}
    if previous is not None and previous != version:
        versions[PREVIOUS] = previous
    return Routing(revision, versions, shared=shared, effective_at=effective_at)


def running(
    plan: RolloutPlan, revision: int, stage: int, colour: str, effective_at: int | None
) -> Routing:
    """Return the routing of a running plan.

    A canary's control slice is a separate arm with the champion's version. The active colour is the
    arm ``champion``; the idle colour is an arm without customers, which is kept warm. Every other
    arm that decides nothing is a shadow.

    Args:
        plan: The plan.
        revision: Sequence number of the command that set this routing.
        stage: Index in the ramp; ignored without one.
        colour: The active colour; ignored for other strategies.
        effective_at: Event time, ms, from which it decides; None: immediately.
    """
    versions = {arm: plan.version(arm) for arm in plan.versions}
    slices: tuple[Slice, ...] = (Slice(CHAMPION, 0, BUCKETS),)
    if plan.strategy is Strategy.BLUE_GREEN:
        (idle,) = (other for other in COLOURS if other != colour)
        versions = {CHAMPION: versions[colour], idle: versions[idle]}
        return Routing(
            revision, versions, shared=plan.shared_plan(revision), effective_at=effective_at
        )
    if plan.strategy is Strategy.CANARY:
        slices = canary_slices(plan.ramp[stage].buckets)
        if any(s.arm == CONTROL for s in slices):
            versions[CONTROL] = versions[CHAMPION]
    elif plan.strategy is Strategy.SPLIT:
        slices = split_slices({arm: buckets_of(share) for arm, share in plan.shares.items()})
    overrides = tuple(rule.override for rule in plan.overrides)
    deciding = {s.arm for s in slices} | {o.arm for o in overrides} | {CHAMPION}
    return Routing(
        revision,
        versions,
        slices,
        overrides,
        tuple(arm for arm in versions if arm not in deciding),
        plan.salt,
        plan.shared_plan(revision),
        effective_at,
    )
