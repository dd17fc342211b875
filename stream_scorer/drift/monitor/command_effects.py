"""What commands do: they acknowledge, accept and snooze alarms, and never change a decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stream_scorer.drift.alarms.contract import Alarm, Severity
from stream_scorer.drift.alarms.episodes import EpisodeRecord
from stream_scorer.drift.monitor.alarm_making import FLEET, snooze_event, text_of
from stream_scorer.drift.monitor.watch_state import WatchState
from stream_scorer.drift.operator.command import SNOOZE_MOST_MS

IDS_MOST: Final = 10_000
"""Number of command ids that are kept; a repeated command has no effect."""
SNOOZES_MOST: Final = 1_000
REASONS_MOST: Final = 1_000
_Name = tuple[str, str, str]


@dataclass(slots=True)
class CommandBook:
    """The commands that were folded.

    Attributes:
        offset: Next offset of the commands topic.
        accepted: Number of commands that had an effect.
        seen: The newest ids, oldest first.
        snooze_until: Kafka time until which all alarms are notes, ms; 0 for none.
        snoozes: The same by model, version and stream.
        reasons: Why, by the id of the event that a command made; the newest, oldest first.
    """

    offset: int = 0
    accepted: int = 0
    seen: dict[str, None] = field(default_factory=dict)
    snooze_until: int = 0
    snoozes: dict[_Name, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "CommandBook":
        """Return a copy."""
        return replace(
            self, seen=dict(self.seen), snoozes=dict(self.snoozes), reasons=dict(self.reasons)
        )

    def snoozed(self, now: int, model: str, version: str, stream: str) -> bool:
        """Whether the alarms of a stream are notes.

        Args:
            now: Kafka time, ms.
            model: Name of the model.
            version: Its version.
            stream: Text of the stream's key, ``fleet``, or the text of a fault.
        """
        own = self.snoozes.get((model, version, stream), 0)
        # One from before the first summary was not limited yet.
        return any(now < until <= now + SNOOZE_MOST_MS for until in (self.snooze_until, own))

    def snoozed_in(self, watch: WatchState) -> tuple[str, ...]:
        """Return the ids of the open episodes that are notes now, because they are snoozed."""
        return tuple(
            each.opened.episode
            for each in watch.episodes.opened()
            if watch.snoozed(each.opened.model, each.opened.version, text_of(each.opened))
        )

    def open_by_severity(self, watch: WatchState) -> dict[str, int]:
        """Return the number of open episodes by severity, for every severity."""
        counts = {str(each): 0 for each in Severity}
        notes = set(self.snoozed_in(watch))
        for each in watch.episodes.opened():
            snoozed = each.opened.episode in notes
            counts[str(Severity.NOTE if snoozed else each.opened.severity)] += 1
        return counts

    def fold(self, watch: WatchState, record: Mapping[str, Any]) -> list[Alarm]:
        """Apply a checked command; return its events, none if it has no effect.

        Args:
            watch: The complete state.
            record: The command; ``until`` is in ms.
        """
        identity = record["command_id"]
        if identity in self.seen:
            return []
        self.seen[identity] = None
        while len(self.seen) > IDS_MOST:
            del self.seen[next(iter(self.seen))]
        events = self._effect(watch, record)
        if events is None:
            return []
        self.accepted += 1
        if record.get("reason"):
            self.reasons |= {each.event_id: str(record["reason"]) for each in events}
        while len(self.reasons) > REASONS_MOST:
            del self.reasons[next(iter(self.reasons))]
        return [replace(each, commander=record["key_id"]) for each in events]

    def _effect(self, watch: WatchState, record: Mapping[str, Any]) -> list[Alarm] | None:
        kind, event, identity = record["kind"], record["event_id"], record["command_id"]
        until = _limited(record["until"] or 0, watch.detected_at)
        if kind == "snooze" and not event:
            self.snooze_until = until
            return [snooze_event(self.snooze_until, watch.detected_at, identity)]
        episode = watch.episodes.find(event)
        if episode is None:
            return None
        opened = episode.opened
        if kind == "snooze":
            name = (opened.model, opened.version, text_of(opened))
            self.snoozes.pop(name, None)
            self.snoozes[name] = until
            while len(self.snoozes) > SNOOZES_MOST:
                del self.snoozes[next(iter(self.snoozes))]
            made = watch.episodes.snooze(event, identity, watch.detected_at)
            return None if made is None else [made]
        if kind == "ack":
            made = watch.episodes.acknowledge(event, identity, watch.detected_at)
            return None if made is None else [made]
        made = watch.episodes.close(
            event, watch.windows.watermark, "accepted", watch.detected_at, identity
        )
        if made is not None:
            _accept(watch, episode)
        return None if made is None else [made]

    def document(self) -> dict[str, Any]:
        """Return the state without the reasons, which people see, for JSON."""
        return {
            "offset": self.offset, "accepted": self.accepted, "seen": list(self.seen),
            "snooze_until": self.snooze_until,
            "snoozes": [[*name, until] for name, until in self.snoozes.items()],
        }  # fmt: skip

    @classmethod
    def read(cls, document: Mapping[str, Any], reasons: Mapping[str, str]) -> "CommandBook":
        """Return the book of a state.

        Args:
            document: See :meth:`document`.
            reasons: The reasons.

        Raises:
            KeyError: A part is missing.
            ValueError: It is not a state.
        """
        snoozes = {
            (str(model), str(version), str(stream)): int(until)
            for model, version, stream, until in document["snoozes"]
        }
        return cls(
            int(document["offset"]), int(document["accepted"]),
            {str(identity): None for identity in document["seen"]},
            int(document["snooze_until"]), snoozes, dict(reasons),
        )  # fmt: skip


def _limited(until: int, now: int) -> int:
    """Return the end of a snooze: by Kafka time, since the time of a command is its writer's."""
    return min(int(until), now + SNOOZE_MOST_MS) if now >= 0 else int(until)


def _accept(watch: WatchState, episode: EpisodeRecord) -> None:
    """Take the streams' means after the change as usual.

    Of a stream that has an episode of its own, the acceptance of a fleet's change takes the fleet's
    part only.
    """
    opened = episode.opened
    name = (opened.model, opened.version)
    version = watch.owned(name)
    if version is None or version.streams is None or opened.kind == "fault":
        return
    own = {
        each.opened.stream
        for each in watch.episodes.opened()
        if (each.opened.model, each.opened.version) == name and each.opened.kind == "drift"
    }
    streams = version.streams
    for number, key in enumerate(streams.keys):
        fleet = opened.stream == FLEET and streams.after[number] >= 0
        if fleet and key.text in own:
            streams.accept_part(number)
        elif fleet or key.text == opened.stream:
            streams.accept(number)
