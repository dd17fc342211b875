"""``stream-scorer schemas``: list, check and serve the schemas."""

import re
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import CommandGroup, JsonOptions
from stream_scorer.devkafka.cluster import seed
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.redaction import remember
from stream_scorer.registry.compatibility import verdicts
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.registry.published import changed_in_place, publish
from stream_scorer.registry.server import RegistryServer
from stream_scorer.registry.sources import FileRegistry, read_schema
from stream_scorer.security.keys import read_passphrase
from stream_scorer.settings import SCHEMAS_DIRECTORY, load_settings

app = CommandGroup("List, check and serve Avro schemas.", JsonOptions)

DirectoryOption = Annotated[
    Path, typer.Option("--directory", help="Directory with registry.json and its files.")
]
_DIRECTORY = SCHEMAS_DIRECTORY


@app.command("list")
def list_schemas(*, directory: DirectoryOption = _DIRECTORY, options: JsonOptions) -> None:
    """Print every subject, version and id of the file registry."""
    entries = FileRegistry(directory).entries
    options.show(
        [
            {"subject": e.subject, "version": e.version, "id": e.schema_id, "file": e.file}
            for e in entries
        ],
        ["subject", "version", "id", "file"],
        [(e.subject, str(e.version), str(e.schema_id), e.file) for e in entries],
    )


@app.command()
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Candidate schemas; none: the directory's own versions."),
    ] = None,
    *,
    subject: Annotated[
        str | None,
        typer.Option("--subject", help="The candidates' subject; default: by file name."),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", help="URL of a registry to check against; default: files."),
    ] = None,
    directory: DirectoryOption = _DIRECTORY,
    lock: Annotated[
        bool, typer.Option("--publish", help="When all is well, lock new versions as published.")
    ] = False,
    options: JsonOptions,
) -> None:
    """Refuse an incompatible change and say which field; exit code 4."""
    known = FileRegistry(directory)
    if files:
        faults = [
            f"{path}: {fault}"
            for path in files
            for fault in _candidate(known, path, subject or _subject(known, path), registry)
        ]
    elif registry or subject:
        raise SettingsError("schemas check: --registry and --subject need a FILE", "name one")
    else:
        faults = changed_in_place(known) + _own_versions(known)
    checked = [str(path) for path in files] if files else [e.file for e in known.entries]
    published = publish(known) if lock and not faults and not files else []
    options.show(
        {"compatible": not faults, "checked": checked, "faults": faults, "published": published},
        ["schemas", "verdict"],
        [(len(checked), "compatible")] if not faults else [("", fault) for fault in faults],
    )
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise SchemaError(
            f"incompatible: {faults[0]}{more}",
            "see schemas/README.md, How a schema may change",
        )


@app.command()
def serve(
    *,
    directory: DirectoryOption = _DIRECTORY,
    host: Annotated[str, typer.Option("--host", help="Address to bind.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="0 picks a free port.")
    ] = 8081,
    writable: Annotated[
        bool,
        typer.Option(
            "--writable",
            help="Register schemas, in the directory; one that is empty starts as a copy of the "
            "shipped schemas. Without it, registrations are refused.",
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            help="File with the token that registering takes; needed beyond loopback.",
        ),
    ] = None,
) -> None:
    """Serve the directory with Confluent's registry API until SIGTERM or Ctrl-C.

    For development. In production use a registry that is made for it.
    """
    token = None if token_file is None else read_passphrase(token_file).decode(errors="replace")
    if token is not None:
        remember(token)
    if writable:
        seed(directory)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with RegistryServer(directory, host, port, writable=writable, token=token) as server:
        typer.echo(server.url)
        stop.wait()


def _stem(path: str | Path) -> str:
    return re.sub(r"\.v\d+$", "", Path(path).stem)


def _subject(known: FileRegistry, path: Path) -> str:
    """Return the subject whose files are named as ``path`` is."""
    subjects = {entry.subject for entry in known.entries if _stem(entry.file) == _stem(path)}
    if len(subjects) != 1:
        raise SettingsError(f"{path}: no subject has files of this name", "name it with --subject")
    return subjects.pop()


def _mode(known: FileRegistry, subject: str) -> str:
    return known.subject_compatibility.get(subject, known.compatibility)


def _candidate(
    known: FileRegistry, path: Path, subject: str, registry: str | None
) -> Sequence[Any]:
    """Check one file against its subject's versions, here or in a registry."""
    schema = read_schema(path)
    if registry:
        settings = load_settings({"registry": {"url": registry}}).registry
        mode, earlier = HttpRegistry(settings).history(subject)
        return verdicts(schema, earlier, mode)
    earlier = [
        (entry.version, entry.schema)
        for entry in known.entries
        if entry.subject == subject and (known.directory / entry.file).resolve() != path.resolve()
    ]
    if not earlier and subject not in {entry.subject for entry in known.entries}:
        raise SchemaError(f"subject {subject}: not in {known.directory}", "name a known subject")
    return verdicts(schema, earlier, _mode(known, subject))


def _own_versions(known: FileRegistry) -> list[str]:
    """Check each version of the directory against those before it."""
    faults = []
    for number, entry in enumerate(known.entries):
        earlier = [
            (e.version, e.schema) for e in known.entries[:number] if e.subject == entry.subject
        ]
        found = verdicts(entry.schema, earlier, _mode(known, entry.subject))
        faults += [f"{entry.file}: {verdict}" for verdict in found]
    return faults
