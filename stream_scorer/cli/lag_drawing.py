"""``lag --watch``: all groups in the terminal, what needs a person first."""

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
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
_REASONS: Final = 3
"""Groups whose first reason is below the table as a whole: in a row it is cut, or left out."""
_REASON_SHARE: Final = 3
"""One line in so many may be of these reasons."""
_NARROW: Final = 110
"""Columns below which the rates are left out."""
_NARROW_FOR_OWNERS: Final = 140
"""Columns below which the owner is left out."""
_BETWEEN: Final = 2
_LEAST: Final = 8
"""Columns that a group, a partition and a number have at least, so that nothing jumps."""
_LEAST_REASON: Final = 10
_NAMES_LEAST: Final = 20
"""Columns for group and partition; for less, numbers are left out from the right."""
_NUMBERS_LEAST: Final = 3
"""Numbers that are never left out: verdict, age, lag."""
_NAME_MOST: Final = 60
"""Columns of a name outside of the table."""
_REASON_MOST: Final = 300
"""Columns of a reason below the table."""
_NAME_LINES: Final = 3
"""Lines of a name in the table: a group's may have 32,767 characters, and would hide all others."""
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
            if (lag := _lag(judgement)) is not None:
                self._lags[watched].append(lag)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = self.snapshot
        rows = sorted(now.judgements.items(), key=_weight)
        head = [_title(now), *_notes(now)]
        height = options.height or console.height
        lines = sum(_lines(each, console, options) for each in head)
        reasons, taken = self._reasons(rows, height // _REASON_SHARE, console, options)
        room = max(height - lines - taken - _BELOW, 2)
        table, count = self._fitting(rows, room, console, options)
        yield from head
        yield table
        if left := rows[count:]:
            worst = min((judgement for _, judgement in left), key=_order).verdict
            yield Text(f"and {len(left):,} more, at worst {worst}", "dim")
        yield from reasons

    @staticmethod
    def _reasons(
        rows: Sequence[tuple[Watched, LagJudgement]],
        room: int,
        console: Console,
        options: ConsoleOptions,
    ) -> tuple[list[Text], int]:
        """Return the reasons of the first groups that fit into the lines, and their lines."""
        found: list[Text] = []
        taken = 0
        firsts: dict[str, tuple[Watched, LagJudgement]] = {}
        for row in rows:
            firsts.setdefault(row[0][0], row)
        for watched, judgement in [*firsts.values()][:_REASONS]:
            reason = _reason(watched, judgement)
            lines = _lines(reason, console, options)
            if judgement.verdict is LagVerdict.OK or taken + lines > room:
                break
            found.append(reason)
            taken += lines
        return found, taken

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
        wide, owned = width >= _NARROW, width >= _NARROW_FOR_OWNERS
        bars = _HISTORY if wide else _HISTORY // 2
        cells = [self._cells(watched, judgement, bars) for watched, judgement in rows]
        shown = ["verdict", "age", "lag", "in/s", "out/s", "drains in", "lag so far"]
        if not wide:
            shown.remove("in/s")
            shown.remove("out/s")
        sizes = {
            name: max([_LEAST, len(name), *(cell_len(row[name]) for row in cells)])
            for name in shown
        }
        room = width - (_LEAST_REASON if owned else 0) - 2 * _BETWEEN
        while (left := room - sum(sizes[name] + _BETWEEN for name in shown)) < _NAMES_LEAST:
            if len(shown) <= _NUMBERS_LEAST:
                break
            shown.pop()
        names = [_names(watched) for watched, _ in rows]
        group, partition = _shares(
            max(left, 2 * _LEAST),
            max([_LEAST, *(cell_len(name) for name, _ in names)]),
            max([_LEAST + 1, *(cell_len(f"{topic} {number}") for _, (topic, number) in names)]),
        )
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _BETWEEN, 0, 0))
        table.add_column("group", overflow="fold", width=group)
        table.add_column("partition", overflow="fold", width=partition)
        for name in shown:
            justify: JustifyMethod = "left" if name in {"verdict", "lag so far"} else "right"
            table.add_column(name, justify=justify, no_wrap=True, width=sizes[name])
        if owned:
            # What is left of the line: a reason is cut, and numbers are not.
            rest = max(left - group - partition, 0) + _LEAST_REASON
            table.add_column("owner, or why", no_wrap=True, overflow="ellipsis", max_width=rest)
        for row, (name, (topic, number)), (_, judgement) in zip(cells, names, rows, strict=True):
            place = f"{_middle(topic, _NAME_LINES * partition - len(number) - 1)} {number}"
            style = _MARKS[judgement.verdict][1]
            numbers = [Text(row[each], style if each == "verdict" else "") for each in shown]
            reason = judgement.owner if judgement.verdict is LagVerdict.OK else judgement.reason
            why = (printable(reason),) if owned else ()
            table.add_row(_middle(name, _NAME_LINES * group), place, *numbers, *why)
        return table

    def _cells(self, watched: Watched, each: LagJudgement, bars: int) -> dict[str, str]:
        return {
            "verdict": f"{_MARKS[each.verdict][0]} {each.verdict}",
            "age": duration(each.age),
            "lag": cell_text(_lag(each)),
            "in/s": cell_text(each.rate_in),
            "out/s": cell_text(each.rate_out),
            "drains in": duration(each.drain_seconds),
            "lag so far": sparkline([*self._lags[watched]][-bars:]),
        }


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


