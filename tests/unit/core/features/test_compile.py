"""Manifests of features: what is accepted, what is equal, and each refusal by name."""

import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.features.compile import (
    FeatureSet,
    Float64,
    Need,
    compile_features,
    compile_union,
)
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.core.kernels.observing import OUT as PLACE
from stream_scorer.core.rings.rings import CustomerRings, RingColumns
from tests.support.core.manifests import EVERY_KIND, RICH

DAY = 86_400_000
AMOUNT = {"name": "amount", "kind": "passthrough", "field": "amount"}
HERE = ["customer_id", "terminal_id"]
OLD_RICH = "72f262aaace775491dbac3cdd72ccfa9c2483a10124d3490e931ccf1a08b6971"


def need(*specs: dict[str, Any]) -> Need:
    return compile_features(specs, Plan()).needs[-1]


def identity(spec: dict[str, Any], *others: dict[str, Any]) -> str:
    return compile_features([*others, {"name": "f"} | spec], Plan()).identities[-1]


def test_windows_are_shared_and_the_longest_plus_lateness_kept() -> None:
    compiled = compile_features(
        [
            {"name": "z", "kind": "count", "window": "7d"}, AMOUNT,
            {"name": "a", "kind": "mean", "field": "amount", "window": "168h"},
            {"name": "m", "kind": "count", "window": "1440m", "key": "customer_id"},
        ],
        Plan(lateness_ms=500, ring_cap=77),
    )  # fmt: skip
    assert compiled.names == ("z", "amount", "a", "m")
    assert compiled.engine.program.windows.tolist() == [DAY, 7 * DAY]
    assert (compiled.retention.lateness_ms, compiled.retention.cap) == (500, 77)
    assert compiled.retention.horizon_ms == 7 * DAY + 500
    assert compiled.engine.width == 3


@pytest.mark.parametrize(
    ("window", "ms"),
    [("1s", 1_000), ("2m", 120_000), ("3h", 10_800_000), ("400d", 400 * DAY),
     ("34560000s", 400 * DAY)],
)  # fmt: skip
def test_a_window_counts_in_its_unit(window: str, ms: int) -> None:
    assert need({"name": "c", "kind": "count", "window": window}) == Need(ms, ())


def test_without_windows_only_the_lateness_is_remembered() -> None:
    compiled = compile_features([AMOUNT], Plan(lateness_ms=9))
    assert compiled.retention.horizon_ms == 9
    assert compiled.engine.fields == ()


def test_each_feature_declares_what_it_needs() -> None:
    assert need(AMOUNT) == Need(0, ())
    assert need({"name": "c", "kind": "count", "window": "1d", "key": HERE}) == Need(
        DAY, ("terminal_id",)
    )
    distinct = {
        "name": "d", "kind": "distinct", "field": "mcc", "window": "2d",
        "key": ["customer_id", "country"],
    }  # fmt: skip
    assert need(distinct) == Need(2 * DAY, ("mcc", "country"))
    assert need(distinct, {"name": "s", "kind": "time_since_last"}) == Need(2 * DAY, ())
    ratio = {"name": "r", "kind": "ratio", "field": "amount", "to": "d"}
    assert need(distinct, ratio) == Need(2 * DAY, ("mcc", "country"))
    assert compile_features(RICH, Plan()).need == Need(30 * DAY, ("terminal_id",))


