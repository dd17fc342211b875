"""Reads the newest snapshot from the topic ``drift-state``."""

from collections.abc import Iterable

from stream_scorer.drift.state.chunks import Snapshot, joined
from stream_scorer.errors import StateError
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.record_mac import OPEN, RecordMac, SealError


def newest(kafka: Kafka, topic: str, mac: RecordMac = OPEN) -> Snapshot | None:
    """Return the newest snapshot; None if there is none.

    Args:
        kafka: The cluster.
        topic: ``kafka.topics.drift_state``.
        mac: Checks each record; by default nothing is checked.

    Raises:
        StateError: What is there is not one complete snapshot.
        UnavailableError: The topic cannot be read.
    """
    return snapshot_in(
        topic, ((message.key(), message.value()) for message in read_all(kafka, topic)), mac
    )


def snapshot_in(
    topic: str, records: Iterable[tuple[bytes | None, bytes | None]], mac: RecordMac = OPEN
) -> Snapshot | None:
    """Return the newest snapshot in the records of a topic, oldest first.

    Args:
        topic: Name of the topic.
        records: Keys and values; a value that is None removes its key.
        mac: As in :func:`newest`.

    Raises:
        StateError: As in :func:`newest`.
    """
    values: dict[bytes, bytes] = {}
    for key, value in records:
        if key is None:
            continue
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
    try:
        inside = {key: mac.open(mac_key(topic, key), value) for key, value in values.items()}
        return joined(inside)
    except (SealError, ValueError) as error:
        raise unreadable(topic, error) from error


def unreadable(topic: str, error: Exception) -> StateError:
    """Return the error of a snapshot that cannot be read."""
    return StateError(
        f"topic {topic}: {error}",
        "restore the topic from a backup, or delete its records: the monitor then folds the "
        "retained summaries again",
    )


def mac_key(topic: str, key: bytes) -> bytes:
    """Return what the MAC of a record covers in addition to its value."""
    return topic.encode() + b"/" + key
