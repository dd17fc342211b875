"""``labels delay``: reads when frauds were reported, and estimates how late that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.terminals.profile_kernels import mixed
from stream_scorer.labels.delay_curve import DAY_MS, DelayCurve, delay_curve
from stream_scorer.labels.lookup import records_of
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Settings

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

SHARES: Final = (0.9, 0.95, 0.99)
_AGES: Final = (1, 2, 3, 7, 14, 21, 30, 45, 60, 90, 120, 180)


@dataclass(frozen=True, slots=True)
class DelayRange:
    """Frauds that count.

    Attributes:
        first_ms: First event time, ms.
        end_ms: End of the event times, exclusive, ms.
        as_of_ms: Reports up to this time count, ms; None: up to the latest one in the topic.
    """

    first_ms: int
    end_ms: int
    as_of_ms: int | None = None


class FirstReports:
    """When each fraud was first reported; retracted ones count, since they were reported, too."""

    def __init__(self) -> None:
        self._match: list[UInt64] = []
        self._event: list[Int64] = []
        self._known: list[Int64] = []

    def add(self, match: UInt64, event_time: Int64, label_time: Int64) -> None:
        """Add statements that their transactions are frauds: three columns, times in ms."""
        self._match.append(match)
        self._event.append(event_time)
        self._known.append(label_time)

    def curve(self, chosen: DelayRange) -> DelayCurve:
        """Return the curve of the frauds of a range.

        Raises:
            SettingsError: There are too few of them.
        """
        match = np.concatenate([np.empty(0, np.uint64), *self._match])
        event, known = (
            np.concatenate([np.empty(0, np.int64), *each]) for each in (self._event, self._known)
        )
        latest = int(known.max(initial=0)) if chosen.as_of_ms is None else chosen.as_of_ms
        # A report that is dated before its transaction is immediate.
        known = np.maximum(known, event)
        kept = (event >= chosen.first_ms) & (event < chosen.end_ms) & (known <= latest)
        match, event, known = match[kept], event[kept], known[kept]
        order = np.lexsort((known, match))
        match, event, known = match[order], event[order], known[order]
        first = np.ones(len(match), np.bool_)
        first[1:] = match[1:] != match[:-1]
        return delay_curve((known - event)[first], (latest - event)[first])


def read_delays(settings: Settings, chosen: DelayRange) -> DelayCurve:
    """Return the curve of the labels that the topic has.

    Args:
        settings: The cluster, its topic of labels, and the registry.
        chosen: The frauds that count.

    Raises:
        SettingsError: The topic does not exist, or has too few frauds of the range.
        UnavailableError: Broker or registry do not answer.
    """
    registry = open_registry(settings.registry)
    schema = reader_schema("label.v2", settings.registry.directory)
    decoder = ColumnDecoder(registry, schema, Plan(), same_name=True)
    reports = FirstReports()
    for _, decoded in records_of(settings.kafka, settings.kafka.topics.labels, "delays", decoder):
        records = decoded.records
        fraud = np.asarray(records.column("is_fraud").to_numpy(zero_copy_only=False), np.bool_)
        rows = np.flatnonzero(fraud)
        time = np.asarray(records.column("event_time").cast("int64"))[rows]
        known = records.column("label_time").cast("int64")
        known_at = np.where(
            np.asarray(known.is_valid())[rows], np.asarray(known.fill_null(0))[rows], time
        )
        customer, transaction = (
            hashes_of(records.column(name)) for name in ("customer_id", "transaction_id")
        )
        reports.add(mixed(customer, transaction)[rows], time, known_at)
    return reports.curve(chosen)


def delay_report(curve: DelayCurve) -> Mapping[str, Any]:
    """Return a curve as a report: days by which shares are reported, and lines for a plan."""
    longest = curve.longest_ms / DAY_MS
    ages = [age for age in _AGES if age <= longest]
    shares = [round(share, 4) for share in curve.at(ages)]
    days = {f"days_{round(share * 100)}": round(curve.days_for(share), 2) for share in SHARES}
    after = float(np.ceil(curve.days_for(SHARES[-1]) * 10) / 10)
    return {
        "frauds": curve.frauds,
        "longest_days": round(longest, 2),
        **days,
        "reported_by": dict(zip(map(str, ages), shares, strict=True)),
        "plan": f'[label_policy]\nunlabelled = "mature"\nafter_days = {after}',
    }
