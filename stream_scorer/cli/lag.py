"""``stream-scorer lag``: how far a group is behind."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import ClusterJsonOptions
from stream_scorer.kafka.topics.lag import read_lag


def lag(
    *,
    group: Annotated[
        str | None, typer.Option("--group", help="Consumer group; default: the scorer's.")
    ] = None,
    seconds: Annotated[
        bool, typer.Option("--seconds", help="Also the age of the oldest uncommitted record.")
    ] = False,
    options: ClusterJsonOptions,
) -> None:
    """Show a group's lag in every partition, from its committed offsets.

    end is the high watermark, stable the last offset that a read-committed reader may reach; a
    difference that stays is a transaction upstream that no producer ends. "-": never committed.
    """
    settings = options.connected()
    name = group or settings.kafka.group
    lags = read_lag(settings.kafka, name, seconds=seconds)
    total = sum(each.lag or 0 for each in lags)
    records = [
        {
            "topic": each.topic,
            "partition": each.partition,
            "committed": each.committed,
            "end": each.high,
            "stable": each.stable,
            "lag": each.lag,
        }
        | ({"seconds": round(each.seconds or 0.0, 3)} if seconds else {})
        for each in lags
    ]
    rows = [_row(record) for record in records]
    columns = list(records[0])
    options.show(
        {"group": name, "partitions": records, "total": total},
        columns,
        [*rows, ["total", "", "", "", "", total, *([""] if seconds else [])]],
        f"group {name}",
    )


def _row(record: Mapping[str, Any]) -> list[object]:
    """Return a partition's cells: offsets as they are, to be given to other commands."""
    exact = ("partition", "committed", "end", "stable")
    return [
        str(value) if name in exact and value is not None else value
        for name, value in record.items()
    ]
