"""The report's page: self-contained, without a script, and readable as a printout."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from stream_scorer.drift.reports.charts import figure, histogram, line_chart, meter
from stream_scorer.drift.reports.events import short
from stream_scorer.drift.reports.promises import calibrated_promise, guaranteed_promise
from stream_scorer.drift.reports.river import COLUMNS, OUTSIDE, beyond_of, opinion_of, rows_of
from stream_scorer.drift.reports.template import page, safe
from stream_scorer.drift.reports.wording import answer, asks, errors, fault_text, headline, when

_SEVERITIES: Final = frozenset({"page", "warn", "note"})
_EVENTS_MOST: Final = 500
"""Maximum number of past events on the page; the JSON has all of them."""
_ID_DIGITS: Final = 8
"""Digits of an event's id that name it to ``drift explain``."""


def html_of(report: Mapping[str, Any]) -> str:
    """Return the page of a report.

    Args:
        report: The document of :func:`report_of`; texts may be from anyone.
    """
    status = report["status"]
    body = "".join(
        [
            "<h1>Drift and data quality</h1>",
            _times(report),
            _tiles(status),
            _open(report),
            _quality(status),
            _courses(report["lines"]),
            _performance(report["performance"]),
            _budget(status),
            _streams(status),
            _river(status),
            _past(report["events"]),
        ]
    )
    return page("Drift and data quality", body)


def _times(report: Mapping[str, Any]) -> str:
    status = report["status"]
    return (
        f'<p class="quiet">State at {safe(short(status["detected_at"]))}, windows closed to '
        f"{safe(short(status['watermark']))}. Events of the last {report['days']:,} days.</p>"
    )


def _tiles(status: Mapping[str, Any]) -> str:
    states = [each["streams"] for each in status["versions"]]
    severities = [each["severity"] for each in status["open"]]
    tiles = [
        ("pages open", severities.count("page")),
        ("warnings open", severities.count("warn")),
        ("notes open", severities.count("note")),
        ("data faults", len(status["faults"])),
        ("streams watched", sum(each["watched"] for each in states)),
        ("streams learning", sum(each["learning"] for each in states)),
        ("late decisions", status["late"]),
        ("late records", status["late_records"]),
    ]
    shown = "".join(f'<div class="tile"><b>{n:,}</b>{name}</div>' for name, n in tiles)
    snooze = status["snooze"]
    text = f"<p>Alarms are snoozed until {safe(short(snooze))}.</p>" if snooze else ""
    return f'<div class="tiles">{shown}</div>{text}'


def _open(report: Mapping[str, Any]) -> str:
    cards = "".join(_card(each) for each in report["open"])
    more = report["open_not_explained"]
    if more:
        cards += f"<p>{more:,} more are open: stream-scorer drift status lists them.</p>"
    return f"<h2>Open alarms</h2>{cards or '<p>None.</p>'}"


def _card(event: Mapping[str, Any]) -> str:
    onset = {**event["onset"], "severity": event["severity"]}
    charts = []
    if event["history"]:
        course = line_chart(event["history"], event["tolerance"], [onset])
        charts.append(
            f"<figure>{course}<figcaption>The last {len(event['history'])} windows; dashed: "
            "expected, with the tolerance; red: onset</figcaption></figure>"
        )
    if event["distribution"]:
        charts.append(
            f"<figure>{histogram(event['distribution'])}<figcaption>"
            '<span class="key before"></span>before<span class="key after"></span>after'
            "</figcaption></figure>"
        )
    return (
        f'<section class="card {_severity(event)}"><h3>{_badge(event)} {safe(headline(event))}</h3>'
        f"<p>{safe(when(event))}. Model {safe(event['model'])}:{safe(event['model_version'])}. "
        f"Event <code>{safe(event['event_id'])}</code>, {safe(event['state'])}.</p>"
        f"<p><b>To do:</b> {safe(asks(event))}</p>"
        f'<div class="pair">{"".join(charts)}</div>{_facts(event)}</section>'
    )


