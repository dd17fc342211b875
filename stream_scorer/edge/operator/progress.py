"""``edge progress``: up to which row a device is published; written again if it was lost."""

from contextlib import ExitStack
from typing import Final

from stream_scorer.edge.claims.chain import chained, is_signed
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.claims.headers import claimed
from stream_scorer.edge.claims.verify import AllowedDevice
from stream_scorer.edge.registry.registry import open_edge_registry
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import producer_maker
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.reading.topic_follower import RECORDS_WITH_HEADERS, TopicFollower
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import open_registry
from stream_scorer.settings import Settings

_STEP_SECONDS: Final = 0.05


def device_progress(settings: Settings, device: str) -> EdgeProgress:
    """Return up to which row a device's rows are published.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: The broker or the registry does not answer.
    """
    progress = ProgressTopic(settings, open_registry(settings.registry))
    try:
        return progress.newest(device)
    finally:
        progress.close()


def rebuilt_progress(settings: Settings, device: str) -> EdgeProgress:
    """Write a device's progress again from its newest row in the input, and return it.

    The device's producer is opened first, so that no gateway publishes meanwhile. Rows that
    retention has deleted cannot be found: then the device's next upload is refused as a gap.

    Args:
        settings: The cluster and the operators' keys.
        device: The device.

    Raises:
        SettingsError: The device is not registered, or the input has no row of it that is newer
            than its progress.
        UnavailableError: The broker or the registry does not answer.
    """
    kafka = settings.kafka
    schemas = open_registry(settings.registry)
    with ExitStack() as stack:
        registry = open_edge_registry(settings, schemas)
        stack.callback(registry.close)
        allowed = registry.device(device)
        if allowed is None:
            raise SettingsError(f"device {device}: is not registered", "stream-scorer edge report")
        progress = ProgressTopic(settings, schemas)
        stack.callback(progress.close)
        producer = producer_maker(kafka, lambda _: None)(device)
        stack.callback(producer.close)
        before = progress.newest(device)
        follower = TopicFollower(kafka, kafka.topics.transactions, "edge-progress")
        stack.callback(follower.close)
        follower.mark_end(stable=False)
        found = before
        while follower.left:
            raw = follower.poll_to_end(RECORDS_WITH_HEADERS, _STEP_SECONDS)
            if raw is not None:
                found = _newest(raw, device, allowed, found)
        if found == before:
            raise SettingsError(
                f"device {device}: the input has no row after {before.sequence}",
                "its progress is right, or retention has deleted its rows",
            )
        producer.begin()
        producer.send(progress.outgoing(device, found, 0))
        producer.commit()
        return found


def _newest(
    raw: RawRecords, device: str, allowed: AllowedDevice, found: EdgeProgress
) -> EdgeProgress:
    """Return the progress after the newest row that the device signed."""
    rows, _ = claimed(raw)
    for name, row in zip(rows.device, rows.rows, strict=True):
        if name != device or row.sequence <= found.sequence:
            continue
        key = allowed.key_of(row.sequence)
        if key is not None and is_signed(row, device, key):
            found = EdgeProgress(row.sequence, chained(row.previous, device, row))
    return found
