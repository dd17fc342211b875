"""``lag --watch``: all groups in the terminal, what needs a person first."""

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream_scorer.cli.output import TerminalConsole, cell_text
from stream_scorer.lag.verdicts.sample import LagJudgement, LagVerdict
from stream_scorer.lag.watch.passes import LagSnapshot, Watched
from stream_scorer.lag.watch.process import LagLoop
from stream_scorer.processes.stop_flag import StopRequest
from stream_scorer.settings import Settings
from stream_scorer.terminal_text import printable

_MARKS: Final = {
    LagVerdict.LOST: ("✖", "bold reverse"),
    LagVerdict.HANGING: ("◼", "bold reverse"),
    LagVerdict.STOPPED: ("◼", "bold yellow"),
    LagVerdict.STALLED: ("◼", "bold yellow"),
    LagVerdict.REWOUND: ("◀", "yellow"),
    LagVerdict.UNKNOWN: ("?", "bold"),
    LagVerdict.SLOW: ("▲", "yellow"),
    LagVerdict.EMPTY: ("○", "dim"),
    LagVerdict.OK: ("●", "blue"),
}
"""A sign and a style: a verdict can be read without colours, and no two differ by red and green."""
_BARS: Final = "▁▂▃▄▅▆▇█"
_HISTORY: Final = 20
_TICK_SECONDS: Final = 0.5
_BELOW: Final = 2
"""Lines below the table: what is left out, and an empty one for the cursor."""
_NARROW: Final = 110
"""Columns below which the rates and the owner are left out."""
_BETWEEN: Final = 2
_LEAST_REASON: Final = 10
_NAME_MOST: Final = 60
"""Columns of a name: a group's may have 32,767 characters, and would hide all others."""
_TITLE_GROUPS: Final = 4
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


class LagView:
    """The last pass as a table that fits the terminal as it is when it is drawn.

    Attributes:
        snapshot: The pass to be drawn.
    """

    def __init__(self) -> None:
        self.snapshot = LagSnapshot()
        self._lags: dict[Watched, deque[int]] = defaultdict(lambda: deque(maxlen=_HISTORY))

    def show(self, snapshot: LagSnapshot) -> None:
        """Take a pass."""
        self.snapshot = snapshot
        for watched in self._lags.keys() - snapshot.judgements.keys():
            del self._lags[watched]
        for watched, judgement in snapshot.judgements.items():
            if judgement.to_stable is not None:
                self._lags[watched].append(judgement.to_stable)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = self.snapshot
        rows = sorted(now.judgements.items(), key=_weight)
        head = [_title(now), *_notes(now)]
        lines = sum(_lines(each, console, options) for each in head)
        room = max((options.height or console.height) - lines - _BELOW, 2)
        table, count = self._fitting(rows, room, console, options)
        yield from head
        yield table
        if left := rows[count:]:
            worst = min((judgement for _, judgement in left), key=_order).verdict
            yield Text(f"and {len(left):,} more, at worst {worst}", "dim")

    def _fitting(
        self,
        rows: Sequence[tuple[Watched, LagJudgement]],
        room: int,
        console: Console,
        options: ConsoleOptions,
    ) -> tuple[Table, int]:
        """Return a table of as many rows as fit into the lines, and their number.

        In a narrow terminal a row has several lines.
        """
        low, high = 1, max(min(len(rows), room - 1), 1)
        count = high
        while True:
            table = self._table(rows[:count], options.max_width)
            fits = _lines(table, console, options) <= room
            low, high = (count, high) if fits else (low, count - 1)
            if low >= high:
                return (table if fits else self._table(rows[:low], options.max_width)), low
            count = (low + high + 1) // 2

    def _table(self, rows: Sequence[tuple[Watched, LagJudgement]], width: int) -> Table:
        wide = width >= _NARROW
        cells = [self._cells(watched, judgement, wide=wide) for watched, judgement in rows]
        names = ["group", "partition", "verdict", "age", "lag", "drains in", "lag so far"]
        if wide:
            names[5:5] = ["in/s", "out/s"]
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _BETWEEN, 0, 0))
        used = 0
        for at, name in enumerate(names):
            left = name in {"group", "partition", "verdict", "lag so far"}
            table.add_column(
                name,
                justify="left" if left else "right",
                no_wrap=name not in {"group", "partition"},
                overflow="fold",
                min_width=8,
            )
            used += max([8, len(name), *(cell_len(row[at]) for row in cells)]) + _BETWEEN
        if wide:
            # What is left of the line: a reason is cut, and names and numbers are not.
            room = max(width - used, _LEAST_REASON)
            table.add_column("owner, or why", no_wrap=True, overflow="ellipsis", max_width=room)
        for row, (_, judgement) in zip(cells, rows, strict=True):
            reason = judgement.owner if judgement.verdict is LagVerdict.OK else judgement.reason
            style = _MARKS[judgement.verdict][1]
            row[2] = Text(str(row[2]), style)
            table.add_row(*row, *((printable(reason),) if wide else ()))
        return table

    def _cells(self, watched: Watched, each: LagJudgement, *, wide: bool) -> list[Any]:
        group, (topic, partition) = watched
        rates = (each.rate_in, each.rate_out) if wide else ()
        return [
            _short(group),
            f"{_short(topic)} {partition}",
            f"{_MARKS[each.verdict][0]} {each.verdict}",
            duration(each.age),
            cell_text(each.to_stable),
            *(cell_text(rate) for rate in rates),
            duration(each.drain_seconds),
            sparkline(self._lags[watched]),
        ]


