"""Every kind of feature in plain Python, written from docs/FEATURES.md alone."""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from stream_scorer.core.events.plan import Plan

Row = Mapping[str, Any]
Verdict = str
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _window_ms(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]] * 1_000


def longest_ms(specs: Sequence[Row]) -> int:
    return max((_window_ms(spec["window"]) for spec in specs if "window" in spec), default=0)


class FeatureOracle:
    """Remembers each customer's events as a sorted list and recomputes every feature from it.

    ``horizon_ms`` is how long it remembers, for manifests that share rings.
    """

    def __init__(self, specs: Sequence[Row], plan: Plan, horizon_ms: int | None = None) -> None:
        self._specs, self._plan = specs, plan
        self._longest = longest_ms(specs)
        self._horizon = self._longest if horizon_ms is None else horizon_ms
        self.rings: dict[str, tuple[int, list[Row]]] = {}
        self._partitions: dict[str, int] = {}
        self._watermarks: dict[int, int] = {}

    def evict(self) -> int:
        """Forget customers whom their partition's watermark has passed; return how many."""
        memory = self._horizon + 2 * self._plan.lateness_ms
        gone = [
            customer
            for customer, (newest, _) in self.rings.items()
            if newest < self._watermarks[self._partitions[customer]] - memory
        ]
        for customer in gone:
            del self.rings[customer]
        return len(gone)

    def see(self, row: Row) -> tuple[Verdict, list[float]]:
        """Return what becomes of an event, and its features unless it is a duplicate."""
        customer, time = row["customer_id"], row["event_time"]
        newest, events = self.rings.get(customer, (time, []))
        edge = max(newest, time) - self._horizon - self._plan.lateness_ms
        # What is past the horizon is forgotten, whether or not the ring has left.
        events = [known for known in events if known["event_time"] > edge]
        if any(known["transaction_id"] == row["transaction_id"] for known in events):
            return "duplicate", []
        partition = self._partitions[customer] = row["partition"]
        self._watermarks[partition] = max(self._watermarks.get(partition, 0), time)
        if time < newest - self._plan.lateness_ms:
            return "late", self._features(row, [e for e in events if e["event_time"] <= time])
        newest = max(newest, time)
        verdict = "capped" if len(events) >= self._plan.ring_cap else "added"
        # A stable sort: among equal times, the one that arrived later stands later. The newest
        # stay; the event itself may be the oldest, and then it leaves.
        events = sorted([*events, row], key=lambda known: int(known["event_time"]))
        events = events[-self._plan.ring_cap :]
        self.rings[customer] = newest, events
        before = [known for known in events if known["event_time"] <= time and known is not row]
        return verdict, self._features(row, before)

    def _features(self, row: Row, before: Sequence[Row]) -> list[float]:
        found: dict[str, float] = {}
        for spec in self._specs:
            found[spec["name"]] = self._feature(spec, row, before, found)
        return list(found.values())

    def _feature(
        self, spec: Row, row: Row, before: Sequence[Row], found: Mapping[str, float]
    ) -> float:
        kind, missing = spec["kind"], float(spec.get("missing", math.nan))
        unit = 10**self._plan.exponent
        if kind == "passthrough":
            value = row["amount_minor"] / unit if spec["field"] == "amount" else row[spec["field"]]
            return missing if value is None else float(value)
        if kind == "categorical":
            value = row[spec["field"]]
            if value is None:
                return missing
            known = spec["values"]
            return float(known.index(value) if value in known else spec["unknown"])
        if kind == "ratio":
            above = found[spec["feature"]] if "feature" in spec else row["amount_minor"] / unit
            below = found[spec["to"]]
            return missing if below == 0 or math.isnan(above + below) else above / below
        if kind in ("weekend", "night", "hour", "day_of_week"):
            zone = ZoneInfo(spec.get("timezone", "UTC"))
            start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=row["event_time"])
            local = start.astimezone(zone)
            return float(
                {"weekend": local.weekday() >= 5, "night": local.hour <= 6,
                 "hour": local.hour, "day_of_week": local.weekday()}[kind]
            )  # fmt: skip
        return self._windowed(spec, row, before, missing)

    def _windowed(self, spec: Row, row: Row, before: Sequence[Row], missing: float) -> float:
        kind, unit = spec["kind"], 10**self._plan.exponent
        length = _window_ms(spec["window"]) if "window" in spec else self._longest
        key = spec.get("key", "customer_id")
        fields = [key] if isinstance(key, str) else key
        others = [
            known
            for known in before
            if known["event_time"] > row["event_time"] - length
            and all(known[field] == row[field] for field in fields)
        ]
        if kind == "time_since_last":
            return (row["event_time"] - others[-1]["event_time"]) / 1_000 if others else missing
        seen = [*others, row]
        if "last" in spec:
            seen = seen[-spec["last"] :]
        if kind == "count":
            return float(len(seen))
        if kind == "distinct":
            return float(len({event[spec["field"]] for event in seen}))
        amounts = [event["amount_minor"] for event in seen]
        if kind == "mean":
            return sum(amounts) / len(amounts) / unit
        if kind == "median":
            return statistics.median(amounts) / unit
        result: int = {"sum": sum(amounts), "min": min(amounts), "max": max(amounts)}[kind]
        return result / unit
