"""``rollout status`` as people see it: the ramp, the arms, the partitions, the verdicts."""

from typing import Any

from rich.table import Table
from rich.text import Text

from stream_scorer.cli.output import TerminalConsole
from stream_scorer.terminal_text import printable

_STYLES = {
    "PROMOTE": "bold green", "CONTINUE": "green", "ROLL_BACK": "bold red", "INVALID": "bold red",
    "INCONCLUSIVE": "yellow", "NO_DATA": "yellow",
    "running": "bold cyan", "promoted": "bold green", "rolled back": "bold red",
}  # fmt: skip
_BAR = 40


def draw(document: dict[str, Any]) -> None:
    """Print where a rollout is.

    Args:
        document: From ``rollout.operator.reports.status``.
    """
    console = TerminalConsole()
    phase = document["phase"]
    if "name" not in document:
        console.print("There is no plan yet: stream-scorer rollout start")
        return
    paused = Text("  paused", "bold yellow") if document["paused"] else Text()
    head = Text.assemble(
        (printable(document["name"]), "bold"), "  ", document["strategy"], "  ",
        (phase, _STYLES.get(phase, "")), paused,
        f"  revision {document['revision']} since {document['since']}",
    )  # fmt: skip
    console.print(head)
    if document["effective_at"]:
        console.print(f"from event time {document['effective_at']} on")
    if document["ramp"]:
        console.print(_ramp(document["ramp"], document["stage"], phase))
    console.print(_arms(document["arms"]))
    console.print(_partitions(document["partitions"], document["revision"]))
    for guard, told in document["verdicts"].items():
        console.print(_verdict(guard, told))
    if pending := document["pending"]:
        asked = f"{pending['kind']} {pending['what']}".strip()
        console.print(
            Text.assemble(
                ("asks: ", "bold yellow"), printable(f"{asked} ({pending['reason']})  "),
                (f"rollout approve|reject --proposal {pending['proposal']}", "cyan"),
            )
        )  # fmt: skip


def _ramp(ramp: list[dict[str, Any]], stage: int, phase: str) -> Text:
    """Return the stages, those that were reached filled, the present one marked."""
    parts = []
    for place, each in enumerate(ramp):
        mark, style = ("○", "dim")
        if place == stage and phase == "running":
            mark, style = "◉", "bold cyan"
        elif place <= stage:
            mark, style = "●", "green"
        parts.append(Text(f"{mark} {each['percent']:g} %", style))
    return Text(" ── ").join(parts)


def _arms(arms: list[dict[str, Any]]) -> Table:
    table = Table("arm", "version", "", "share", "of customers", title=None)
    for row in arms:
        bar = "█" * max(round(row["share"] * _BAR), 1 if row["share"] else 0)
        share = f"{row['share']:.2%}" if row["share"] else "-"
        cells = (row["arm"], row["version"], row["role"], share, bar)
        table.add_row(*(printable(cell) for cell in cells))
    return table


def _partitions(rows: list[dict[str, Any]], revision: int) -> Table:
    table = Table("partition", "revision", "from offset", "since", "")
    for row in rows:
        told = [Text(f"revision {revision} is not active yet", "yellow")]
        if row["current"]:
            told = [Text("active", "green")]
        told += [
            Text(printable(f"a restart cannot load {label}: {reason}"), "bold red")
            for label, reason in row["not_loadable"].items()
        ]
        told += [
            Text(printable(f"revision {each['revision']} is refused: {each['reason']}"), "bold red")
            for each in row["refused"]
        ]
        cells = ("-" if row[name] is None else str(row[name]) for name in _CELLS)
        table.add_row(str(row["partition"]), *cells, Text("; ").join(told))
    return table


_CELLS = ("revision", "offset", "since")


def _verdict(guard: str, told: dict[str, Any]) -> Table:
    """Return a guard's last verdict, why, and the numbers that it rests on."""
    verdict = told["verdict"]
    table = Table("number", "value", title=None)
    table.title = Text.assemble(
        f"{guard}: ", (verdict, _STYLES.get(verdict, "")), f"  {told['at']}  ",
        printable("; ".join(told["reasons"])),
    )  # fmt: skip
    table.title_justify = "left"
    for name, value in told["numbers"].items():
        table.add_row(printable(name), f"{value:.6g}")
    return table
