"""``stream-scorer audit``: shows the audit log, and verifies that it is intact."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.options import CommandGroup, ConfigJsonOptions, WideOption
from stream_scorer.cli.output import field_rows, short_time

app = CommandGroup(
    "The audit log: who changed which model when, and whether the log is intact.", ConfigJsonOptions
)
FileOption = Annotated[
    Path | None, typer.Option("--file", help="The log, instead of the settings' audit.path.")
]


@app.command()
def verify(
    *,
    file: FileOption = None,
    expect: Annotated[
        str | None,
        typer.Option("--expect", help="Hash that was noted elsewhere: a line must have it."),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", help="Hash of the last archived line, which the first follows."),
    ] = None,
    options: ConfigJsonOptions,
) -> None:
    """Check each line's hash, its link to the line before, and its signature.

    Exit code 12 and where it is: a byte that was changed, a line that is missing, out of order or
    signed wrongly, and, with --expect, an end that was cut off.
    """
    from stream_scorer.security import audit_access  # noqa: PLC0415 keys load slowly

    settings = options.settings().audit
    found = audit_access.verify(settings, file, expect, after)
    document = asdict(found)
    rows = field_rows({name: value for name, value in document.items() if name != "faults"})
    rows += [("fault", str(fault)) for fault in found.faults]
    options.show_fields(document, "Audit log", rows)
    audit_access.refuse_faults(found)


@app.command(name="show")
def show_command(
    *,
    file: FileOption = None,
    action: Annotated[
        str | None, typer.Option("--action", help="Only this action, or those below it: model.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only this subject.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="The newest so many.")] = 50,
    wide: WideOption = False,
    options: ConfigJsonOptions,
) -> None:
    """Show the newest lines: when, who, what, to what, and the details.

    `audit verify` checks whether they are what was written.
    """
    from stream_scorer.security import audit_access  # noqa: PLC0415 keys load slowly

    lines = audit_access.shown(options.settings().audit, file, action, subject, last)
    records = [line.as_record() for line in lines]
    actor = ["actor"] if wide else []
    columns = ["number", "time", *actor, "action", "subject", "details"]
    shown = [{**r, "number": str(r["number"]), "time": short_time(r["time"])} for r in records]
    options.show(records, columns, [[row[name] for name in columns] for row in shown], wide=wide)
