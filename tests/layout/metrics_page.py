"""Writes docs/METRICS.md from declarations: ``python -m tests.layout.metrics_page``."""

import re
from pathlib import Path
from typing import Final

from stream_scorer.telemetry import (
    ACCESS_EVENTS,
    EVENTS,
    LAG_EVENTS,
    SCRAPED_EVENTS,
    SUPERVISOR_EVENTS,
)  # fmt: skip
from stream_scorer.telemetry.event import Counter, Event, Gauge, Metric

PAGE = Path(__file__).parents[2] / "docs" / "METRICS.md"
_HEAD: Final = """# Metrics

Every metric of our processes. This page is generated: `python -m tests.layout.metrics_page` writes
it from the declarations in `stream_scorer/telemetry/`. `make test` fails when they differ.

Each name begins with `stream_scorer_`. A counter's sample ends with `_total`. A histogram has
`_bucket`, `_sum` and `_count`. With several workers, a process's metrics have the label `worker`,
too. Prometheus adds `job` and `instance`.

The lag process (`stream-scorer lag --serve`) has the metrics of
[Groups, seen from outside](#groups-seen-from-outside), which exist while no scorer runs. Metrics of
a scorer about lag, such as `lag_records`, end with the scorer. Like every process that is scraped,
it also has those of itself and its clients: `build_info`, `disk_*`, `kafka_*`,
`certificate_expires_time_seconds` and `service_request_seconds`.

`ready` is 1 while a process can do its work, else 0 (gauge, unit 1). `process_*` (CPU, memory,
files, start) and `python_*` (garbage collection) are those of the Prometheus client, without our
prefix.
"""
_COLUMNS: Final = "| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n"
_SECTIONS: Final = {
    "lag": "Groups, seen from outside",
    "kafka_loop": "Batches and transactions",
    "partitions": "Partitions of a process",
    "processes": "Processes and dependencies",
    "state": "State and checkpoints",
    "models": "Models",
    "rollout": "Rollouts",
    "terminals": "Terminals and labels",
    "drift": "Drift",
    "performance": "Performance and retraining",
    "edge": "Devices",
    "serving": "The API: requests, and decisions in the call",
    "access": "Access to the API",
}
_SUFFIXES: Final = {
    "records_per_second": "records/s", "event_time_seconds": "seconds since the epoch",
    "time_seconds": "seconds since the epoch", "watermark_seconds": "seconds since the epoch",
    "seconds": "seconds", "records": "records", "bytes": "bytes", "events": "events",
    "decisions": "decisions", "rows": "rows", "offset": "offset", "partitions": "partitions",
    "info": "1", "verdict": "1", "members": "members", "transactions": "transactions",
    "requests": "requests", "windows_closed": "windows", "windows_untiled": "windows",
    "failures": "failures", "features": "features", "rebalances": "rebalances",
    "streams": "streams", "commands": "commands", "keys": "keys", "clients": "clients",
}  # fmt: skip
"""The unit by the end of a name, the longest one first."""
_UNITS: Final = {
    "rejected": "records", "skipped": "records", "flagged": "decisions",
    "own_records_skipped": "records", "records_quarantined": "records",
    "records_unreadable": "records", "rollout_records_unreadable": "records",
    "keys_sampled": "keys", "keys_misplaced": "keys", "keys_of_another": "keys",
    "producer_rebirths": "producers", "worker_up": "1", "worker_exits": "exits",
    "dependency_up": "1", "standing_by": "1", "plan_awaited": "1", "state_incomplete": "1",
    "model_refused": "1", "model_verifications": "verifications", "access_clients_refused": "1",
    "checkpoint_buckets": "buckets", "drift_open": "alarms", "drift_sink_sent": "events",
    "spans_dropped": "spans", "edge_rows": "rows", "edge_accepted": "decisions",
    "edge_rejected": "records", "edge_diverged": "decisions", "edge_central_failed": "decisions",
    "edge_producers": "producers", "edge_updates": "releases", "edge_update_errors": "updates",
    "partitions_assigned": "partitions", "partitions_lost": "partitions",
    "plan_revision": "revision", "active_revision": "revision", "revisions_refused": "revisions",
    "rollout_rows_left_out": "rows", "rollout_labels_late": "labels",
    "rollout_labels_waiting": "labels", "rollout_decisions_waiting": "decisions",
    "rollout_commands_refused": "commands", "rollout_looks": "looks", "rollout_moves": "commands",
    "terminal_rows_published": "rows", "terminal_rows_pending": "rows",
    "terminal_rows_late": "rows", "terminal_rows_held": "rows", "labels_late": "labels",
    "api_refused": "requests", "api_in_flight": "transactions",
    "api_in_flight_limit": "transactions", "api_provisional": "transactions",
    "api_provisional_differed": "decisions", "api_window_shortened": "decisions",
    "access_refused": "requests", "access_token_keys": "keys",
    "access_token_key_readings": "readings", "lag_series_left_out": "partitions",
    "lag_groups_left_out": "groups",
    "records_unaccounted": "records", "reconciled_offsets": "offsets",
    "outputs_unreadable": "records", "dead_letters_waiting": "records",
    "kafka_requests_waiting": "requests",
    "drift_late_decisions": "decisions", "performance_pending": "decisions",
    "performance_labels": "labels", "performance_late_labels": "labels",
    "performance_labels_left_out": "labels", "performance_records_unreadable": "records",
    "performance_value": "the measure's", "performance_unknown_share": "1",
    "performance_outbox_lag": "records", "performance_log_evidence": "1",
    "retrain_ended": "retrainings", "retrain_held": "guards", "retrain_run": "number",
}  # fmt: skip
"""The unit of what its name does not show."""


class UnitUnknownError(Exception):
    """A metric's name does not show its unit, and no table has it."""


def unit_of(metric: Metric) -> str:
    """Return a metric's unit.

    Raises:
        UnitUnknownError: Add it to ``_UNITS``, or give the metric a name that ends with it.
    """
    if metric.name in _UNITS:
        return _UNITS[metric.name]
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if metric.name == suffix or metric.name.endswith(f"_{suffix}"):
            return _SUFFIXES[suffix]
    raise UnitUnknownError(metric.name)


def page() -> str:
    """Return the page's text."""
    parts = [_HEAD]
    for module, title in _SECTIONS.items():
        metrics = _metrics_of(module)
        if not metrics:
            continue
        parts.append(f"\n## {title}\n\n{_COLUMNS}")
        parts += [_row(metric) for metric in sorted(metrics, key=lambda each: each.name)]
    return "".join(parts)


def sections_without_title() -> set[str]:
    """Return the modules with metrics that the page does not show."""
    return {_module(kind) for kind in _kinds() if kind.metrics()} - _SECTIONS.keys()


def _kinds() -> list[type[Event]]:
    return [*EVENTS, *ACCESS_EVENTS, *LAG_EVENTS, *SCRAPED_EVENTS, *SUPERVISOR_EVENTS]


def _module(kind: type[Event]) -> str:
    return kind.__module__.rpartition(".")[2]


def _metrics_of(module: str) -> list[Metric]:
    return [metric for kind in _kinds() if _module(kind) == module for metric in kind.metrics()]


def _row(metric: Metric) -> str:
    kind = (
        "counter"
        if isinstance(metric, Counter)
        else "gauge"
        if isinstance(metric, Gauge)
        else "histogram"
    )
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    text = re.sub(r"\s+", " ", metric.text).replace("|", "\\|")
    return f"| `{metric.name}` | {kind} | {unit_of(metric)} | {labels} | {text} |\n"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    write()
