"""``stream-scorer dataset``: training sets from the topics."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import (
    ClusterJsonOptions,
    CommandGroup,
    PlanOption,
    milliseconds,
)

app = CommandGroup("Training sets from the topics.", ClusterJsonOptions)


@app.command()
def build(
    *,
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="First event time, ISO 8601, UTC.")
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", help="End of the event times, exclusive.")
    ],
    as_of: Annotated[
        str,
        typer.Option("--labels-as-of", metavar="TIME", help="Labels count that were known then."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; empty, or not there yet.")],
    sample: Annotated[
        float, typer.Option("--sample", help="Share of the genuine rows to keep, above 0 to 1.")
    ] = 1.0,
    model: Annotated[
        str | None,
        typer.Option("--model", help="NAME or NAME:VERSION whose features the decisions recorded."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", help="Other features, .toml or .json: computed from the input."),
    ] = None,
    plan: PlanOption = None,
    options: ClusterJsonOptions,
) -> None:
    """Build a training set: features as they were at scoring, labels as they were known.

    `train --data OUT` trains on it. Two builds of the same range give equal bytes.
    """
    from stream_scorer.dataset.contract import DatasetOrder  # noqa: PLC0415 it loads slowly
    from stream_scorer.dataset.run import build_dataset  # noqa: PLC0415 as above

    order = DatasetOrder(
        first_ms=milliseconds("--from", begin), end_ms=milliseconds("--to", end),
        as_of_ms=milliseconds("--labels-as-of", as_of), out=out, features=features, sample=sample,
        model=model,
    )  # fmt: skip
    report = build_dataset(options.connected(), order, plan)
    document = asdict(report) | {"directory": str(report.directory)}
    options.show_fields(document, "Dataset")
    if not options.as_json:
        typer.echo(f"next: stream-scorer train --data {out} --matured --protocol latest ...")
