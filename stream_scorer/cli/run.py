"""``stream-scorer run``: score the stream until a signal ends it."""

from typing import Annotated

import typer

from stream_scorer.apps.scorer import Deployment, run_scorer
from stream_scorer.apps.workers import run_supervisor
from stream_scorer.cli.console import (
    BootstrapOption,
    ConfigOption,
    InstanceOption,
    PlanOption,
    StartOption,
    WarmOption,
    connected_settings,
)


def run(
    *,
    model: Annotated[
        str, typer.Option("--model", help="NAME or NAME:VERSION; without one, the newest.")
    ] = "fraud",
    plan: PlanOption = None,
    start: StartOption = None,
    instance: InstanceOption = None,
    accept_cold: Annotated[
        bool,
        typer.Option("--accept-cold", help="Decide although features lack history; recorded."),
    ] = False,
    warm: WarmOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=256,
            help="Scorer processes, each a member INSTANCE.NUMBER; one per core.",
        ),
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Consume transactions, publish one decision for each, exactly once.

    Exit codes: 0 after a signal; 2 settings; 3 model; 4 schema; 5 broker or registry;
    6 fenced by another process with this instance name: do not restart; 7 offsets; 8 transaction;
    9 the checkpoint does not fit; 10 the model's features lack history, until a date that it says.
    SIGHUP has the deployed bundle verified again; the copy that decides is kept.
    With --workers, one that is killed or leaves with 1 or 5 is started again; any other code ends
    all of them.
    """
    settings = connected_settings(config, bootstrap, {"kafka": {"instance": instance}})
    deployment = Deployment(model, plan, start, accept_cold, warm)
    if workers is None:
        run_scorer(settings, deployment)
    else:
        run_supervisor(settings, deployment, workers)
