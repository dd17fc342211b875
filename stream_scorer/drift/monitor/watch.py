"""Turns summaries and commands into alarms: a deterministic fold, without a clock.

Time is Kafka time: the largest timestamp of the summaries that were read, without those that cannot
be right. So the same summaries and commands give the same alarms, bit for bit, whenever they are
read.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from itertools import groupby
from typing import Any, Final

import numpy as np

from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.alarms.episodes import Episodes
from stream_scorer.drift.alarms.fleet import StreamAlarm
from stream_scorer.drift.alarms.severity import is_trigger
from stream_scorer.drift.monitor.alarm_making import FLEET, stream_alarm
from stream_scorer.drift.monitor.command_effects import CommandBook
from stream_scorer.drift.monitor.fault_book import FaultBook
from stream_scorer.drift.monitor.version_streams import StreamsOfVersion
from stream_scorer.drift.monitor.version_watch import (
    OTHER_WIDTH,
    WATCHED_MOST,
    VersionWatch,
    too_many,
    version_of,
)
from stream_scorer.drift.windows.arrival_windows import ArrivalWindows
from stream_scorer.drift.windows.contract import ClosedWindow
from stream_scorer.drift.windows.first_window import first_of
from stream_scorer.drift.windows.tiles import Tiles
from stream_scorer.drift.windows.windows import Windows
from stream_scorer.models.reference.contract import DriftReference

VERSIONS_MOST: Final = 100
"""Maximum number of model versions; the least recently updated ones are forgotten."""
GONE_MS: Final = 24 * 3_600_000
"""A version without windows for this long decides no longer, if another one of its model does."""

ReferenceOf = Callable[[str, str, str], DriftReference | None]
"""Returns the reference of model, version and digest; None if it is not known."""


class UnreadableSummaryError(ValueError):
    """A summary's packed counts are not valid; nothing of it was added."""


