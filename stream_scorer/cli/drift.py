"""``stream-scorer drift``: the monitor's alarms: see them, explain them, answer them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stream_scorer.cli.drift_drawing import draw_explanation, draw_status
from stream_scorer.cli.options import (
    ClusterJsonOptions,
    ClusterOptions,
    CommandGroup,
    SignedOptions,
    WideOption,
)
from stream_scorer.cli.output import field_rows, print_json
from stream_scorer.drift.operator.commands import give
from stream_scorer.drift.reports.answers import knows, refuse_useless
from stream_scorer.drift.reports.events import find_event, iso, short, until_ms
from stream_scorer.drift.reports.explain import explanation_of
from stream_scorer.drift.reports.page import write_html
from stream_scorer.drift.reports.place import locate
from stream_scorer.drift.reports.report import report_of
from stream_scorer.drift.reports.sources import read_events, read_monitor, read_performance
from stream_scorer.drift.reports.status import status_of
from stream_scorer.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

app = CommandGroup(
    "Alarms of the monitor: state, explanation, report; acknowledge, accept, snooze.",
    ClusterJsonOptions,
)
EventArgument = Annotated[
    str, typer.Argument(metavar="EVENT", help="Id of an event, or its first 4 digits or more.")
]


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(SignedOptions):
    """Options of a command that answers an alarm."""

    def answer(self, kind: str, event: str, until: int | None = None) -> None:
        """Give a command to the monitor, and print what was written.

        Args:
            kind: ``ack``, ``accept`` or ``snooze``.
            event: Id of an event, or how it begins; empty: all of them.
            until: Kafka time until which it holds, ms; None if it has no end.
        """
        settings, known = self.connected(), True
        if event:
            monitor, events = read_monitor(settings), read_events(settings)[0]
            event = find_event(events, event, status_of(monitor)["open"])
            refuse_useless(kind, event, monitor, events)
            known = knows(monitor, event)
        document = give(settings, kind, event, until, self.reason, self.signer())
        end = document.get("until")
        rows = field_rows(document | {"until": short(iso(end)) if end else None})
        written = "Written; it holds from the next summary on"
        if not known:
            written += ", if the monitor has this alarm: its newest snapshot does not yet"
        self.show_fields(document, written, rows)


@app.command()
def status(*, wide: WideOption = False, options: ClusterJsonOptions) -> None:
    """Show open alarms, faults, the budget, and how far each stream is from an alarm.

    Without --wide, the streams are those that are nearest to an alarm.
    """
    document = status_of(read_monitor(options.connected()))
    if options.as_json:
        print_json(document)
    else:
        draw_status(document, wide=wide)


@app.command()
def explain(*, event: EventArgument, options: ClusterJsonOptions) -> None:
    """Show one event: what moved, how much, since when, on which evidence, and what it asks for.

    Exit codes: 2: there is no such event.
    """
    settings = options.connected()
    document = explanation_of(read_monitor(settings), read_events(settings)[0], event, locate)
    if options.as_json:
        print_json(document)
    else:
        draw_explanation(document)


@app.command()
def report(
    *,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a self-contained page to this file.")
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, max=3_650, help="Days whose events are listed.")
    ] = 30,
    options: ClusterJsonOptions,
) -> None:
    """Write the state of all streams, alarms and data quality as one page, or print it as JSON.

    Exit codes: 2: neither --html nor --json is given, or the file cannot be written.
    """
    if html is None and not options.as_json:
        raise SettingsError("drift report: nothing to write", "give --html FILE, or --json")
    settings = options.connected()
    typer.echo("drift report: reads the monitor's state and events", err=True)
    monitor, (events, broken) = read_monitor(settings), read_events(settings)
    if broken:
        typer.echo(f"drift report: {broken:,} records cannot be read as drift events", err=True)
    performance = read_performance(settings)
    document = report_of(monitor, events, days, locate, _progress(), performance)
    if html is not None:
        write_html(html, document)
    rows = [
        ("file", str(html)), ("open alarms", len(document["open"])),
        ("faults", len(document["status"]["faults"])), ("events", len(document["events"])),
        ("streams", len(document["status"]["streams"])),
        ("windows of performance", len(document["performance"]["windows"])),
    ]  # fmt: skip
    options.show_fields(document, "Report", rows)


@app.command()
def ack(*, event: EventArgument, options: AnswerOptions) -> None:
    """Acknowledge an alarm: a person looks at it. It stays open.

    Exit codes: 2: there is no such event; 11: the command is refused.
    """
    options.answer("ack", event)


@app.command()
def accept(*, event: EventArgument, options: AnswerOptions) -> None:
    """Accept a change: the new level is the usual one from now on, and the alarm is closed.

    Exit codes: 2: there is no such event; 11: the command is refused.
    """
    options.answer("accept", event)


@app.command()
def snooze(
    *,
    event: Annotated[
        str, typer.Argument(metavar="[EVENT]", help="One event; all alarms by default.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", help="2026-11-25T10:00:00Z, or a time from now on: 4h, 2d.")
    ],
    options: AnswerOptions,
) -> None:
    """Let alarms be notes until a time; they are still found and recorded.

    Exit codes: 2: there is no such event or time; 11: the command is refused.
    """
    options.answer("snooze", event, until_ms(until))


@app.command()
def sink(
    *,
    kind: Annotated[Literal["webhook", "log"], typer.Argument(help="Where events are sent to.")],
    options: ClusterOptions,
) -> None:
    """Send each drift event on, at least once, until a signal ends it.

    Exit codes: as those of run.
    """
    from stream_scorer.drift.sinks.process import run_sink  # noqa: PLC0415 only this command needs HTTP

    run_sink(options.connected(), kind)


def _progress() -> "Callable[[int, int], None]":
    def show(done: int, total: int) -> None:
        typer.echo(f"drift report: {done:,} of {total:,} open alarms explained", err=True)

    return show
