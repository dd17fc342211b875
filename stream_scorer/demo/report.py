"""The demo's results, and the conditions under which it fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream_scorer.demo.found import WINDOWS_MOST, DemoFound
from stream_scorer.demo.precision import Precision
from stream_scorer.demo.verdict import OutputVerdict


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The results.

    Attributes:
        verification: Outputs against input.
        malformed: Number of bad records sent, by expected reject reason.
        change_ms: Event time from which behaviour differs.
        drifts: The drift events.
        found: What they report of the change.
        page: File with the monitor's report.
        burst_events: Records of the burst.
        events_per_second: Decisions and dead letters of the burst's backlog after the first
            arrival, over the time from the first arrival to the last, at the reader.
        latency_ms: float64[n], of each decision of the paced phase: from the transaction's time in
            the producer's schedule to its arrival at the reader.
        precision: Of the scores, over the unmodified transactions.
        changed_precision: Likewise, over those whose amounts were doubled.
        least_precision: Minimum of ``precision``.
        seconds: Duration of the demo.
    """

    verification: OutputVerdict
    malformed: Mapping[str, int]
    change_ms: int
    drifts: list[dict[str, Any]]
    found: DemoFound
    page: Path
    burst_events: int
    events_per_second: float
    latency_ms: Any
    precision: Precision
    changed_precision: Precision
    least_precision: float
    seconds: float

    @property
    def faults(self) -> list[str]:
        """Return the faults; empty if the demo passes."""
        seen = self.verification
        sent = sum(self.malformed.values())
        found = self.found
        checks = {
            f"duplicates: {seen.duplicates}": not seen.duplicates,
            f"missing: {seen.missing}": not seen.missing,
            f"unexpected: {seen.unexpected}": not seen.unexpected,
            f"unreadable: {seen.unreadable}": not seen.unreadable,
            f"dead letters: {seen.dead_letters} for {sent} malformed records": (
                seen.dead_letters == sent
            ),
            f"reasons: {dict(seen.reasons)}, not {dict(self.malformed)}": (
                dict(seen.reasons) == dict(self.malformed)
            ),
            "the change was not found": found.windows is not None,
            f"found {found.windows} windows after the change, not {WINDOWS_MOST} or fewer": (
                found.windows is None or found.windows <= WINDOWS_MOST
            ),
            f"drift events before the change: {found.early}": not found.early,
            f"faults of the data: {', '.join(found.faults)}": not found.faults,
            f"no report: {self.page}": self.page.is_file(),
            "no latency was measured": bool(len(self.latency_ms)),
            f"degraded: {seen.degraded}": not seen.degraded,
            f"average precision: {_rounded(self.precision)}, not at least {self.least_precision}": (
                self.precision.value is not None and self.precision.value >= self.least_precision
            ),
        }
        return [fault for fault, good in checks.items() if not good]

    def document(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        seen = self.verification
        timed = len(self.latency_ms) > 0
        p50, p99 = np.percentile(self.latency_ms, (50, 99)) if timed else (None, None)
        return {
            "transactions": seen.transactions,
            "malformed_sent": sum(self.malformed.values()),
            "decisions": seen.decisions,
            "dead_letters": seen.dead_letters,
            "duplicates": seen.duplicates,
            "missing": seen.missing,
            **{outcome.lower(): count for outcome, count in seen.outcomes.items()},
            "events_per_second": round(self.events_per_second),
            "latency_p50_ms": None if p50 is None else round(float(p50), 1),
            "latency_p99_ms": None if p99 is None else round(float(p99), 1),
            "drift_events": len(self.drifts),
            "drift_windows": self.found.windows,
            "report": str(self.page),
            "degraded": seen.degraded,
            "average_precision": _rounded(self.precision),
            "average_precision_over": self.precision.transactions,
            "average_precision_changed": _rounded(self.changed_precision),
            "unexpected": seen.unexpected,
            "seconds": round(self.seconds, 1),
            "ok": not self.faults,
        }


def _rounded(precision: Precision) -> float | None:
    return None if precision.value is None else round(precision.value, 4)