def _facts(event: Mapping[str, Any]) -> str:
    guaranteed, calibrated = errors(event)
    rows = [
        ("effect", f"{figure(event['effect'])} standard deviations of a window"),
        ("tolerance", figure(event["tolerance"])),
        ("evidence", f"e^{figure(event['log_evidence'])} by {event['detector']}"),
        ("false alarms expected within the patience, guaranteed", guaranteed),
        ("the same, calibrated", calibrated),
    ]
    if event["adwin"]:
        rows.append(("onset by ADWIN", short(event["adwin"]["at"])))
    if event["river"]:
        rows.append(("River's detectors", opinion_of(event)))
    if event["also"]:
        moved = ", ".join(
            f"{each['stream']} ({figure(each['effect'])} standard deviations)"
            for each in event["also"]
        )
        rows.append(("also moved", moved))
    if event["consequences"]:
        rows.append(("consequences", ", ".join(each["stream"] for each in event["consequences"])))
    rows += [(each["change"], answer(each)) for each in event["commands"]]
    if event["patience"]:
        rows.append(("stated over", f"{event['patience']:,.0f} windows"))
    return _table(("", ""), rows)


def _quality(status: Mapping[str, Any]) -> str:
    rows = [
        (
            each["name"],
            fault_text(each["name"], each["field"], each["value"], each["usual"]),
            each["segment"],
            short(each["window_start"]),
            f"{each['model']}:{each['version']}" if each["model"] else "the input",
        )
        for each in status["faults"]
    ]
    tiles = status["tiles"]
    shown = _table(("fault", "what", "events", "newest window", "of"), rows) if rows else (
        "<p>No fault is open.</p>"
    )  # fmt: skip
    return (
        f"<h2>Data quality</h2>{shown}<p class='quiet'>Offsets of the input that no summary "
        f"covered: {tiles['gaps']:,} ranges; twice: {tiles['overlaps']:,}; windows dropped: "
        f"{tiles['dropped']:,}.</p>"
    )


def _courses(lines: Sequence[Mapping[str, Any]]) -> str:
    charts = "".join(
        f"<figure><h3>{safe(each['stream'])}</h3>"
        f"{line_chart(each['points'], each['tolerance'], each['onsets'])}"
        f"<figcaption>{safe(each['model'])}:{safe(each['model_version'])}</figcaption></figure>"
        for each in lines
    )
    return (
        f'<h2>Score, outcomes, amounts</h2><div class="pair">{charts or "<p>No windows.</p>"}</div>'
    )


def _performance(performance: Mapping[str, Any]) -> str:
    """Return the section of matured labels: the newest windows, and the course of the loss."""
    if not performance["windows"] and not performance["losses"]:
        return (
            "<h2>Performance by matured labels</h2><p>No window has matured: "
            "stream-scorer performance measures them.</p>"
        )
    tables = "".join(_window(each) for each in performance["windows"] if each["segment"] == "all")
    charts = "".join(
        f"<figure><h3>Cost per decision, as a share of the largest</h3>{_losses(each['days'])}"
        f"<figcaption>{safe(each['model'])}:{safe(each['model_version'])}, days by matured labels"
        "</figcaption></figure>"
        for each in performance["losses"]
    )
    return f'<h2>Performance by matured labels</h2>{tables}<div class="pair">{charts}</div>'


def _losses(days: Sequence[Mapping[str, Any]]) -> str:
    points = [{"start": each["start"], "value": each["loss"], "expected": None} for each in days]
    return line_chart(points, None)


def _window(window: Mapping[str, Any]) -> str:
    length = {"DAY": "day", "WEEK": "week"}.get(window["kind"], "window")
    rows = [
        (
            name.replace("_", " "), figure(each["value"]),
            "-" if each["low"] is None else f"{figure(each['low'])} to {figure(each['high'])}",
        )
        for name, each in sorted(window["measures"].items())
    ]  # fmt: skip
    rows += [(f"River: {name}", state, "-") for name, state in sorted(window["river"].items())]
    sample = f", of one customer in {window['sampled']}" if window["sampled"] > 1 else ""
    return (
        f"<h3>{safe(window['model'])}:{safe(window['model_version'])}, arm {safe(window['arm'])}, "
        f"the {length} up to {safe(short(window['end']))}</h3><p class='quiet'>"
        f"{window['rows']:,} decisions{sample}: {window['frauds']:,} frauds, "
        f"{window['genuine']:,} genuine, {window['unknown']:,} unknown; outside the estimand: "
        f"{_percent(window['outside'])}; effective sample {figure(window['effective'])}.</p>"
        f"{_table(('measure', 'value', '95 % interval'), rows)}"
    )


