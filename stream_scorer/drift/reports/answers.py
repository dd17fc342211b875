"""Whether an answer to an alarm can have an effect: one that cannot is not written.

The monitor's snapshot can be authenticated (``state.mac_key_file``), and its events cannot. So an
alarm that the snapshot has is what the snapshot says, whatever the topic says of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stream_scorer.drift.reports.events import iso
from stream_scorer.drift.state.document import MonitorDocument
from stream_scorer.errors import RolloutError

_FIX = "stream-scorer drift status lists the alarms that can be answered"


def knows(document: MonitorDocument | None, event: str) -> bool:
    """Return whether the monitor's newest snapshot has the alarm of an event."""
    return document is not None and any(each.opened.episode == event for each in document.episodes)


def refuse_useless(
    kind: str, event: str, document: MonitorDocument | None, events: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse a command that the monitor would fold without an effect.

    Args:
        kind: ``ack``, ``accept`` or ``snooze``.
        event: Id of the event.
        document: The monitor's newest snapshot; None if there is none.
        events: The events of the topic, oldest first.

    Raises:
        RolloutError: It would have no effect; the message says why.
    """
    kept = {} if document is None else {each.opened.episode: each for each in document.episodes}
    episode = kept.get(event)
    told = () if episode is not None else events
    named = next((each for each in told if each["event_id"] == event), None)
    if named is not None and named["change"] != "opened":
        why = f"does not open an alarm: it is a change ({named['change']})"
        if named["episode"] != event:
            why += f" of the alarm {named['episode']}"
        raise RolloutError(f"drift {kind}: event {event} {why}", _FIX)
    changes = {each["change"] for each in told if each["episode"] == event}
    if episode is not None:
        changes = {episode.state.value}
    newest = "" if document is None else iso(document.meta.detected_at) or ""
    # A snapshot of a later time than the event would have its alarm.
    if named is not None and (named["detected_at"] or "") < newest:
        raise RolloutError(f"drift {kind}: the monitor has forgotten event {event}", _FIX)
    if kind == "snooze":
        return
    for change in ("accepted", "closed", *(("acknowledged",) if kind == "ack" else ())):
        if change in changes:
            raise RolloutError(f"drift {kind}: event {event} is {change} already", _FIX)
