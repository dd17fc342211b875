"""``drift status`` and ``drift explain`` as people see them."""

from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from stream_scorer.cli.output import TerminalConsole, table_of
from stream_scorer.drift.reports.charts import figure
from stream_scorer.drift.reports.events import short
from stream_scorer.drift.reports.promises import calibrated_promise, guaranteed_promise
from stream_scorer.drift.reports.river import COLUMNS, OUTSIDE, beyond_of, opinion_of, rows_of
from stream_scorer.drift.reports.wording import answer, asks, errors, fault_text, headline, when
from stream_scorer.terminal_text import printable

_STYLES: Final = {"page": "bold red", "warn": "yellow", "note": "cyan"}
_NEAREST: Final = 8
"""Streams that are shown without ``--wide``."""
_WIDE: Final = 10_000
_BAR: Final = 20
_LABELS_MOST: Final = 32


def draw_status(document: dict[str, Any], *, wide: bool = False) -> None:
    """Print the state of the monitor.

    Args:
        document: From ``drift.reports.status``.
        wide: Whether all streams are shown, with all columns.
    """
    console = TerminalConsole()
    if document["budget"] is None:
        console.print("The monitor has written no snapshot yet: stream-scorer monitor")
        return
    console.print(
        f"State at {short(document['detected_at'])}, windows closed to "
        f"{short(document['watermark'])}."
    )
    if document["snooze"]:
        console.print(Text(f"Alarms are snoozed until {short(document['snooze'])}.", "yellow"))
    _open(console, document["open"])
    _faults(console, document["faults"])
    _versions(console, document)
    _streams(console, document["streams"], wide=wide)
    _river(console, document["river"], wide=wide)
    console.print(guaranteed_promise(document["budget"]))
    console.print(calibrated_promise(document["budget"]))
    tiles = document["tiles"]
    console.print(
        f"Late decisions: {document['late']:,}; late records of the input: "
        f"{document['late_records']:,}. Ranges of the input that no summary covered: "
        f"{tiles['gaps']:,}; twice: {tiles['overlaps']:,}. Windows dropped: {tiles['dropped']:,}."
    )


def draw_explanation(document: dict[str, Any]) -> None:
    """Print one event.

    Args:
        document: From ``drift.reports.explain``.
    """
    console = TerminalConsole()
    style = _STYLES.get(document["severity"], "")
    console.print(Text.assemble((document["severity"], style), "  ", printable(headline(document))))
    console.print(f"{printable(when(document))}; {document['state']}")
    console.print(Text.assemble(("To do: ", "bold"), printable(asks(document))))
    (guaranteed, calibrated), adwin = errors(document), document["adwin"]
    rows: list[tuple[str, object]] = [
        ("event", document["event_id"]),
        ("model", f"{document['model']}:{document['model_version']}"),
        ("window", f"{short(document['window_start'])} to {short(document['window_end'])}"),
        ("effect in standard deviations", document["effect"]),
        ("tolerance", document["tolerance"]),
        ("logarithm of the evidence", document["log_evidence"]),
        ("guaranteed error", guaranteed),
        ("calibrated error", calibrated),
        ("stated over windows", document["patience"]),
        ("detector", document["detector"]),
        ("onset by ADWIN", short(adwin["at"]) if adwin else None),
        ("River's detectors", opinion_of(document) or None),
        ("also moved", {each["stream"]: each["effect"] for each in document["also"]}),
        ("consequences", [each["stream"] for each in document["consequences"]]),
        *((each["change"], printable(answer(each))) for each in document["commands"]),
    ]
    console.print(table_of(("", "value"), rows, console.width))
    if document["distribution"]:
        console.print(_distribution(document["distribution"], console.width))


