"""What River's detectors say, in ``drift status``, ``explain`` and the report."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stream_scorer.drift.reports.charts import figure
from stream_scorer.drift.reports.events import iso, number, short
from stream_scorer.drift.state.document import VersionStreams

COLUMNS: Final = (
    "stream", "version", "detector", "setting", "has values since", "changes", "newest change",
)  # fmt: skip
OUTSIDE: Final = (
    "River's detectors are a second opinion. They raise no alarm, and are outside of the budget."
)


def river_of(streams: VersionStreams) -> list[dict[str, Any]]:
    """Return a document for each stream of a version and each of River's detectors."""
    return [
        {
            "model": streams.model,
            "version": streams.version,
            "stream": each.stream,
            "detector": each.detector,
            "setting": each.setting,
            "wanted_run_length": number(each.wanted or None),
            "run_length": number(each.run_length or None),
            "since": iso(each.since),
            "detections": each.detections,
            "detected_at": iso(each.detected_at),
            "place": iso(each.place),
            "size": number(each.size or None),
        }
        for each in streams.river
    ]


def rows_of(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the lines of :func:`river_of` as texts, by :data:`COLUMNS`."""
    return [
        (
            each["stream"],
            f"{each['model']}:{each['version']}",
            each["detector"],
            each["setting"],
            short(each["since"]) if each["since"] else "-",
            f"{each['detections']:,}",
            found_text(each) if each["detected_at"] else "-",
        )
        for each in lines
    ]


def beyond_of(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each detector whose wanted run length no measured setting has."""
    beyond = {
        (each["model"], each["version"], each["detector"]): each
        for each in lines
        if (each["run_length"] or 0.0) < (each["wanted_run_length"] or 0.0)
    }
    return [
        f"{each['detector']} of {each['model']}:{each['version']}: the budget wants "
        f"{each['wanted_run_length']:,.0f} windows of a stream between two false detections. "
        f"This is beyond the measured settings: about {each['run_length'] or 0.0:,.0f}."
        for each in beyond.values()
    ]


def found_text(line: Mapping[str, Any]) -> str:
    """Return when a change was found, and its place and size if they are told.

    >>> found_text({"detected_at": "2023-11-15T00:00:00Z", "place": None, "size": None})
    'in the window to 2023-11-15 00:00 UTC'
    """
    text = f"in the window to {short(line['detected_at'])}"
    if line["place"] is None:
        return text
    return f"{text}: {figure(line['size'])} standard deviations since {short(line['place'])}"


def opinion_of(event: Mapping[str, Any]) -> str:
    """Return which of River's detectors found the change of an event; empty for none."""
    return "; ".join(f"{each['detector']} {found_text(each)}" for each in event["river"])
