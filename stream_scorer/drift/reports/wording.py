"""What an event means and what it asks a person to do, in words."""

import math
from collections.abc import Mapping
from typing import Any, Final

from stream_scorer.drift.alarms.contract import Severity
from stream_scorer.drift.reports.charts import figure
from stream_scorer.drift.reports.events import short
from stream_scorer.models.reference.stream_values import LOGARITHM_MOST

_MEASURES: Final = {
    "level": "level",
    "tail": "share of the highest values",
    "missing": "share of missing values",
    "out_of_range": "share of values outside of the reference's range",
    "unseen": "share of unseen values",
    "share": "share of the events",
}
_FAULTS: Final = {
    "unit_change": "amounts are in another unit: times {factor}",
    "schema_change": "the schema of the input changed",
    "missing": "{after} of the values of {field} are missing, {before} is usual",
    "new_value": "{after} of the values of {field} are new, {before} is usual",
    "volume": "{count_after} events in the window, {count_before} are usual",
    "lateness": "{after} of the events are late, {before} is usual",
    "duplicates": "{after} of the records are duplicates, {before} is usual",
    "rejects": "{after} of the records are rejected as {field}, {before} is usual",
}
_ASKS: Final = {
    "unit_change": "Ask the upstream team which unit the amounts have. Decisions are wrong until "
    "it is corrected; roll back nothing, because the model is not the cause.",
    "schema_change": "Ask the upstream team what they deployed. Look at the dead letters: "
    "stream-scorer dlq list.",
    "missing": "Ask the upstream team for the field. Decisions are made without it.",
    "new_value": "Ask whether the value is intended. If it is, train with data that contain it.",
    "volume": "Look at the lag and at the producers first: stream-scorer lag.",
    "lateness": "Look at the producers' delay, and at clocks.",
    "duplicates": "Look at the producers' retries: a producer without idempotence sends twice.",
    "rejects": "Look at the dead letters: stream-scorer dlq list.",
}
_ASK_SCORE: Final = (
    "Look at what else moved. If the data are right, compare precision and recall when the labels "
    "are there, and train a new version; accept the change if it is intended."
)
_ASK_PERFORMANCE: Final = (
    "Compare the measures of the last weeks: stream-scorer drift report. If the inputs did not "
    "move, what fraud looks like has changed: train a new version on the days since the onset."
)
_ASK_FEATURE: Final = (
    "No action now: the score did not move with it. It explains a later alarm of the score."
)
_ASK_FEATURE_OF_SCORE: Final = (
    "Look at it today, with the open alarm of the score: it may be the cause."
)
_ASK_FLEET: Final = (
    "Everything moved together: look for a cause that all events share, such as a holiday, a "
    "release of the producers or the time of their clocks."
)

_ASKS_OF_KIND: Final = {
    "snooze": "Nothing: alarms that are open at its end count by their own severity again.",
    "fleet": _ASK_FLEET,
    "performance": _ASK_PERFORMANCE,
}


def headline(event: Mapping[str, Any]) -> str:
    """Return an event in one sentence, without its time."""
    if event["kind"] == "snooze":
        return "All alarms are notes for a time"
    where = "all events" if event["segment"] == "all" else event["segment"]
    before, after = event["before"], event["after"]
    if event["kind"] == "fleet":
        return f"Most streams moved together, by {figure(event['effect'])} standard deviations"
    if event["kind"] == "fault":
        return f"{where}: {_fault(event)}"
    if event["kind"] == "performance":
        shares = f"from {figure(before)} to {figure(after)}"
        return f"Cost per decision of {where}, as a share of the largest: rose {shares}"
    field, _, rest = event["stream"].partition("/")
    measure = rest.rpartition("@")[0]
    known = _MEASURES.get(measure) or measure.replace("share:", "share of ")
    moved = "rose" if (after or 0) > (before or 0) else "fell"
    text = f"{field}, {known} of {where}: {moved} from {figure(before)} to {figure(after)}"
    if (field, measure) == ("amount", "level") and before is not None and after is not None:
        # The level is the mean logarithm of the amount, as a share of 30.
        typical = [figure(math.expm1(LOGARITHM_MOST * min(each, 1.0))) for each in (before, after)]
        text += f" (typical amount {typical[0]} to {typical[1]} minor units)"
    return text


def when(event: Mapping[str, Any]) -> str:
    """Return since when a change exists, with the range in which its onset is likely."""
    if event["kind"] == "snooze":
        return f"from {short(event['window_start'])} until {short(event['window_end'])}"
    onset = event["onset"]
    if isinstance(onset, Mapping):
        at, low, high = onset["at"], onset["low"], onset["high"]
    else:
        at, low, high = onset, event["onset_low"], event["onset_high"]
    if at is None:
        return f"in the window from {short(event['window_start'])}"
    if low is None or high is None or low == high:
        return f"since {short(at)}"
    return f"since about {short(at)} (between {short(low)} and {short(high)})"


def asks(event: Mapping[str, Any]) -> str:
    """Return what an event asks a person to do."""
    if event["consequence_of"]:
        return f"Nothing: it is a consequence of the fault {event['consequence_of']}."
    if event["kind"] == "fault":
        return _ASKS.get(event["stream"], _ASKS["rejects"])
    if event["kind"] in _ASKS_OF_KIND:
        return _ASKS_OF_KIND[event["kind"]]
    if event["field"] in {"score", "outcome"}:
        return _ASK_SCORE
    return _ASK_FEATURE_OF_SCORE if event["severity"] == Severity.WARN else _ASK_FEATURE


def fault_text(name: str, field: str | None, value: float | None, usual: float | None) -> str:
    """Return a fault in words."""
    return _fault({"stream": name, "field": field or "", "after": value, "before": usual})


def _fault(event: Mapping[str, Any]) -> str:
    before, after = event["before"] or 0.0, event["after"] or 0.0
    name = event["stream"]
    if name == "schema_change" and event["field"]:
        return f"no event has the field {event['field']} now"
    return _FAULTS.get(name, name).format(
        field=event["field"],
        before=f"{100 * before:.3g} %",
        after=f"{100 * after:.3g} %",
        count_before=figure(before),
        count_after=figure(after),
        factor=_factor(after - before),
    )


def _factor(logarithms: float) -> str:
    power = round(logarithms / math.log(10))
    return f"{10**power:,}" if power >= 0 else f"1/{10**-power:,}"


def errors(event: Mapping[str, Any]) -> tuple[str, str]:
    """Return the guaranteed and the calibrated error of an explained event, in words.

    Whether a stream is in the guaranteed class does not depend on which detector fired.
    """
    if event["kind"] in {"fault", "snooze"}:
        return "-", "-"
    guaranteed, calibrated = event["guaranteed"], event["calibrated"]["error"]
    bound = "not in the class"
    if guaranteed["holds"]:
        bound = "only the calibrated detector fired"
        if guaranteed["error"] is not None:
            bound = f"at most {figure(guaranteed['error'])}"
    return bound, "only the guaranteed detector fired" if calibrated is None else figure(calibrated)


def answer(command: Mapping[str, Any]) -> str:
    """Return when a command was given, by which key, and why."""
    why = f": {command['reason']}" if command["reason"] else ""
    return f"{short(command['detected_at'])} {command['commander']}".strip() + why
