"""The document of ``drift explain EVENT``: one event with all that belongs to it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from stream_scorer.drift.reports.events import event_of, find_event, iso, number
from stream_scorer.drift.state.document import Episode, MonitorDocument
from stream_scorer.ports import Float64

Locate = Callable[[Float64], tuple[int, float, float]]
"""ADWIN's place of a change in a history: index, mean before, mean after."""
UNUSED: Final = "-"
"""Label of a bin that no value can be in, because a number has few different values."""
_LEAST_HISTORY: Final = 10
"""Values from which a place of the change is looked for."""


def explanation_of(
    document: MonitorDocument | None,
    events: Sequence[Mapping[str, Any]],
    wanted: str,
    locate: Locate | None = None,
) -> dict[str, Any]:
    """Return an event with its distributions, history, consequences and commands.

    Args:
        document: The monitor's newest snapshot; None if there is none.
        events: The events of the topic, oldest first.
        wanted: Id of the event, or how it begins.
        locate: Finds the place of the change once more, as a second opinion.

    Raises:
        SettingsError: No event, or several, have this id.
    """
    episodes = () if document is None else document.episodes
    # The snapshot can be authenticated, and the topic cannot. Of two events of the topic with one
    # id, the monitor wrote the first.
    told: dict[str, dict[str, Any]] = {}
    for each in events:
        if each["event_id"]:
            told.setdefault(each["event_id"], dict(each))
    kept = {each.opened.event_id: event_of(each.opened) for each in episodes}
    event = (told | kept)[find_event(told.values(), wanted, kept.values())]
    episode = next((e for e in episodes if e.opened.episode == event["episode"]), None)
    if document and episode and episode.is_open and event["change"] == "opened":
        event |= {
            "severity": document.severity(episode).value,
            "snoozed": episode.opened.episode in document.snoozed,
        }
    reasons = {} if document is None else document.reasons
    history = history_of(document, event)
    changes = [
        each
        for each in told.values()
        if each["episode"] == event["episode"]
        and each["change"] != "opened"
        and (episode is None or each["event_id"] in episode.changes())
    ]
    return {
        **{name: value for name, value in event.items() if name not in _MOVED},
        "distribution": [
            {"label": label, "before": before, "after": after}
            for label, before, after in zip(
                event["labels"], event["before_counts"], event["after_counts"], strict=False
            )
            if label != UNUSED or before or after
        ],
        "history": history,
        "onset": {"at": event["onset"], "low": event["onset_low"], "high": event["onset_high"]},
        "adwin": _located(history, locate),
        "guaranteed": {"holds": event["guaranteed"], "error": event["guaranteed_error"]},
        "calibrated": {"error": event["calibrated_error"]},
        "patience": None if document is None else number(document.meta.patience),
        "consequences": [
            {name: each[name] for name in ("event_id", "stream", "effect", "detected_at")}
            for each in (kept if episode else told | kept).values()
            if each["consequence_of"] == event["event_id"]
        ],
        "state": _state(event, episode, told.values()),
        "commands": [
            {name: each[name] for name in ("change", "detected_at", "commander", "event_id")}
            | {"reason": reasons.get(each["event_id"])}
            for each in changes
        ],
    }


_MOVED: Final = frozenset(
    {"labels", "before_counts", "after_counts", "onset_low", "onset_high", "guaranteed_error",
     "calibrated_error"}
)  # fmt: skip
"""Parts of an event that its explanation has under other names."""


def history_of(document: MonitorDocument | None, event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the last windows of an event's stream: start, value, expected value."""
    for streams in () if document is None else document.versions:
        if (streams.model, streams.version) != (event["model"], event["model_version"]):
            continue
        for at, key in enumerate(streams.keys):
            if key.text == event["stream"]:
                columns = zip(
                    streams.history_start.tolist(), streams.history[at].tolist(),
                    streams.expected[at].tolist(), strict=True,
                )  # fmt: skip
                return [
                    {"start": iso(start), "value": value, "expected": number(expected)}
                    for start, value, expected in columns
                    if start >= 0 and math.isfinite(value)
                ]
    return []


def _located(history: Sequence[Mapping[str, Any]], locate: Locate | None) -> dict[str, Any] | None:
    if locate is None or len(history) < _LEAST_HISTORY:
        return None
    at, before, after = locate(np.array([each["value"] for each in history]))
    if not 0 < at < len(history):
        return None
    return {"at": history[at]["start"], "before": number(before), "after": number(after)}


def _state(event: Mapping[str, Any], episode: Episode | None, known: Any) -> str:
    if event["kind"] == "snooze":
        return "a snooze of all alarms"
    if episode is not None:
        return f"{episode.state.value}: {episode.why}" if episode.why else episode.state.value
    changes = {each["change"] for each in known if each["episode"] == event["episode"]}
    if changes & {"closed", "accepted"}:
        return "closed"
    return "acknowledged" if "acknowledged" in changes else "open"
