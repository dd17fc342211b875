"""Feature lists for tests: one as a fraud team would write it, one that uses every kind and key."""

from typing import Any

RICH: list[dict[str, Any]] = [
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "WEEKEND", "kind": "weekend"},
    {"name": "NIGHT", "kind": "night"},
    {"name": "COUNT_1D", "kind": "count", "window": "1d"},
    {"name": "COUNT_7D", "kind": "count", "window": "7d"},
    {"name": "COUNT_30D", "kind": "count", "window": "30d"},
    {"name": "MEAN_1D", "kind": "mean", "field": "amount", "window": "1d"},
    {"name": "MEAN_7D", "kind": "mean", "field": "amount", "window": "7d"},
    {"name": "MEAN_30D", "kind": "mean", "field": "amount", "window": "30d"},
    {"name": "MAX_LAST_5", "kind": "max", "field": "amount", "last": 5},
    {"name": "MEDIAN_30D", "kind": "median", "field": "amount", "window": "30d"},
    {"name": "TO_MEDIAN", "kind": "ratio", "field": "amount", "to": "MEDIAN_30D"},
    {"name": "TERMINALS_7D", "kind": "distinct", "field": "terminal_id", "window": "7d"},
    {"name": "SINCE_LAST", "kind": "time_since_last"},
    {
        "name": "SAME_TERMINAL_30D", "kind": "count", "key": ["customer_id", "terminal_id"],
        "window": "30d",
    },
]  # fmt: skip
"""Fifteen features of several kinds."""

_AT_TERMINAL = ["customer_id", "terminal_id"]
_ON_DEVICE = ["device_id", "customer_id"]
_HOW: list[dict[str, Any]] = [
    {"window": "4s"},
    {"window": "25s"},
    {"last": 3},
    {"window": "10s", "last": 2},
    {"window": "20s", "key": _AT_TERMINAL},
    {"last": 2, "key": _ON_DEVICE},
]
EVERY_KIND: list[dict[str, Any]] = [
    {"name": "amount", "kind": "passthrough", "field": "amount"},
    {"name": "present", "kind": "passthrough", "field": "card_present", "missing": -1},
    *(
        {"name": f"{kind} {n}", "kind": kind, **({"field": "amount"} if kind != "count" else {})}
        | how
        for kind in ("count", "sum", "mean", "min", "max", "median")
        for n, how in enumerate(_HOW)
    ),
    *(
        {"name": f"distinct {field}", "kind": "distinct", "field": field, "window": "15s"}
        for field in ("terminal_id", "channel", "mcc", "country", "device_id", "card_present")
    ),
    {"name": "last terminals", "kind": "distinct", "field": "terminal_id", "last": 3},
    {
        "name": "devices here", "kind": "distinct", "field": "device_id", "window": "25s",
        "key": _AT_TERMINAL,
    },
    {"name": "since", "kind": "time_since_last"},
    {"name": "since here", "kind": "time_since_last", "window": "9s", "missing": -1,
     "key": _AT_TERMINAL},
    {"name": "to median", "kind": "ratio", "field": "amount", "to": "median 1"},
    {"name": "share", "kind": "ratio", "feature": "count 0", "to": "count 1"},
    {"name": "gap", "kind": "ratio", "feature": "since", "to": "since here", "missing": 7},
    {"name": "weekend", "kind": "weekend"},
    {"name": "hour there", "kind": "hour", "timezone": "America/New_York"},
    {"name": "day", "kind": "day_of_week"},
    {"name": "night", "kind": "night", "timezone": "Asia/Kathmandu"},
    {"name": "code", "kind": "categorical", "field": "channel", "values": ["POS", "ECOM"],
     "unknown": -1, "missing": -2},
    {"name": "country code", "kind": "categorical", "field": "country", "values": ["DE"],
     "unknown": 5, "missing": 9.5},
]  # fmt: skip
"""Every kind with every key that it may have."""
