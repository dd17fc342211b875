"""Data quality: eight faults are named in one window, and a change of the amounts is drift.

Each run is a stream of transactions with another seed: 28 days make the reference, and one to two
days are quiet. Then one window has a fault. It is named right if the monitor reports it for this
window, with its field and segment, and no other fault. In a second kind of run, a fault and a drift
of a field that has nothing to do with it begin together: both must be reported, and the drift not
as a consequence. In a third, amounts are multiplied by 2 or 1.5: that is drift, and never a fault.

The monitor's own fold is used, from summaries to alarms; only Kafka is left out.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bench.harness.script import missed
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.windows.contract import ClosedArrivals
from tests.support.drift.watched_stream import (
    DAY,
    HOUR,
    MONDAY,
    Change,
    Columns,
    WatchedStream,
    summary_of,
)

SEEDS: Final = 10
RATE: Final = 600
"""Events an hour: half of them are in the channel ``web``, so each window has enough rows."""
SHARE_LEAST: Final = 1.0
"""Share of the runs of each kind that must be right."""
DRIFT_HOURS: Final = 48
"""Hours within which a drift must be reported."""
_QUIET: Final = 24
_REFERENCE_DAYS: Final = 28
_USUAL_LATE, _USUAL_DUPLICATES, _USUAL_REJECTS = 0.004, 0.002, 0.001
Name = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """What is wrong with a window.

    Attributes:
        name: Name of the fault, then its field and segment.
        changes: What it does to the events.
        rate: Factor of the number of events.
        late: Share of late events.
        rejected: Share of the records by reject reason.
    """

    name: Name
    changes: Sequence[Change] = ()
    rate: float = 1.0
    late: float = _USUAL_LATE
    rejected: tuple[tuple[str, float], ...] = ()


def scaled(field: str, factor: float, channel: str = "") -> Change:
    """Return a change that multiplies a number, in one channel or in all of them."""

    def change(columns: Columns) -> None:
        rows = columns["channel"] == channel.encode() if channel else slice(None)
        columns[field][rows] = columns[field][rows] * factor
        if field == "amount":
            columns[field][rows] = np.rint(columns[field][rows])

    return change


def replaced(field: str, share: float, value: object) -> Change:
    """Return a change that gives a share of the events another value of a field."""

    def change(columns: Columns) -> None:
        columns[field][: round(share * len(columns[field]))] = value

    return change


QUIET: Final = Case(("", "", ""))
CASES: Final = (
    Case(("unit_change", "amount", "channel=web"), [scaled("amount", 100, "web")]),
    Case(("schema_change", "", "all"), rejected=(("UNKNOWN_SCHEMA", 0.2),)),
    Case(("missing", "device", "all"), [replaced("device", 0.1, np.nan)]),
    Case(("new_value", "currency", "all"), [replaced("currency", 0.05, "XTS")]),
    Case(("volume", "", "all"), rate=0.2),
    Case(("lateness", "", "all"), late=0.1),
    Case(("duplicates", "", "all"), rejected=(("DUPLICATE", 0.1),)),
    Case(("rejects", "TIME_AHEAD", "all"), rejected=(("TIME_AHEAD", 0.05),)),
    Case(("unit_change", "amount", "all"), [scaled("amount", 0.01)]),
    Case(("schema_change", "device", "all"), [replaced("device", 1.0, np.nan)]),
    Case(("missing", "country", "all"), [replaced("country", 0.1, "")]),
    Case(("new_value", "country", "all"), [replaced("country", 0.05, "XX")]),
    Case(("volume", "", "all"), rate=5.0),
)
"""The eight faults, then other forms of some."""
TOGETHER: Final = Case(
    ("missing", "country", "all"), [replaced("country", 0.1, ""), scaled("device", 2.0)]
)
DRIFTED: Final = "device"
FACTORS: Final = (2.0, 1.5)


class Run:
    """A stream and the monitor's fold of it, hour by hour.

    Args:
        seed: Of the stream.
    """

    def __init__(self, seed: int) -> None:
        self._stream = WatchedStream(seed, rate=RATE)
        self._random = np.random.default_rng([seed, 1])
        reference = self._stream.reference(_REFERENCE_DAYS)
        budget = AlarmBudget(history_from=MONDAY)
        self._watch = DriftWatch(budget, (0,), 0, lambda *_: reference)
        self._next = MONDAY + _REFERENCE_DAYS * DAY
        self.alarms: list[Alarm] = []
        for _ in range(_QUIET + int(self._random.integers(24))):
            self.hour(QUIET)

    def copy(self) -> "Run":
        """Return a run that continues from here separately, with the same random numbers."""
        return deepcopy(self)

    def hour(self, case: Case) -> int:
        """Add an hour's events; return its start."""
        start, self._next = self._next, self._next + HOUR
        self._stream.rate = round(RATE * case.rate)

        def change(columns: Columns) -> None:
            for each in case.changes:
                each(columns)

        window = self._stream.window(start, change)
        shares = {"DUPLICATE": _USUAL_DUPLICATES, "CURRENCY": _USUAL_REJECTS} | dict(case.rejected)
        counts = {
            reason: int(self._random.poisson(share * window.count))
            for reason, share in shares.items()
        }
        late = int(self._random.poisson(case.late * window.count))
        records = window.count + sum(counts.values())
        arrivals = ClosedArrivals(start, start + HOUR, records, late, counts, tiled=True)
        self.alarms += self._watch.update(summary_of(window, arrivals), start + HOUR)
        return start

    def faults(self, start: int | None = None) -> set[Name]:
        """Return the faults that were opened, in one window or in all of them."""
        return {
            (each.stream, each.field, each.segment)
            for each in self.alarms
            if each.kind == "fault" and each.change == "opened"
            and start in (None, each.window_start)
        }  # fmt: skip

    def drifts(self, field: str) -> list[Alarm]:
        """Return the drifts of a field that no fault explains."""
        return [
            each
            for each in self.alarms
            if each.kind == "drift" and each.field == field and not each.consequence_of
        ]


