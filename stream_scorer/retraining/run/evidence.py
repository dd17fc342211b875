"""What a trainer reads: matured days, the champion's alarm, and open faults of the data."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from stream_scorer.codec.records.record import RecordError
from stream_scorer.codec.records.record_reader import RecordReader
from stream_scorer.drift.state.document import MonitorDocument
from stream_scorer.drift.state.topic import newest as newest_snapshot
from stream_scorer.errors import SchemaError, StateError
from stream_scorer.kafka.reading.read_to_end import newest
from stream_scorer.retraining.rules.triggers import LossAlarm, MaturedDay
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.record_mac import read_seal

_MOST: Final = 20_000
"""Number of the newest records that are read of a topic."""
_ALL: Final = "all"


def read_days(settings: Settings, model: str) -> list[MaturedDay]:
    """Return the matured days of a model's decisions, of all its versions and arms, ascending.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    topic = settings.kafka.topics.performance
    return days_of(_records(settings, topic, "performance.v1"), model)


def read_alarm(settings: Settings, champion: str) -> LossAlarm | None:
    """Return the newest alarm that the champion's loss has risen; None without one.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    topic = settings.kafka.topics.drift_events
    return alarm_of(_records(settings, topic, "drift-event.v3"), champion)


def read_faults(settings: Settings) -> tuple[str, ...]:
    """Return the open faults of the data, by the monitor's newest snapshot.

    Raises:
        SettingsError: The topic does not exist.
        StateError: The snapshot is not of this format.
        UnavailableError: The broker does not answer.
    """
    topic = settings.kafka.topics.drift_state
    mac = read_seal(settings.state.mac_key_file, required=settings.state.mac_required)
    snapshot = newest_snapshot(settings.kafka, topic, mac)
    if snapshot is None:
        return ()
    try:
        document = MonitorDocument.read(snapshot.data)
    except ValueError as error:
        raise StateError(f"topic {topic}: {error}") from error
    return tuple(f"{each.fault.name} {each.fault.field}".strip() for each in document.faults)


def days_of(records: Iterable[Mapping[str, Any]], model: str) -> list[MaturedDay]:
    """Return the days of records of the topic ``performance``; see :func:`read_days`."""
    found: dict[int, tuple[int, int]] = {}
    for each in records:
        if each["kind"] != "DAY" or each["segment"] != _ALL or each["model"] != model:
            continue
        end = _ms(each["end"])
        rows, frauds = found.get(end, (0, 0))
        found[end] = rows + each["rows"] * each["sampled"], frauds + each["frauds"]
    return [MaturedDay(end, rows, frauds) for end, (rows, frauds) in sorted(found.items())]


def alarm_of(records: Iterable[Mapping[str, Any]], champion: str) -> LossAlarm | None:
    """Return the alarm of drift events; see :func:`read_alarm`."""
    alarm = None
    for each in records:
        label = f"{each['model']}:{each['model_version']}"
        of_loss = each["kind"] == "performance" and each["change"] == "opened"
        if of_loss and each["segment"] == _ALL and label == champion:
            detail = f"{each['signal']} rose: {each['reference']:.4g} to {each['estimate']:.4g}"
            alarm = LossAlarm(each["event_id"], _ms(each["onset"]), detail)
    return alarm


def _records(settings: Settings, topic: str, schema: str) -> Iterable[Mapping[str, Any]]:
    reader = RecordReader(settings.registry, schema)
    for message in newest(settings.kafka, topic, _MOST):
        try:
            yield reader.decode(message.value())
        except (RecordError, SchemaError):
            continue  # another client wrote it


def _ms(when: datetime | int) -> int:
    return when if isinstance(when, int) else round(when.timestamp() * 1_000)
