"""``stream-scorer topics``: the topics that we read and write."""

from dataclasses import asdict
from typing import Annotated

import typer

from stream_scorer.cli.options import ClusterJsonOptions, CommandGroup
from stream_scorer.kafka.topics.create_topics import INPUT_DAYS, create_topics

# As many as Kafka's protocol can say would end its controller; so many a large cluster has in all.
_MOST_PARTITIONS, _MOST_COPIES = 100_000, 1_000
# A delay and a window of 400 days each are the longest that there are.
_MOST_DAYS = 800

app = CommandGroup("The topics that we read and write.", ClusterJsonOptions)


@app.command()
def create(
    *,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_MOST_PARTITIONS,
            help="Partitions of topics that scale with the input. Default: as many as the "
            "transactions topic has; 4 if it does not exist.",
        ),
    ] = None,
    replication: Annotated[
        int,
        typer.Option(
            min=-1, max=_MOST_COPIES, help="Copies of each partition; -1: the cluster's default."
        ),
    ] = -1,
    profiles_lookback_days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_MOST_DAYS,
            help="Keep terminals' rows so many days more than the input's retention: the delay and "
            "the longest window of any model. For ever by default.",
        ),
    ] = None,
    input_retention_days: Annotated[
        int,
        typer.Option(
            min=1,
            max=_MOST_DAYS,
            help="Keep the input at least so many days when it is created: the longest window of "
            "any model and the lateness.",
        ),
    ] = INPUT_DAYS,
    options: ClusterJsonOptions,
) -> None:
    """Create our topics where they are missing; what exists is left as it is and reported."""
    settings = options.connected()
    reports = create_topics(
        settings.kafka, partitions, replication, profiles_lookback_days, input_retention_days
    )
    options.show(
        {"topics": [asdict(r) | {"remark": r.remark} for r in reports]},
        ("topic", "partitions", "", "remark"),
        [
            (r.name, str(r.partitions), "created" if r.created else "exists", r.remark)
            for r in reports
        ],
    )
