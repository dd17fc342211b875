"""Makes alarms of what was found: everything that a person needs to judge it."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.contract import Alarm, Severity
from stream_scorer.drift.alarms.episodes import event_id
from stream_scorer.drift.alarms.evidence import calibrated_error, guaranteed_error
from stream_scorer.drift.alarms.fleet import StreamAlarm
from stream_scorer.drift.alarms.severity import (
    fault_severity,
    fleet_severity,
    severity_of,
)
from stream_scorer.drift.monitor.version_streams import StreamsOfVersion
from stream_scorer.drift.monitor.version_watch import VersionWatch
from stream_scorer.drift.quality.contract import QualityFault
from stream_scorer.drift.windows.contract import ClosedWindow

ALSO_MOST: Final = 20
_ALSO_LEAST: Final = 1.0
"""Effect, in standard deviations, from which another stream is named."""
_REACH: Final = 4.0
_REACH_MOST: Final = 72
FLEET: Final = "fleet"


def stream_alarm(
    watch: VersionWatch, streams: StreamsOfVersion, alarm: StreamAlarm, closed: ClosedWindow, *,
    owners: Mapping[StreamKey, str], trigger_open: bool, snoozed: bool, detected_at: int,
) -> Alarm:  # fmt: skip
    """Return the alarm of a stream or of the fleet.

    Args:
        watch: The version.
        streams: Its streams.
        alarm: What fired.
        closed: The newest window.
        owners: Ids of the open faults that own streams.
        trigger_open: Whether a score or an outcome of all events has an open episode.
        snoozed: Whether alarms of this stream are snoozed.
        detected_at: Kafka time, ms.
    """
    found = alarm.found
    number, nulls = found.stream, streams.nulls
    key = streams.keys[number]
    onset = streams.onset(found, alarm.end)
    effect = (found.after - found.before) / float(nulls.scale[number])
    width = closed.end - closed.start
    reach = int(min(np.ceil(_REACH / max(effect**2, 1e-9)), _REACH_MOST)) * width
    owner = owners.get(key, "")
    moved = tuple(streams.keys[each] for each in alarm.part_of)
    severity = fleet_severity(moved) if alarm.fleet else (
        severity_of(key, trigger_open=trigger_open)
    )  # fmt: skip
    if owner:
        severity = Severity.NOTE
    kind = "fleet" if alarm.fleet else "drift"
    text = FLEET if alarm.fleet else key.text
    name = event_id(watch.model, watch.version, kind, text, alarm.end, "opened")
    labels, before, after = watch.distributions(key, onset, closed)
    family = streams.family
    same = (family.low[number], family.high[number]) == (nulls.low[number], nulls.high[number])
    guaranteed = bool(not nulls.classes[number] and same)
    return Alarm(
        event_id=name, episode=name, kind=kind, change="opened", severity=severity,
        model=watch.model, version=watch.version, stream=text, field=key.field,
        segment=key.segment, window_start=alarm.start, window_end=alarm.end,
        onset=onset, onset_low=onset - reach, onset_high=min(onset + reach, alarm.end),
        before=found.before, after=found.after, delta=float(nulls.delta[number]), effect=effect,
        labels=labels, before_counts=before, after_counts=after, log_e=found.log_evidence,
        guaranteed_error=guaranteed_error(streams.family, found) if guaranteed else None,
        calibrated_error=calibrated_error(streams.family, found), guaranteed=guaranteed,
        observations=int(streams.seen[number]), detector=found.detector,
        also=also_moved(streams, number, found.age, alarm.part_of), consequence_of=owner,
        snoozed=snoozed, detected_at=detected_at, value=float(streams.value[number]),
        reference=watch.reference,
        river=watch.river.found(key, onset - reach) if watch.river and not alarm.fleet else (),
    )  # fmt: skip


def also_moved(
    streams: StreamsOfVersion, number: int, age: int, part_of: tuple[int, ...]
) -> tuple[tuple[str, float], ...]:
    """Return the other streams with the largest effects since the onset, the largest first.

    Args:
        streams: All streams.
        number: The stream of the alarm.
        age: Observations since its onset.
        part_of: Streams that are named whatever their effects are.
    """
    # The null of a part of a fleet's change has just become its mean after it.
    before = streams.family.mean.copy()
    before[list(part_of)] = streams.prior[list(part_of)]
    centre = (before - streams.nulls.mean) / streams.nulls.scale
    effects = [
        (streams.history.mean_of(each, age) - float(centre[each]), each)
        for each in range(len(streams.keys) - 1)
        if each != number
    ]
    named = sorted(
        (
            (-abs(effect), each, effect)
            for effect, each in effects
            if abs(effect) >= _ALSO_LEAST or each in part_of
        )
    )
    return tuple((streams.keys[each].text, effect) for _, each, effect in named[:ALSO_MOST])


def fault_text(name: str, field: str, segment: str) -> str:
    """Return the text of a fault, as that of a stream's key.

    >>> fault_text("missing", "f1", "all"), fault_text("volume", "", "all")
    ('missing/f1@all', 'volume@all')
    """
    return "/".join(filter(None, (name, field))) + f"@{segment}"


def text_of(opened: Alarm) -> str:
    """Return the text of what an alarm is of: a stream, the fleet, or one fault."""
    if opened.kind != "fault":
        return opened.stream
    return fault_text(opened.stream, opened.field, opened.segment)


def fault_alarm(
    fault: QualityFault, model: str, version: str, *, snoozed: bool, detected_at: int
) -> Alarm:
    """Return the alarm of a fault that begins.

    Args:
        fault: The fault.
        model: Model whose windows show it; empty for the input.
        version: Its version.
        snoozed: Whether alarms are snoozed.
        detected_at: Kafka time, ms.
    """
    text = fault_text(fault.name, fault.field, fault.segment)
    name = event_id(model, version, "fault", text, fault.window_end, "opened")
    return Alarm(
        event_id=name, episode=name, kind="fault", change="opened",
        severity=fault_severity(fault), model=model, version=version, stream=fault.name,
        field=fault.field, segment=fault.segment, window_start=fault.window_start,
        window_end=fault.window_end, onset=fault.window_start, onset_low=fault.window_start,
        onset_high=fault.window_end, before=fault.usual, after=fault.value, delta=0.0, effect=0.0,
        labels=(), before_counts=(), after_counts=(), log_e=0.0, guaranteed_error=None,
        calibrated_error=None, guaranteed=False, observations=1, detector=fault.name, also=(),
        consequence_of="", snoozed=snoozed, detected_at=detected_at, value=fault.value,
    )  # fmt: skip


def snooze_event(until: int, detected_at: int, command: str) -> Alarm:
    """Return the event of a snooze of all alarms: its window is the time for which it holds.

    Args:
        until: Kafka time of its end, ms.
        detected_at: Kafka time of its beginning.
        command: Id of the command.
    """
    name = event_id("", "", "snooze", "all", until, "snoozed", command)
    return Alarm(
        event_id=name, episode=name, kind="snooze", change="snoozed", severity=Severity.NOTE,
        model="", version="", stream="all", field="", segment="all", window_start=detected_at,
        window_end=until, onset=detected_at, onset_low=detected_at, onset_high=detected_at,
        before=0.0, after=0.0, delta=0.0, effect=0.0, labels=(), before_counts=(), after_counts=(),
        log_e=0.0, guaranteed_error=None, calibrated_error=None, guaranteed=False, observations=0,
        detector="", also=(), consequence_of="", snoozed=True, detected_at=detected_at, value=0.0,
    )  # fmt: skip