def sparkline(values: Sequence[int]) -> str:
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


def _lag(judgement: LagJudgement) -> int | None:
    """Return how many records wait; while a transaction hangs, none can be read, and all wait."""
    return judgement.to_high if judgement.verdict is LagVerdict.HANGING else judgement.to_stable


def _order(judgement: LagJudgement) -> int:
    return list(LagVerdict).index(judgement.verdict)


def _weight(row: tuple[Watched, LagJudgement]) -> tuple[int, float, Watched]:
    """Return what a row is sorted by: the verdict, then the age, oldest first."""
    watched, judgement = row
    return _order(judgement), -(judgement.age or 0.0), watched


def _names(watched: Watched) -> tuple[str, tuple[str, str]]:
    """Return the group, the topic and the partition's number, safe for a terminal."""
    group, (topic, partition) = watched
    return printable(group), (printable(topic), str(partition))


def _reason(watched: Watched, judgement: LagJudgement) -> Text:
    """Return the reason of a row as a separate line, which is folded and not cut."""
    group, (topic, partition) = _names(watched)
    place = f"{_middle(group, _NAME_MOST)}, {_middle(topic, _NAME_MOST)} {partition}"
    why = _middle(printable(judgement.reason), _REASON_MOST)
    return Text(f"{place}: {why}", overflow="fold")


def _shares(room: int, first: int, second: int) -> tuple[int, int]:
    """Return how much of the room two columns get: what one does not need, the other may have."""
    taken = min(first, max(room // 2, room - second))
    return taken, min(second, room - taken)


def _middle(name: str, most: int) -> str:
    """Return a name cut to a number of columns: begin and end of a long one tell which it is.

    >>> _middle("transactions-of-region-07", 12)
    'transa…on-07'
    """
    if cell_len(name[: most + 1]) <= most and len(name) <= most:
        return name
    half = (most - 1) // 2
    tail = name[-half:]
    while cell_len(tail) > half:
        tail = tail[1:]
    return f"{set_cell_size(name[:most], most - 1 - half).rstrip()}…{tail}"


def _lines(part: Text | Table, console: Console, options: ConsoleOptions) -> int:
    # With a height, which a full screen gives, it would fill that.
    return len(console.render_lines(part, options.reset_height(), pad=False))


def _title(now: LagSnapshot) -> Text:
    if not now.time:
        return Text("the first pass has not ended yet")
    order = list(LagVerdict)
    worst = sorted(now.worst().items(), key=lambda each: order.index(each[1]))
    groups = ", ".join(
        f"{_middle(printable(group), _NAME_MOST)} {verdict}"
        for group, verdict in worst[:_TITLE_GROUPS]
    )
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
    if unseen := [
        _middle(printable(group), _NAME_MOST) for group in sorted(now.members) if group not in seen
    ]:
        yield _line(f"no committed offset, and no partition: {', '.join(unseen)}", "bold yellow")
    if now.left_out:
        yield _line(f"{now.left_out:,} more groups match: see lag.groups_max", "bold yellow")


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
