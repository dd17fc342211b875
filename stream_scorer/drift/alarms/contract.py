"""An alarm of the monitor, which becomes a drift event."""

import math
from dataclasses import dataclass
from enum import StrEnum

from stream_scorer.drift.alarms.river_streams import RiverDetection


class Severity(StrEnum):
    """What an alarm asks of a person: nothing now, a look by day, a look immediately."""

    NOTE = "note"
    WARN = "warn"
    PAGE = "page"


class EpisodeState(StrEnum):
    """State of an episode."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change of an episode. Every attribute depends on summaries and commands only.

    Attributes:
        event_id: 16 hex digits of the sha256 of model, version, kind, stream, window_end, change.
        episode: ``event_id`` of the episode's first event.
        kind: ``drift``, ``fleet`` or ``fault``; ``snooze`` for a snooze of all alarms.
        change: ``opened``, ``acknowledged``, ``accepted``, ``closed`` or ``snoozed``.
        severity: How urgent it is while it is not snoozed.
        model: Name of the model; empty for a fault of the input.
        version: Its version; likewise.
        stream: Text of the stream's key, ``fleet``, or the name of a fault.
        field: The watched field; empty for the input.
        segment: Name of a segment, or ``all``.
        window_start: Start of the window that gave the alarm, ms since the epoch.
        window_end: End of that window, likewise.
        onset: Likely time of the change, ms of event time.
        onset_low: Earliest likely time.
        onset_high: Latest likely time.
        before: Value of the stream before the change.
        after: Value after it.
        delta: Tolerance: the change that does not matter, in the unit of ``before``.
        effect: (after - before) / scale of the stream.
        labels: What each count is of, at most 32.
        before_counts: Events by cell before the change.
        after_counts: Events by cell after it.
        log_e: Logarithm of the e-value.
        guaranteed_error: Bound of the expected number of false alarms with as much evidence within
            the patience, and so of the probability of one; None if the stream is not in the
            guaranteed class, or if only the calibrated detector fired.
        calibrated_error: That expected number, as calibrated: an estimate, and not a probability;
            None if only the guaranteed one fired.
        guaranteed: Whether the stream is in the guaranteed class, whatever fired.
        observations: Observations since the detector's last reset.
        detector: Name of the detector, or of the rule.
        also: Other streams that moved, with their effects; at most 20, the largest first.
        consequence_of: ``event_id`` of the fault that owns the stream; empty for none.
        snoozed: Whether alarms were snoozed.
        detected_at: Largest Kafka timestamp of the summaries that were read, ms.
        value: The value of the window that gave the alarm; NaN if there is none.
        reference: Digest of the version's reference; empty for none.
        commander: Key id of the command that made the change; empty for none or an unsigned one.
        river: What River's detectors found in the stream since the earliest onset.
    """

    event_id: str
    episode: str
    kind: str
    change: str
    severity: Severity
    model: str
    version: str
    stream: str
    field: str
    segment: str
    window_start: int
    window_end: int
    onset: int
    onset_low: int
    onset_high: int
    before: float
    after: float
    delta: float
    effect: float
    labels: tuple[str, ...]
    before_counts: tuple[int, ...]
    after_counts: tuple[int, ...]
    log_e: float
    guaranteed_error: float | None
    calibrated_error: float | None
    guaranteed: bool
    observations: int
    detector: str
    also: tuple[tuple[str, float], ...]
    consequence_of: str
    snoozed: bool
    detected_at: int
    value: float = math.nan
    reference: str = ""
    commander: str = ""
    river: tuple[RiverDetection, ...] = ()

    @property
    def shown(self) -> Severity:
        """The severity of its event: a note if alarms were snoozed."""
        return Severity.NOTE if self.snoozed else self.severity
