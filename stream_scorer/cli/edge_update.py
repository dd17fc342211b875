"""``stream-scorer edge update``: take the release of a channel, once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scorer.cli.edge_extra import needs_tuf
from stream_scorer.cli.options import ConfigJsonOptions
from stream_scorer.errors import SettingsError


def update(
    *,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", help="The repository's root.json, from a trusted place; needed once."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only see whether there is one.")] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Return to the release before, and keep it.")
    ] = False,
    options: ConfigJsonOptions,
) -> None:
    """Take the release of edge.update.channel, if it is another one and everything is in order.

    `edge run` decides with it after its next start.

    Exit codes: 5: the repository does not answer; 15: another process updates, or the disk is full;
    16: the update is refused; the error names the check.
    """
    with needs_tuf("edge update"):
        from stream_scorer.edge.update.opening import open_client  # noqa: PLC0415 loads slowly

    if back and (check or root):
        raise SettingsError("--back: has no other option", "leave the others out")
    client = open_client(options.settings())
    document: dict[str, Any] = {"updated": False, "model": None, "digest": None}
    if back:
        document |= {"updated": True, "digest": client.back().name}
    else:
        if root is not None:
            client.trust(root)
        release = client.check()
        if release is not None:
            document |= {"model": release.label, "digest": release.digest}
            if not check:
                client.install(release)
                document["updated"] = True
    options.show_fields(document, "Update")
