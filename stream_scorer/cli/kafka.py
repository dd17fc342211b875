"""``stream-scorer kafka``: a real Kafka for this folder, in the background."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import CommandGroup, JsonOptions
from stream_scorer.cli.output import print_json
from stream_scorer.devkafka import Running, background

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--directory", help="Where its data is; default: what was started in this folder."
    ),
]

app = CommandGroup("Start, stop and look at this folder's own Kafka.", JsonOptions)


@app.command()
def start(
    *,
    nodes: Annotated[
        int | None, typer.Option(help="1 or 3; default: what the data has, else 1.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Where its data is kept; default .dev/kafka.")
    ] = None,
    registry: Annotated[
        bool, typer.Option("--registry/--no-registry", help="Serve the schema registry, too.")
    ] = True,
    options: JsonOptions,
) -> None:
    """Start Kafka and the schema registry; say so when they run already."""
    state, started = background.start(nodes, directory, registry=registry)
    _show(state, options, "started" if started else "runs already")


@app.command()
def stop(*, directory: DataOption = None, options: JsonOptions) -> None:
    """Stop what ``start`` started in this folder, or on the given data; the data stays."""
    state = background.stop(directory)
    if options.as_json:
        print_json({"running": False, "stopped": state is not None})
    else:
        typer.echo("stopped" if state else "nothing runs")


@app.command()
def status(*, directory: DataOption = None, options: JsonOptions) -> None:
    """Say what runs. Exit code 0: all of it; 1: not all, or nothing."""
    state = background.recorded(directory)
    if state is None:
        if options.as_json:
            print_json({"running": False})
        else:
            typer.echo("nothing runs")
        raise typer.Exit(1)
    _show(state, options, "not all of it runs" if state.dead else "runs")
    if state.dead:
        raise typer.Exit(1)


def _show(state: Running, options: JsonOptions, what: str) -> None:
    members = [
        {"name": p.name, "pid": p.pid, "state": "dead" if p.name in state.dead else "runs"}
        for p in state.processes
    ]
    document = asdict(state) | {"running": not state.dead, "message": what, "processes": members}
    rows = [
        ("bootstrap", state.bootstrap),
        ("schema registry", state.registry_url or "none"),
        ("data", state.directory),
        *((member["name"], f"{member['state']}, pid {member['pid']}") for member in members),
    ]
    options.show(document, ("kafka", what), rows)
