"""``stream-scorer produce``: send a file's transactions to a topic."""

import time
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import MOST_PER_SECOND, ClusterJsonOptions
from stream_scorer.kafka.reading.paced_producer import Feed
from stream_scorer.producing.transactions import TransactionEncoder
from stream_scorer.tables.transactions import read_transactions


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
    options: ClusterJsonOptions,
) -> None:
    """Send transactions as Avro, keyed by customer, in the order of the file.

    With --rate, a record's Kafka timestamp is its scheduled time, even when it leaves later.
    """
    settings = options.connected()
    encode = TransactionEncoder(settings.registry)
    target = topic or settings.kafka.topics.transactions
    started = time.monotonic()
    with Feed(settings.kafka, encode, target, rate) as feed:
        for batch in read_transactions(file, encode.schema, encode.defaults):
            feed.send(batch)
    seconds = time.monotonic() - started
    report = {
        "file": str(file),
        "topic": target,
        "records": feed.sent,
        "seconds": round(seconds, 3),
        "events_per_second": round(feed.sent / seconds),
    }
    options.show_fields(report, "Sent")
