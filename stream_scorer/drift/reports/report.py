"""The one document from which the report is made, as HTML and as JSON."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from stream_scorer.drift.reports.explain import Locate, explanation_of, history_of
from stream_scorer.drift.reports.status import status_of
from stream_scorer.drift.state.document import MonitorDocument

LINES: Final = (
    ("score", "level"),
    ("outcome", "share:REVIEW"),
    ("outcome", "share:BLOCK"),
    ("amount", "level"),
)
"""Streams of all events whose course is drawn."""
EXPLAINED_MOST: Final = 50
"""Maximum number of open events that are explained; the others are listed."""
LOSS_DAYS_MOST: Final = 400
"""Newest days of a version's loss that the report has."""
_WEIGHT: Final = {"page": 0, "warn": 1, "note": 2}


def report_of(
    document: MonitorDocument | None,
    events: Sequence[Mapping[str, Any]],
    days: int,
    locate: Locate | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    performance: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the report: status, courses of score and outcomes, explained and past events.

    Args:
        document: The monitor's newest snapshot; None if there is none.
        events: The events of the topic, oldest first.
        days: Days before the snapshot whose events are listed.
        locate: As of :func:`explanation_of`.
        progress: Called with the number of explained events and of all that are.
        performance: Windows and losses of the topic ``performance``, oldest first.
    """
    status = status_of(document)
    begin = _before(status["detected_at"], days)
    recent = [each for each in events if (each["detected_at"] or "") >= begin]
    opened = sorted(
        status["open"],
        key=lambda each: (
            bool(each["consequence_of"]), _WEIGHT.get(each["severity"], 3), each["onset"] or "",
        ),
    )  # fmt: skip
    explained = []
    for done, each in enumerate(opened[:EXPLAINED_MOST], 1):
        explained.append(explanation_of(document, events, each["event_id"], locate))
        progress(done, min(len(opened), EXPLAINED_MOST))
    return {
        "days": days,
        "begin": begin or None,
        "status": status,
        "lines": _lines(document, [*recent, *explained]),
        "open": explained,
        "open_not_explained": max(len(opened) - EXPLAINED_MOST, 0),
        "events": [
            {
                name: each[name]
                for name in ("event_id", "detected_at", "kind", "change", "severity", "stream",
                             "field", "segment", "model", "model_version", "before", "after",
                             "effect", "snoozed", "consequence_of", "commander")
            }
            for each in reversed(recent)
        ],
        "performance": performance_of(performance),
    }  # fmt: skip


def performance_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how well each version decides: its newest windows, and the course of its loss.

    Args:
        records: Windows and losses of the topic ``performance``, oldest first.
    """
    newest, losses = dict[Any, Mapping[str, Any]](), dict[Any, list[dict[str, Any]]]()
    for each in records:
        named = each["model"], each["model_version"], each["arm"], each["segment"]
        if each["kind"] in {"DAY", "WEEK"}:
            newest[*named, each["kind"]] = each
        elif each["kind"] == "LOSS" and each["loss"] is not None and each["start"] is not None:
            names = ("start", "end", "rows", "loss", "powered", "drawn", "drawn_missing",
                     "log_e_guaranteed", "log_e_gaussian")  # fmt: skip
            losses.setdefault(named[:2], []).append({name: each[name] for name in names})
    return {
        "windows": [dict(newest[key]) for key in sorted(newest)],
        "losses": [
            {"model": model, "model_version": version, "days": days[-LOSS_DAYS_MOST:]}
            for (model, version), days in sorted(losses.items())
        ],
    }


def _before(moment: str | None, days: int) -> str:
    """Return the time so many days before, in the same form; empty if it is unknown."""
    if moment is None:
        return ""
    return f"{datetime.fromisoformat(moment) - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def _lines(
    document: MonitorDocument | None, events: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for streams in () if document is None else document.versions:
        for at, key in enumerate(streams.keys):
            if key.segment != "all" or (key.field, key.measure) not in LINES:
                continue
            named = {
                "stream": key.text, "model": streams.model, "model_version": streams.version,
            }  # fmt: skip
            points = history_of(document, named)
            if not points:
                continue
            marks = {
                each["event_id"]: {
                    "event_id": each["event_id"], "severity": each["severity"],
                    "at": _onset(each, "at"), "low": _onset(each, "low"),
                    "high": _onset(each, "high"),
                }
                for each in events
                if each["stream"] == key.text and each["model"] == streams.model
                and each["model_version"] == streams.version and each["change"] == "opened"
            }  # fmt: skip
            tolerance = float(streams.tolerance[at])
            found.append(
                {
                    **named,
                    "tolerance": tolerance if tolerance >= 0 else None,
                    "points": points,
                    "onsets": list(marks.values()),
                }
            )
    return found


def _onset(event: Mapping[str, Any], end: str) -> str | None:
    onset = event["onset"]
    if isinstance(onset, Mapping):
        return onset[end]
    return onset if end == "at" else event[f"onset_{end}"]
