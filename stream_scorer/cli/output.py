"""What commands print: tables, JSON and lines, safe for a terminal."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from stream_scorer.terminal_text import printable


class TerminalConsole(Console):
    """A console that prints text as it is: no markup, no emoji codes, no control characters.

    Cells and lines from outside go through :func:`printable` before, so that their width is right
    and a line break in them starts no line. What has not gone through it is escaped here.

    Args:
        stderr: Whether to print to stderr instead of stdout.
        soft_wrap: Whether long lines are left to the terminal.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(
            stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
        )

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of a renderable, with control characters in texts escaped."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                safe = "\n".join(printable(line) for line in segment.text.split("\n"))
                yield Segment(safe, segment.style)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(milliseconds: int) -> datetime | None:
    """Return the time of a Kafka timestamp; None if no calendar has it, as a client may send any.

    Args:
        milliseconds: Since the epoch.
    """
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def utc_text(milliseconds: int) -> str:
    """Return the time of a Kafka timestamp as text: ``2018-04-01 12:00:00.000+00:00``."""
    moment = utc(milliseconds)
    if moment is None:
        return f"{milliseconds} ms"
    return moment.isoformat(sep=" ", timespec="milliseconds")


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a document as JSON, on one line."""
    typer.echo(json.dumps(document, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows as a table.

    Args:
        columns: Headings.
        rows: Cells.
        title: Above the table; empty for none.
    """
    table = Table(*columns, title=printable(title) or None, title_justify="left")
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    TerminalConsole().print(table)
