"""``stream-scorer batch``: files of transactions in, decisions out."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from stream_scorer.batch import job
from stream_scorer.batch.run import run_batch
from stream_scorer.cli.options import MOST_RECORDS, PlanOption, StoreOptions
from stream_scorer.cli.output import TerminalConsole
from stream_scorer.errors import SettingsError


def _ms(option: str, text: str | None) -> int | None:
    """Return the time that an option names, ms since the epoch; without a zone it is UTC."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} {text!r}: not a time", "write 2018-08-01T00:00Z") from None
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000)


def batch(
    *,
    source: Annotated[
        str, typer.Argument(metavar="IN", help="File, 'glob' or fsspec URL of the transactions.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="File .parquet or .avro, or a folder.")
    ],
    model: Annotated[
        str,
        typer.Option("--model", help="NAME or NAME:VERSION; NAME alone is its highest version."),
    ],
    plan: PlanOption = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Labels, for the features by terminal: file or URL."),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Add a column for each feature.")
    ] = False,
    sort: Annotated[
        bool, typer.Option("--sort", help="Sort the input by event time first, on disk.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Decide from this event time on; earlier rows are history."),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", help="File for rejected rows; default: OUT.rejects.jsonl."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="The job's time: decided_at of every decision; default: now."),
    ] = None,
    part_rows: Annotated[
        int,
        typer.Option(
            "--part-rows", min=1, max=MOST_RECORDS, help="Rows between two points to resume from."
        ),
    ] = job.PART_ROWS,
    options: StoreOptions,
) -> None:
    """Score files: IN is Parquet, CSV, Avro or JSON lines; OUT is Parquet or Avro.

    An OUT without an ending is a folder of Parquet files. OUT appears when it is complete. A job
    that was cut off continues when it is called again.
    Exit codes: 2 input, output or an option; 3 model; 5 a store does not answer or the disk is
    full; 9 OUT.unfinished is of another job.
    """
    order = job.Order(
        source, out, model, plan, labels, features, sort, _ms("--since", since), rejects,
        _ms("--as-of", as_of), part_rows,
    )  # fmt: skip
    console = TerminalConsole(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("score", total=None, rows=0)

        def told(progress: job.JobProgress) -> None:
            bar.update(
                task, description=progress.stage, completed=progress.done, total=progress.total,
                rows=progress.rows,
            )  # fmt: skip

        report = run_batch(options.settings(), order, told)
    document = {
        "model": report.model,
        "out": str(report.out),
        "rejects": None if report.rejects is None else str(report.rejects),
        "rows": report.rows,
        "resumed_at": report.resumed_at,
        "outcomes": report.outcomes,
        "rejected": report.rejected,
        "skipped": report.skipped,
        "history": report.history,
        "history_rejected": report.history_rejected,
        "labels": report.labels,
        "degraded": report.degraded,
        "model_failed": report.failed_rows,
        "seconds": round(report.seconds, 2),
    }
    options.show_fields(document, "Scored")
