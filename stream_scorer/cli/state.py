"""``stream-scorer state``: the checkpoint of the customers' histories."""

import inspect as inspecting
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scorer.cli.console import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    PlanOption,
    WarmOption,
    connected_settings,
    show,
    utc_text,
)
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.state.commands.inspect import Checkpoint, open_checkpoint
from stream_scorer.state.commands.inspect import export as export_rings
from stream_scorer.state.commands.inspect import inspect as inspect_partitions
from stream_scorer.state.commands.rebuild import rebuild as rebuild_partitions
from stream_scorer.state.commands.repartition import repartition as repartition_customers
from stream_scorer.state.commands.verify import refuse_differences
from stream_scorer.state.commands.verify import verify as verify_partitions

app = typer.Typer(
    help="The checkpoint of the customers' histories: look at it, check it, make it anew.",
    no_args_is_help=True,
)
ModelOption = Annotated[
    str, typer.Option("--model", help="NAME or NAME:VERSION that says what is remembered.")
]

Refolding = Callable[[Checkpoint, Deployment, bool], None]


def _refolds(command: Refolding) -> Refolding:
    """Make a command of what folds the input again, with the options that say as whom."""

    def with_options(
        *,
        model: ModelOption = "fraud",
        warm: WarmOption = None,
        plan: PlanOption = None,
        config: ConfigOption = None,
        bootstrap: BootstrapOption = None,
        as_json: JsonOption = False,
    ) -> None:
        checkpoint = open_checkpoint(connected_settings(config, bootstrap))
        command(checkpoint, Deployment(model, plan, warm=warm), as_json)

    app.command(command.__name__, help=inspecting.getdoc(command))(with_options)
    return command


@app.command()
def inspect(
    *,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each partition's checkpoint: buckets, customers, bytes, labels, formats, watermark.

    A label is the input offset that a bucket is as of; a restart replays from the oldest. Formats
    say how many buckets are of which: format 2 has a checksum per bucket.
    """
    checkpoint = open_checkpoint(connected_settings(config, bootstrap))
    records = [asdict(each) for each in inspect_partitions(checkpoint)]
    document = {
        "group": checkpoint.owner.group, "topic": checkpoint.owner.topic, "partitions": records,
    }  # fmt: skip
    rows = [
        ["-" if value is None else value for value in (record | _readable(record)).values()]
        for record in records
    ]
    show(as_json, document, list(records[0]), rows, f"group {checkpoint.owner.group}")


def _readable(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a table says in other words: formats as text, the watermark as a time."""
    formats = ", ".join(f"{number}: {count}" for number, count in record["formats"].items())
    if record["watermark"] is None:
        return {"formats": formats or "-"}
    return {"formats": formats, "watermark": utc_text(record["watermark"])}


@_refolds
def verify(checkpoint: Checkpoint, deployment: Deployment, as_json: bool) -> None:  # noqa: FBT001 it is the flag itself
    """Compute the state from the retained input again and compare it, bucket by bucket.

    Exit code 9 and the list of buckets when some differ or are gone, and where nothing could be
    compared.
    """
    found = verify_partitions(checkpoint, deployment)
    rows = [
        [v.partition, v.buckets, len(v.missing), len(v.differing), v.replayed, v.events,
         "-" if v.since is None else v.blind or v.since]
        for v in found
    ]  # fmt: skip
    columns = (
        "partition",
        "buckets",
        "missing",
        "differing",
        "replayed",
        "events",
        "comparable since",
    )
    show(as_json, {"partitions": [asdict(each) for each in found]}, columns, rows)
    refuse_differences(found)


@app.command()
def export(
    *,
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.")],
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every remembered event as a row of a Parquet file."""
    checkpoint = open_checkpoint(connected_settings(config, bootstrap))
    customers, events = export_rings(checkpoint, out)
    document = {"out": str(out), "customers": customers, "events": events}
    show(as_json, document, list(document), [list(document.values())])


@_refolds
def rebuild(checkpoint: Checkpoint, deployment: Deployment, as_json: bool) -> None:  # noqa: FBT001 it is the flag itself
    """Build the checkpoint anew from the retained input, as of the group's offsets.

    Refuses while the group has members.
    """
    records = [asdict(each) for each in rebuild_partitions(checkpoint, deployment)]
    rows = [["-" if value is None else value for value in record.values()] for record in records]
    show(as_json, {"partitions": records}, list(records[0]), rows)


@_refolds
def repartition(checkpoint: Checkpoint, deployment: Deployment, as_json: bool) -> None:  # noqa: FBT001 it is the flag itself
    """After the input got more partitions: move each customer's history to its new one.

    Refuses while the group has members. Who had histories in several partitions has one then, and
    is counted as merged. Records that were written before the change and are not decided yet stay
    where they are: they are counted as stranded, and will be decided without their customer's
    history. `state rebuild` and `state verify` know nothing of the move: they see each partition by
    itself.
    """
    record = asdict(repartition_customers(checkpoint, deployment))
    show(as_json, record, list(record), [list(record.values())])
