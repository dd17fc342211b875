"""Feature lists for tests: a typical one of a fraud team, and one with every kind and key."""

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
    {"name": "spread", "kind": "stddev", "field": "amount", "window": "20s"},
    {"name": "usual", "kind": "mean", "field": "amount", "window": "20s", "exclude_self": True},
    {"name": "online", "kind": "count", "window": "25s", "where": {"channel": "ECOM"}},
    {"name": "on device", "kind": "first_seen", "field": "device_id", "window": "30s"},
    {"name": "to_usual", "kind": "expression",
     "value": "log(amount / max(coalesce(usual, amount), 0.01))"},
]  # fmt: skip
"""Every kind with all its optional keys."""


EXTRAS = {
    "ratio": "double", "items": "long", "ip_country": "string", "guest": "boolean",
    "opened": "timestamp",
}  # fmt: skip
_ITS_OWN: list[dict[str, Any]] = [
    {"window": "25s"},
    {"last": 3},
    {"window": "20s", "key": ["customer_id", "ip_country"]},
    {"window": "25s", "exclude_self": True, "missing": -1},
    {"window": "20s", "where": {"guest": True}},
    {"last": 3, "where": {"ip_country": "DE"}, "exclude_self": True},
    {"window": "15s", "last": 2, "where": {"guest": False}, "key": ["ip_country", "customer_id"],
     "missing": 7.5},
]  # fmt: skip
EVERY_EXTRA: list[dict[str, Any]] = [
    *(
        {"name": f"{kind} {field} {n}", "kind": kind, "field": field}
        | {key: value for key, value in how.items() if key != "missing" or kind != "sum"}
        for kind in ("sum", "mean", "min", "max", "median", "stddev")
        for field in ("ratio", "items")
        for n, how in enumerate(_ITS_OWN)
    ),
    *(
        {"name": f"{kind} opened", "kind": kind, "field": "opened", "window": "25s"}
        for kind in ("mean", "max", "median")
    ),
    *(
        {"name": f"{kind} amount {n}", "kind": kind, "field": "amount"}
        | {key: value for key, value in how.items() if key != "missing"}
        for kind in ("sum", "mean", "min", "max", "median", "stddev")
        for n, how in enumerate(_ITS_OWN[3:])
    ),
    *(
        {"name": f"{kind} {n}", "kind": kind}
        | {key: value for key, value in how.items() if key != "missing"}
        | ({"field": "ip_country"} if kind == "distinct" else {})
        for kind in ("count", "distinct")
        for n, how in enumerate(_ITS_OWN)
    ),
    {"name": "guests", "kind": "distinct", "field": "guest", "last": 4},
    *(
        {"name": f"first {field}", "kind": "first_seen", "field": field, "window": "40s"}
        for field in ("ip_country", "guest", "device_id", "channel")
    ),
    {"name": "first here", "kind": "first_seen", "field": "ip_country", "missing": -1,
     "key": ["customer_id", "terminal_id"], "where": {"guest": True}},
    {"name": "since guest", "kind": "time_since_last", "where": {"guest": True}, "window": "9s"},
    {"name": "country", "kind": "categorical", "field": "ip_country", "values": ["DE", "FR"],
     "unknown": 5, "missing": 6},
    *(
        {"name": f"just {field}", "kind": "passthrough", "field": field, "missing": -7}
        for field in ("items", "guest", "opened")
    ),
    {"name": "ratio_now", "kind": "passthrough", "field": "ratio"},
    {"name": "items_mean", "kind": "mean", "field": "items", "window": "20s"},
    *(
        {"name": f"expression {n}", "kind": "expression", "value": value}
        for n, value in enumerate((
            "amount", "-ratio", "+items - 3", "ratio * items / amount", "log(amount)",
            "log(ratio) + log(abs(ratio) + 1e-300)", "(event_time - opened) / 86400",
            "min(ratio, items, 0.0)", "max(0, ratio, -0.0)", "coalesce(ratio, items, amount)",
            "coalesce(1 / ratio, log(items), -1)", "ratio < items", "guest >= 0.5",
            "(ratio != items) * (amount == 3) - (items <= 1) + (ratio > 0)",
            "coalesce(ratio_now, 0) * 1e308 * 10", "ratio - ratio / 3.0 * 3.0",
            "amount - items_mean", "abs(items_mean - items) / max(items_mean, 1.0)",
            "card_present + 1", "1 - 2 - amount * (3 - 4)", "log(log(log(items)))",
        ))
    ),
]  # fmt: skip
"""Every kind and option over extra fields, under a plan with :data:`EXTRAS`."""
