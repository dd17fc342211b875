"""``stream-scorer dlq``: what was rejected, and why; and back to the input with it."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import MOST_RECORDS, ClusterJsonOptions, CommandGroup, WideOption
from stream_scorer.cli.output import field_rows, print_json, print_table, utc_text
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.dead_letters.format import DeadLetter, omitted_text
from stream_scorer.dead_letters.list import dead_letter_at, dead_letter_of, list_dead_letters
from stream_scorer.dead_letters.progress import Selection
from stream_scorer.dead_letters.replay import Replayed
from stream_scorer.dead_letters.replay import replay as replay_dead_letters
from stream_scorer.dead_letters.take_record import take as take_record
from stream_scorer.errors import SettingsError, StreamScorerError
from stream_scorer.processes.stop_flag import StopRequest
from stream_scorer.terminal_text import printable

app = CommandGroup("Rejected records: which, why, and back to the input.", ClusterJsonOptions)
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
    wide: WideOption = False,
    options: ClusterJsonOptions,
) -> None:
    """Count the dead letters by reason and show the newest."""
    settings = options.connected()
    listing = list_dead_letters(settings.kafka, reason, limit)
    records = [
        {
            "partition": letter.partition,
            "offset": letter.offset,
            "time": utc_text(letter.timestamp),
            "reason": letter.reason,
            "detail": letter.detail,
            "source": letter.source,
            "omitted": omitted_text(letter.omitted),
        }
        for letter in listing.newest
    ]
    total = sum(listing.counts.values())
    document = {"total": total, "counts": listing.counts, "newest": records}
    options.show(document, ("reason", "records"), [*listing.counts.items(), ("total", total)])
    if records and not options.as_json:
        print_table(
            ("partition", "offset", "time", "reason", "detail", *(["source"] if wide else [])),
            [
                (str(r["partition"]), str(r["offset"]), str(r["time"])[:19], r["reason"],
                 r["detail"], *([r["source"]] if wide else []))
                for r in records
            ],
            wide=wide,
        )  # fmt: skip


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
    options: ClusterJsonOptions,
) -> None:
    """Show one dead letter: reason, headers, key, bytes, and the record if they decode."""
    settings = options.connected()
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
    if "value" in letter.omitted:
        undecoded = f"the value is left out; the original is at {letter.source}"
    if options.as_json:
        print_json(_document(letter, record, undecoded))
        return
    fields = [
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("source", letter.source),
        ("source time", utc_text(letter.source_timestamp)),
        ("rejected", f"{utc_text(letter.timestamp)} by instance {letter.instance}"),
        *([("left out", omitted_text(letter.omitted))] if letter.omitted else []),
        ("key", "left out" if "key" in letter.omitted else _text(letter.key)),
        *((f"header {name}", _text(value)) for name, value in letter.headers or ()),
        ("bytes", _length(letter)),
    ]
    print_table(("", "value"), fields)
    typer.echo(dump(letter.value or b""))
    typer.echo(
        f"does not decode: {printable(undecoded)}" if undecoded else json.dumps(record, default=str)
    )


@app.command()
def replay(
    *,
    reason: Annotated[
        list[RejectReason] | None,
        typer.Option(
            "--reason", metavar="REASON", help="Only dead letters of this reason; may be repeated."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, max=MOST_RECORDS, help="Copy at most this many."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be copied; copy nothing.")
    ] = False,
    trust_headers: Annotated[
        bool,
        typer.Option(
            "--trust-headers",
            help="Copy without comparing with the record that the headers name.",
        ),
    ] = False,
    options: ClusterJsonOptions,
) -> None:
    """Copy dead letters back to the input after their cause is fixed, each of them once.

    The original bytes, key and headers go to the original partition, with a header `replayed-from`
    that names the dead letter. What was copied is kept in the offsets of `replay.group`, in the
    same transaction, so that a second call copies nothing, also after a crash.

    What --reason leaves out is left to a later call; so are duplicates (DUPLICATE), which are
    copied only by that --reason. A record that was copied and is rejected again is not copied
    again. Dead letters of another topic than the input, and records that are not our dead
    letters, are counted and skipped for good.

    Each dead letter is compared with the input record that its headers name. One that differs is
    counted as mismatched and never copied. Where retention took the record, the call stops with
    exit code 7 and asks for --trust-headers.

    A dead letter without its value or headers (`dlq.omitted`) gets them from the input. One that
    cannot be copied is refused for good with a line on stderr: its copy is too large, or retention
    took what it leaves out. The others are copied.

    SIGTERM and SIGINT (Ctrl-C) end it in order: the open transaction is aborted, what was copied
    before is printed, and the exit code is 143 or 130. The next call continues there.
    """
    settings = options.connected()
    chosen = Selection(frozenset(each.value for each in reason or ()))
    with StopRequest() as stop:
        found = replay_dead_letters(
            settings, chosen, limit, dry_run=dry_run, trust_headers=trust_headers, stop=stop,
            tell=lambda line: typer.echo(printable(line), err=True),
        )  # fmt: skip
    names = sorted(found.copied | found.passed_over)
    copied, passed_over = found.copied.total(), found.passed_over.total()
    document = {
        "topic": settings.kafka.topics.dead_letters,
        "input": settings.kafka.topics.transactions,
        "group": settings.replay.group,
        "dry_run": dry_run,
        "copied": copied,
        "passed_over": passed_over,
        "reasons": {
            name: {"copied": found.copied[name], "passed_over": found.passed_over[name]}
            for name in names
        },
        "replayed_before": found.replayed_before,
        "other_input": found.other_input,
        "foreign": found.foreign,
        "mismatched": found.mismatched,
        "refused": found.refused,
        "limited": found.limited,
        "stopped": found.stopped,
    }
    rows = [(name, found.copied[name], found.passed_over[name]) for name in names]
    columns = ("reason", "would be copied" if dry_run else "copied", "left to a later call")
    options.show(document, columns, [*rows, ("total", copied, passed_over)])
    if not options.as_json:
        _tell(found, settings.kafka.topics.transactions, stop.name)
    if found.stopped:
        raise typer.Exit(stop.exit_code)


@app.command()
def take(
    *,
    partition: Annotated[int, typer.Argument(min=0, max=2**31 - 1, help="Partition of the input.")],
    offset: Annotated[int, typer.Argument(min=0, max=2**63 - 1, help="Offset of its next record.")],
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Leave the record where it is; scorers may attempt it again."),
    ] = False,
    options: ClusterJsonOptions,
) -> None:
    """Send the input's next record to the dead letters as INTERNAL: it ends every scorer.

    A scorer that stops with exit code 14 names PARTITION and OFFSET. The group must have no
    members. OFFSET must be the next record that a scorer would be given, so that no record is
    skipped and none is taken twice. The original bytes, key and headers are kept; the record
    is copied back by `dlq replay --reason INTERNAL` once its cause is fixed. What is too large for
    a dead letter is left out.
    """
    settings = options.connected()
    with StopRequest() as stop:
        taken = take_record(settings, partition, offset, retry=retry, stop=stop)
    document = {
        "topic": settings.kafka.topics.transactions,
        "partition": partition,
        "offset": offset,
        "group": settings.kafka.group,
        "committed_before": taken.before,
        "committed": taken.after,
        "taken": not taken.retried,
    }
    numbers = ("partition", "offset", "committed_before", "committed")
    exact = {name: str(document[name]) for name in numbers if document[name] is not None}
    options.show_fields(document, rows=field_rows({**document, **exact}))


def _tell(found: Replayed, input_topic: str, signal_name: str) -> None:
    """Say what the table does not: what was left, and why it ended."""
    for count, text in (
        (found.replayed_before, "copied once already and rejected again: not copied again"),
        (found.other_input, f"of another topic than {input_topic}"),
        (found.foreign, "no dead letters of ours"),
        (found.refused, "skipped for good: too large to be copied, or what they leave out is gone"),
        (found.mismatched, f"not what their source offset holds, first {found.first_mismatched}"),
    ):
        if count:
            typer.echo(f"{count} {text}")
    if found.limited:
        typer.echo("stopped at the limit; the next call continues there")
    if found.stopped:
        typer.echo(f"stopped by {signal_name}; the next call continues there")


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


def _length(letter: DeadLetter) -> str | int:
    if "value" in letter.omitted:
        length = letter.omitted["value"]
        return "left out" if length is None else f"{length}, left out"
    return "null" if letter.value is None else len(letter.value)


def _text(value: bytes | None) -> str:
    """Return bytes as text where they are, else as hex."""
    if value is None:
        return "null"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"
    return text if text.isprintable() else f"0x{value.hex()}"
