"""Episodes: what happened to each alarm, from its opening to its end.

::

    opened → acknowledged → closed: back within the tolerance, accepted, fault over, old version
       └──────────────────────┘

A stream with an open episode is tested against its mean after the change, so a second change opens
a second episode.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from stream_scorer.drift.alarms.contract import Alarm, EpisodeState, Severity

EPISODES_MOST: Final = 1_000
"""Maximum number of episodes that are kept; the oldest closed ones are forgotten first. If all are
open, the oldest one that is no fault is closed."""
COMMANDS_MOST: Final = 100
"""Maximum number of commands that an episode remembers."""
_ANSWERED: Final = ("acknowledged", "accepted", "snoozed")


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """An alarm with what happened to it.

    Attributes:
        opened: The alarm that opened it.
        state: Its state.
        ended: Event time of its end, ms; 0 while it is open.
        why: Why it is closed: ``back``, ``accepted``, ``version``, ``reference``, ``segment``
            or ``over``; empty while it is open.
        commands: Ids of the commands that changed or snoozed it, in their order.
    """

    opened: Alarm
    state: EpisodeState
    ended: int
    why: str
    commands: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether it is not closed."""
        return self.state is not EpisodeState.CLOSED

    def changes(self) -> frozenset[str]:
        """Return the ids that the events of its changes can have."""
        causes = [(change, each) for each in self.commands for change in _ANSWERED]
        causes.append(("closed", str(self.ended)))
        return frozenset(changed(self.opened, *each).event_id for each in causes)


def event_id(
    model: str, version: str, kind: str, stream: str, window_end: int, change: str, *more: str
) -> str:
    """Return the id of an event: the same whenever the same input is read.

    Args:
        model: Name of the model.
        version: Its version.
        kind: ``drift``, ``fleet`` or ``fault``.
        stream: Text of the stream's key.
        window_end: End of the window, ms since the epoch.
        change: ``opened``, ``closed``, ...
        more: What else the event depends on, such as the id of a command.
    """
    text = "\n".join((model, version, kind, stream, str(window_end), change, *more))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Episodes:
    """The episodes by id, in the order of their opening. A record is replaced, never changed."""

    records: dict[str, EpisodeRecord] = field(default_factory=dict)

    def copy(self) -> "Episodes":
        """Return a copy."""
        return Episodes(dict(self.records))

    def open(self, alarm: Alarm) -> list[Alarm]:
        """Begin an episode with an alarm, whose ``episode`` is its ``event_id``.

        Returns:
            The event of the episode that it closes if too many are open: the oldest one, and a
            fault only if all are.
        """
        ended: list[Alarm] = []
        if len(self.records) >= EPISODES_MOST:
            # Not a fault if possible: it lasts until its rule says that it is over.
            gone = self.records.pop(
                min(
                    self.records,
                    key=lambda name: (
                        self.records[name].is_open,
                        self.records[name].opened.kind == "fault",
                    ),
                )
            )
            if gone.is_open:
                cause = str(alarm.window_end)
                ended.append(changed(gone.opened, "closed", cause, alarm.detected_at))
        self.records[alarm.episode] = EpisodeRecord(alarm, EpisodeState.OPEN, 0, "", ())
        return ended

    def opened(self) -> list[EpisodeRecord]:
        """Return the open episodes, oldest first."""
        return [each for each in self.records.values() if each.is_open]

    def acknowledge(self, episode: str, command: str, detected_at: int) -> Alarm | None:
        """Acknowledge an episode; return the event, or None if there is nothing to acknowledge.

        Args:
            episode: Its id.
            command: Id of the command.
            detected_at: Kafka time, ms.
        """
        record = self.records.get(episode)
        if record is None or record.state is not EpisodeState.OPEN:
            return None
        self._replace(record, EpisodeState.ACKNOWLEDGED, 0, "", command)
        return changed(record.opened, "acknowledged", command, detected_at)

    def close(
        self, episode: str, ended: int, why: str, detected_at: int, command: str = ""
    ) -> Alarm | None:
        """Close an episode; return the event, or None if it is not open.

        Args:
            episode: Its id.
            ended: Event time, ms.
            why: See :class:`EpisodeRecord`.
            detected_at: Kafka time, ms.
            command: Id of the command that closes it; empty for none.
        """
        record = self.records.get(episode)
        if record is None or not record.is_open:
            return None
        self._replace(record, EpisodeState.CLOSED, ended, why, command)
        change = "accepted" if why == "accepted" else "closed"
        return changed(record.opened, change, command or str(ended), detected_at)

    def close_all(
        self, ended: int, why: str, detected_at: int, of: Callable[[Alarm], bool]
    ) -> list[Alarm]:
        """Close the open episodes whose first alarm fits; return the events."""
        closed = (
            self.close(each.opened.episode, ended, why, detected_at)
            for each in self.opened()
            if of(each.opened)
        )
        return [each for each in closed if each is not None]

    def snooze(self, episode: str, command: str, detected_at: int) -> Alarm | None:
        """Note that a command snoozed an episode; return the event, or None without one."""
        record = self.records.get(episode)
        if record is None:
            return None
        self._replace(record, record.state, record.ended, record.why, command)
        return changed(record.opened, "snoozed", command, detected_at)

    def find(self, event: str) -> EpisodeRecord | None:
        """Return the episode of an id; None if there is none."""
        return self.records.get(event)

    def _replace(
        self, record: EpisodeRecord, state: EpisodeState, ended: int, why: str, command: str
    ) -> None:
        commands = (*record.commands, command)[-COMMANDS_MOST:] if command else record.commands
        self.records[record.opened.episode] = replace(
            record, state=state, ended=ended, why=why, commands=commands
        )


def changed(opened: Alarm, change: str, cause: str, detected_at: int = 0) -> Alarm:
    """Return the event of a change of an episode.

    Args:
        opened: The alarm that opened the episode.
        change: ``acknowledged``, ``accepted``, ``closed`` or ``snoozed``.
        cause: Id of the command, or the time of the end: it makes the id unique.
        detected_at: Kafka time, ms.
    """
    name = event_id(
        opened.model, opened.version, opened.kind, opened.stream, opened.window_end, change, cause
    )
    return replace(
        opened, event_id=name, change=change, severity=Severity.NOTE, detected_at=detected_at
    )
