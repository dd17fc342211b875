"""The plan that all models shared when past decisions were made: from control log or plan file."""

from dataclasses import replace
from pathlib import Path

from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.deployment import load_plan, plan_of
from stream_scorer.models.stores.store import BundleStore
from stream_scorer.reproduce.arms import RoutingAt
from stream_scorer.reproduce.decisions import Spool


def shared_plan(
    store: BundleStore,
    path: Path | None,
    spool: Spool,
    newest: Routing | None,
    routing_at: RoutingAt,
) -> Plan:
    """Return the plan that all models shared; its revision is that of decisions without a routing.

    A plan file is read if ``path`` names one, and for decisions before the first activation of
    their partition. A cluster that always followed a rollout needs none.

    Args:
        store: Store of the models.
        path: Plan file; None: what ``newest`` shares or, without it, ``plan.toml`` next to the
            model's versions.
        spool: The decisions, at least one.
        newest: The newest routing that was active anywhere; None if none was.
        routing_at: Returns the routing that was active at an offset.

    Raises:
        SettingsError: A plan file is needed and cannot be read, or it is not known which one was
            used.
        UnavailableError: The store does not answer.
    """
    if path is not None:
        return load_plan(path)
    names = sorted(
        {
            version.name
            for (partition, version), first in spool.first_offsets.items()
            if routing_at(partition, first) is None
        }
    )
    if not names and newest is not None:
        return newest.shared
    plans = [plan_of(store, name, None) for name in names]
    known = len(plans) == 1 if newest is None else len({plan.revision for plan in plans}) == 1
    if not known:
        raise SettingsError(
            f"reproduce: {', '.join(names)} decided, and it is not known whose plan held",
            "name the plan's file: --plan",
        )
    return plans[0] if newest is None else replace(newest.shared, revision=plans[0].revision)
