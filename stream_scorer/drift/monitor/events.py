"""Alarms as drift events, version 2."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.alarms.nulls import SCORES
from stream_scorer.ports import BytesColumn, Outgoing


def events_of(alarms: Sequence[Alarm], codec: RecordCodec, topic: str) -> list[Outgoing]:
    """Return the records of alarms, in their order; none without alarms.

    Args:
        alarms: The alarms.
        codec: Encodes ``drift-event.v2``.
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
        "severity": str(alarm.severity),
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
