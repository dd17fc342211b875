"""``stream-scorer monitor``: watch the stream for drift until a signal ends it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stream_scorer.apps.monitor import run_monitor
from stream_scorer.apps.scorer import Deployment
from stream_scorer.cli.console import BootstrapOption, ConfigOption, connected_settings


def monitor(
    model: Annotated[
        str, typer.Option("--model", help="Whose plan holds: NAME or NAME:VERSION.")
    ] = "fraud",
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Plan file; default: plan.toml of the model.")
    ] = None,
    start: Annotated[
        Literal["earliest", "latest"] | None,
        typer.Option("--from", help="Where this group's first run begins; needed once."),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option("--instance", help="Stable name of this instance, unique in the group."),
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Read the scorers' summaries, publish an event for each change that a detector finds.

    Beside a scorer on the same host it needs another http.port; 0 picks a free one.

    Exit codes: as those of run.
    """
    settings = connected_settings(config, bootstrap, {"kafka": {"instance": instance}})
    run_monitor(settings, Deployment(model, plan, start))
