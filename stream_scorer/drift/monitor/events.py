"""What the monitor tells: alarms as drift events, version 3, and how many are open."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.alarms.nulls import SCORES
from stream_scorer.drift.monitor.snapshots import document_of
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.state.document import ALARMED, LEARNING, WATCHED
from stream_scorer.ports import BytesColumn, Outgoing
from stream_scorer.telemetry import DriftWatched

_STATES: Final = {LEARNING: "learning", WATCHED: "watched", ALARMED: "alarmed"}


def events_of(alarms: Sequence[Alarm], codec: RecordCodec, topic: str) -> list[Outgoing]:
    """Return the records of alarms, in their order; none without alarms.

    Args:
        alarms: The alarms.
        codec: Encodes ``drift-event.v3``.
        topic: The topic of drift events.
    """
    if not alarms:
        return []
    values = [codec.encode(event_of(each)) for each in alarms]
    keys = [f"{each.model}:{each.version}:{each.stream}".encode() for each in alarms]
    return [Outgoing(topic, BytesColumn.of(values), BytesColumn.of(keys))]


def event_of(alarm: Alarm) -> dict[str, Any]:
    """Return the fields of an alarm's event; times are in ms."""
    return {
        "detected_at": alarm.detected_at,
        "window_start": alarm.window_start,
        "window_end": alarm.window_end,
        "signal": alarm.stream,
        "detector": alarm.detector,
        "model": alarm.model,
        "model_version": alarm.version,
        "value": alarm.value,
        "reference": alarm.before,
        "estimate": alarm.after,
        "observations": alarm.observations,
        "event_id": alarm.event_id,
        "episode": alarm.episode,
        "kind": alarm.kind,
        "change": alarm.change,
        "severity": str(alarm.shown),
        "field": alarm.field,
        "segment": alarm.segment,
        "onset": alarm.onset,
        "onset_low": alarm.onset_low,
        "onset_high": alarm.onset_high,
        "effect": alarm.effect,
        "tolerance": alarm.delta,
        "labels": list(alarm.labels),
        "before": list(alarm.before_counts),
        "after": list(alarm.after_counts),
        "log_evidence": alarm.log_e,
        "guaranteed_error": alarm.guaranteed_error,
        "calibrated_error": alarm.calibrated_error,
        "guaranteed": alarm.guaranteed,
        "also": [{"stream": stream, "effect": effect} for stream, effect in alarm.also],
        "river": [asdict(each) for each in alarm.river],
        "consequence_of": alarm.consequence_of,
        "snoozed": alarm.snoozed,
        "reference_digest": alarm.reference,
        "commander": alarm.commander,
    }


def signal_of(alarm: Alarm) -> str:
    """Return the kind of an alarm's field, of which there are few: a metric has it as a label."""
    if alarm.kind != "drift":
        return alarm.kind
    if alarm.field in (*SCORES, "amount", "segment"):
        return alarm.field
    return "feature"


def watched_of(now: DriftWatch, before: DriftWatch) -> DriftWatched:
    """Return the event of a state: its open alarms and streams, and what was counted since.

    Args:
        now: The state.
        before: The one that was told last.
    """
    return DriftWatched(
        now.commands.open_by_severity(now), _states(now), now.closed - before.closed,
        now.untiled - before.untiled, now.late - before.late,
    )  # fmt: skip


def _states(watch: DriftWatch) -> dict[str, int]:
    """Return the number of streams by state, and of versions without any."""
    document = document_of(watch, 0)
    counts: Counter[str] = Counter()
    for each in document.versions:
        if not each.keys:
            counts["no_reference"] += 1
        counts.update(_STATES.get(number, "") for number in each.state.tolist())
    return {name: counts[name] for name in ("watched", "learning", "alarmed", "no_reference")}
