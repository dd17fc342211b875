"""What reports are made of: the monitor's newest snapshot, and the topic of drift events."""

from typing import Any, Final

from stream_scorer.codec.records.record import RecordError
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.drift.reports.events import event_of_record
from stream_scorer.drift.state.document import MonitorDocument
from stream_scorer.drift.state.topic import newest as newest_snapshot
from stream_scorer.errors import SchemaError, StateError
from stream_scorer.kafka.reading.read_to_end import newest
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.record_mac import read_seal

EVENTS_MOST: Final = 10_000
"""Number of the newest drift events that are read."""


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
        raise StateError(f"topic {settings.kafka.topics.drift_state}: {error}") from error


def read_events(settings: Settings) -> tuple[list[dict[str, Any]], int]:
    """Return the newest drift events, oldest first, and how many records are none.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    reader = RecordReader(settings.registry, "drift-event.v3")
    found, broken = [], 0
    for message in newest(settings.kafka, settings.kafka.topics.drift_events, EVENTS_MOST):
        try:
            found.append(event_of_record(reader.decode(message.value())))
        except (RecordError, SchemaError, KeyError, TypeError, ValueError):
            broken += 1  # another client wrote it
    return found, broken
