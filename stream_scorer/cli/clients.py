"""``stream-scorer clients``: the clients of the API, their keys and their limits."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_scorer.cli.options import CommandGroup, ConfigJsonOptions, WideOption
from stream_scorer.cli.output import cell_text, short_time
from stream_scorer.errors import SettingsError

if TYPE_CHECKING:
    from stream_scorer.security.api_keys import NewKey
    from stream_scorer.security.client_changes import ClientChanges


@dataclass(frozen=True, kw_only=True)
class ClientsOptions(ConfigJsonOptions):
    """Options of a command that reads or changes the clients file."""

    file: Annotated[
        Path | None,
        typer.Option("--file", help="The clients file, instead of serving.access.clients_file."),
    ] = None

    def path(self) -> Path:
        """Return the clients file.

        Raises:
            SettingsError: None is named.
        """
        path = self.file or self.settings().serving.access.clients_file
        if path is None:
            raise SettingsError(
                "no clients file is named", "set serving.access.clients_file, or give --file"
            )
        return path

    def changes(self) -> "ClientChanges":
        """Return the clients file for changes, with the audit log of the settings."""
        from stream_scorer.security.audit_access import open_audit  # noqa: PLC0415 keys load slowly
        from stream_scorer.security.client_changes import ClientChanges  # noqa: PLC0415 see above

        return ClientChanges(self.path(), open_audit(self.settings().audit))

    def show_key(self, name: str, made: "NewKey | None") -> None:
        """Print a new key, this once."""
        document: dict[str, Any] = {"client": name, "key_id": None, "key": None}
        if made is not None:
            document |= {"key_id": made.id, "key": made.text}
        title = "" if made is None else "The key is shown only now; keep it as a secret."
        self.show_fields(document, title)


app = CommandGroup("The clients of the API: their keys, scopes and limits.", ClientsOptions)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The client's name.")]
KeyExpiresOption = Annotated[
    str | None,
    typer.Option("--key-expires", help="When the new key expires: ISO 8601, UTC without a zone."),
]


@app.command()
def add(
    *,
    name: NameArgument,
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope", help="score, read, operate, edge or admin; may be given several times."
        ),
    ],
    rate: Annotated[float, typer.Option("--rate", help="Requests per second.")] = 100.0,
    burst: Annotated[int, typer.Option("--burst", help="Requests that may come together.")] = 200,
    quota: Annotated[
        int | None, typer.Option("--quota", help="Requests per day (UTC); default: no quota.")
    ] = None,
    not_before: Annotated[
        str | None, typer.Option("--not-before", help="Refused before: ISO 8601.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="Refused from then on: ISO 8601.")
    ] = None,
    key_expires: KeyExpiresOption = None,
    certificate_subject: Annotated[
        list[str] | None,
        typer.Option(
            "--certificate-subject",
            help="Subject of its TLS certificate (RFC 4514); may be given several times.",
        ),
    ] = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Its certificate alone authenticates it.")
    ] = False,
    options: ClientsOptions,
) -> None:
    """Add a client and print its new API key, which is shown only now."""
    from stream_scorer.security.client_changes import moment  # noqa: PLC0415 keys load slowly

    made = options.changes().add(
        name,
        with_key=not without_key,
        key_expires=moment(key_expires, "--key-expires"),
        scopes=scope,
        rate_per_second=rate,
        burst=burst,
        quota_per_day=quota,
        not_before=moment(not_before, "--not-before"),
        expires=moment(expires, "--expires"),
        certificate_subjects=tuple(certificate_subject or ()),
    )
    options.show_key(name, made)


@app.command(name="list")
def list_command(*, wide: WideOption = False, options: ClientsOptions) -> None:
    """Show all clients: scopes, limits, validity and the ids of their keys."""
    from stream_scorer.security.client_changes import listed_clients  # noqa: PLC0415 keys load slowly

    found = listed_clients(options.path())
    rows = [
        [
            each["client"],
            "disabled" if each["disabled"] else "",
            each["scopes"],
            each["rate_per_second"],
            each["quota_per_day"],
            short_time(each["expires"]),
            [key["id"] for key in each["keys"]],
            *([each["burst"], short_time(each["not_before"])] if wide else ()),
            *([cell_text(each["certificate_subjects"])] if wide else ()),
        ]
        for each in found
    ]
    more = ["burst", "not_before", "certificates"] if wide else []
    columns = ["client", "state", "scopes", "rate", "quota", "expires", "keys", *more]
    options.show(found, columns, rows, wide=wide)


@app.command()
def rotate(
    *,
    name: NameArgument,
    overlap: Annotated[
        float,
        typer.Option(
            "--overlap", min=0, max=90 * 24, help="Hours for which the old key stays valid."
        ),
    ] = 24.0,
    key_expires: KeyExpiresOption = None,
    options: ClientsOptions,
) -> None:
    """Give a client a new API key and print it; the old key stays valid for some hours."""
    from stream_scorer.security.client_changes import moment  # noqa: PLC0415 keys load slowly

    made = options.changes().rotate(
        name, overlap=timedelta(hours=overlap), key_expires=moment(key_expires, "--key-expires")
    )
    options.show_key(name, made)


@app.command()
def disable(
    *,
    name: NameArgument,
    enable: Annotated[bool, typer.Option("--undo", help="Accept the client again.")] = False,
    options: ClientsOptions,
) -> None:
    """Refuse a client from now on; a running server does so within seconds."""
    options.changes().disable(name, enable=enable)
    options.show_fields({"client": name, "disabled": not enable})


@app.command()
def remove(*, name: NameArgument, options: ClientsOptions) -> None:
    """Remove a client with its keys."""
    options.changes().remove(name)
    options.show_fields({"client": name, "removed": True})
