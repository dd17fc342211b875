"""``stream-scorer security``: what is unsafe in settings and cluster, and how to fix it."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.console import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    connected_settings,
    settings_from,
    show,
)
from stream_scorer.hardening.cluster_check import cluster_findings
from stream_scorer.hardening.settings_check import file_findings, setting_findings

app = typer.Typer(
    help="What is unsafe in settings and cluster, and how to fix it.", no_args_is_help=True
)

_FINDINGS = 2


@app.callback()
def group() -> None:
    """Keep ``check`` a command of its own; more follow."""


@app.command()
def check(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Check the settings alone, without a cluster.")
    ] = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is unsafe in the settings and in the cluster, with the fix of each.

    Exit codes: 0 nothing is; 2 there are findings, or a setting is wrong; 5 no answer.
    """
    settings = (settings_from if offline else connected_settings)(config, bootstrap)
    named = os.environ.get("STREAM_SCORER_CONFIG")
    found = [
        *setting_findings(settings),
        *file_findings(config or (Path(named) if named else None)),
    ]
    if not offline:
        found += cluster_findings(settings.kafka)
    show(
        as_json,
        {"mode": settings.mode, "findings": [asdict(each) for each in found]},
        ("setting", "problem", "fix"),
        [(each.setting, each.problem, each.fix) for each in found],
    )
    if found:
        raise typer.Exit(_FINDINGS)
