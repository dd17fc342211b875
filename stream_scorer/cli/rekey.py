"""``stream-scorer rekey``: copy a topic to one that is keyed by the customer."""

from typing import Annotated

import typer

from stream_scorer.cli.options import (
    ClusterOptions,
    InstanceOption,
    PlanOption,
    StartOption,
    WhosePlanOption,
)
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.rekeying.process import run_rekey


def rekey(
    *,
    source: Annotated[str, typer.Option("--source", help="Topic whose records are copied.")],
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Topic of the copies; it must exist. Default: kafka.topics.transactions.",
        ),
    ] = None,
    model: WhosePlanOption = "fraud",
    plan: PlanOption = None,
    start: StartOption = None,
    instance: InstanceOption = None,
    options: ClusterOptions,
) -> None:
    """Copy a topic to one that is keyed by the customer, exactly once.

    It runs until a signal ends it.

    The plan's events.toml gives the customer in a record's value. Value, headers and timestamp stay
    as they are; the header rekeyed-from is added: TOPIC:PARTITION:OFFSET. Records that cannot be
    read become dead letters; those that [record] where does not choose are skipped.

    One process does it alone; a second one of the same rekey.group fences the first. On the host of
    another process it needs another http.port; 0 picks a free one.

    Exit codes: as those of run.
    """
    settings = options.connected({"kafka": {"instance": instance}})
    run_rekey(
        settings, Deployment(model, plan, start), source,
        settings.kafka.topics.transactions if target is None else target,
    )  # fmt: skip
