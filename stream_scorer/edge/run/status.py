"""What a device reports of itself."""

from dataclasses import asdict, dataclass
from typing import Any

from stream_scorer.edge.device.clock import wall_ms
from stream_scorer.edge.device.release import DeviceRelease
from stream_scorer.edge.device.state import LOG, OUTBOX, DeviceState
from stream_scorer.edge.run.keys import named_device
from stream_scorer.edge.run.open_device import (
    Device,
    DeviceOptions,
    loaded_release,
    opened_device,
)
from stream_scorer.settings import Settings

_MS = 1_000


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device's status.

    Attributes:
        device: The device.
        release: ``NAME:VERSION`` that decides.
        content_hash: The bundle's content hash, in hex.
        sequence: Number of the last row.
        uploaded: Up to which row the rows are known to be published.
        outbox: Rows that wait for their upload.
        outbox_bytes: Their bytes.
        oldest_seconds: Age of the oldest of them; 0 without one.
        customers: Customers with a history.
        cold_until: Until when decisions may be flagged degraded because the history is incomplete,
            ms since the epoch; 0: it is complete.
        terminals_age_seconds: Age of the history of terminals; None: it is not used.
        state_bytes: Bytes of the log.
        upload: Why rows are not uploaded; empty: they are, or need not be.
    """

    device: str
    release: str
    content_hash: str
    sequence: int
    uploaded: int
    outbox: int
    outbox_bytes: int
    oldest_seconds: float
    customers: int
    cold_until: int
    terminals_age_seconds: float | None
    state_bytes: int
    upload: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def status_of(device: Device, now: int | None = None) -> DeviceStatus:
    """Return the status of an open device.

    Args:
        device: The device.
        now: ms since the epoch; None: the machine's time.
    """
    now = wall_ms() if now is None else now
    state, release = device.state, device.release
    _, size = state.outbox.size()
    # Those of the last answers may not be in the outbox yet.
    rows = state.history.sequence - state.outbox.deleted.sequence
    refused = "" if device.uploader is None else device.uploader.refused
    return DeviceStatus(
        state.device, release.label, release.content_hash.hex(), state.history.sequence,
        state.outbox.deleted.sequence, rows, size, _oldest(state, now), len(state.history.own),
        state.history.cold.until, _terminals_age(release, now), state.log.size, refused,
    )  # fmt: skip


def stopped_status(settings: Settings, options: DeviceOptions) -> DeviceStatus:
    """Return the status of a device that does not run; its files are opened for it.

    Raises:
        EdgeError: As for ``opened_device``.
        SettingsError: As for ``opened_device``.
        StreamScorerError: As for ``opened_device``.
    """
    edge = settings.edge
    if any((edge.directory / name).exists() for name in (LOG, OUTBOX)):
        offline = edge.model_copy(update={"upload": "none"})
        with opened_device(settings.model_copy(update={"edge": offline}), options) as device:
            return status_of(device)
    # It has never run: opening it would begin its history.
    release = loaded_release(settings, options)
    return DeviceStatus(
        named_device(settings), release.label, release.content_hash.hex(), 0, 0, 0, 0, 0.0, 0, 0,
        _terminals_age(release, wall_ms()), 0,
    )  # fmt: skip


def _terminals_age(release: DeviceRelease, now: int) -> float | None:
    if not release.model.features.by_terminal:
        return None
    return max(now - release.terminals.watermark, 0) / _MS


def _oldest(state: DeviceState, now: int) -> float:
    first = state.outbox.first(1)
    return max(now - first[0].noted, 0) / _MS if first else 0.0
