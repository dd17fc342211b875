"""The faults of the input that are open, and the streams that they own."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.alarms.nulls import Bool
from stream_scorer.drift.monitor.alarm_making import fault_alarm, fault_text
from stream_scorer.drift.monitor.version_streams import StreamsOfVersion
from stream_scorer.drift.monitor.version_watch import VersionWatch
from stream_scorer.drift.monitor.watch_state import WatchState
from stream_scorer.drift.quality.arrivals import ArrivalRules
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.quality.ownership import owned
from stream_scorer.drift.state.document import OpenFault
from stream_scorer.drift.windows.contract import ClosedArrivals, ClosedWindow
from stream_scorer.drift.windows.windows import milliseconds
from stream_scorer.models.reference.contract import DriftReference

Key = tuple[str, str, str, str, str]
"""Model and version (empty for the input), then name, field and segment of a fault."""


@dataclass(slots=True)
class FaultBook:
    """Open faults and the rules for arrivals.

    Attributes:
        rules: The rules for the input.
        open: The open faults, oldest first.
    """

    rules: ArrivalRules = field(default_factory=ArrivalRules)
    open: dict[Key, OpenFault] = field(default_factory=dict)

    def copy(self) -> "FaultBook":
        """Return a copy that can change separately."""
        return FaultBook(self.rules.copy(), dict(self.open))

    def begin(self, watch: WatchState, sources: Sequence[Mapping[str, Any]]) -> None:
        """Note where the input begins: by the first summary with an accepted event.

        Args:
            watch: The complete state.
            sources: Those of the summary.
        """
        newest = max((milliseconds(each["watermark"]) for each in sources), default=0)
        if newest > 0:
            # A watermark in the future must not keep windows from being judged.
            self.rules.begin(min(newest, watch.detected_at))

    def arrived(
        self, watch: WatchState, closed: ClosedArrivals, reference: DriftReference | None
    ) -> list[Alarm]:
        """Judge a window of arrival; return the events.

        Args:
            watch: The complete state.
            closed: The window.
            reference: That of the summary that closed it; it counts if no version is watched.
        """
        usual = _newest_reference(watch) or reference
        rejects = usual.rejects if usual is not None else {}
        return self._fold(watch, "", "", self.rules.arrivals(closed, rejects))

    def decided(
        self, watch: WatchState, start: int, end: int, closed: Sequence[ClosedWindow]
    ) -> list[Alarm]:
        """Judge the number of decisions in a window of events; return the events.

        Args:
            watch: The complete state.
            start: Start of the window, ms.
            end: Its end.
            closed: The windows of all versions.
        """
        reference = _newest_reference(watch)
        if reference is None:
            self.rules.unknown(end)
            return []
        count = sum(each.count for each in closed)
        faults = self.rules.decided(start, end, count, reference.volume, reference.window_ms)
        return self._fold(watch, "", "", faults)

    def judged(
        self, watch: WatchState, version: VersionWatch, faults: Sequence[QualityFault]
    ) -> list[Alarm]:
        """Fold the faults of a version's window; return the events."""
        return self._fold(watch, version.model, version.version, faults)

    def forget(self, names: Collection[tuple[str, str]]) -> None:
        """Forget the faults of versions, given by model and version."""
        self.open = {key: each for key, each in self.open.items() if key[:2] not in names}

    def owners(self, version: VersionWatch, streams: StreamsOfVersion) -> dict[StreamKey, str]:
        """Return the id of the oldest open fault that owns a stream, by stream."""
        found: dict[StreamKey, str] = {}
        for each in self.open.values():
            if each.model in ("", version.model) and each.version in ("", version.version):
                for key in owned(each.fault, streams.reference):
                    found.setdefault(key, each.event_id)
        return found

    def _fold(
        self, watch: WatchState, model: str, version: str, faults: Sequence[QualityFault]
    ) -> list[Alarm]:
        found = []
        for fault in faults:
            key = (model, version, fault.name, fault.field, fault.segment)
            known = self.open.get(key)
            if fault.open and known is None:
                text = fault_text(fault.name, fault.field, fault.segment)
                snoozed = watch.snoozed(model, version, text)
                alarm = fault_alarm(
                    fault, model, version, snoozed=snoozed, detected_at=watch.detected_at
                )
                opened = OpenFault(alarm.event_id, model, version, fault)
                for streams, mine in self._owned_alone(watch, opened):
                    streams.hold(mine)
                self.open[key] = opened
                found += [*watch.episodes.open(alarm), alarm]
            elif fault.open and known is not None:
                self.open[key] = OpenFault(known.event_id, model, version, fault)
            elif known is not None:
                del self.open[key]
                closed = watch.episodes.close(
                    known.event_id, fault.window_end, "over", watch.detected_at
                )
                found += [closed] if closed is not None else []
                found += watch.episodes.close_all(
                    fault.window_end, "over", watch.detected_at, _explained_by(known.event_id)
                )
                for streams, mine in self._owned_alone(watch, known):
                    streams.release(mine)
        return found

    def _owned_alone(
        self, watch: WatchState, fault: OpenFault
    ) -> Iterator[tuple[StreamsOfVersion, Bool]]:
        """Yield by version which streams a fault owns, without those of the book's faults."""
        for name, each in list(watch.versions.items()):
            if each.streams is None or fault.model not in ("", each.model):
                continue
            if fault.version not in ("", each.version):
                continue
            version = watch.owned(name)
            if version is None or version.streams is None:
                continue
            streams = version.streams
            others = self.owners(version, streams)
            mine = owned(fault.fault, streams.reference)
            yield (
                streams,
                np.array([key in mine and key not in others for key in streams.keys], np.bool_),
            )

    def document(self) -> dict[str, Any]:
        """Return what the snapshot's ``faults`` do not have, for JSON."""
        return {"rules": self.rules.snapshot().decode()}

    @classmethod
    def read(cls, document: Mapping[str, Any], faults: Sequence[OpenFault]) -> "FaultBook":
        """Return the book of a state.

        Args:
            document: See :meth:`document`.
            faults: The open faults, oldest first.

        Raises:
            KeyError: A part is missing.
            ValueError: The rules' state is invalid.
        """
        open_faults = {
            (each.model, each.version, each.fault.name, each.fault.field, each.fault.segment): each
            for each in faults
        }
        return cls(ArrivalRules.restore(document["rules"].encode()), open_faults)


def _newest_reference(watch: WatchState) -> DriftReference | None:
    """Return the reference of the version that was updated last; None if none is watched."""
    found = (each.streams for each in reversed(watch.versions.values()))
    return next((each.reference for each in found if each is not None), None)


def _explained_by(event_id: str) -> Callable[[Alarm], bool]:
    """Return whether an alarm is a consequence of a fault."""
    return lambda opened: opened.consequence_of == event_id
