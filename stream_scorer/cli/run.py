"""``stream-scorer run``: score the stream until a signal ends it."""

from typing import Annotated

import typer

from stream_scorer.cli.options import (
    ClusterOptions,
    InstanceOption,
    PlanOption,
    StartOption,
    WarmOption,
)
from stream_scorer.errors import SettingsError
from stream_scorer.hardening.settings_check import NOT_IN_PRODUCTION, refuse_unsafe
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.scoring.process import run_scorer
from stream_scorer.scoring.workers import run_supervisor
from stream_scorer.settings import PRODUCTION


def run(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="NAME or NAME:VERSION decides all, without a rollout. Left out, the plan in the "
            "topic rollout decides which one.",
        ),
    ] = None,
    plan: PlanOption = None,
    start: StartOption = None,
    instance: InstanceOption = None,
    accept_cold: Annotated[
        bool,
        typer.Option(
            "--accept-cold", help="Decide although features have no complete history; recorded."
        ),
    ] = False,
    warm: WarmOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=256,
            help="Scorer processes, each a member INSTANCE/NUMBER; one per core.",
        ),
    ] = None,
    options: ClusterOptions,
) -> None:
    """Consume transactions, publish one decision for each, exactly once.

    Without --model the scorer follows the rollout: it loads what each plan names while it decides,
    and is not ready before there is one (stream-scorer rollout start).

    Exit codes: 0 after a signal; 2 settings; 3 model; 4 schema; 5 broker or registry;
    6 fenced by another process with this instance name: do not restart; 7 offsets; 8 transaction;
    9 the checkpoint does not fit; 10 the model's features have too little history, until a date
    that it prints; 11 the rollout's log cannot be followed; 14 processes end each time at the same
    records.

    SIGHUP has the deployed bundle verified again; the copy that decides is kept.
    With --workers, one that is killed or leaves with 0, 1 or 5 is started again; another code ends
    all of them.
    """
    settings = options.connected({"kafka": {"instance": instance}})
    if model is None and plan is not None:
        raise SettingsError(
            "--plan: without --model, the plan comes from the rollout",
            "name a --model, or leave out --plan",
        )
    refuse_unsafe(settings)
    if settings.mode != PRODUCTION:
        typer.echo(NOT_IN_PRODUCTION, err=True)
    deployment = Deployment(model or "", plan, start, accept_cold, warm, follow=model is None)
    if workers is None:
        run_scorer(settings, deployment)
    else:
        run_supervisor(settings, deployment, workers)