def watch_lag(settings: Settings) -> None:
    """Show passes in the terminal until a signal; without a terminal, one table after the other.

    Args:
        settings: ``lag`` and ``kafka``.
    """
    console, view = TerminalConsole(), LagView()
    with StopRequest() as stop, LagLoop(settings) as loop:
        if not console.is_terminal or console.is_dumb_terminal:

            def print_pass(snapshot: LagSnapshot) -> None:
                view.show(snapshot)
                console.print(view)

            loop.run(print_pass, stop, _TICK_SECONDS)
            return
        with Live(view, console=console, screen=True, auto_refresh=False) as live:

            def draw() -> bool:
                # Also between two passes: the terminal may have another size by now.
                live.refresh()
                return stop()

            loop.run(view.show, draw, _TICK_SECONDS)


def sparkline(values: Sequence[int] | deque[int]) -> str:
    """Return numbers as bars, the highest one filling the line.

    >>> sparkline([0, 1, 2, 4, 8])
    '▁▂▃▅█'
    """
    top = max(values, default=0)
    if not top:
        return _BARS[0] * len(values)
    return "".join(_BARS[math.ceil(value / top * (len(_BARS) - 1))] for value in values)


def duration(seconds: float | None) -> str:
    """Return a time as people read it.

    >>> [duration(each) for each in (None, 0.0, 0.25, 59.0, 61, 7_322, 200_000, math.inf)]
    ['-', '0 s', '0.2 s', '59 s', '1 m 1 s', '2 h 2 m', '2 d 7 h', 'never']
    """
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return "never"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} m {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} m"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def _order(judgement: LagJudgement) -> int:
    return list(LagVerdict).index(judgement.verdict)


def _weight(row: tuple[Watched, LagJudgement]) -> tuple[int, float, Watched]:
    """Return what a row is sorted by: the verdict, then the age, oldest first."""
    watched, judgement = row
    return _order(judgement), -(judgement.age or 0.0), watched


def _short(name: str) -> str:
    """Return a name for the terminal, at most 60 columns wide."""
    name = printable(name)
    return name if cell_len(name) <= _NAME_MOST else set_cell_size(name, _NAME_MOST - 1) + "…"


def _lines(part: Text | Table, console: Console, options: ConsoleOptions) -> int:
    # With a height, which a full screen gives, it would fill that.
    return len(console.render_lines(part, options.reset_height(), pad=False))


def _title(now: LagSnapshot) -> Text:
    if not now.time:
        return Text("the first pass has not ended yet")
    order = list(LagVerdict)
    worst = sorted(now.worst().items(), key=lambda each: order.index(each[1]))
    groups = ", ".join(f"{_short(group)} {verdict}" for group, verdict in worst[:_TITLE_GROUPS])
    if more := worst[_TITLE_GROUPS:]:
        groups += f" and {len(more):,} more groups"
    if not groups:
        groups = "the brokers do not answer" if now.error else "no group matches"
    return _line(f"{groups}; pass of {now.seconds:.2f} s", "bold")


def _notes(now: LagSnapshot) -> Iterator[Text]:
    """Yield what no row shows."""
    if now.error:
        yield Text(printable(now.error), "bold yellow")
    seen = {group for group, _ in now.judgements}
    if unseen := [_short(group) for group in sorted(now.members) if group not in seen]:
        yield _line(f"no committed offset, and no partition: {', '.join(unseen)}", "bold yellow")
    if now.left_out:
        yield _line(f"{now.left_out:,} more groups match: see lag.groups_max", "bold yellow")


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
