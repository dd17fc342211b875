"""The document of ``drift status``: budget, streams, open alarms and faults, as plain data."""

from collections import Counter
from typing import Any, Final

import numpy as np

from stream_scorer.drift.reports.events import event_of, iso, number
from stream_scorer.drift.reports.river import river_of
from stream_scorer.drift.state.document import (
    ALARMED,
    LEARNING,
    UNWATCHED,
    WATCHED,
    Episode,
    MonitorDocument,
    MonitorProgress,
    OpenFault,
    VersionStreams,
)

STATES: Final = {
    LEARNING: "learning", WATCHED: "watched", ALARMED: "alarmed", UNWATCHED: "cannot alarm",
}  # fmt: skip
GUARANTEED: Final = "guaranteed"
"""Class of a stream for which the guaranteed promise holds, too."""


def status_of(document: MonitorDocument | None) -> dict[str, Any]:
    """Return what the monitor's newest snapshot says, as JSON.

    Times are ISO 8601 in UTC, or null.

    Args:
        document: None: there is no snapshot yet.
    """
    if document is None:
        return {
            "detected_at": None, "watermark": None, "budget": None, "versions": [], "streams": [],
            "open": [], "faults": [], "tiles": {"gaps": 0, "overlaps": 0, "dropped": 0}, "late": 0,
            "late_records": 0, "snooze": None, "river": [],
        }  # fmt: skip
    meta = document.meta
    return {
        "detected_at": iso(meta.detected_at),
        "watermark": iso(meta.watermark),
        "budget": budget_of(meta),
        "versions": [_version(each) for each in document.versions],
        "streams": [row for each in document.versions for row in streams_of(each)],
        "open": [_open(document, each) for each in document.episodes if not each.why],
        "faults": [_fault(each) for each in document.faults],
        "tiles": {"gaps": meta.gaps, "overlaps": meta.overlaps, "dropped": meta.dropped},
        "late": meta.late,
        "late_records": meta.late_records,
        "snooze": iso(meta.snooze_until),
        "river": [row for each in document.versions for row in river_of(each)],
    }


def budget_of(meta: MonitorProgress) -> dict[str, Any]:
    """Return the budget and its two parts, in windows."""
    return {
        "false_alarm_days": number(meta.false_alarm_days),
        "windows": number(meta.windows),
        "guaranteed_windows": number(meta.guaranteed_windows),
        "calibrated_windows": number(meta.calibrated_windows),
        "eta": number(meta.eta),
        "patience": number(meta.patience),
        "window_ms": meta.window_ms,
    }


def _version(streams: VersionStreams) -> dict[str, Any]:
    counts = Counter(STATES.get(each, "unknown") for each in streams.state.tolist())
    return {
        "model": streams.model,
        "version": streams.version,
        "reference": streams.reference or None,
        "note": streams.note or None,
        "streams": {name: counts[name] for name in ("watched", "learning", "alarmed")},
        "not_guaranteed": dict(sorted(Counter(each for each in streams.classes if each).items())),
    }


def streams_of(streams: VersionStreams) -> list[dict[str, Any]]:
    """Return a document for each stream of a version.

    ``of_threshold`` is how near an alarm is, from 0 to 1: that of the detector that is nearer.

    Args:
        streams: The streams.
    """
    nearer = np.fmax(streams.near_guaranteed, streams.near_calibrated)
    return [
        {
            "model": streams.model,
            "version": streams.version,
            "stream": key.text,
            "field": key.field,
            "measure": key.measure,
            "segment": key.segment,
            "state": STATES.get(int(streams.state[at]), "unknown"),
            "class": streams.classes[at] or GUARANTEED,
            "learning_until": (
                iso(int(streams.learning_until[at])) if streams.state[at] == LEARNING else None
            ),
            "mean": number(streams.mean[at]),
            "value": number(streams.value[at]),
            "tolerance": number(streams.tolerance[at]),
            "log_evidence": number(streams.log_evidence[at]),
            "share_of_budget": number(streams.share[at]),
            "of_threshold": number(nearer[at]),
            "of_guaranteed": number(streams.near_guaranteed[at]),
            "of_calibrated": number(streams.near_calibrated[at]),
            "since": iso(int(streams.since[at])),
        }
        for at, key in enumerate(streams.keys)
    ]


def _open(document: MonitorDocument, episode: Episode) -> dict[str, Any]:
    event = event_of(episode.opened)
    kept = (
        "event_id", "kind", "severity", "model", "model_version", "stream", "field", "segment",
        "onset", "onset_low", "onset_high", "before", "after", "effect", "tolerance",
        "consequence_of", "snoozed", "detected_at",
    )  # fmt: skip
    return {name: event[name] for name in kept} | {
        "severity": document.severity(episode).value,
        "snoozed": episode.opened.episode in document.snoozed,
        "state": episode.state.value,
        "commands": list(episode.commands),
    }


def _fault(fault: OpenFault) -> dict[str, Any]:
    found = fault.fault
    return {
        "event_id": fault.event_id,
        "model": fault.model or None,
        "version": fault.version or None,
        "name": found.name,
        "field": found.field or None,
        "segment": found.segment,
        "window_start": iso(found.window_start),
        "window_end": iso(found.window_end),
        "value": number(found.value),
        "usual": number(found.usual),
        "evidence": number(found.evidence),
    }
