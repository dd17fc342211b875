"""The ``edge`` commands of a device: its keys, its process, its status."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import ConfigJsonOptions, ConfigOptions
from stream_scorer.cli.output import dated_rows
from stream_scorer.errors import SettingsError

DeviceOption = Annotated[
    str | None, typer.Option("--device", help="The device's name; default: edge.device.")
]
ReleaseOption = Annotated[
    Path | None,
    typer.Option("--release", help="Folder of the release; default: `current` in edge.directory."),
]
_PACKAGES = {"granian", "msgspec", "securesystemslib", "tuf", "urllib3"}


def _notice(line: str) -> None:
    typer.echo(line, err=True)


def init(*, device: DeviceOption = None, options: ConfigJsonOptions) -> None:
    """Make a device's folder and keys, and the request for the operator.

    The folder is edge.directory. The private keys stay in it; DEVICE.request.json has the public
    parts, and goes to the operator, who registers them with `edge provision`.

    Exit codes: 2: the device has no name, or has keys already.
    """
    from stream_scorer.edge.run.keys import init_device  # noqa: PLC0415 only here

    made = init_device(options.settings({"edge": {"device": device}}))
    document = {
        "device": made.device, "directory": str(made.directory), "request": str(made.request)
    }  # fmt: skip
    options.show_fields(document, "Send the request to the operator.")


def install(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder of `export --target device`.")
    ],
    device: DeviceOption = None,
    options: ConfigJsonOptions,
) -> None:
    """Verify an export for this device, and install its release, schemas and history.

    With edge.trusted_keys, it must be signed by one of them. `edge run` decides with it after its
    next start. Histories count for a device that has none yet.

    Exit codes: 2 settings; 3 the bundle is refused; 15 the export is altered, is for another
    device, or the disk is full.
    """
    from stream_scorer.edge.run.install import install as run_install  # noqa: PLC0415 loads slowly

    made = run_install(options.settings({"edge": {"device": device}}), folder)
    document = {
        "model": made.model, "digest": made.digest, "state": made.state,
        "terminals_watermark": made.terminals_watermark,
    }  # fmt: skip
    options.show_fields(document, "Installed", dated_rows(document, "terminals_watermark"))


def run(
    *,
    device: DeviceOption = None,
    release: ReleaseOption = None,
    stdin: Annotated[
        bool,
        typer.Option(
            "--stdin",
            help="Read transactions from standard input, one JSON object a line; without updates.",
        ),
    ] = False,
    accept_cold: Annotated[
        bool,
        typer.Option(
            "--accept-cold",
            help="Decide although the history is incomplete; decisions are flagged degraded.",
        ),
    ] = False,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap",
            help="Continue although the log is older than what was uploaded; prints the number of "
            "rows that are missing; flagged likewise.",
        ),
    ] = False,
    options: ConfigOptions,
) -> None:
    """Decide transactions offline: POST /v1/decisions at edge.listen or edge.unix_socket.

    A decision is answered when it is on the disk. Rows are uploaded when there is a network, if
    edge.upload is https or kafka.

    Exit codes: 0 after a signal or the end of the input; 2 settings; 3 model; 5 the disk is full;
    15 the device's files are damaged or older than what was uploaded; 17 an operator has revoked
    the device.
    """
    settings = options.settings({"edge": {"device": device}})
    try:
        from stream_scorer.edge.run.open_device import DeviceOptions  # noqa: PLC0415 loads slowly
        from stream_scorer.edge.run.process import run_device, run_lines  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        raise SettingsError(
            f"edge run: the Python package {package} is missing",
            "install stream-scorer with its extras `edge` and `http`",
        ) from error
    asked = DeviceOptions(release, accept_cold, accept_gap, _notice)
    if stdin:
        run_lines(settings, asked)
    elif release is not None and settings.edge.update.url:
        raise SettingsError(
            "--release: updates of edge.update.url change `current`, not this folder",
            "leave --release out, or set edge.update.url to nothing",
        )
    else:
        run_device(settings, asked, _notice)


def status(
    *,
    device: DeviceOption = None,
    release: ReleaseOption = None,
    options: ConfigJsonOptions,
) -> None:
    """Show a device's rows, history and release.

    A running device is asked at its address. Otherwise its files are opened, and repaired if a
    power cut has torn them.

    Exit codes: 2 settings; 15 the files are damaged, or a process has them that does not listen.
    """
    from stream_scorer.edge.run.ask import running_status  # noqa: PLC0415 only here

    settings = options.settings({"edge": {"device": device}})
    document: dict[str, Any] | None = running_status(settings)
    if document is None:
        from stream_scorer.edge.run.open_device import DeviceOptions  # noqa: PLC0415 loads slowly
        from stream_scorer.edge.run.status import stopped_status  # noqa: PLC0415 see above

        document = stopped_status(settings, DeviceOptions(release, notice=_notice)).document()
    shown = json.loads(json.dumps(document))
    options.show_fields(shown, f"Device {shown['device']}", dated_rows(shown, "cold_until"))
