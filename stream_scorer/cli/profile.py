"""``stream-scorer profile``: settle terminals' rows until a signal ends it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stream_scorer.apps.profiler import run_profiler
from stream_scorer.apps.scorer import Deployment
from stream_scorer.cli.console import BootstrapOption, ConfigOption, connected_settings


def profile(
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
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Read transactions and labels, publish what each transaction says of its terminal.

    One process does it alone; a second one fences the first. Beside a scorer on the same host it
    needs another http.port; 0 picks a free one.

    Exit codes: as those of run.
    """
    settings = connected_settings(config, bootstrap)
    run_profiler(settings, Deployment(model, plan, start))
