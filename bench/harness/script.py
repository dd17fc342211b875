"""A bench as a script: options, time and load, gates, tables, and the report as the last line."""

import argparse
import json
import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH = 120
_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "<=": (operator.le, "must be at most"),
    ">=": (operator.ge, "must be at least"),
    "==": (operator.eq, "must be"),
}

Gate = tuple[str, Any, str, Any]
"""A line with ``{}`` for the value, the value, a comparison, and the limit."""


class Number(NamedTuple):
    """A numeric parameter of a bench.

    Attributes:
        full: Its value; None has no default, and the option takes a float.
        quick: Its value with ``--quick``.
        help: Describes its option; a number without help has no option.
    """

    full: Any
    quick: Any
    help: str = ""


class Script:
    """One run of a bench, from its options to its exit code.

    Args:
        doc: The script's docstring; its first line describes the command.
        quick: What ``--quick`` does.
        numbers: By name; option ``--name``, with hyphens for underscores.
        more: Adds further options to the parser.
    """

    def __init__(
        self, doc: str | None, quick: str, *,
        more: Callable[[argparse.ArgumentParser], None] = lambda _: None, **numbers: Number,
    ) -> None:  # fmt: skip
        parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
        parser.add_argument("--quick", action="store_true", help=quick)
        for name, number in numbers.items():
            if number.help:
                kind = float if number.full is None else type(number.full)
                parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=number.help)
        more(parser)
        self.options: Any = parser.parse_args()
        self.quick: bool = self.options.quick
        for name, number in numbers.items():
            chosen = number.quick if self.quick else number.full
            if getattr(self.options, name, None) is None:
                setattr(self.options, name, chosen)
        self._load = os.getloadavg()
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return round(time.monotonic() - self._started, 1)

    def loads(self) -> list[list[float]]:
        """Return the load averages at the start and now."""
        return [[round(one, 1) for one in load] for load in (self._load, os.getloadavg())]

    def conclude(self, document: dict[str, Any], failed: Sequence[str], *shown: Table | str) -> int:
        """Print tables, lines, failed gates, and the report as the last line; return the exit code.

        Args:
            document: The report; ``missed`` is added to it.
            failed: One line for each failed gate.
            shown: Tables and lines for a person.
        """
        console = Console(width=_WIDTH, highlight=False, markup=False)
        for each in shown:
            console.print(each)
        before, now = (" ".join(map(str, load)) for load in self.loads())
        console.print(f"load average {before} before, {now} after")
        sys.stdout.flush()
        for line in failed:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        print(json.dumps(document | {"missed": list(failed)}))
        return 1 if failed else 0


def missed(*gates: Gate) -> list[str]:
    """Return one line for each gate that fails; one without a value (None, NaN) does.

    >>> missed(("{} s to start", 3, "<=", 5), ("{} s to stop", 7, "<=", 5))
    ['7 s to stop, must be at most 5']
    """
    lines = []
    for line, value, comparison, limit in gates:
        passes, words = _COMPARISONS[comparison]
        if value is None or not passes(value, limit):
            lines.append(f"{line.format(value)}, {words} {cell(limit)}")
    return lines


def table(title: str, *columns: str, rows: Iterable[Iterable[object]]) -> Table:
    """Return a table; see :func:`cell`."""
    made = Table(*columns, title=title, title_justify="left")
    for row in rows:
        made.add_row(*(Text(cell(value)) for value in row))
    return made


def cell(value: object) -> str:
    """Return a value as a table shows it.

    >>> [cell(value) for value in (1234, 1234.5, 10.0, None, "a")]
    ['1,234', '1,234.5', '10', '-', 'a']
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        value = int(value) if value.is_integer() else round(value, 3)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def say(line: str) -> None:
    """Report progress, with the time of day, on standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()
