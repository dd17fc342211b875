"""How urgent an alarm is.

The tolerance is a part of each null, so every alarm is of a change that matters. What it asks of a
person depends on what moved. Decisions depend on scores and outcomes: their changes page. Changes
of features explain; they wait for the day unless the scores move, too.
"""

from collections.abc import Collection
from typing import Final

from stream_scorer.core.summaries.summary_layout import ALL, StreamKey
from stream_scorer.drift.alarms.contract import Severity
from stream_scorer.drift.alarms.nulls import SCORES
from stream_scorer.drift.quality.contract import QualityFault

_PAGING_FAULTS: Final = frozenset({"schema_change", "unit_change", "missing"})
"""Not ``volume``: a window closes by later events, so no events are found when they are over."""


def is_trigger(key: StreamKey) -> bool:
    """Whether a stream is a score or an outcome of all events."""
    return key.segment == ALL and is_of_decisions(key)


def is_of_decisions(key: StreamKey) -> bool:
    """Whether a stream is a score or the share of an outcome, of all events or a segment."""
    return key.field in SCORES and (key.measure == "level" or key.measure.startswith("share"))


def severity_of(key: StreamKey, *, trigger_open: bool) -> Severity:
    """Return the severity of a stream's alarm.

    Args:
        key: The stream.
        trigger_open: Whether a score or an outcome of all events has an open episode.
    """
    if is_trigger(key):
        return Severity.PAGE
    if is_of_decisions(key):
        return Severity.WARN
    return Severity.WARN if trigger_open else Severity.NOTE


def fleet_severity(moved: Collection[StreamKey]) -> Severity:
    """Return the severity of a fleet alarm.

    Args:
        moved: The streams that moved with it.
    """
    return Severity.PAGE if any(is_trigger(key) for key in moved) else Severity.WARN


def fault_severity(fault: QualityFault) -> Severity:
    """Return the severity of a fault of the input."""
    return Severity.PAGE if fault.name in _PAGING_FAULTS else Severity.WARN