def named_right(case: Case, run: Run) -> bool:
    """Return whether a fault is named for its window, alone, and none before."""
    quiet = run.faults()
    start = run.hour(case)
    run.hour(QUIET)  # closes the windows of the hour before
    return not quiet and run.faults(start) == {case.name}


def both_reported(run: Run) -> bool:
    """Return whether a fault and an unrelated drift are both reported, each as what it is."""
    for _ in range(DRIFT_HOURS):
        run.hour(TOGETHER)
    return run.faults() == {TOGETHER.name} and bool(run.drifts(DRIFTED))


def called_drift(factor: float, run: Run) -> bool:
    """Return whether amounts that are multiplied are reported as drift, and never as a fault."""
    for _ in range(DRIFT_HOURS):
        run.hour(Case(QUIET.name, [scaled("amount", factor)]))
    return not run.faults() and bool(run.drifts("amount"))


def run(*, quick: bool = False, told: Callable[[str], None] = lambda _line: None) -> dict[str, Any]:
    """Return the part ``quality`` of the bench's report: three shares of runs.

    Args:
        quick: Two seeds instead of ten.
        told: Called with a line after each kind of run.
    """
    begun = [Run(seed) for seed in range(1, (2 if quick else SEEDS) + 1)]
    told(f"{len(begun)} streams: references and quiet days")
    right: dict[str, list[bool]] = {}
    for case in CASES:
        found = [named_right(case, each.copy()) for each in begun]
        right.setdefault(case.name[0], []).extend(found)
        told(f"{' '.join(filter(None, case.name))}: {sum(found)} of {len(found)} named right")
    together = [both_reported(each.copy()) for each in begun]
    told(f"fault and drift together: {sum(together)} of {len(together)} reported both")
    drift = [called_drift(factor, each.copy()) for factor in FACTORS for each in begun]
    told(f"amounts times 2 and 1.5: {sum(drift)} of {len(drift)} drift, without a fault")
    every = [each for found in right.values() for each in found]
    return {
        "quality": {
            "right": sum(every) / len(every),
            "called_drift": sum(drift) / len(drift),
            "both": sum(together) / len(together),
            "by_fault": {name: sum(found) / len(found) for name, found in right.items()},
            "seeds": len(begun),
        }
    }


def gates(said: dict[str, Any]) -> list[str]:
    """Return one line for each share of the part ``quality`` that misses."""
    return missed(
        ("quality: share of faults that are named right {}", said["right"], ">=", SHARE_LEAST),
        ("quality: share of drifts that are no fault {}", said["called_drift"], ">=", SHARE_LEAST),
        ("quality: share of fault and drift, both reported {}", said["both"], ">=", SHARE_LEAST),
    )
