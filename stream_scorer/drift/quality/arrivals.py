"""The rules for the input: late and repeated records, dead letters, and the number of events.

They belong to no model version. What is usual for a share is the median of the last 168 windows
without a fault; before there are 24 windows, it is what the reference says.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final, Self

import numpy as np

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.summaries.summary_layout import ALL
from stream_scorer.drift.quality.contract import REJECTED, QualityFault
from stream_scorer.drift.quality.open_faults import Key, OpenFaults
from stream_scorer.drift.quality.pooled_window import LEAST_ROWS
from stream_scorer.drift.quality.reference_view import Float64
from stream_scorer.drift.quality.volume import usual_count, volume_fault
from stream_scorer.drift.windows.contract import ClosedArrivals
from stream_scorer.models.reference.season import HOUR_MS

_HISTORY: Final = 168
_TIMES_USUAL: Final = 5.0
_Z: Final = 4.0
_LEVEL_FROM: Final = 24
"""Windows from which on they determine the level of the traffic, and what is usual for a share."""
_NO_REJECTS: Final[Mapping[str, float]] = {}
_HOURS_MOST: Final = 168
"""Empty hours that are judged when the input continues."""
_SCHEMA: Final = frozenset(
    {
        RejectReason.UNKNOWN_SCHEMA,
        RejectReason.INCOMPATIBLE_SCHEMA,
        RejectReason.MALFORMED,
        RejectReason.TRAILING_BYTES,
        RejectReason.MAPPING,
    }
)


@dataclass(frozen=True, slots=True)
class ShareRule:
    """A share of the records that may not exceed its limit.

    Attributes:
        name: Name of the fault.
        field: Its field: the reject reason, where a rule is for one; otherwise empty.
        least: Share below which it does not matter.
        reasons: Reject reasons that count; empty: late decisions.
        segment: Segment of the fault.
    """

    name: str
    field: str
    least: float
    reasons: frozenset[str]
    segment: str = ALL

    def count(self, late: int, rejected: Mapping[str, float]) -> float:
        """Return how many of the records count, or which share of them."""
        return sum(rejected.get(reason, 0) for reason in self.reasons) if self.reasons else late


SHARES: Final = (
    ShareRule("lateness", "", 0.05, frozenset()),
    ShareRule("duplicates", "", 0.05, frozenset({RejectReason.DUPLICATE.value})),
    ShareRule("schema_change", "", 0.01, frozenset(each.value for each in _SCHEMA)),
    # The plan does not list the currency: it is a new value, as far as the input is concerned.
    ShareRule("new_value", "currency", 0.01, frozenset({RejectReason.CURRENCY.value}), REJECTED),
    *(
        ShareRule("rejects", reason.value, 0.01, frozenset({reason.value}))
        for reason in RejectReason
        if reason not in {*_SCHEMA, RejectReason.DUPLICATE, RejectReason.CURRENCY}
    ),
)


def share_limit(usual: float, records: int, least: float) -> float:
    """Return the share from which on a window is at fault.

    >>> share_limit(0.0, 10_000, 0.05), share_limit(0.02, 10_000, 0.05)
    (0.05, 0.1)

    Args:
        usual: The usual share.
        records: Records of the window.
        least: Share below which it does not matter.
    """
    likely = min(usual + 1 / records, 1.0)
    error = float(np.sqrt(likely * (1 - likely) / records))
    return max(least, _TIMES_USUAL * usual, usual + _Z * error)


@dataclass(slots=True)
class ArrivalRules:
    """Judges the closed windows of the input."""

    _records: int = 0
    _late: int = 0
    _rejected: dict[str, int] = field(default_factory=dict)
    _usual: list[deque[float]] = field(
        default_factory=lambda: [deque(maxlen=_HISTORY) for _ in SHARES]
    )
    _faults: OpenFaults = field(default_factory=OpenFaults)
    _volume_faults: OpenFaults = field(default_factory=OpenFaults)
    _decided_until: int | None = None
    _rates: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))

    def arrivals(
        self, closed: ClosedArrivals, rejects: Mapping[str, float] = _NO_REJECTS
    ) -> list[QualityFault]:
        """Return the faults of a window of arrivals, then those that are over with it.

        Fewer than 200 records wait for the next windows. A window that is not tiled is not judged.
        The first 24 windows are learned even if they are at fault: what is there from the
        beginning on is a fault for a day, and usual after it.

        Args:
            closed: The window.
            rejects: The reference's usual share of the records, by reject reason: it holds until
                24 windows are learned.
        """
        if not closed.tiled:
            return []
        self._records += closed.records
        self._late += closed.late
        for reason, count in closed.rejected.items():
            self._rejected[reason] = self._rejected.get(reason, 0) + count
        if self._records < LEAST_ROWS:
            return []
        found = []
        for rule, history in zip(SHARES, self._usual, strict=True):
            share = rule.count(self._late, self._rejected) / self._records
            learned = len(history) >= _LEVEL_FROM
            usual = median(history) if learned else rule.count(0, rejects)
            limit = share_limit(usual, self._records, rule.least)
            if share < limit or not learned:
                history.append(share)
            if share < limit:
                continue
            found.append(
                QualityFault(
                    name=rule.name, field=rule.field, segment=rule.segment,
                    window_start=closed.start, window_end=closed.end, value=share, usual=usual,
                    evidence=share / limit, open=True,
                )
            )  # fmt: skip
        self._records, self._late, self._rejected = 0, 0, {}
        return self._faults.update(found, (closed.start, closed.end), _always)

    def begin(self, time_ms: int) -> None:
        """Note where the input begins, unless that is known: its first window is incomplete.

        Args:
            time_ms: The newest event of the first summary, ms since the epoch.
        """
        if self._decided_until is None:
            self._decided_until = time_ms

    def decided(
        self, start: int, end: int, count: int, volume: Float64, width: int = HOUR_MS
    ) -> list[QualityFault]:
        """Return the faults of the number of decisions in an event-time window, and of gaps before.

        The reference has the shape of the week. The level is that of the input in the last 168
        windows, from 24 windows on, whatever references they had: the data of a training may be a
        sample of the traffic, and traffic grows. A window without events is never usual.

        Windows are given once each, by their starts. An hour that no version decided in has no
        window: it is judged when the next one is given. A window that starts before :meth:`begin`
        is neither judged nor learned.

        Args:
            start: Start of the window, ms since the epoch.
            end: End of the window.
            count: Decisions of all versions.
            volume: float64[168], usual events of a window by the hour of the week in which it
                starts; NaN: unknown.
            width: Width of the reference's windows, ms.
        """
        if self._decided_until is not None and start < self._decided_until:
            return []
        windows = [*self._gaps(start, end), (start, end, count)]
        self.unknown(end)
        found: list[QualityFault] = []
        for first, last, counted in windows:
            usual = usual_count(first, last, volume, width)
            if not usual > 0:  # NaN, too
                continue
            # In events an hour, so that a reference made of a sample changes nothing.
            typical = float(np.nanmean(volume)) * HOUR_MS / width
            level = median(self._rates) if len(self._rates) >= _LEVEL_FROM else typical
            fault = volume_fault(first, last, counted, usual * (level / typical))
            found += self._volume_faults.update(filter(None, [fault]), (first, last), _always)
            if counted:
                self._rates.append(counted * typical / usual)
        return found

    def unknown(self, end: int) -> None:
        """Note that the number of decisions is unknown up to the end of a window, ms.

        Hours before it that have no window are not empty: their summaries may be what is missing.
        """
        self._decided_until = max(end, self._decided_until or end)

    def snapshot(self) -> bytes:
        """Return the state."""
        document = {
            "records": self._records,
            "late": self._late,
            "rejected": self._rejected,
            "usual": {
                _name(rule): list(past) for rule, past in zip(SHARES, self._usual, strict=True)
            },
            "faults": self._faults.document(),
            "volume": self._volume_faults.document(),
            "decided_until": self._decided_until,
            "rates": list(self._rates),
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Return the rules with a state; a rule that it does not have begins anew.

        Raises:
            ValueError: The data are not a state of rules.
        """
        try:
            document = json.loads(data)
            usual = document["usual"]
            until = document["decided_until"]
            return cls(
                int(document["records"]),
                int(document["late"]),
                {str(name): int(count) for name, count in document["rejected"].items()},
                [deque(map(float, usual.get(_name(rule), ())), _HISTORY) for rule in SHARES],
                OpenFaults.read(document["faults"]),
                OpenFaults.read(document["volume"]),
                None if until is None else int(until),
                deque(map(float, document.get("rates", ())), _HISTORY),
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a state of the rules for the input: {error!r}") from error

    def copy(self) -> Self:
        """Return rules with the same state, which can change separately."""
        return replace(
            self,
            _rejected=dict(self._rejected),
            _usual=[past.copy() for past in self._usual],
            _faults=self._faults.copy(),
            _volume_faults=self._volume_faults.copy(),
            _rates=self._rates.copy(),
        )

    def _gaps(self, start: int, end: int) -> list[tuple[int, int, int]]:
        width = end - start
        if self._decided_until is None or width <= 0:
            return []
        empty = min((start - self._decided_until) // width, _HOURS_MOST)
        return [(start - n * width, start - (n - 1) * width, 0) for n in range(empty, 0, -1)]


def _name(rule: ShareRule) -> str:
    return f"{rule.name}/{rule.field}"


def _always(_: Key) -> bool:
    return True
