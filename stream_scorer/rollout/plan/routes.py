"""From a plan and how far it has come to the routing that scorers follow."""

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
"""The arm of the former champion after a promotion: kept warm, and no customer is in it."""


def alone(
    version: Version,
    revision: int,
    shared: Plan,
    effective_at: int | None,
    previous: Version | None = None,
) -> Routing:
    """Return the routing in which one version decides everything, as the champion.

    Args:
        version: Which.
        revision: Sequence number of the command that this routing is due to.
        shared: What all arms share.
        effective_at: Event time from which it is to hold; None: at once.
        previous: What a rollback would let decide again: scorers load it and keep what it needs,
            as they do for the idle colour. It scores nothing. None: there is no way back.
    """
    versions = {CHAMPION: version}
    if previous is not None and previous != version:
        versions[PREVIOUS] = previous
    return Routing(revision, versions, shared=shared, effective_at=effective_at)


def running(
    plan: RolloutPlan, revision: int, stage: int, colour: str, effective_at: int | None
) -> Routing:
    """Return the routing of a plan that runs.

    A canary's control slice is the champion's version under a name of its own. Of blue and green
    the active one is the arm ``champion``; the other is an arm that no customer is in, to be kept
    warm. Whatever else has a version and decides nothing is a shadow.

    Args:
        plan: The plan.
        revision: Sequence number of the command that this routing is due to.
        stage: Place in the ramp; of no meaning without one.
        colour: The active one; of no meaning for other strategies.
        effective_at: Event time from which it is to hold; None: at once.
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
