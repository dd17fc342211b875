"""Drift events as plain data, from an alarm of a snapshot or a record of the topic alike."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.operator.command import SNOOZE_MOST_MS
from stream_scorer.errors import SettingsError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES: Final = ("detected_at", "window_start", "window_end", "onset", "onset_low", "onset_high")
_NUMBERS: Final = (
    "value", "before", "after", "effect", "tolerance", "log_evidence", "guaranteed_error",
    "calibrated_error",
)  # fmt: skip
LEAST_PREFIX: Final = 4
"""Characters by which an event may be named, if no other event begins with them."""


def iso(milliseconds: int | None) -> str | None:
    """Return a time in ISO 8601, in UTC, to the second; None for an unknown one.

    >>> iso(1_700_006_400_000), iso(0), iso(-1), iso(10**18)
    ('2023-11-15T00:00:00Z', None, None, None)
    """
    if milliseconds is None or milliseconds <= 0:
        return None
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def number(value: float | None) -> float | None:
    """Return a number as JSON has it: None for what is not finite.

    >>> number(0.5), number(float("inf")), number(None)
    (0.5, None, None)
    """
    return None if value is None or not math.isfinite(value) else float(value)


def event_of(alarm: Alarm) -> dict[str, Any]:
    """Return the event of an alarm."""
    return _event(
        {name: getattr(alarm, name) for name in Alarm.__dataclass_fields__}
        | {
            "model_version": alarm.version,
            "severity": alarm.severity.value,
            "value": alarm.after,
            "tolerance": alarm.delta,
            "log_evidence": alarm.log_e,
            "also": [{"stream": name, "effect": effect} for name, effect in alarm.also],
            "commander": "",
            "reference_digest": "",
            "river": [asdict(each) for each in alarm.river],
        }
    )


def event_of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a decoded record of version 3 of drift events, or of one before as it."""
    times = {name: _milliseconds(record[name]) for name in _TIMES}
    return _event(
        {
            **record,
            **times,
            "stream": record["signal"],
            "before": record["reference"],
            "after": record["estimate"],
            "before_counts": record["before"],
            "after_counts": record["after"],
        }
    )


def window_of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decoded record of ``performance.v1`` as JSON has it."""
    texts = ("kind", "model", "model_version", "arm", "segment", "label_policy", "estimator")
    counts = ("rows", "frauds", "genuine", "unknown", "sampled", "drawn", "drawn_missing")
    numbers = (
        "effective", "outside", "loss", "powered", "log_e_guaranteed", "log_e_gaussian",
    )  # fmt: skip
    return {
        **{name: str(record[name]) for name in texts},
        **{name: iso(_milliseconds(record[name])) for name in ("start", "end", "detected_at")},
        **{name: int(record[name]) for name in counts},
        **{name: number(record[name]) for name in numbers},
        "measures": {
            str(name): {end: number(each[end]) for end in ("value", "low", "high")}
            for name, each in record["measures"].items()
        },
        "calibration": [
            {name: number(each[name]) for name in ("score", "fraud_share", "weight")}
            for each in record["calibration"]
        ],
        "river": {str(name): str(state) for name, state in record["river"].items()},
    }


def _event(given: Mapping[str, Any]) -> dict[str, Any]:
    texts = (
        "event_id", "episode", "kind", "change", "severity", "model", "model_version", "stream",
        "field", "segment", "detector", "consequence_of", "commander", "reference_digest",
    )  # fmt: skip
    return {
        **{name: str(given[name]) for name in texts},
        **{name: iso(given[name]) for name in _TIMES},
        **{name: number(given[name]) for name in _NUMBERS},
        "labels": [str(each) for each in given["labels"]],
        "before_counts": [int(each) for each in given["before_counts"]],
        "after_counts": [int(each) for each in given["after_counts"]],
        "observations": int(given["observations"]),
        "guaranteed": bool(given["guaranteed"]),
        "snoozed": bool(given["snoozed"]),
        "also": [
            {"stream": str(each["stream"]), "effect": number(each["effect"])}
            for each in given["also"]
        ],
        "river": [
            {
                "detector": str(each["detector"]),
                "detected_at": iso(_milliseconds(each["detected_at"])),
                "place": iso(_milliseconds(each["place"])),
                "size": number(each["size"] or None),
            }
            for each in given["river"]
        ],
    }


def find_event(
    events: Iterable[Mapping[str, Any]], wanted: str, first: Iterable[Mapping[str, Any]] = ()
) -> str:
    """Return the id of the one event that begins with a text.

    Args:
        events: Where to look.
        wanted: 4 to 16 hex digits.
        first: Events of the snapshot. If one of them begins with it, no other one counts.

    Raises:
        SettingsError: No event, or several, begin with it.
    """
    own, others = (
        {each["event_id"] for each in some if each["event_id"].startswith(wanted)}
        for some in (first, events)
    )
    found = sorted(own or others)
    if len(wanted) < LEAST_PREFIX or not found:
        raise SettingsError(
            f"drift: no event {wanted!r}", "stream-scorer drift status lists the open ones"
        )
    if len(found) > 1:
        raise SettingsError(f"drift: {len(found)} events begin with {wanted!r}", "give more digits")
    return str(found[0])


def _milliseconds(moment: datetime | int) -> int:
    if isinstance(moment, datetime):
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    return int(moment)


def short(moment: str | None) -> str:
    """Return a time for people.

    >>> short("2023-11-15T00:00:00Z"), short(None)
    ('2023-11-15 00:00 UTC', 'an unknown time')
    """
    return "an unknown time" if moment is None else f"{moment[:10]} {moment[11:16]} UTC"


def until_ms(text: str, clock: Callable[[], float] = time.time) -> int:
    """Return the time until which alarms are snoozed, ms since the epoch.

    Args:
        text: ISO 8601 with its zone, or hours or days from now: ``4h``, ``2d``.
        clock: Seconds since the epoch.

    Raises:
        SettingsError: It is neither, or is not in the future.
    """
    fix = "write it as 2026-11-25T10:00:00Z, 4h or 2d"
    now = clock()
    try:
        hours = {"h": 1, "d": 24}.get(text[-1:])
        if hours:
            end = now + float(text[:-1]) * hours * 3_600
        else:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise SettingsError(f"--until {text}: names no zone", fix)
            end = moment.timestamp()
        if not now < end < now + SNOOZE_MOST_MS / 1_000:
            raise SettingsError(f"--until {text}: is not within the next year", fix)
    except ValueError:
        raise SettingsError(f"--until {text}: is not a time", fix) from None
    return round(end * 1_000)
