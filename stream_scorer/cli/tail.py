"""``stream-scorer tail``: the records of a topic as people read them."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from stream_scorer import settings
from stream_scorer.cli.options import MOST_RECORDS, ClusterJsonOptions
from stream_scorer.cli.output import TerminalConsole, utc
from stream_scorer.codec.records.record import RecordError
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.core.features.texts import number_text
from stream_scorer.dead_letters.format import omitted_text, parse
from stream_scorer.errors import SchemaError
from stream_scorer.kafka.reading.read_to_end import follow, newest, read_all
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.processes.stop_flag import StopRequest
from stream_scorer.terminal_text import printable

_ID = 16
"""Characters of a transaction's id that are shown."""
_BETWEEN = 2
_STYLES = {"APPROVE": "green", "REVIEW": "yellow", "BLOCK": "bold red"}
_SEVERITIES = {"page": "bold red", "warn": "yellow", "note": "dim"}


def tail(
    *,
    what: Annotated[Literal["decisions", "dlq", "drift"], typer.Argument(help="Which topic.")],
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue with new records, until Ctrl-C.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=0,
            max=MOST_RECORDS,
            help="End after so many. Default 20; none with --follow.",
        ),
    ] = None,
    start: Annotated[
        Literal["earliest", "latest"],
        typer.Option("--from", help="The oldest records of the topic, or the newest."),
    ] = "latest",
    wide: Annotated[
        bool, typer.Option("--wide", help="Whole lines, however wide the terminal is.")
    ] = False,
    options: ClusterJsonOptions,
) -> None:
    """Print committed records, one line each; with --json one JSON object each.

    A decision's line has its reasons, and what else the terminal has room for.

    With --follow, --from latest begins with what comes next, --from earliest with all there is.
    """
    chosen = options.connected()
    topics = chosen.kafka.topics
    names = {
        "decisions": topics.decisions,
        "dlq": topics.dead_letters,
        "drift": topics.drift_events,
    }
    reader = RecordReader(chosen.registry, _FAMILIES.get(what))
    console = TerminalConsole(soft_wrap=True)
    with ExitStack() as stack:
        # A KeyboardInterrupt is lost if it is raised where exceptions are ignored, such as in a
        # finalizer; following can be ended only by the signal.
        stop = stack.enter_context(StopRequest()) if follow_ else None
        for message in _messages(chosen.kafka, names[what], start, limit, stop):
            record = _dead_letter(message) if what == "dlq" else _decoded(reader, message)
            if options.as_json:
                typer.echo(json.dumps(record, default=_plain))
            else:
                console.print(_written(what, record, None if wide else console.width))


def _messages(
    kafka: settings.Kafka, topic: str, start: str, limit: int | None, stop: StopRequest | None
) -> Iterable[Any]:
    if stop is not None:
        first, end = bounds(kafka, topic)
        return islice(follow(kafka, topic, first if start == "earliest" else end, stop), limit)
    count = 20 if limit is None else limit
    if start == "latest":
        return newest(kafka, topic, count)
    return islice(read_all(kafka, topic), count)


def _decoded(reader: RecordReader, message: Any) -> dict[str, Any]:
    at = {"partition": message.partition(), "offset": message.offset()}
    try:
        return at | {"timestamp": message.timestamp()[1]} | reader.decode(message.value())
    except (RecordError, SchemaError) as error:
        return at | {"error": str(error)}


def _dead_letter(message: Any) -> dict[str, Any]:
    try:
        letter = parse(message)
    except ValueError as error:
        return {
            "partition": message.partition(), "offset": message.offset(), "error": str(error),
        }  # fmt: skip
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "reason": letter.reason,
        "detail": letter.detail,
        "source": letter.source,
        "bytes": letter.omitted.get("value", None if letter.value is None else len(letter.value)),
        "omitted": omitted_text(letter.omitted),
    }


def _line(*parts: tuple[object, str]) -> Text:
    return Text("  ").join(Text(printable(str(part)), style) for part, style in parts if str(part))


