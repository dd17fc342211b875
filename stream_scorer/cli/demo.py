"""``stream-scorer demo``: the complete pipeline on a real Kafka, with an independent verdict."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

from stream_scorer.cli.options import ClusterJsonOptions
from stream_scorer.cli.output import TerminalConsole, print_table
from stream_scorer.demo.found import milliseconds
from stream_scorer.demo.report import DemoReport
from stream_scorer.demo.run import PAGE, QUICK, Demo, Size


def demo(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A third of the transactions.")] = False,
    model: Annotated[
        Literal["fraud", "lightgbm"],
        typer.Option(
            "--model",
            help="The shipped model; or a LightGBM model that is trained and imported first.",
        ),
    ] = "fraud",
    page: Annotated[
        Path, typer.Option("--report", help="File for the monitor's report of what changed.")
    ] = PAGE,
    options: ClusterJsonOptions,
) -> None:
    """Simulate, score, verify: starts its own Kafka unless --bootstrap names one.

    Sends a backlog that is drained at full speed, then 5,000 transactions a second, with their
    labels and bad records of every kind among them, and changes the customers' behaviour half-way.
    The monitor's report is written to --report.
    The last line is one JSON object.

    Exit codes: 0 when each record has exactly one decision or dead letter, each bad record the
    right reason, no decision was made without what was known of its terminal, the scores rank the
    frauds well enough, and drift was found within three windows after the change and not before; 1
    otherwise; 2 and more as those of run.
    """
    settings = options.settings()
    with _Phases() as phases:
        size = QUICK if quick else Size()
        own = model == "lightgbm"
        report = Demo(settings, size, phases, options.config, own_model=own, page=page).run()
    if not options.as_json:
        _tables(report)
    for fault in report.faults:
        typer.echo(f"stream-scorer: demo: {fault}", err=True)
    typer.echo(json.dumps(report.document()))
    if report.faults:
        raise typer.Exit(1)


class _Phases:
    """A live bar for each phase on a terminal's stderr; plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = TerminalConsole(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Elapsed(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._end()
        self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        """Begin a phase; the one before is done."""
        self._end()
        if self._progress.disable:
            self._console.print(name)
        self._task = self._progress.add_task(name, total=total or None)

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def _end(self) -> None:
        if self._task is not None:
            total = self._progress.tasks[self._task].total or 1
            self._progress.update(self._task, total=total, completed=total)


def _tables(report: DemoReport) -> None:
    seen = report.verification
    reasons = sorted(set(report.malformed) | set(seen.reasons))
    print_table(
        ("dead letters by reason", "sent", "found"),
        [(each, report.malformed.get(each, 0), seen.reasons.get(each, 0)) for each in reasons],
        "Bad records",
    )
    drifts = []
    for drift in report.drifts:
        width = milliseconds(drift["window_end"]) - milliseconds(drift["window_start"])
        windows = (milliseconds(drift["window_end"]) - report.change_ms) / max(width, 1)
        drifts.append(
            (drift["severity"], drift["signal"], round(windows), drift["reference"],
             drift["estimate"])
        )  # fmt: skip
    columns = ("", "stream", "hours after the change", "before", "after")
    print_table(columns, drifts, "Drift events")
    result = [(name.replace("_", " "), value) for name, value in report.document().items()]
    print_table(("seen by a read-committed reader", ""), result, "Result")
