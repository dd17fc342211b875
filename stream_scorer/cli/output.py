"""What commands print: tables, JSON and lines, safe for a terminal."""

import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

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
        if not stderr and isinstance(sys.stdout, io.TextIOWrapper):
            # A sign that the terminal's encoding does not have ends no command. stderr is so.
            sys.stdout.reconfigure(errors="replace")

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


_WIDEST = 10_000
"""Columns of a terminal that no table needs."""
_BETWEEN = 2
"""Columns of the terminal between two columns of a table."""
_KEY, _WORD = 40, 24
"""Length up to which a word is not cut, in the first column and in the others."""
_WHOLE_FROM = 1_000
"""A float from here on is printed without decimals."""
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


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
    *,
    wide: bool = False,
) -> None:
    """Print rows as a table; long texts are wrapped, never cut.

    Args:
        columns: Headings; an underscore is a space.
        rows: Cells; see :func:`cell_text`.
        title: Above the table; empty for none.
        wide: Whether each row is one line, however long.
    """
    console = TerminalConsole()
    table = table_of(columns, rows, _WIDEST if wide else console.width)
    if title:
        console.print(printable(title))
    if wide:
        console.width = _WIDEST
    console.print(table)


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]], room: int) -> Table:
    """Return rows as a table: texts are wrapped at spaces, and only words of more than 24 cut.

    Args:
        columns: Headings.
        rows: Cells; texts of rich keep their style.
        room: How wide it may be, in characters.
    """
    given = [list(row) for row in rows]
    shown = [
        [cell if isinstance(cell, Text) else Text(printable(cell_text(cell))) for cell in row]
        for row in given
    ]
    names = [printable(name.replace("_", " ")) for name in columns]
    texts = [[name, *(row[at].plain for row in shown)] for at, name in enumerate(names)]
    widths = _widths(texts, room - _BETWEEN * (len(names) - 1))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for at, (name, width) in enumerate(zip(names, widths, strict=True)):
        number = bool(given) and all(_is_number(row[at]) for row in given)
        table.add_column(name, overflow="fold", width=width, justify="right" if number else "left")
    for row in shown:
        table.add_row(*row)
    return table


def _widths(texts: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return each column's width: its longest word, then, the narrowest first, its longest text."""
    words = [
        max((len(word) for text in each for word in text.split()), default=0) for each in texts
    ]
    widths = [min(longest, _KEY if not at else _WORD) for at, longest in enumerate(words)]
    wanted = [max(map(len, each)) - width for each, width in zip(texts, widths, strict=True)]
    spare = max(room - sum(widths), 0)
    for taken, at in enumerate(sorted(range(len(texts)), key=wanted.__getitem__)):
        more = min(wanted[at], spare // (len(texts) - taken))
        widths[at] += more
        spare -= more
    return [max(width, 1) for width in widths]


def cell_text(value: object) -> str:
    """Return a value as people read it.

    A number has its thousands separated, and three significant digits if it is not an integer; what
    is an identifier, such as an offset, is given as text.

    >>> [cell_text(each) for each in (None, True, 1725031, 0.12345678, 0.0, 12345.6)]
    ['-', 'yes', '1,725,031', '0.123', '0', '12,346']
    >>> cell_text({"REVIEW": 1200, "BLOCK": [0.25, None]})
    'REVIEW 1,200, BLOCK 0.25, -'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell_text(each)}" for name, each in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell_text, value)) or "-"
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= _WHOLE_FROM):
        return f"{value:,.0f}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def field_rows(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Return a document as rows of name and value, one for each value of a nested table.

    >>> field_rows({"rows": 2, "outcomes": {"BLOCK": 1, "REVIEW": 1}, "rejected": {}})
    [('rows', 2), ('outcomes.BLOCK', 1), ('outcomes.REVIEW', 1), ('rejected', None)]
    """
    rows: list[tuple[str, object]] = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            rows += field_rows(value, f"{prefix}{name}.") or [(f"{prefix}{name}", None)]
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def dated_rows(document: Mapping[str, Any], *times: str) -> list[tuple[str, object]]:
    """Return a document as rows, with some values as times to the second.

    >>> dated_rows({"rows": 2, "until": 1522584000000, "seen": 0}, "until", "seen")
    [('rows', 2), ('until', '2018-04-01 12:00:00'), ('seen', None)]

    Args:
        document: As for :func:`field_rows`.
        times: Names of values in ms since the epoch; 0 and None are no time.
    """
    told = {
        name: (short_time(utc_text(value)) if value else None) if name in times else value
        for name, value in document.items()
    }
    return field_rows(told)


def short_time(text: str | None) -> str | None:
    """Return a time in ISO 8601 to the second: ``2018-04-01 12:00:00``; None stays None."""
    return None if text is None else text[:19].replace("T", " ")


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))
