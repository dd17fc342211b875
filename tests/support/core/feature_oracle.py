"""Every kind of feature in plain Python, written from docs/FEATURES.md alone."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from stream_scorer.core.events.plan import Plan
from tests.support.core.expression_oracle import value_of

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
        # Events past the horizon are evicted, whether or not the ring was.
        events = [known for known in events if known["event_time"] > edge]
        if any(known["transaction_id"] == row["transaction_id"] for known in events):
            return "duplicate", []
        partition = self._partitions[customer] = row["partition"]
        self._watermarks[partition] = max(self._watermarks.get(partition, 0), time)
        if time < newest - self._plan.lateness_ms:
            return "late", self._features(row, [e for e in events if e["event_time"] <= time])
        newest = max(newest, time)
        verdict = "capped" if len(events) >= self._plan.ring_cap else "added"
        # A stable sort: among equal times, the later arrival is last. The newest events stay; the
        # event itself may be the oldest, and then it is evicted.
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
        if kind == "expression":
            return value_of(spec["value"], self._numbers(row) | dict(found))
        if kind == "passthrough":
            value = self._numbers(row)[spec["field"]]
            return missing if math.isnan(value) else value
        if kind == "categorical":
            value, known = row[spec["field"]], spec["values"]
            number = known.index(value) if value in known else spec["unknown"]
            return missing if value is None else float(number)
        if kind == "ratio":
            above = found[spec["feature"]] if "feature" in spec else row["amount_minor"] / unit
            below = found[spec["to"]]
            return missing if below == 0 or math.isnan(above + below) else above / below
        if kind in ("weekend", "night", "hour", "day_of_week"):
            return _calendar(kind, row["event_time"], spec.get("timezone", "UTC"))
        return self._windowed(spec, row, before, missing)

    def _numbers(self, row: Row) -> dict[str, float]:
        """Return every field that is a number, in its unit, NaN for null."""
        found = {
            "amount": row["amount_minor"] / 10**self._plan.exponent,
            "event_time": row["event_time"] / 1_000,
            "card_present": _float(row["card_present"]),
        }
        for name, kind in self._plan.extras.items():
            if kind != "string":
                value = _value(row, name)
                found[name] = _float(value) / (1_000 if kind == "timestamp" else 1)
        return found

    def _windowed(self, spec: Row, row: Row, before: Sequence[Row], missing: float) -> float:
        kind = spec["kind"]
        length = _window_ms(spec["window"]) if "window" in spec else self._longest
        key = spec.get("key", "customer_id")
        fields = [key] if isinstance(key, str) else key

        others = [
            known
            for known in before
            if known["event_time"] > row["event_time"] - length
            and all(known[field] == row[field] for field in fields)
        ]
        itself = [] if spec.get("exclude_self") else [row]
        for name, wanted in spec.get("where", {}).items():
            others = [known for known in others if known[name] == wanted]
            itself = [known for known in itself if known[name] == wanted]
        if kind == "first_seen":
            others = [known for known in others if known[spec["field"]] == row[spec["field"]]]
            others.reverse()
        if kind in ("time_since_last", "first_seen"):
            return (row["event_time"] - others[-1]["event_time"]) / 1_000 if others else missing
        seen = [*others, *itself]
        if "last" in spec:
            seen = seen[-spec["last"] :]
        if kind == "count":
            return float(len(seen))
        if kind == "distinct":
            return float(len({event[spec["field"]] for event in seen}))
        return self._of_numbers(spec, seen, missing)

    def _of_numbers(self, spec: Row, seen: Sequence[Row], missing: float) -> float:
        kind, name = spec["kind"], spec["field"]
        type_of = self._plan.extras.get(name, "amount")
        if type_of == "amount":
            values = [row["amount_minor"] for row in seen]
        else:
            values = [value for row in seen if (value := _value(row, name)) is not None]
        if not values:
            return 0.0 if kind == "sum" else missing
        if type_of == "double":
            result = _of_doubles(kind, values)
            return result if math.isfinite(result) else math.nan
        unit = {"amount": 10**self._plan.exponent, "timestamp": 1_000}.get(type_of, 1)
        return _of_integers(kind, values) / unit


def _calendar(kind: str, time: int, zone: str) -> float:
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time)).astimezone(
        ZoneInfo(zone)
    )
    return float(
        {"weekend": local.weekday() >= 5, "night": local.hour <= 6,
         "hour": local.hour, "day_of_week": local.weekday()}[kind]
    )  # fmt: skip


def _value(row: Row, name: str) -> Any:
    """Return a field's value, None for null and for what counts as null."""
    value = row[name]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if type(value) is int and value < -(2**63) + 2:
        return None
    return value


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation by the differences from the oldest value, the first."""
    mean = squares = 0.0
    for value in values:
        mean += float(value - values[0])
    mean /= len(values)
    for value in values:
        difference = float(value - values[0]) - mean
        squares += difference * difference
    return math.sqrt(squares / len(values))


def _of_integers(kind: str, values: Sequence[int]) -> float:
    total = float(sum(values))
    if kind in ("sum", "mean"):
        return total if kind == "sum" else total / len(values)
    if kind == "stddev":
        return _deviation(values)
    if kind == "median":
        ordered, middle = sorted(values), len(values) // 2
        odd = len(values) % 2
        return float(ordered[middle]) if odd else float(sum(ordered[middle - 1 : middle + 1])) / 2
    return float(min(values) if kind == "min" else max(values))


def _of_doubles(kind: str, values: Sequence[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    if kind in ("sum", "mean"):
        return total if kind == "sum" else total / len(values)
    if kind == "stddev":
        return _deviation(values)
    ordered = sorted(values, key=lambda value: (value, math.copysign(1, value)))
    if kind == "median":
        middle = len(values) // 2
        if len(values) % 2:
            return ordered[middle]
        lower, upper = ordered[middle - 1 : middle + 1]
        mean = (lower + upper) / 2
        return mean if math.isfinite(mean) else lower / 2 + upper / 2
    return ordered[0] if kind == "min" else ordered[-1]
