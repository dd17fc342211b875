"""The ``edge`` commands of operators: provisioning, revocation, the report."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scorer.cli.options import ClusterJsonOptions, SignedOptions
from stream_scorer.errors import SettingsError

DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="The device's name.")]
_DAY_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class RegistryOptions(SignedOptions):
    """Options of a command that changes the registry of devices."""

    def writer(self) -> Any:
        """Return what changes it.

        Raises:
            SettingsError: No key is given.
        """
        from stream_scorer.edge.operator.registrations import RegistryWriter  # noqa: PLC0415 Kafka's clients load slowly

        operator = self.signer()
        if operator is None:
            raise SettingsError(
                "the registry of devices takes only what an operator has signed", "give --key FILE"
            )
        return RegistryWriter(self.connected(), operator)


def provision(
    *,
    device: DeviceArgument,
    request: Annotated[
        Path, typer.Option("--request", help="The file that `edge init` wrote on the device.")
    ],
    release: Annotated[
        list[str] | None,
        typer.Option(
            "--release", help="NAME:VERSION that devices may decide with; may be repeated."
        ),
    ] = None,
    customers: Annotated[
        Path | None,
        typer.Option(
            "--customers", help="File of ids: the device decides for these only, one a line."
        ),
    ] = None,
    terminals: Annotated[
        Path | None,
        typer.Option("--terminals", help="File of ids: the device decides at these only."),
    ] = None,
    all_customers: Annotated[
        bool, typer.Option("--all-customers", help="It decides for everybody.")
    ] = False,
    all_terminals: Annotated[
        bool, typer.Option("--all-terminals", help="It decides at every terminal.")
    ] = False,
    from_row: Annotated[
        int | None,
        typer.Option("--from-row", min=1, help="First row that a new key of a known device signs."),
    ] = None,
    options: RegistryOptions,
) -> None:
    """Register a device with its keys, and the releases that devices may decide with.

    A scope that is not given stays as it is; that of a new device is everybody, everywhere.

    It also becomes a client of the API with the scope edge, if serving.access.clients_file is set;
    its key is printed once. The device may upload when this command is done.

    Exit codes: 2: the request, a key or a release is wrong; 3: a bundle is refused.
    """
    from stream_scorer.edge.operator.provision import provision as run  # noqa: PLC0415 bundles load slowly
    from stream_scorer.edge.operator.registrations import (  # noqa: PLC0415 see above
        DeviceScope,
        read_ids,
        read_request,
    )

    asked = read_request(request, device)
    for every, name, file in (
        (all_customers, "customers", customers), (all_terminals, "terminals", terminals),
    ):  # fmt: skip
        if every and file is not None:
            raise SettingsError(f"--all-{name} and --{name} are both given", "give one of them")
    scope = DeviceScope(
        () if all_customers else read_ids(customers) if customers else None,
        () if all_terminals else read_ids(terminals) if terminals else None,
    )
    with options.writer() as writer:
        made = run(
            options.connected(), writer, asked, scope, release or [], from_row, options.reason
        )
    title = "The key is shown only now; keep it as a secret." if made.api_key else ""
    options.show_fields(asdict(made), title)


def revoke(
    *,
    device: DeviceArgument,
    after: Annotated[
        int | None,
        typer.Option(
            "--after", min=0, help="Last row that counts; default: the last one published now."
        ),
    ] = None,
    options: RegistryOptions,
) -> None:
    """Refuse a device's rows from now on, or after a number; published ones stay as they are.

    Exit codes: 2: there is no such device.
    """
    with options.writer() as writer:
        made = writer.revoke(device, after, options.reason)
    options.show_fields({"device": device, "revoked_after": made.revoked_after})


def progress(
    *,
    device: DeviceArgument,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Write it again from the input, if its topic was lost."),
    ] = False,
    options: ClusterJsonOptions,
) -> None:
    """Show up to which row a device's rows are published.

    Exit codes: 2: with --rebuild, the device is unknown, or the input has no newer row of it.
    """
    from stream_scorer.edge.operator.progress import device_progress, rebuilt_progress  # noqa: PLC0415 Kafka's clients load slowly

    found = (rebuilt_progress if rebuild else device_progress)(options.connected(), device)
    options.show_fields({"device": device, "sequence": found.sequence, "chain": found.chain.hex()})


def report(
    *,
    since: Annotated[
        str, typer.Option("--from", help="Beginning: ISO 8601, UTC without a zone; or 7d, 12h.")
    ] = "1d",
    until: Annotated[str, typer.Option("--to", help="End; default: now.")] = "",
    device: Annotated[str, typer.Option("--device", help="Only this device.")] = "",
    options: ClusterJsonOptions,
) -> None:
    """Count what devices decided, by publication, and where the scorer would have differed."""
    from stream_scorer.edge.operator.moments import moment_ms  # noqa: PLC0415 only here
    from stream_scorer.edge.operator.report import edge_report  # noqa: PLC0415 Arrow loads slowly

    document = edge_report(options.connected(), moment_ms(since), moment_ms(until), device)
    options.show_fields(document, "Devices")