def _decision(record: dict[str, Any], room: int | None) -> Text:
    outcome = record["decision"]
    identity = Text(printable(str(record["transaction_id"])), "cyan")
    if room is not None:
        identity.truncate(_ID, overflow="ellipsis", pad=True)
    line = _line(
        (_time(record["timestamp"]), "dim"),
        (f"{outcome:<7}", _STYLES.get(outcome, "")),
        (f"{record['score']:.4f}", ""),
    )
    line = Text("  ").join([line, identity])
    why = _line((" ".join(record["flags"]), "magenta"), (_reasons(record), "yellow"))
    if why and room is not None:
        why.truncate(max(room - line.cell_len - _BETWEEN, 1), overflow="ellipsis")
    line = Text("  ").join([line, why]) if why else line
    for text, style in (
        (f"customer {record['customer_id']}", ""),
        (f"{record['model']}:{record['model_version']}", "dim"),
        (f"{record['source_partition']}:{record['source_offset']}", "dim"),
    ):
        part = _line((text, style))
        if room is not None and line.cell_len + _BETWEEN + part.cell_len > room:
            break
        line = Text("  ").join([line, part])
    line.rstrip()
    return line


def _reasons(record: dict[str, Any]) -> str:
    """Return a decision's explanations, or, as in version 1 of decisions, its reasons."""
    told = [
        each["text"] or f"{each['feature']} {number_text(each['value'])}"
        for each in record.get("explanations", ())
    ]
    return ", ".join(told or record["reasons"])


def _letter(record: dict[str, Any], _: int | None) -> Text:
    return _line(
        (_time(record["timestamp"]), "dim"),
        (f"{record['reason']:<16}", "bold red"),
        (record["source"], "cyan"),
        (record["detail"], ""),
        (f"{record['partition']}:{record['offset']}", "dim"),
    )


def _drift(record: dict[str, Any], room: int | None) -> Text:
    """Return an event's line; version 1 has neither id, severity nor change."""
    change = "" if record["change"] == "opened" else record["change"]
    snoozed = "snoozed" if record["snoozed"] else ""
    line = _line(
        (_time(record["timestamp"]), "dim"),
        (f"{record['severity']:<4}", _SEVERITIES.get(record["severity"], "")),
        (record["event_id"], "cyan"),
        (record["signal"], "bold yellow"),
        (f"{record['reference']:.4g} → {record['estimate']:.4g}", "bold"),
        (change, "magenta"),
        (snoozed, "magenta"),
    )
    for text, style in (
        (f"window {record['window_start']:%Y-%m-%d %H:%M} to {record['window_end']:%H:%M}", ""),
        (f"{record['model']}:{record['model_version']}", "dim"),
        (record["detector"], ""),
        (f"consequence of {record['consequence_of']}" if record["consequence_of"] else "", "dim"),
    ):
        part = _line((text, style))
        if not part or (room is not None and line.cell_len + _BETWEEN + part.cell_len > room):
            continue
        line = Text("  ").join([line, part])
    return line


def _broken(record: dict[str, Any]) -> Text:
    return _line((f"{record['partition']}:{record['offset']}", "dim"), (record["error"], "red"))


_FAMILIES = {"decisions": "decision.v2", "drift": "drift-event.v3"}
_LINES = {"decisions": _decision, "dlq": _letter, "drift": _drift}


def _written(what: str, record: dict[str, Any], room: int | None = None) -> Text:
    """Return a record's line.

    Args:
        what: Which topic's.
        record: Its fields.
        room: Columns of the terminal that the line should fit; None: any number.
    """
    if "error" in record:
        return _broken(record)
    try:
        return _LINES[what](record, room)
    except (KeyError, TypeError, ValueError) as error:
        # Another client wrote it, by a schema that is not of this topic.
        return _broken(record | {"error": f"not a record of this topic: {error!r}"})


def _time(milliseconds: int) -> str:
    moment = utc(milliseconds)
    return f"{milliseconds} ms" if moment is None else f"{moment:%H:%M:%S.%f}"[:-3]


def _plain(value: object) -> object:
    """Return what JSON has no type for: bytes as hex, times in ISO 8601."""
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else str(value)
