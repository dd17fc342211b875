"""``stream-scorer models``: what is in the store, who signed it, and whether it is sound."""

from pathlib import Path
from typing import Annotated

import typer

from stream_scorer.cli.console import ConfigOption, JsonOption, settings_from, show
from stream_scorer.settings import Settings

app = typer.Typer(
    help="Model bundles: list, compare, sign, verify and validate them.", no_args_is_help=True
)
VersionArgument = Annotated[
    str, typer.Argument(metavar="NAME:VERSION", help="The bundle; NAME alone is its newest.")
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of bundles, instead of the settings'.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the key's passphrase; or the variable STREAM_SCORER_KEY_PASSPHRASE.",
    ),
]


def _settings(config: Path | None, store: Path | None) -> Settings:
    """Read the settings; a named folder is also stronger than a URL in them."""
    given = {} if store is None else {"directory": store, "url": ""}
    return settings_from(config, overrides={"models": given})


@app.command()
def keygen(
    *,
    out: Annotated[Path, typer.Option(help="Private key, mode 0600; its public one is OUT.pub.")],
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a pair of Ed25519 keys. Nothing is written over.

    With a passphrase the private key is encrypted. Scorers need the public key alone.
    """
    from stream_scorer.apps.model_signing import passphrase_from  # noqa: PLC0415 scikit-learn loads slowly
    from stream_scorer.models.keys import generate  # noqa: PLC0415 as above

    passphrase = passphrase_from(passphrase_file)
    made = generate(out, passphrase)
    document = {
        "private_key": str(made.private),
        "encrypted": passphrase is not None,
        "public_key": str(made.public),
        "public_base64": made.public_base64,
        "key_id": made.key_id,
    }
    show(as_json, document, ("", "value"), document.items(), title="Keys")


@app.command()
def sign(
    *,
    model: Annotated[str, typer.Argument(metavar="NAME:VERSION", help="The bundle.")],
    key: Annotated[Path, typer.Option(help="Private key that `models keygen` made.")],
    passphrase_file: PassphraseOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the signature that is there.")
    ] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle as a scorer would, and write its signature.json.

    Exit code 3: the bundle is refused or signed already; 2: the key cannot be used.
    """
    from stream_scorer.apps import model_signing  # noqa: PLC0415 scikit-learn loads slowly

    label, signer = model_signing.sign(
        _settings(config, store), model, key,
        model_signing.passphrase_from(passphrase_file), replace=replace,
    )  # fmt: skip
    document = {"model": label, "key_id": signer.key_id, "trusted_as": signer.name}
    show(as_json, document, ("", "value"), document.items(), title="Signed")


@app.command()
def verify(
    *,
    model: VersionArgument,
    store: StoreOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle as a scorer would at its start: files, signature, types, golden rows.

    Exit code 3 and one line with the reason when it is refused.
    """
    from stream_scorer.apps.model_reports import verified  # noqa: PLC0415 scikit-learn loads slowly

    document = verified(_settings(config, store), model)
    show(as_json, document, ("", "value"), document.items(), title="Verified")
