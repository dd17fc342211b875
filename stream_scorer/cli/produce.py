"""``stream-scorer produce``: send a file's transactions to a topic."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import MOST_PER_SECOND, ClusterJsonOptions
from stream_scorer.kafka.reading.paced_producer import Feed
from stream_scorer.models.stores.deployment import load_plan
from stream_scorer.producing.transactions import records_of_file


def produce(
    *,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV, Avro or JSON lines, by its ending.")],
    topic: Annotated[
        str | None, typer.Option("--topic", help="Where to; default: the input topic.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            min=0.001,
            max=MOST_PER_SECOND,
            help="Records per second; default: full speed.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="Plan whose events.toml maps the file's columns."),
    ] = None,
    options: ClusterJsonOptions,
) -> None:
    """Send a file's transactions, keyed by customer, in the order of the file.

    The records are Avro with our own schema, transaction.v1. But if the plan's events.toml has
    format = "json", they are JSON with the file's own names, which the same plan reads.

    With --rate, a record's Kafka timestamp is its scheduled time, even when it leaves later.
    """
    settings = options.connected()
    mapped = None if plan is None else load_plan(plan)
    records = records_of_file(file, settings.registry, mapped)
    target = topic or settings.kafka.topics.transactions
    started = time.monotonic()
    with Feed(settings.kafka, records.encode, target, rate) as feed:
        for rows in records.rows:
            feed.send(rows)
    seconds = time.monotonic() - started
    report = {
        "file": str(file),
        "topic": target,
        "records": feed.sent,
        "seconds": round(seconds, 3),
        "events_per_second": round(feed.sent / seconds),
    }
    options.show_fields(report, "Sent")
