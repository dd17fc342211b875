"""Turns summaries and commands into alarms: a deterministic fold, without a clock.

Time is Kafka time: the largest timestamp of the summaries that were read. So the same summaries and
commands give the same alarms, bit for bit, whenever they are read.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from itertools import groupby
from typing import Any, Final

import numpy as np

from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.alarms.episodes import Episodes
from stream_scorer.drift.alarms.river_streams import RiverStreams
from stream_scorer.drift.alarms.severity import is_trigger
from stream_scorer.drift.monitor.alarm_making import FLEET, stream_alarm
from stream_scorer.drift.monitor.command_effects import CommandBook
from stream_scorer.drift.monitor.fault_book import FaultBook
from stream_scorer.drift.monitor.version_streams import StreamAlarm, StreamsOfVersion
from stream_scorer.drift.monitor.version_watch import NO_REFERENCE, RECENT, VersionWatch
from stream_scorer.drift.quality.rules import QualityRules
from stream_scorer.drift.windows.arrival_windows import ArrivalWindows
from stream_scorer.drift.windows.contract import ClosedWindow
from stream_scorer.drift.windows.tiles import Tiles
from stream_scorer.drift.windows.windows import Windows
from stream_scorer.models.reference.contract import DriftReference

VERSIONS_MOST: Final = 100
"""Maximum number of model versions; the least recently updated ones are forgotten."""
WATCHED_MOST: Final = 16
"""Maximum number of versions with streams."""
GONE_MS: Final = 24 * 3_600_000
"""A version without windows for this long decides no longer, if another one of its model does."""
TOO_MANY: Final = "has more streams than monitor.streams_most allows"

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

    Attributes:
        budget: As above.
        windows: The open windows of events.
        arrivals: The open windows of arrival.
        tiles: How the summaries cover the input.
        versions: Model versions by name, the least recently updated first.
        episodes: All episodes.
        faults: The open faults of the input.
        commands: The commands that were folded.
        detected_at: Largest Kafka timestamp of the summaries; -1 before any.
        first_start: Start of the first window of the input, ms; -1 before any.
        closed: Number of windows that were closed.
        untiled: Number of those that were not judged, because they are not tiled.
    """

    def __init__(
        self, budget: AlarmBudget, partitions: Iterable[int], lateness_ms: int,
        reference_of: ReferenceOf,
    ) -> None:  # fmt: skip
        numbers = tuple(partitions)
        self.budget = budget
        self.windows = Windows(numbers, lateness_ms)
        self.arrivals = ArrivalWindows(numbers)
        self.tiles = Tiles()
        self.versions: dict[tuple[str, str], VersionWatch] = {}
        self.episodes = Episodes()
        self.faults = FaultBook()
        self.commands = CommandBook()
        self.detected_at = -1
        self.first_start = -1
        self.closed = 0
        self.untiled = 0
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
        self.detected_at = max(self.detected_at, published_ms)
        found: list[Alarm] = []
        for arrived in self.arrivals.update(summary, published_ms, tiled=tiled):
            found += self.faults.arrived(self, arrived)
        for (start, end), group in groupby(closed, lambda each: (each.start, each.end)):
            found += self._judge(start, end, list(group))
        return found

    def command(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Fold a command that was checked; return the events of its effect."""
        return self.commands.fold(self, record)

    def snoozed(self, model: str, version: str, stream: str) -> bool:
        """Whether the alarms of a stream are notes now; ``stream`` may be the name of a fault."""
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
        if self.first_start < 0:
            self.first_start = start
        found: list[Alarm] = []
        tiled = [each for each in closed if each.tiled]
        self.untiled += len(closed) - len(tiled)
        watches = [self._watch_of(each) for each in closed]
        if len(tiled) == len(closed):
            found += self.faults.decided(self, start, end, closed)
        for each, watch in zip(closed, watches, strict=True):
            if each.tiled and watch.streams is not None:
                found += self._judge_version(watch, watch.streams, each)
        found += self._forget(start)
        return found

    def _watch_of(self, closed: ClosedWindow) -> VersionWatch:
        """Return the version of a window, as the newest one."""
        name = (closed.model, closed.version)
        watch = self.owned(name)
        if watch is None or (closed.reference and closed.reference != watch.reference):
            watch = self._begun(closed)
        watch.last_start = max(watch.last_start, closed.start)
        self.put(watch)
        while len(self.versions) > VERSIONS_MOST:
            oldest = next(iter(self.versions))
            del self.versions[oldest]
            self._own.discard(oldest)
        return watch

    def _begun(self, closed: ClosedWindow) -> VersionWatch:
        reference = (
            self._reference_of(closed.model, closed.version, closed.reference)
            if closed.reference
            else None
        )
        made = VersionWatch(
            closed.model, closed.version, closed.reference, NO_REFERENCE, -1, None, None,
            np.zeros((RECENT, 0), np.int32), np.full(RECENT, -1),
        )  # fmt: skip
        watched = sum(each.streams is not None for each in self.versions.values())
        if reference is None or watched >= WATCHED_MOST:
            return made
        streams = StreamsOfVersion(reference, closed.segments, self.budget, self.first_start)
        if len(streams.keys) > self.budget.streams_most + 1:
            made.note = f"{len(streams.keys) - 1} streams: {TOO_MANY}"
            return made
        made.note, made.streams, made.quality = "", streams, QualityRules(reference)
        made.river = RiverStreams(self.budget.windows(reference.window_ms))
        made.recent = np.zeros((RECENT, closed.counts.shape[1]), np.int32)
        return made

    def _judge_version(
        self, watch: VersionWatch, streams: StreamsOfVersion, closed: ClosedWindow
    ) -> list[Alarm]:
        if closed.reference != watch.reference or watch.quality is None:
            return []
        if closed.segments != streams.segments:
            if closed.start <= int(watch.recent_start[-1]):
                # A window of both tables, at a new revision of the plan: one of the two is enough.
                return []
            other = streams.with_segments(closed.segments, self.budget, self.first_start)
            if len(other.keys) > self.budget.streams_most + 1:
                return []
            watch.streams = streams = other
        found = self.faults.judged(self, watch, watch.quality.window(closed))
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
        self.episodes.open(made)
        return [made]

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
        """Close the episodes of versions that decide no longer."""
        newest: dict[str, int] = {}
        for each in self.versions.values():
            newest[each.model] = max(newest.get(each.model, -1), each.last_start)
        gone = {
            name
            for name, each in self.versions.items()
            if each.last_start + GONE_MS < min(start, newest[each.model])
        }
        if not gone:
            return []
        return self.episodes.close_all(
            start, "version", self.detected_at,
            lambda opened: (opened.model, opened.version) in gone,
        )  # fmt: skip
