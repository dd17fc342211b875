"""Folds the input again, each record read with the mapping that decided its offset."""

from collections.abc import Sequence

from stream_scorer.core.events.plan import Plan
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.reproduce.arms import routings
from stream_scorer.reproduce.routings import RecordedRoutings
from stream_scorer.settings import Settings
from stream_scorer.state.partitions.refold import Refolding


def open_refolding(settings: Settings, deployment: Deployment) -> Refolding:
    """Return an object that folds the input into rings as the cluster's scorers did.

    Args:
        settings: The cluster, the input, the registry.
        deployment: Its features determine what rings remember. Its plan reads what was decided
            before the first activation of a partition. If it has no plan, the newest activated plan
            determines what all models share.

    Raises:
        RolloutError: The control log or the activations are not complete.
        SettingsError: The plan is refused.
        UnavailableError: The broker, the registry or the store does not answer.
    """
    recorded = RecordedRoutings(settings)

    def plans_at(partition: int, first: int, end: int) -> Sequence[tuple[int, Plan | None]]:
        return [
            (begin, None if routing is None else routing.shared)
            for begin, _, routing in routings(recorded.at, partition, first, end)
        ]

    newest = None if deployment.plan is not None else recorded.newest
    return Refolding(settings, deployment, plans_at, newest.shared if newest else None)