def _budget(status: Mapping[str, Any]) -> str:
    if status["budget"] is None:
        return "<h2>Budget of false alarms</h2><p>The monitor has not written a snapshot.</p>"
    left_out = [
        f"{each['model']}:{each['version']}: {count:,} streams {reason}"
        for each in status["versions"]
        for reason, count in each["not_guaranteed"].items()
    ]
    reasons = f"<p>{safe('; '.join(left_out))}.</p>" if left_out else ""
    return (
        f"<h2>Budget of false alarms</h2><p>{safe(guaranteed_promise(status['budget']))}</p>"
        f"<p>{safe(calibrated_promise(status['budget']))}</p>{reasons}"
    )


def _streams(status: Mapping[str, Any]) -> str:
    rows = sorted(
        status["streams"],
        key=lambda row: (
            row["state"] != "alarmed",
            -(row["of_threshold"] or 0.0),
            row["model"],
            row["version"],
        ),
    )
    body = "".join(
        f"<tr><td>{safe(row['stream'])}</td><td>{safe(row['model'])}:{safe(row['version'])}</td>"
        f"<td>{safe(row['state'])}"
        f"{safe(' until ' + short(row['learning_until'])) if row['learning_until'] else ''}</td>"
        f"<td>{safe(row['class'])}</td><td class='n'>{figure(row['value'])}</td>"
        f"<td class='n'>{figure(row['mean'])} ± {figure(row['tolerance'])}</td>"
        f"<td>{meter(row['of_threshold'])}</td>"
        f"<td class='n'>{_percent(row['share_of_budget'])}</td></tr>"
        for row in rows
    )
    notes = "".join(
        f"<p>{safe(each['model'])}:{safe(each['version'])}: {safe(each['note'])}</p>"
        for each in status["versions"]
        if each["note"]
    )
    head = "".join(
        f"<th{' class=n' if name in _RIGHT else ''}>{name}</th>"
        for name in ("stream", "model", "state", "class", "value", "mean", "evidence", "budget")
    )
    return (
        f"<h2>Every stream against its budget</h2>{notes}<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _river(status: Mapping[str, Any]) -> str:
    shown = _table(COLUMNS, rows_of(status["river"])) if status["river"] else "<p>None.</p>"
    said = " ".join([OUTSIDE, *beyond_of(status["river"])])
    return f"<h2>River's detectors</h2><p class='quiet'>{safe(said)}</p>{shown}"


_RIGHT: Final = frozenset({"value", "mean", "budget"})


def _past(events: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            short(each["detected_at"]), each["event_id"][:_ID_DIGITS] or "-", each["severity"],
            each["change"], headline_of(each),
            f"{each['model']}:{each['model_version']}" if each["model"] else "the input",
            each["commander"] or ("snoozed" if each["snoozed"] else ""),
        )
        for each in events[:_EVENTS_MOST]
    ]  # fmt: skip
    shown = (
        _table(("at", "event", "severity", "change", "what", "of", "by"), rows)
        if rows
        else "<p>None.</p>"
    )
    return f"<h2>Events</h2>{shown}"


def headline_of(event: Mapping[str, Any]) -> str:
    """Return the line of a past event."""
    if event["kind"] == "snooze":
        return headline(event)
    return f"{event['stream']}: {figure(event['before'])} → {figure(event['after'])}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{safe(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in row)}</tr>" for row in rows)
    thead = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return f"<table>{thead}<tbody>{body}</tbody></table>"


def _severity(event: Mapping[str, Any]) -> str:
    """Return a class of the style sheet; nothing else gets into an attribute."""
    return event["severity"] if event["severity"] in _SEVERITIES else "note"


def _badge(event: Mapping[str, Any]) -> str:
    return f'<span class="badge {_severity(event)}">{_severity(event)}</span>'


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2g} %"
