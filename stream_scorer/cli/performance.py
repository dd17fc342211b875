"""``stream-scorer performance``: measure how well each version decides, as labels mature."""

from stream_scorer.cli.options import ClusterOptions, PlanOption, WhosePlanOption


def performance(
    *, model: WhosePlanOption = "fraud", plan: PlanOption = None, options: ClusterOptions
) -> None:
    """Measure each model version by matured labels, and warn when its loss has risen.

    Decisions of a rollout are measured by its plan, others by --plan. One process does it alone; a
    second one fences the first. On the host of a scorer it needs another http.port; 0 picks a free
    one.

    Exit codes: as those of run; 9 where the file is damaged or another process has it.
    """
    from stream_scorer.models.stores.deployment import Deployment  # noqa: PLC0415 numba loads slowly
    from stream_scorer.performance.process.process import run_performance  # noqa: PLC0415 as above

    run_performance(options.connected(), Deployment(model, plan))
