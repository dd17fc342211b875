"""``stream-scorer export --target device``: the folder that ``edge install`` takes on a device."""

from pathlib import Path
from typing import Any

from stream_scorer import devkafka
from stream_scorer.security.keys import passphrase_from, read_private
from stream_scorer.settings import Settings


def export_for_device(
    settings: Settings, model: str, out: Path, plan: Path | None,
    key: tuple[Path, Path | None] | None, request: Path | None, state: Path | None, *,
    terminal_rows: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write the folder, and return the report.

    Args:
        settings: The store; for histories the cluster, too.
        model: NAME:VERSION, or NAME for its highest version.
        out: The folder.
        plan: Plan file or folder.
        key: Files of the key that signs, and of its passphrase.
        request: The device's request.
        state: File of the customers whose histories it gets.
        terminal_rows: Whether it gets the history of terminals.

    Raises:
        StreamScorerError: What keeps it from being written; see the tree in ``errors``.
    """
    from stream_scorer.edge.export.device_folder import (  # noqa: PLC0415 numba loads slowly
        DeviceExport,
        export_device,
    )
    from stream_scorer.edge.operator.registrations import (  # noqa: PLC0415 the same
        read_ids,
        read_request,
    )

    asked = None if request is None else read_request(request)
    signer = None if key is None else read_private(key[0], passphrase_from(key[1]))
    customers = None if state is None else read_ids(state)
    # Histories for no device are refused first: that needs no cluster.
    if terminal_rows or (customers is not None and asked is not None):
        fix = "set kafka.bootstrap, or start one: stream-scorer kafka start"
        settings = devkafka.connected(settings, fix)
    made = export_device(
        settings, DeviceExport(model, out, plan, signer, asked, customers, terminal_rows)
    )
    document: dict[str, Any] = {
        "model": made.model, "target": "device", "folder": str(made.folder), "files": made.files,
        "signed": signer is not None, "seconds": round(made.seconds, 3),
    }  # fmt: skip
    if made.state is not None:
        seed = made.state.seed
        document |= {
            "customers": len(seed.warm), "events": made.state.events,
            "cold": list(made.state.cold), "newest_event": made.state.newest,
            "offsets": {str(p): list(each) for p, each in sorted(made.state.offsets.items())},
        }  # fmt: skip
    if made.terminals is not None:
        document |= {
            "terminal_rows": len(made.terminals.time),
            "terminals_watermark": made.terminals.watermark,
        }
    return document
