"""What a device reports of itself."""

from dataclasses import asdict, dataclass
from typing import Any

from stream_scorer.edge.device.clock import wall_ms
from stream_scorer.edge.device.state import DeviceState
from stream_scorer.edge.run.open_device import Device

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
    age = None
    if release.model.features.by_terminal:
        age = max(now - release.terminals.watermark, 0) / _MS
    refused = "" if device.uploader is None else device.uploader.refused
    return DeviceStatus(
        state.device, release.label, release.content_hash.hex(), state.history.sequence,
        state.outbox.deleted.sequence, rows, size, _oldest(state, now), len(state.history.own),
        state.history.cold.until, age, state.log.size, refused,
    )  # fmt: skip


def _oldest(state: DeviceState, now: int) -> float:
    first = state.outbox.first(1)
    return max(now - first[0].noted, 0) / _MS if first else 0.0