def test_an_identity_depends_on_the_computation_not_the_spelling() -> None:
    count = {"kind": "count", "window": "1d"}
    assert identity(count) == identity({"window": "24h", "kind": "count", "key": ["customer_id"]})
    others: list[dict[str, Any]] = [
        {"kind": "count", "window": "2d"}, {"kind": "count", "window": "1d", "last": 3},
        {"kind": "count", "window": "1d", "key": HERE},
        {"kind": "sum", "window": "1d", "field": "amount"},
        {"kind": "distinct", "window": "1d", "field": "mcc"},
        {"kind": "distinct", "window": "1d", "field": "country"},
        {"kind": "time_since_last", "window": "1d"},
        {"kind": "time_since_last", "window": "1d", "missing": 0},
        {"kind": "hour"}, {"kind": "hour", "timezone": "Asia/Tokyo"},
    ]  # fmt: skip
    assert len({identity(spec) for spec in [count, *others]}) == len(others) + 1
    at_terminal = {"kind": "count", "window": "1d", "key": "terminal_id", "delay": "7d"}
    assert identity(at_terminal) == identity(
        at_terminal | {"delay": "168h", "key": ["terminal_id"]}
    )
    assert len({identity(spec) for spec in [count, at_terminal, at_terminal | {"kind": "risk"},
                                            at_terminal | {"window": "2d"}]}) == 4  # fmt: skip
    # Without a window, a feature has its manifest's longest window.
    week = {"name": "w", "kind": "count", "window": "7d"}
    assert identity({"kind": "count", "last": 3}, week) == identity(
        {"kind": "count", "last": 3, "window": "7d"}
    )
    # A ratio's identity is that of its parts.
    by_name = [
        identity({"kind": "ratio", "field": "amount", "to": name}, week | {"name": name})
        for name in ("a", "b")
    ]
    assert (
        by_name[0]
        == by_name[1]
        != identity({"kind": "ratio", "field": "amount", "to": "a"}, count | {"name": "a"})
    )


def test_a_union_keeps_all_needs_and_computes_equals_once() -> None:
    first, second = compile_union(
        [
            [
                {"name": "a", "kind": "count", "window": "1d"},
                {"name": "x", "kind": "sum", "field": "amount", "window": "3d"},
            ],
            [
                {"name": "b", "kind": "count", "window": "24h"},
                {"name": "c", "kind": "distinct", "field": "mcc", "window": "3d"},
            ],
        ],
        Plan(lateness_ms=5),
    )
    assert first.engine is second.engine
    assert first.engine.fields == ("mcc",)
    assert first.retention.horizon_ms == 3 * DAY + 5
    assert first.engine.width == 3  # the count is the same in both
    assert first.identities[0] == second.identities[0]
    assert first.need == Need(3 * DAY, ())
    assert second.need == Need(3 * DAY, ("mcc",))


def counted(compiled: FeatureSet, events: list[tuple[str, int]]) -> Float64:
    """Return float64[n, m] of one customer's events, given as (transaction, time)."""
    n, engine = len(events), compiled.engine
    rings = CustomerRings(engine.retention, engine.program, engine.fields)
    observed = np.zeros((n, engine.width))
    customers = pa.array(["c"] * n)
    columns = RingColumns(
        customers, hashes_of(customers),
        hashes_of(pa.array([transaction for transaction, _ in events])),
        np.array([time for _, time in events]), np.ones(n, np.int64),
        np.zeros((len(engine.fields), n), np.int64),
    )  # fmt: skip
    rings.fold(np.arange(n), columns, np.zeros(n, np.bool_), np.zeros(n, np.uint8), observed)
    order = np.argsort(compiled._places)
    return np.asarray(observed[:, compiled._observed[order]])


def test_a_late_event_sees_only_what_its_own_manifest_keeps() -> None:
    day, month = COUNT, {"name": "m", "kind": "count", "window": "30d"}
    events = [("1", 100 * DAY), ("2", 100 * DAY + 1), ("3", 107 * DAY), ("late", 100 * DAY + 2)]
    alone, beside = compile_features([day], Plan()), compile_features([day, month], Plan())
    assert alone.identities[0] == beside.identities[0]
    assert counted(alone, events)[:, 0].tolist() == [1, 2, 1, 1]
    assert counted(beside, events)[:, 0].tolist() == [1, 2, 1, 3]
    shared, other = compile_union([[day], [day, month]], Plan())
    assert np.array_equal(counted(shared, events), counted(alone, events))
    assert np.array_equal(counted(other, events), counted(beside, events))


def test_a_feature_set_lists_the_event_fields_that_it_reads() -> None:
    assert compile_features([AMOUNT], Plan()).reads == ()
    present = {"name": "p", "kind": "passthrough", "field": "card_present"}
    assert compile_features([*RICH, CODES, present], Plan()).reads == (
        "terminal_id",
        "mcc",
        "card_present",
    )


