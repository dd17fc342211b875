"""``stream-scorer state``: the checkpoint of the customers' histories."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import (
    ClusterJsonOptions,
    CommandGroup,
    PlanOption,
    WarmOption,
    WideOption,
)
from stream_scorer.cli.output import short_time, utc_text
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.state.commands.inspect import Checkpoint, open_checkpoint
from stream_scorer.state.commands.inspect import export as export_rings
from stream_scorer.state.commands.inspect import inspect as inspect_partitions
from stream_scorer.state.commands.rebuild import rebuild as rebuild_partitions
from stream_scorer.state.commands.repartition import repartition as repartition_customers
from stream_scorer.state.commands.verify import refuse_differences
from stream_scorer.state.commands.verify import verify as verify_partitions

app = CommandGroup(
    "The checkpoint of the customers' histories: look at it, check it, rebuild it.",
    ClusterJsonOptions,
)


_INSPECTED = ["partition", "buckets", "customers", "oldest", "lag", "formats", "watermark"]


@dataclass(frozen=True, kw_only=True)
class RefoldOptions(ClusterJsonOptions):
    """Options of a command that folds the input again: as whom."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="NAME or NAME:VERSION whose features define what is kept. Without it and --plan, "
            "the rollout defines it; without a rollout, fraud.",
        ),
    ] = None
    warm: WarmOption = None
    plan: PlanOption = None

    def opened(self) -> tuple[Checkpoint, Deployment]:
        """Return the group's checkpoint, and what it is folded for."""
        follow = self.model is None and self.plan is None
        deployment = Deployment(self.model or "fraud", self.plan, warm=self.warm, follow=follow)
        return open_checkpoint(self.connected()), deployment


@app.command()
def inspect(*, wide: WideOption = False, options: ClusterJsonOptions) -> None:
    """Show each partition's checkpoint: buckets, customers, bytes, labels, formats, watermark.

    A bucket's label is the input offset up to which it has the records. A restart replays from the
    oldest label. Formats are counted by bucket: since format 2, each bucket has a checksum. The
    table has the main columns; --wide has all.
    """
    checkpoint = open_checkpoint(options.connected())
    records = [asdict(each) for each in inspect_partitions(checkpoint)]
    document = {
        "group": checkpoint.owner.group, "topic": checkpoint.owner.topic, "partitions": records,
    }  # fmt: skip
    names = list(records[0]) if wide else _INSPECTED
    rows = [[_exact(record)[name] for name in names] for record in records]
    options.show(document, names, rows, f"group {checkpoint.owner.group}", wide=wide)


def _exact(record: dict[str, Any]) -> dict[str, Any]:
    """Return a partition's cells: offsets as they are, the watermark as a time."""
    offsets = {
        name: None if record.get(name) is None else str(record[name])
        for name in ("partition", "oldest", "newest", "committed", "first", "offset")
    }
    watermark = record.get("watermark")
    time = None if watermark is None else short_time(utc_text(watermark))
    formats = {f"{number}:": count for number, count in record.get("formats", {}).items()}
    return {**record, **offsets, "formats": formats, "watermark": time}


@app.command()
def verify(*, options: RefoldOptions) -> None:
    """Compute the state from the retained input again and compare it, bucket by bucket.

    Exit code 9 and the list of buckets when some differ or are gone, and where nothing could be
    compared.
    """
    found = verify_partitions(*options.opened())
    rows = [
        [str(v.partition), v.buckets, len(v.missing), len(v.differing), v.replayed, v.events,
         None if v.since is None else v.blind or short_time(utc_text(v.since))]
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
    options.show({"partitions": [asdict(each) for each in found]}, columns, rows)
    refuse_differences(found)


@app.command()
def export(
    *,
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.")],
    options: ClusterJsonOptions,
) -> None:
    """Write every remembered event as a row of a Parquet file."""
    checkpoint = open_checkpoint(options.connected())
    customers, events = export_rings(checkpoint, out)
    document = {"out": str(out), "customers": customers, "events": events}
    options.show_fields(document, "Exported")


@app.command()
def rebuild(*, options: RefoldOptions) -> None:
    """Build the checkpoint again from the retained input, as of the group's offsets.

    Refuses while the group has members.
    """
    records = [asdict(each) for each in rebuild_partitions(*options.opened())]
    rows = [[_exact(record)[name] for name in record] for record in records]
    options.show({"partitions": records}, list(records[0]), rows)


@app.command()
def repartition(*, options: RefoldOptions) -> None:
    """After the input got more partitions: move each customer's history to its new one.

    Refuses while the group has members. A customer with histories in several partitions has one
    then, and is counted as merged. Records that were written before the change and are not decided
    yet stay where they are: they are counted as stranded, and will be decided without their
    customer's history. `state rebuild` and `state verify` know nothing of the move: they see each
    partition by itself.
    """
    record = asdict(repartition_customers(*options.opened()))
    options.show_fields(record, "Repartitioned")