class DriftWatch:
    """The monitor's complete state; :meth:`copy` keeps one to go back to.

    Args:
        budget: The budget of false alarms.
        partitions: The input's partitions.
        lateness_ms: The plan's lateness.
        reference_of: Looks up references; it does no input or output.
        ahead_ms: The plan's limit for event times that are after their Kafka timestamps.

    Attributes:
        budget: As above.
        windows: The open windows of events.
        arrivals: The open windows of arrival.
        tiles: How the summaries cover the input.
        versions: Model versions by name, the least recently updated first.
        episodes: All episodes.
        faults: The open faults of the input.
        commands: The commands that were folded.
        first_start: Start of the first window of the input, ms; -1 before any.
        closed: Number of windows that were closed.
        untiled: Number of those that were not judged, because they are not tiled.
    """

    def __init__(
        self, budget: AlarmBudget, partitions: Iterable[int], lateness_ms: int,
        reference_of: ReferenceOf, ahead_ms: int = 0,
    ) -> None:  # fmt: skip
        numbers = tuple(partitions)
        self.budget = budget
        self.windows = Windows(numbers, lateness_ms, ahead_ms)
        self.arrivals = ArrivalWindows(numbers)
        self.tiles = Tiles()
        self.versions: dict[tuple[str, str], VersionWatch] = {}
        self.episodes = Episodes()
        self.faults = FaultBook()
        self.commands = CommandBook()
        self.first_start = -1
        self.closed = self.untiled = 0
        self._reference_of = reference_of
        self._own: set[tuple[str, str]] = set()

    def copy(self) -> "DriftWatch":
        """Return a copy. Versions are copied only when one of the two states changes them."""
        made = copy(self)
        self._own = set()
        vars(made).update(
            windows=self.windows.copy(), arrivals=self.arrivals.copy(), tiles=self.tiles.copy(),
            versions=dict(self.versions), episodes=self.episodes.copy(), faults=self.faults.copy(),
            commands=self.commands.copy(), _own=set(),
        )  # fmt: skip
        return made

    @property
    def detected_at(self) -> int:
        """Kafka time: the largest timestamp of summaries that can be believed; -1 before any."""
        return self.windows.now

    @property
    def late(self) -> int:
        """Number of decisions that arrived after their windows had closed."""
        return self.windows.late

    @property
    def dropped(self) -> int:
        """Number of windows that were dropped because too many were open."""
        return self.windows.dropped

    def update(self, summary: Mapping[str, Any], published_ms: int) -> list[Alarm]:
        """Add one summary; return the alarms that it gives, in a fixed order.

        Args:
            summary: A record of the summary schema, v4 or read as v4, that is plausible.
            published_ms: Its Kafka timestamp.

        Raises:
            UnreadableSummaryError: Its packed counts are not valid; nothing was added.
        """
        digest = summary.get("reference", "")
        reference = (
            self._reference_of(summary["model"], summary["model_version"], digest)
            if digest
            else None
        )
        cells = int(reference.bins.first_cell[-1]) if reference else 0
        tiled = self.tiles.fit(summary["sources"])
        try:
            closed = self.windows.update(summary, published_ms, cells, tiled=tiled)
        except ValueError as error:
            raise UnreadableSummaryError(str(error)) from error
        self.tiles.take(summary["sources"])
        if closed and self.first_start < 0:
            known = (*closed, *self.windows.opened())
            self.first_start = first_of((each.start, each.count) for each in known)
        self.faults.begin(self, summary["sources"])
        found: list[Alarm] = []
        for arrived in self.arrivals.update(summary, published_ms, tiled=tiled):
            found += self.faults.arrived(self, arrived, reference)
        for (start, end), group in groupby(closed, lambda each: (each.start, each.end)):
            found += self._judge(start, end, list(group))
        return found

    def command(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Fold a command that was checked; return the events of its effect."""
        return self.commands.fold(self, record)

    def snoozed(self, model: str, version: str, stream: str) -> bool:
        """Whether the alarms of a stream are notes now; ``stream`` may be the text of a fault."""
        return self.commands.snoozed(self.detected_at, model, version, stream)

    def owned(self, name: tuple[str, str]) -> VersionWatch | None:
        """Return a version that no other copy of this state has."""
        found = self.versions.get(name)
        if found is not None and name not in self._own:
            found = self.versions[name] = found.copy()
            self._own.add(name)
        return found

    def put(self, watch: VersionWatch) -> None:
        """Add a version that no other copy of this state has."""
        name = (watch.model, watch.version)
        self.versions.pop(name, None)
        self.versions[name] = watch
        self._own.add(name)

    def _judge(self, start: int, end: int, closed: list[ClosedWindow]) -> list[Alarm]:
        self.closed += len(closed)
        if start < self.first_start:
            self.windows.late += sum(each.count for each in closed)
            return []
        found: list[Alarm] = []
        tiled = [each for each in closed if each.tiled]
        self.untiled += len(closed) - len(tiled)
        watches = []
        for each in closed:
            watch, ended = self._watch_of(each)
            watches.append(watch)
            found += ended
        if len(tiled) == len(closed):
            found += self.faults.decided(self, start, end, closed)
        else:
            self.faults.rules.unknown(end)
        for each, watch in zip(closed, watches, strict=True):
            if each.tiled and watch.streams is not None:
                found += self._judge_version(watch, watch.streams, each)
        found += self._forget(start)
        return found

    def _watch_of(self, closed: ClosedWindow) -> tuple[VersionWatch, list[Alarm]]:
        """Return the version of a window, as the newest one, and the events of what ends."""
        name = (closed.model, closed.version)
        watch = self.owned(name)
        ended: list[Alarm] = []
        if watch is None or self._is_begun_by(watch, closed):
            ended = self._ended({name}, closed.start, "reference")
            reference = self._reference_named(closed)
            ended += self._make_room(closed.start) if reference is not None else []
            watched = sum(each.streams is not None for each in self.versions.values())
            room = watched < WATCHED_MOST
            watch = version_of(closed, reference, self.budget, self.first_start, room=room)
        watch.last_start, watch.gone = max(watch.last_start, closed.start), False
        self.put(watch)
        while len(self.versions) > VERSIONS_MOST:
            # Forged names are without streams: they take the place of each other.
            oldest = next(name for name, each in self.versions.items() if each.streams is None)
            del self.versions[oldest]
            self._own.discard(oldest)
        return watch, ended

    def _is_begun_by(self, watch: VersionWatch, closed: ClosedWindow) -> bool:
        """Whether the streams of a known version begin with a window."""
        if not closed.reference or closed.reference != watch.reference:
            return bool(closed.reference)
        return watch.streams is None and self._reference_named(closed) is not None

    def _reference_named(self, closed: ClosedWindow) -> DriftReference | None:
        if not closed.reference:
            return None
        return self._reference_of(closed.model, closed.version, closed.reference)

    def _make_room(self, start: int) -> list[Alarm]:
        """Release streams if there are too many: those that were updated longest ago."""
        watched = [name for name, each in self.versions.items() if each.streams is not None]
        if len(watched) < WATCHED_MOST:
            return []
        gone = (n for n in watched if self.versions[n].last_start + GONE_MS < start)
        name = next(gone, None)
        released = self.owned(name) if name is not None else None
        if name is None or released is None:
            return []
        released.release()
        return self._ended({name}, start, "version")

    def _judge_version(
        self, watch: VersionWatch, streams: StreamsOfVersion, closed: ClosedWindow
    ) -> list[Alarm]:
        if closed.reference != watch.reference or watch.quality is None:
            return []
        if closed.end - closed.start != streams.reference.window_ms:
            watch.note = OTHER_WIDTH
            return []
        watch.note = ""
        found: list[Alarm] = []
        if closed.segments != streams.segments:
            if closed.start <= int(watch.recent_start[-1]):
                # A window of both tables, at a new revision of the plan: one of the two is enough.
                return []
            other = streams.with_segments(closed.segments, self.budget, self.first_start)
            if len(other.keys) > self.budget.streams_most + 1:
                watch.note = too_many(len(other.keys) - 1)
                return []
            removed = {key.text for key in streams.keys} - {key.text for key in other.keys}
            found += self._ended({(watch.model, watch.version)}, closed.start, "segment", removed)
            watch.streams = streams = other
        found += self.faults.judged(self, watch, watch.quality.window(closed))
        watch.count(closed)
        alarms = streams.judge(closed)
        watch.ask_river(closed)
        for alarm in alarms:
            found += self._opened(watch, streams, alarm, closed)
        return found + self._back(watch, streams, closed)

    def _opened(
        self, watch: VersionWatch, streams: StreamsOfVersion, alarm: StreamAlarm,
        closed: ClosedWindow,
    ) -> list[Alarm]:  # fmt: skip
        text = FLEET if alarm.fleet else streams.keys[alarm.found.stream].text
        made = stream_alarm(
            watch, streams, alarm, closed,
            owners=self.faults.owners(watch, streams),
            trigger_open=self._trigger_open(watch, streams),
            snoozed=self.snoozed(watch.model, watch.version, text),
            detected_at=self.detected_at,
        )  # fmt: skip
        return [*self.episodes.open(made), made]

    def _trigger_open(self, watch: VersionWatch, streams: StreamsOfVersion) -> bool:
        triggers = {key.text for key in streams.keys if is_trigger(key)}
        return any(
            (each.opened.model, each.opened.version) == (watch.model, watch.version)
            and each.opened.stream in triggers
            for each in self.episodes.opened()
        )

    def _back(
        self, watch: VersionWatch, streams: StreamsOfVersion, closed: ClosedWindow
    ) -> list[Alarm]:
        """Close the episodes of streams that are back within the tolerance."""
        back = streams.back()
        if not back.any():
            return []
        names = {streams.keys[n].text for n in np.flatnonzero(back[:-1]).tolist()}
        if back[-1]:
            names.add(FLEET)
        streams.restart(back)
        return self.episodes.close_all(
            closed.end, "back", self.detected_at,
            lambda opened: opened.kind != "fault"
            and (opened.model, opened.version) == (watch.model, watch.version)
            and opened.stream in names,
        )  # fmt: skip

    def _forget(self, start: int) -> list[Alarm]:
        """Close the episodes of versions that decide no longer; their streams begin again."""
        newest: dict[str, int] = {}
        for each in self.versions.values():
            newest[each.model] = max(newest.get(each.model, -1), each.last_start)
        gone = {
            name
            for name, each in self.versions.items()
            if not each.gone and each.last_start + GONE_MS < min(start, newest[each.model])
        }
        for name in sorted(gone):
            watch = self.owned(name)
            if watch is not None:
                watch.gone = True
                watch.begin_again(self.budget, self.first_start)
        return self._ended(gone, start, "version")

    def _ended(
        self, names: Collection[tuple[str, str]], start: int, why: str,
        streams: Collection[str] | None = None,
    ) -> list[Alarm]:  # fmt: skip
        """Close the episodes of versions, and forget their faults; return the events.

        Args:
            names: The versions.
            start: Event time, ms.
            why: See :class:`~stream_scorer.drift.alarms.episodes.EpisodeRecord`.
            streams: Only the episodes of these streams, and no faults; None for all.
        """
        if not names:
            return []
        if streams is None:
            self.faults.forget(names)
        return self.episodes.close_all(
            start, why, self.detected_at,
            lambda opened: (opened.model, opened.version) in names
            and (streams is None or (opened.kind == "drift" and opened.stream in streams)),
        )  # fmt: skip
