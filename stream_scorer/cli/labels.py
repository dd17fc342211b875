"""``stream-scorer labels``: labels from files to their topic; how late labels are."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import (
    ClusterJsonOptions,
    CommandGroup,
    PlanOption,
    WhosePlanOption,
    milliseconds,
)
from stream_scorer.cli.output import field_rows

app = CommandGroup("Labels: import them from files, and see how late they are.", ClusterJsonOptions)


@app.command(name="import")
def import_(
    *,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Labels: .parquet, .csv, .jsonl or .avro."),
    ],
    source: Annotated[
        str | None, typer.Option("--source", help="Source of rows that name none.")
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option("--columns", help="TOML file: names of the columns, and of the states."),
    ] = None,
    model: WhosePlanOption = "fraud",
    plan: PlanOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Send nothing if a row cannot be used.")
    ] = False,
    options: ClusterJsonOptions,
) -> None:
    """Send the labels of a file to the topic of labels, each once.

    Customer, terminal and time are looked up in the decisions by the transaction's id. Called
    again, it sends what is still missing.
    """
    from stream_scorer.labels.columns import LabelNames, read_names  # noqa: PLC0415 it loads slowly
    from stream_scorer.labels.run import LabelImportJob, import_labels  # noqa: PLC0415 as above

    names = LabelNames() if columns is None else read_names(columns)
    report = import_labels(
        options.connected(), LabelImportJob(file, source, names, strict, model, plan)
    )
    document = asdict(report)
    shown = {name: value for name, value in document.items() if name != "examples"}
    rows = [*shown.items(), *((k, ", ".join(v)) for k, v in report.examples.items() if v)]
    options.show_fields(document, "Labels", rows)


@app.command()
def delay(
    *,
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="First event time, ISO 8601, UTC.")
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", help="End of the event times, exclusive.")
    ],
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="TIME", help="Reports up to then; default: the latest."),
    ] = None,
    options: ClusterJsonOptions,
) -> None:
    """Estimate how late frauds are reported, and print the lines for a plan.

    Frauds that will be reported later than now are not seen yet; the estimate corrects for that, up
    to the age of the oldest transaction. Beyond it, nothing is known.
    """
    from stream_scorer.labels.delay import (  # noqa: PLC0415 it loads slowly
        DelayRange,
        delay_report,
        read_delays,
    )

    chosen = DelayRange(
        milliseconds("--from", begin), milliseconds("--to", end),
        None if as_of is None else milliseconds("--as-of", as_of),
    )  # fmt: skip
    document = delay_report(read_delays(options.connected(), chosen))
    shown = {name: value for name, value in document.items() if name != "plan"}
    options.show_fields(document, "Delays of frauds", field_rows(shown))
    if not options.as_json:
        typer.echo(f"for the plan:\n{document['plan']}")
