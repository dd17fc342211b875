"""What reports are made of: the monitor's newest snapshot, and the topic of drift events."""

from collections.abc import Callable
from typing import Any, Final

from stream_scorer.codec.records.record import RecordError
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.drift.reports.events import event_of_record, window_of_record
from stream_scorer.drift.state.document import MonitorDocument
from stream_scorer.drift.state.topic import newest as newest_snapshot
from stream_scorer.drift.state.topic import unreadable
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.kafka.reading.read_to_end import newest
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.record_mac import read_seal

EVENTS_MOST: Final = 10_000
"""Number of the newest drift events that are read."""
WINDOWS_MOST: Final = 10_000
"""Number of the newest records of performance that are read."""


def read_monitor(settings: Settings) -> MonitorDocument | None:
    """Return what the monitor's newest snapshot says; None if it has written none.

    Raises:
        SettingsError: The topic does not exist.
        StateError: The snapshot is not of this format.
        UnavailableError: The broker does not answer.
    """
    mac = read_seal(settings.state.mac_key_file, required=settings.state.mac_required)
    snapshot = newest_snapshot(settings.kafka, settings.kafka.topics.drift_state, mac)
    if snapshot is None:
        return None
    try:
        return MonitorDocument.read(snapshot.data)
    except ValueError as error:
        raise unreadable(settings.kafka.topics.drift_state, error) from error


def read_events(settings: Settings) -> tuple[list[dict[str, Any]], int]:
    """Return the newest drift events, oldest first, and how many records are none.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    topic = settings.kafka.topics.drift_events
    return _read(settings, topic, "drift-event.v3", EVENTS_MOST, event_of_record)


def read_performance(settings: Settings) -> list[dict[str, Any]]:
    """Return the newest windows and losses of performance, oldest first; see ``performance.v1``.

    A cluster of before may not have the topic; then there are none.

    Raises:
        UnavailableError: Broker or registry do not answer.
    """
    topic = settings.kafka.topics.performance
    try:
        return _read(settings, topic, "performance.v1", WINDOWS_MOST, window_of_record)[0]
    except SettingsError:
        return []


def _read(
    settings: Settings, topic: str, schema: str, most: int,
    read: Callable[[dict[str, Any]], dict[str, Any]],
) -> tuple[list[dict[str, Any]], int]:  # fmt: skip
    reader = RecordReader(settings.registry, schema)
    found, broken = [], 0
    for message in newest(settings.kafka, topic, most):
        try:
            found.append(read(reader.decode(message.value())))
        except (RecordError, SchemaError, KeyError, TypeError, ValueError):
            broken += 1  # another client wrote it
    return found, broken
