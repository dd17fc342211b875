"""``stream-scorer monitor``: watch the stream for drift until a signal ends it."""

from stream_scorer.cli.options import (
    ClusterOptions,
    InstanceOption,
    PlanOption,
    StartOption,
    WhosePlanOption,
)
from stream_scorer.drift.monitor.process import run_monitor
from stream_scorer.models.stores.deployment import Deployment


def monitor(
    *,
    model: WhosePlanOption = "fraud",
    plan: PlanOption = None,
    start: StartOption = None,
    instance: InstanceOption = None,
    options: ClusterOptions,
) -> None:
    """Read the scorers' summaries, publish an event for each change that a detector finds.

    On the host of a scorer it needs another http.port; 0 picks a free one.

    Exit codes: as those of run.
    """
    settings = options.connected({"kafka": {"instance": instance}})
    run_monitor(settings, Deployment(model, plan, start))