def _open(console: TerminalConsole, events: list[dict[str, Any]]) -> None:
    if not events:
        console.print(Text("No alarm is open.", "green"))
        return
    rows = [
        (
            Text(each["severity"], _STYLES.get(each["severity"], "")),
            each["event_id"],
            printable(headline(each)),
            (each["onset"] or "-")[:10],
            each["state"]
            + (" (consequence)" if each["consequence_of"] else "")
            + (" (snoozed)" if each["snoozed"] else ""),
        )
        for each in events
    ]
    console.print(table_of(("", "event", "what", "since", "state"), rows, console.width))


def _faults(console: TerminalConsole, faults: list[dict[str, Any]]) -> None:
    if not faults:
        return
    rows = [
        (
            each["name"],
            fault_text(each["name"], each["field"], each["value"], each["usual"]),
            each["segment"],
            short(each["window_start"]),
        )
        for each in faults
    ]
    console.print(table_of(("fault", "what", "events", "newest window"), rows, console.width))


def _versions(console: TerminalConsole, document: dict[str, Any]) -> None:
    rows = [
        (
            f"{each['model']}:{each['version']}",
            *(each["streams"][name] for name in ("watched", "learning", "alarmed")),
            "; ".join(_notes(each, document["streams"])),
        )
        for each in document["versions"]
    ]
    columns = ("version", "watched", "learning", "alarmed", "note")
    console.print(table_of(columns, rows, console.width))


def _notes(version: dict[str, Any], streams: list[dict[str, Any]]) -> Iterator[str]:
    if version["note"]:
        yield version["note"]
    until = [
        each["learning_until"]
        for each in streams
        if each["learning_until"]
        and (each["model"], each["version"]) == (version["model"], version["version"])
    ]
    if until:
        yield f"{len(until):,} learning until {short(max(until))} at the latest"
    for why, count in version["not_guaranteed"].items():
        yield f"{count:,} {why}"


def _streams(console: TerminalConsole, streams: list[dict[str, Any]], *, wide: bool) -> None:
    nearest = sorted(
        streams, key=lambda each: (each["state"] != "alarmed", -(each["of_threshold"] or 0.0))
    )
    if not wide:
        rows = [
            (each["stream"], each["state"], figure(each["value"]), figure(each["mean"]),
             "an alarm is open" if each["state"] == "alarmed" else _bar(each["of_threshold"]))
            for each in nearest[:_NEAREST]
        ]  # fmt: skip
        columns: tuple[str, ...] = ("stream", "state", "value", "mean", "evidence")
        console.print(table_of(columns, rows, console.width))
        return
    columns = (
        "stream", "version", "state", "class", "learning_until", "value", "mean", "tolerance",
        "log_evidence", "of_threshold", "of_guaranteed", "of_calibrated", "share_of_budget",
        "since",
    )  # fmt: skip
    named = [{**each, "version": f"{each['model']}:{each['version']}"} for each in nearest]
    console.width = _WIDE
    console.print(table_of(columns, [[row[name] for name in columns] for row in named], _WIDE))


def _river(console: TerminalConsole, lines: list[dict[str, Any]], *, wide: bool) -> None:
    if not lines:
        return
    room = _WIDE if wide else console.width
    console.print(table_of(COLUMNS, rows_of(lines), room))
    console.print("\n".join([OUTSIDE, *beyond_of(lines)]))


def _distribution(rows: list[dict[str, Any]], room: int) -> Any:
    totals = [max(sum(row[name] for row in rows), 1) for name in ("before", "after")]
    shown = [
        (
            row["label"],
            f"{100 * row['before'] / totals[0]:.1f} %",
            f"{100 * row['after'] / totals[1]:.1f} %",
            _bar(row["after"] / totals[1]),
        )
        for row in rows[:_LABELS_MOST]
    ]
    return table_of(("value", "before", "after", ""), shown, room)


def _bar(share: float | None) -> str:
    if share is None:
        return "-"
    filled = round(_BAR * min(max(share, 0.0), 1.0))
    return "█" * filled + "·" * (_BAR - filled)
