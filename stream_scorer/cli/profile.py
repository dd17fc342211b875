"""``stream-scorer profile``: settle terminals' rows until a signal ends it."""

from stream_scorer.cli.options import ClusterOptions, PlanOption, StartOption, WhosePlanOption
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.terminals.profiler_process import run_profiler


def profile(
    *,
    model: WhosePlanOption = "fraud",
    plan: PlanOption = None,
    start: StartOption = None,
    options: ClusterOptions,
) -> None:
    """Read transactions and labels, publish what each transaction shows of its terminal.

    One process does it alone; a second one fences the first. On the host of a scorer it needs
    another http.port; 0 picks a free one.

    Exit codes: as those of run.
    """
    settings = options.connected()
    run_profiler(settings, Deployment(model, plan, start))
