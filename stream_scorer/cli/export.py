"""``stream-scorer export``: a model as a folder that decides on a device."""

import shlex
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from stream_scorer.cli.export_device import export_for_device
from stream_scorer.cli.options import PassphraseOption, PlanOption, StoreOptions
from stream_scorer.cli.output import dated_rows
from stream_scorer.errors import SettingsError
from stream_scorer.security.keys import passphrase_from, read_private

_CHECKS: Final = {
    "c": "make -C {} check",
    "wasm": "node {}/check.mjs",
    "python": "PYTHONPATH={} python -m stream_scorer_edge.check {}",
}
"""What proves on a device that a folder has the stream's bits, by target."""


def export(
    *,
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME:VERSION", help="The bundle; NAME alone is its highest version."
        ),
    ],
    target: Annotated[
        Literal["c", "wasm", "python", "onnx", "device"],
        typer.Option(
            help="C; WebAssembly for Node and browsers, which needs clang; numpy; ONNX, whose bits "
            "differ; or device, for `edge install`."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; it must not exist.")],
    plan: PlanOption = None,
    key: Annotated[
        Path | None, typer.Option(help="Private key, of models keygen, that signs the export.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    request: Annotated[
        Path | None,
        typer.Option("--for", help="With target device: the file that `edge init` wrote there."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", help="With target device: file of customers whose histories it gets."
        ),
    ] = None,
    terminal_rows: Annotated[
        bool,
        typer.Option("--terminal-rows", help="With target device: the history of terminals, too."),
    ] = False,
    options: StoreOptions,
) -> None:
    """Write a model as a folder that decides rows of features without stream-scorer.

    Margins, scores and outcomes have the same bits as in the stream. The folder has golden rows
    that prove it on the device. ONNX is for other programs; the report has the differences.

    Exit code 2: plan, key, compiler or folder are refused; 3: the bundle is refused; 15: its
    probabilities depend on the machine, or it needs the history of terminals.
    """
    settings = options.settings()
    if target == "device":
        told = export_for_device(
            settings, model, out, plan, None if key is None else (key, passphrase_file), request,
            state, terminal_rows=terminal_rows,
        )  # fmt: skip
        options.show_fields(
            told, "Exported", dated_rows(told, "newest_event", "terminals_watermark")
        )
        return
    if request or state or terminal_rows:
        raise SettingsError(
            "--for, --state and --terminal-rows need the target device", "leave them out"
        )
    from stream_scorer.edge.export.order import ExportOrder  # noqa: PLC0415 numba loads slowly
    from stream_scorer.edge.export.run import export as run  # noqa: PLC0415 the same

    signer = None if key is None else read_private(key, passphrase_from(passphrase_file))
    report = run(settings, ExportOrder(model, target, out, plan, signer))
    document = {
        "model": report.model,
        "target": report.target,
        "folder": str(report.folder),
        "files": len(report.files),
        "table_bytes": report.table_bytes,
        "code_bytes": report.code_bytes,
        "golden_rows": report.golden_rows,
        "check": _CHECKS.get(target, "").replace("{}", shlex.quote(str(out))) or None,
        "differences": report.differences,
        "signed": signer is not None,
        "seconds": round(report.seconds, 3),
    }
    options.show_fields(document, "Exported")