def test_the_limits_of_a_feature_table_are_accepted() -> None:
    largest = float(np.finfo(np.float32).max)
    codes = CODES | {"unknown": largest, "missing": -(2**127), "values": ["", "\U0001f600"]}
    compile_features(
        [codes, AMOUNT | {"name": "x" * 200}, AMOUNT | {"name": "Umsatz in \u20ac"}], Plan()
    )
    for zone in ("UTC", "Etc/UTC", "America/Argentina/Buenos_Aires", "CET", "US/Eastern"):
        compile_features([{"name": "f", "kind": "hour", "timezone": zone}], Plan())


def test_every_kind_can_be_declared() -> None:
    assert len(set(compile_features(EVERY_KIND, Plan()).identities)) == len(EVERY_KIND)


KNOWN = (
    "categorical, count, day_of_week, distinct, expression, first_seen, hour, max, mean, median, "
    "min, night, passthrough, ratio, risk, stddev, sum, time_since_last, weekend"
)
FIELDS = "terminal_id, channel, mcc, country, device_id"
COUNT: dict[str, Any] = {"name": "c", "kind": "count", "window": "1d"}
RISK: dict[str, Any] = {
    "name": "f",
    "kind": "risk",
    "key": "terminal_id",
    "window": "1d",
    "delay": "7d",
}
CODES = {
    "name": "f", "kind": "categorical", "field": "mcc", "values": ["a"], "unknown": 1, "missing": 2
}  # fmt: skip


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "the manifest lists no features"),
        ([{"kind": "night"}], "a feature has no name: {'kind': 'night'}"),
        ([{"name": "", "kind": "night"}], "a feature has no name"),
        ([AMOUNT, AMOUNT], "feature amount: listed twice"),
        ([{"name": "f", "kind": "mode"}], f"feature f: kind 'mode' is not known; known: {KNOWN}"),
        ([{"name": "f"}], f"feature f: kind None is not known; known: {KNOWN}"),
        (
            [{"name": "f", "kind": "count"}],
            "feature f: kind count needs the key 'window' or 'last', or both",
        ),
        (
            [{"name": "f", "kind": "mean", "window": "1d"}],
            "feature f: kind mean needs the key 'field'",
        ),
        (
            [{"name": "f", "kind": "count", "window": "1d", "field": "amount"}],
            ("feature f: kind count has no key 'field'; its keys are delay, exclude_self, key, "
            "kind, last, name, text, where, window"),
        ),
        (
            [{"name": "f", "kind": "night", "key": "customer_id"}],
            "feature f: kind night has no key 'key'; its keys are kind, name, text, timezone",
        ),
        *(
            (
                [{"name": "f", "kind": "count", "window": "1d", "key": key}],
                (f"feature f: key {key!r} is not known here; the input is partitioned by customer, "
                f"so the key must be 'customer_id' or ['customer_id', one of {FIELDS}]; the kinds "
                "count and risk take 'terminal_id' with a 'delay'"),
            )
            for key in (7, ["mcc", "country"])
        ),
        *(
            (
                [{"name": "f", "kind": kind, "window": "1d", "key": key}],
                ("feature f: key 'terminal_id' needs the key 'delay': what other customers did at "
                "a terminal, and its labels, come late; the plan's terminal_delay_ms is 7d"),
            )
            for kind in ("count", "risk")
            for key in ("terminal_id", ["terminal_id"])
        ),
        (
            [{"name": "f", "kind": "sum", "field": "amount", "window": "1d", "key": "terminal_id"}],
            "feature f: key 'terminal_id' is not known here",
        ),
        (
            [{"name": "f", "kind": "count", "window": "1d", "delay": "7d"}],
            "feature f: the key 'delay' goes with the key 'terminal_id' alone",
        ),
        (
            [RISK | {"delay": "6d"}],
            "feature f: delay 6d is not that of the plan, whose terminal_delay_ms is 7d",
        ),
        ([RISK | {"delay": "7"}], "feature f: delay '7' is not a bounded length; write 30m"),
        ([RISK | {"window": "1y"}], "feature f: window '1y' is not a bounded length"),
        (
            [RISK | {"key": "customer_id"}],
            "feature f: kind risk is that of a terminal; its key must be 'terminal_id'",
        ),
        (
            [{"name": "f", "kind": "risk", "window": "1d", "delay": "7d"}],
            "feature f: kind risk needs the key 'key'",
        ),
        (
            [RISK | {"last": 3}],
            ("feature f: kind risk has no key 'last'; its keys are delay, key, kind, name, text, "
            "window"),
        ),
        (
            [RISK | {"kind": "count", "last": 3}],
            "feature f: key 'terminal_id' takes no 'last'; its windows are in time",
        ),
        (
            [{"name": "f", "kind": "risk", "key": "terminal_id", "delay": "7d"}],
            "feature f: key 'terminal_id' needs the key 'window'",
        ),
        *(
            (
                [{"name": "f", "kind": "count", "window": "1d", "key": key}],
                (f"feature f: key {key!r} is not known; known: 'customer_id' and "
                f"['customer_id', one of {FIELDS}]"),
            )
            for key in (
                ["customer_id", "amount"], ["customer_id", "card_present"],
                ["customer_id", "mcc", "country"], ["customer_id", "customer_id"],
                ["customer_id", ["mcc"]],
            )
        ),
        (
            [{"name": "f", "kind": "sum", "window": "1d", "field": "score"}],
            "feature f: field 'score' is not known; known: 'amount'",
        ),
        (
            [{"name": "f", "kind": "distinct", "window": "1d", "field": "amount"}],
            ("feature f: field 'amount' is not known; known: 'terminal_id', 'channel', 'mcc', "
            "'country', 'device_id', 'card_present'"),
        ),
        (
            [{"name": "f", "kind": "distinct", "window": "1d", "field": ["mcc"]}],
            "feature f: field ['mcc'] is not known",
        ),
        ([{"name": "f", "kind": "count", "window": "401d"}], "feature f: window 401d is longer"),
        *(
            (
                [{"name": "f", "kind": "count", "window": window}],
                f"feature f: window {str(window)!r} is not a bounded length; write 30m, 24h or 7d",
            )
            for window in ("all", "", "0d", "-1d", "1.5d", "1w", "7", "7d ", 7, "\u0667d", True)
        ),
        *(
            (
                [{"name": "f", "kind": "count", "last": last, "window": "1d"}],
                f"feature f: last {last!r} is not a number of events; write 1 or more, at most",
            )
            for last in (0, -1, 1.0, "3", True, 2**20 + 1)
        ),
        (
            [AMOUNT, {"name": "f", "kind": "count", "last": 3}],
            ("feature f: without a window it looks back as far as the manifest's longest one, and "
            "the manifest has none; give it a window"),
        ),
        (
            [{"name": "f", "kind": "time_since_last", "window": "1d", "missing": "no"}],
            "feature f: missing must be a number, not 'no'",
        ),
        (
            [AMOUNT | {"missing": 0}],
            "feature amount: field 'amount' is never missing; leave out the key 'missing'",
        ),
        *(
            (
                [{"name": "f", "kind": "hour", "timezone": zone}],
                f"feature f: timezone {zone!r} is not known; write an IANA name",
            )
            for zone in (
                "Mars/Base", "", "../etc", 3, "localtime", "posixrules", "Factory", "\ud800",
                "right/Europe/Berlin", "posix/Europe/Berlin", "Europe", "tzdata.zi", "UTC\0",
            )
        ),
        (
            [CODES | {"values": ["a", "a"]}],
            "feature f: values must be a list of different strings, not ['a', 'a']",
        ),
        *(
            ([CODES | {"values": values}], "feature f: values must be a list of different strings")
            for values in ([], "ab", [1])
        ),
        (
            [CODES | {"values": ["a", "\ud800b"]}],
            "feature f: values holds '\\ud800b', which is not text",
        ),
        *(
            (
                [CODES | {key: value}],
                f"feature f: {key} must be a finite number of 32 bits, not {told}",
            )
            for key in ("unknown", "missing")
            for value, told in (
                (float("inf"), "inf"), (float("-inf"), "-inf"), (float("nan"), "nan"),
                (1e39, "1e+39"), (-1e39, "-1e+39"), (10**400, "one of 1329 bits"),
                (-(2**128), "one of 129 bits"),
            )
        ),
        *(
            (
                [table | {"missing": float("nan")}],
                ("feature f: missing must be a finite number of 32 bits, not nan; leave the key "
                "'missing' out for NaN"),
            )
            for table in (
                {"name": "f", "kind": "time_since_last", "window": "1d"},
                {"name": "f", "kind": "passthrough", "field": "card_present"},
            )
        ),
        *(
            (
                [AMOUNT | {"name": name}],
                (f"feature {name!r}: a name has printable characters, and no blank at its ends"),
            )
            for name in ("\ud800", "a\nb", " a", "a ", " ", "a\x1b[2J", "\u200b")
        ),
        (
            [AMOUNT | {"name": "x" * 201}],
            "feature 'xxxxxxxxxxxxxxxxxxxx'...: a name has at most 200 characters, not 201",
        ),
        ([{"name": 3, "kind": "night"}], "a feature has no name: {'name': 3, 'kind': 'night'}"),
        ([CODES | {"field": "amount"}], "feature f: field 'amount' is not known"),
        ([CODES | {"unknown": True}], "feature f: unknown must be a number, not True"),
        *(
            ([COUNT | {"name": "f", "exclude_self": value}],
             f"feature f: exclude_self must be true or false, not {value!r}")
            for value in (1, 0, "yes", None)
        ),
        *(
            ([COUNT | {"name": "f", "where": value}],
             f"feature f: where {value!r} is not a table of one field and its value")
            for value in ("mcc", {}, {"mcc": "1", "channel": "POS"}, ["mcc", "1"], None)
        ),
        (
            [COUNT | {"name": "f", "where": {"amount": 3}}],
            ("feature f: where: field 'amount' is not known; known: 'terminal_id', 'channel', "
            "'mcc', 'country', 'device_id', 'card_present'"),
        ),
        *(
            ([COUNT | {"name": "f", "where": {"mcc": value}}],
             f"feature f: where: mcc is a text, not {value}")
            for value in (5411, None, True)
        ),
        (
            [COUNT | {"name": "f", "where": {"card_present": "true"}}],
            "feature f: where: card_present is true or false, not 'true'",
        ),
        *(
            ([COUNT | {"name": "f", "where": {"mcc": value}}],
             "feature f: where: mcc must be a text of at most 1024 bytes")
            for value in ("\ud800", "x" * 1_025, "\u20ac" * 342)
        ),
        *(
            ([RISK | {"kind": "count", key: value}],
             f"feature f: key 'terminal_id' takes no {key!r}")
            for key, value in (("exclude_self", True), ("where", {"mcc": "1"}))
        ),
        (
            [RISK | {"where": {"mcc": "1"}}],
            ("feature f: kind risk has no key 'where'; its keys are delay, key, kind, name, text, "
             "window"),
        ),
        *(
            ([{"name": "f", "kind": kind, "field": "amount", "window": "1d", "missing": 0}],
             "feature f: the window holds the event's own amount, so nothing is ever missing")
            for kind in ("mean", "min", "max", "median", "stddev")
        ),
        (
            [{"name": "f", "kind": "sum", "field": "amount", "window": "1d", "missing": 0}],
            "feature f: kind sum has no key 'missing'",
        ),
        (
            [{"name": "f", "kind": "first_seen", "field": "mcc", "exclude_self": True}],
            "feature f: kind first_seen has no key 'exclude_self'",
        ),
        (
            [{"name": "f", "kind": "first_seen", "field": "amount", "window": "1d"}],
            "feature f: field 'amount' is not known; known: 'terminal_id', 'channel', 'mcc'",
        ),
        (
            [{"name": "f", "kind": "stddev", "field": "mcc", "window": "1d"}],
            "feature f: field 'mcc' is not known here, it is a string; known: 'amount'",
        ),
        (
            [{"name": "f", "kind": "first_seen", "field": "mcc"}],
            "feature f: without a window it looks back as far as the manifest's longest one, and",
        ),
        (
            [COUNT, {"name": "f", "kind": "ratio", "field": "amount", "to": "x"}],
            "feature f: to 'x' is not known; features before it: c",
        ),
        (
            [{"name": "f", "kind": "ratio", "field": "amount", "to": "c"}, COUNT],
            "feature f: to 'c' is at or after it; features before it: none",
        ),
        (
            [{"name": "f", "kind": "ratio", "field": "amount", "to": "f"}],
            "feature f: to 'f' is at or after it; features before it: none",
        ),
        (
            [COUNT, {"name": "f", "kind": "ratio", "to": "c"}],
            "feature f: kind ratio needs one of the keys 'field' and 'feature'",
        ),
        (
            [COUNT, {"name": "f", "kind": "ratio", "to": "c", "feature": "c", "field": "amount"}],
            "feature f: kind ratio needs one of the keys 'field' and 'feature'",
        ),
        (
            [COUNT, {"name": "f", "kind": "ratio", "feature": ["c"], "to": "c"}],
            "feature f: feature ['c'] is not known; features before it: c",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_by_name(
    specs: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        compile_features(specs, Plan())
    assert str(refused.value).startswith(message)


def test_an_option_changes_an_identity_its_default_does_not() -> None:
    total: dict[str, Any] = {"kind": "sum", "window": "1d", "field": "amount"}
    assert identity(total) == identity(total | {"exclude_self": False})
    others: list[dict[str, Any]] = [
        {"exclude_self": True},
        {"where": {"mcc": "1"}},
        {"where": {"mcc": "2"}},
        {"where": {"channel": "1"}},
        {"kind": "stddev"},
    ]
    assert len({identity(total), *(identity(total | other) for other in others)}) == 6


def test_identities_are_what_they_were_before_there_were_options() -> None:
    # Rollouts compare versions by identity, so those of earlier releases must not change.
    text = "".join(compile_features(RICH, Plan()).identities)
    assert hashlib.sha256(text.encode()).hexdigest() == OLD_RICH


def test_extra_fields_are_needed_by_name_and_type() -> None:
    plan = Plan(extras={"items": "long", "vip": "boolean", "ip": "string", "b": "string"})
    specs: list[dict[str, Any]] = [
        {"name": "s", "kind": "sum", "field": "items", "window": "1d", "where": {"vip": True}},
        {"name": "k", "kind": "count", "window": "2d", "key": ["customer_id", "ip"]},
        {"name": "p", "kind": "passthrough", "field": "vip"},
        {"name": "e", "kind": "expression", "value": "s / items"},
        {"name": "d", "kind": "distinct", "field": "mcc", "window": "1d"},
    ]
    compiled = compile_features(specs, plan)
    assert compiled.needs[0] == Need(DAY, ("items:long", "vip:boolean"))
    assert compiled.needs[1] == Need(2 * DAY, ("ip:string",))
    assert compiled.needs[3] == Need(DAY, ("items:long", "vip:boolean"))
    assert compiled.engine.fields == ("mcc", "ip:string", "items:long", "vip:boolean")
    assert compiled.reads == ("mcc", "ip", "items", "vip")
    # With another type it is another field, of which rings have no history.
    other = compile_features(specs, replace(plan, extras=plan.extras | {"items": "double"}))
    assert compiled.engine.lacks(other.engine) == "the rings do not keep items:double"
    assert compiled.identities[0] != other.identities[0]


def test_an_extra_of_another_definition_is_another_field() -> None:
    spec = {"name": "s", "kind": "sum", "field": "items", "window": "1d"}

    def defined(**definition: str) -> FeatureSet:
        events: dict[str, Any] = {
            "fields": {
                "transaction_id": "id", "customer_id": "card", "currency": {"constant": "EUR"},
                "event_time": {"path": "ts", "unit": "ms"},
                "amount": {"path": "sum", "unit": "minor"},
            },
            "extra": {"items": {"type": "long", **definition}},
        }  # fmt: skip
        return compile_features([spec], Plan(extras={"items": "long"}, events=events))

    first, same, other = defined(path="a.n"), defined(path="a.n"), defined(path="b.n")
    assert first.engine.fields == same.engine.fields
    assert first.engine.fields[0].startswith("items:long:")
    assert first.reads == ("items",)
    told = "the rings do not keep items (long) as this events.toml defines it"
    assert first.engine.lacks(other.engine) == told
    assert first.identities[0] != other.identities[0]


def test_a_list_without_a_plan_is_judged_by_its_uses_of_extras() -> None:
    specs: list[dict[str, Any]] = [
        {"name": "a", "kind": "mean", "field": "items", "window": "1d", "where": {"vip": True}},
        {"name": "b", "kind": "distinct", "field": "ip", "window": "1d"},
        {"name": "c", "kind": "count", "window": "1d", "key": ["customer_id", "asn"]},
        {"name": "d", "kind": "expression", "value": "a / (items + age) + vip"},
        {"name": "e", "kind": "distinct", "field": "vip", "window": "1d"},
    ]
    plan = declared_plan(specs)
    assert plan.extras == {
        "items": "double", "vip": "boolean", "ip": "string", "asn": "string", "age": "double",
    }  # fmt: skip
    compile_features(specs, plan)
    assert declared_plan(RICH).extras == {}
    mixed = [*specs, {"name": "f", "kind": "sum", "field": "ip", "window": "1d"}]
    with pytest.raises(ValueError, match="field 'ip' is not known here, it is a string"):
        compile_features(mixed, declared_plan(mixed))


def test_training_columns_are_those_of_the_stream() -> None:
    compiled = compile_features(EVERY_KIND, Plan())
    program = compiled.direct
    written = [*program.operations[:, PLACE].tolist(), *program.filtered[:, PLACE].tolist()]
    windowed = [at for at, f in enumerate(compiled._features) if f.windowed is not None]
    assert sorted(written) == windowed
    kinds = [*program.operations[:, 0].tolist(), *program.filtered[:, 0].tolist()]
    assert kinds == [compiled._features[at].windowed.kind for at in written]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terminal_delay_ms": 90_000_500}, "whose terminal_delay_ms is 90000500 ms"),
        ({"terminal_delay_ms": 91_800_000}, "whose terminal_delay_ms is 1530m"),
        (
            {"terminal_slack_ms": 3_600_000},
            ("feature f: features by terminal need a plan whose terminal_slack_ms, 3600000, is "
            "more than its lateness_ms, 3600000"),
        ),
    ],
)  # fmt: skip
def test_a_terminal_is_refused_under_a_plan_that_does_not_fit(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        compile_features([RISK], Plan(**changes))
    compile_features([COUNT], Plan(**changes))


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "distinct", "field": "terminal_id", "window": "1d"},
        {"kind": "count", "window": "1d", "key": ["customer_id", "terminal_id"]},
        {"kind": "count", "window": "1d", "key": "terminal_id", "delay": "7d"},
        {"kind": "count", "window": "1d", "where": {"terminal_id": "7"}},
    ],
)
def test_without_terminals_a_feature_of_them_is_refused_by_name(spec: dict[str, Any]) -> None:
    fields = {name: f"their.{name}" for name in ("transaction_id", "customer_id", "currency")}
    fields |= {"event_time": "their.time"}
    events = {"fields": {**fields, "amount": {"path": "their.amount", "unit": "minor"}}}
    compile_features([{"name": "f"} | spec], Plan())
    with pytest.raises(ValueError, match=r"feature f: needs terminal_id, which events\.toml"):
        compile_features([{"name": "f"} | spec], Plan(events=events))
    events["fields"]["terminal_id"] = "their.till"
    compile_features([{"name": "f"} | spec], Plan(events=events))
