"""``stream-scorer security``: what is unsafe in settings and cluster, and how to fix it."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import ClusterJsonOptions, CommandGroup
from stream_scorer.hardening.clients_check import clients_findings
from stream_scorer.hardening.cluster_check import cluster_findings
from stream_scorer.hardening.settings_check import file_findings, setting_findings

app = CommandGroup("What is unsafe in settings and cluster, and how to fix it.", ClusterJsonOptions)

_FINDINGS = 2


@app.command()
def check(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Check the settings alone, without a cluster.")
    ] = False,
    options: ClusterJsonOptions,
) -> None:
    """List what is unsafe in the settings and in the cluster, with the fix of each.

    Exit codes: 0 nothing is; 2 there are findings, or a setting is wrong; 5 no answer.
    """
    settings = options.settings() if offline else options.connected()
    named = os.environ.get("STREAM_SCORER_CONFIG")
    found = [
        *setting_findings(settings),
        *file_findings(options.config or (Path(named) if named else None)),
        *clients_findings(settings.serving.access.clients_file),
    ]
    if not offline:
        found += cluster_findings(settings.kafka)
    options.show(
        {"mode": settings.mode, "findings": [asdict(each) for each in found]},
        ("setting", "problem", "fix"),
        [(each.setting, each.problem, each.fix) for each in found],
    )
    if found:
        raise typer.Exit(_FINDINGS)
