"""``stream-scorer dlq``: what was rejected, and why."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from stream_scorer.apps.dead_letters import dead_letter_at, dead_letter_of, list_dead_letters
from stream_scorer.apps.records import RecordReader
from stream_scorer.cli.console import (
    MOST_RECORDS,
    BootstrapOption,
    ConfigOption,
    JsonOption,
    connected_settings,
    show,
)
from stream_scorer.errors import SettingsError, StreamScorerError
from stream_scorer.kafka.deadletter import DeadLetter

app = typer.Typer(help="Rejected records: which, and why.", no_args_is_help=True)
_DUMP_BYTES = 16


@app.command(name="list")
def list_(
    *,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only records of this reason code.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=MOST_RECORDS, help="Newest records to show.")
    ] = 20,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the dead letters by reason and show the newest."""
    settings = connected_settings(config, bootstrap)
    listing = list_dead_letters(settings.kafka, reason, limit)
    records = [
        {
            "partition": letter.partition,
            "offset": letter.offset,
            "time": _time(letter.timestamp),
            "reason": letter.reason,
            "detail": letter.detail,
            "source": letter.source,
        }
        for letter in listing.newest
    ]
    total = sum(listing.counts.values())
    document = {"total": total, "counts": listing.counts, "newest": records}
    if as_json:
        show(True, document, (), ())
        return
    show(False, {}, ("reason", "records"), [*listing.counts.items(), ("total", total)])
    if records:
        show(False, {}, list(records[0]), [list(record.values()) for record in records])


@app.command(name="show")
def show_(
    *,
    partition: Annotated[
        int | None, typer.Argument(min=0, max=2**31 - 1, help="Partition of the dead-letter topic.")
    ] = None,
    offset: Annotated[
        int | None, typer.Argument(min=0, max=2**63 - 1, help="Offset there.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="TOPIC:PARTITION:OFFSET of the input instead.")
    ] = None,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: reason, headers, key, bytes, and the record if they decode."""
    settings = connected_settings(config, bootstrap)
    if source is not None and partition is None:
        letter = dead_letter_of(settings.kafka, source)
    elif source is None and partition is not None and offset is not None:
        letter = dead_letter_at(settings.kafka, partition, offset)
    else:
        raise SettingsError(
            "dlq show: which one is not clear",
            "give PARTITION OFFSET or --source TOPIC:PARTITION:OFFSET",
        )
    try:
        record = RecordReader(settings.registry).decode(letter.value)
    except (StreamScorerError, ValueError) as error:
        record, undecoded = None, str(error)
    else:
        undecoded = ""
    if as_json:
        show(True, _document(letter, record, undecoded), (), ())
        return
    fields = [
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("source", letter.source),
        ("source time", _time(letter.source_timestamp)),
        ("rejected", f"{_time(letter.timestamp)} by instance {letter.instance}"),
        ("key", _text(letter.key)),
        *((f"header {name}", _text(value)) for name, value in letter.headers or ()),
        ("bytes", "null" if letter.value is None else len(letter.value)),
    ]
    show(False, {}, ("field", "value"), fields)
    typer.echo(dump(letter.value or b""))
    typer.echo(f"does not decode: {undecoded}" if undecoded else json.dumps(record, default=str))


def dump(data: bytes) -> str:
    """Return bytes as lines of offset, 16 bytes in hex, and text.

    >>> dump(b"AB" + bytes(1))
    '00000000  41 42 00                                         AB.'
    """
    lines = []
    for at in range(0, len(data), _DUMP_BYTES):
        part = data[at : at + _DUMP_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 printable ASCII
        lines.append(f"{at:08x}  {part.hex(' '):<{3 * _DUMP_BYTES}} {text}")
    return "\n".join(lines)


def _document(letter: DeadLetter, record: Any, undecoded: str) -> dict[str, Any]:
    return asdict(letter) | {
        "value": None if letter.value is None else letter.value.hex(),
        "key": None if letter.key is None else letter.key.hex(),
        "headers": [
            [name, None if value is None else value.hex()] for name, value in letter.headers or ()
        ],
        "record": record,
        "undecoded": undecoded,
    }


def _time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1_000, UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds")


def _text(value: bytes | None) -> str:
    """Return bytes as text where they are, else as hex."""
    if value is None:
        return "null"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"
    return text if text.isprintable() else f"0x{value.hex()}"
