"""``stream-scorer edge publish``: the repository from which devices are updated."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_scorer.cli.edge_extra import needs_tuf
from stream_scorer.cli.options import (
    CommandGroup,
    ConfigJsonOptions,
    PassphraseOption,
    PlanOption,
    StoreOptions,
)
from stream_scorer.cli.output import short_time
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.keys import passphrase_from, read_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from stream_scorer.edge.update.repository import ReleaseStore, RepositoryState

app = CommandGroup("The repository from which devices are updated.", ConfigJsonOptions)
RepositoryArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The repository; a web server serves it by HTTPS.")
]
RoleKeyOption = Annotated[Path | None, typer.Option(help="Private key of the role.")]


def _key(path: Path, passphrase: bytes | None) -> "Ed25519PrivateKey":
    """Return a private key; of several, only some may have a passphrase."""
    encrypted = path.is_file() and b"ENCRYPTED" in path.read_bytes()[:4_096]
    return read_private(path, passphrase if encrypted else None)


def _store(folder: Path) -> "ReleaseStore":
    with needs_tuf("edge publish"):
        from stream_scorer.edge.update.repository import (  # noqa: PLC0415 TUF loads slowly
            ReleaseStore,
        )

    return ReleaseStore(folder)


@dataclass(frozen=True, kw_only=True)
class RepositoryOptions(StoreOptions):
    """Options of a command that signs metadata."""

    root_key: RoleKeyOption = None
    targets_key: RoleKeyOption = None
    snapshot_key: RoleKeyOption = None
    timestamp_key: RoleKeyOption = None
    passphrase_file: PassphraseOption = None

    def keys(self) -> "dict[str, Ed25519PrivateKey]":
        """Return the keys that were given, by role."""
        passphrase = passphrase_from(self.passphrase_file)
        given = {
            "root": self.root_key, "targets": self.targets_key,
            "snapshot": self.snapshot_key, "timestamp": self.timestamp_key,
        }  # fmt: skip
        return {role: _key(path, passphrase) for role, path in given.items() if path is not None}

    def show_state(self, state: "RepositoryState") -> None:
        """Print what the repository states now."""
        document = {
            "versions": dict(state.versions),
            "expires": {role: each.isoformat() for role, each in state.expires.items()},
            "due": list(state.due),
            "channels": dict(state.channels),
        }
        rows: list[tuple[str, Any]] = [
            (
                role,
                f"version {state.versions[role]:,}, expires {short_time(each.isoformat())}"
                + (": sign it again" if role in state.due else ""),
            )
            for role, each in state.expires.items()
        ]
        rows += [(f"channel {name}", release) for name, release in state.channels.items()]
        self.show_fields(document, "Repository", rows)


@app.command()
def init(*, folder: RepositoryArgument, options: RepositoryOptions) -> None:
    """Make an empty repository, signed by four keys of `models keygen`, one for each role.

    Keep the keys of root and targets offline. Devices need metadata/1.root.json, by a trusted way.
    """
    store = _store(folder)
    open_audit(options.settings().audit).record("edge.publish.init", str(folder))
    options.show_state(store.init(options.keys()))


@app.command()
def add(
    *,
    folder: RepositoryArgument,
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME:VERSION", help="The bundle; NAME alone is its highest version."
        ),
    ],
    channel: Annotated[
        str, typer.Option("--channel", help="The channel whose devices take it.")
    ] = "stable",
    plan: PlanOption = None,
    options: RepositoryOptions,
) -> None:
    """Publish a bundle and its plan: the devices of a channel take them.

    Needs the keys of targets, snapshot and timestamp. The bundle is verified first, with its golden
    rows. An earlier release is published again in the same way.

    Exit codes: 2: a key is missing or not the role's; 3: there is no such bundle; 15: the
    repository is damaged; 16: the bundle or the plan is refused.
    """
    store, settings, keys = _store(folder), options.settings(), options.keys()
    from stream_scorer.edge.update.gather_release import gather_release  # noqa: PLC0415 slow
    from stream_scorer.edge.update.verify_release import verify_release  # noqa: PLC0415 numba, too

    with tempfile.TemporaryDirectory(prefix="stream-scorer-release-") as made:
        gather_release(settings, model, plan, Path(made))
        # Some devices may have the history of terminals that it needs.
        label = verify_release(Path(made), settings, terminals=True).bundle.manifest.label
        details = {"repository": str(folder), "channel": channel}
        open_audit(settings.audit).record("edge.publish.add", label, details)
        release = store.add(Path(made), channel, keys)
    options.show_fields(
        {
            "model": release.label, "channel": channel, "release": release.name,
            "digest": release.digest, "files": len(release.files), "bytes": release.size,
        },
        "Published",
    )  # fmt: skip


@app.command()
def refresh(*, folder: RepositoryArgument, options: RepositoryOptions) -> None:
    """Sign the timestamp again; run it several times a day, else devices refuse the repository.

    Needs the key of timestamp. What is due is signed again if its key is given, too; the table
    shows what is due.
    """
    options.show_state(_store(folder).refresh(options.keys()))


@app.command()
def rotate(
    *,
    folder: RepositoryArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, snapshot, timestamp")],
    new_key: Annotated[Path, typer.Option("--new-key", help="The role's new private key.")],
    options: RepositoryOptions,
) -> None:
    """Give a role another key; the old one counts no longer.

    Needs the key of root as it was, and those of the roles that name this one: targets needs
    snapshot and timestamp, snapshot needs timestamp. Devices forget the versions that they saw
    under the old key.
    """
    store = _store(folder)
    new = _key(new_key, passphrase_from(options.passphrase_file))
    details = {"role": role}
    open_audit(options.settings().audit).record("edge.publish.rotate", str(folder), details)
    options.show_state(store.rotate(role, new, options.keys()))
