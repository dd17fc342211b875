"""``rollout status`` as people see it: the ramp, the arms, the partitions, the verdicts."""

from typing import Any

from rich.table import Table
from rich.text import Text

from stream_scorer.cli.output import TerminalConsole, short_time, table_of
from stream_scorer.terminal_text import printable

_STYLES = {
    "PROMOTE": "bold green", "CONTINUE": "green", "ROLL_BACK": "bold red", "INVALID": "bold red",
    "INCONCLUSIVE": "yellow", "NO_DATA": "yellow",
    "running": "bold cyan", "promoted": "bold green", "rolled back": "bold red",
}  # fmt: skip
_BAR = 24


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
    console.print(_arms(document["arms"], console.width))
    console.print(_partitions(document["partitions"], document["revision"], console.width))
    for guard, told in document["verdicts"].items():
        console.print(_verdict(guard, told, console.width))
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


def _arms(arms: list[dict[str, Any]], room: int) -> Table:
    rows = []
    for row in arms:
        bar = "█" * max(round(row["share"] * _BAR), 1 if row["share"] else 0)
        share = f"{row['share']:.2%}" if row["share"] else "-"
        rows.append((row["arm"], row["version"], row["role"], share, bar))
    return table_of(("arm", "version", "", "share", "of customers"), rows, room)


def _partitions(rows: list[dict[str, Any]], revision: int, room: int) -> Table:
    cells = []
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
        exact = ("-" if row[name] is None else str(row[name]) for name in ("revision", "offset"))
        cells.append(
            (str(row["partition"]), *exact, short_time(row["since"]), Text("; ").join(told))
        )
    return table_of(("partition", "revision", "from offset", "since", ""), cells, room)


def _verdict(guard: str, told: dict[str, Any], room: int) -> Table:
    """Return a guard's last verdict, why, and the numbers that it rests on."""
    verdict = told["verdict"]
    table = table_of(("number", "value"), told["numbers"].items(), room)
    table.title = Text.assemble(
        f"{guard}: ", (verdict, _STYLES.get(verdict, "")), f"  {told['at']}  ",
        printable("; ".join(told["reasons"])),
    )  # fmt: skip
    table.title_justify = "left"
    return table
