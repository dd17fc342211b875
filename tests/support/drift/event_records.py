"""Records of drift events, made without the monitor."""

from datetime import UTC, datetime
from typing import Any

from stream_scorer.drift.alarms.contract import Alarm


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC)


def record_of(made: Alarm, **changed: Any) -> dict[str, Any]:
    """Return an alarm as a record of the topic has it, with some fields changed."""
    times = ("detected_at", "window_start", "window_end", "onset", "onset_low", "onset_high")
    same = (
        "event_id", "episode", "kind", "change", "model", "field", "segment", "effect", "detector",
        "guaranteed_error", "calibrated_error", "guaranteed", "observations", "consequence_of",
        "snoozed",
    )  # fmt: skip
    return (
        {name: _time(getattr(made, name)) for name in times}
        | {name: getattr(made, name) for name in same}
        | {
            "severity": made.severity.value, "model_version": made.version, "signal": made.stream,
            "value": made.after, "reference": made.before, "estimate": made.after,
            "tolerance": made.delta, "log_evidence": made.log_e, "labels": list(made.labels),
            "before": list(made.before_counts), "after": list(made.after_counts),
            "also": [{"stream": s, "effect": e} for s, e in made.also],
            "river": [
                {
                    "detector": each.detector, "detected_at": _time(each.detected_at),
                    "place": _time(each.place), "size": each.size,
                }
                for each in made.river
            ],
            "reference_digest": "", "commander": "",
        }
        | changed
    )  # fmt: skip
