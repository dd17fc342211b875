"""A plan's keys and their defaults; every impossible plan is refused by name."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan, parse_plan, plan_from, table_of
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.settings import MODELS_DIRECTORY
from tests.support.tables.foreign_files import EVENTS, RATES

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 10**400, -(10**400), 2**63, 2**53 + 1, 1e308, -0.0, float("nan"), "",
    "1e999999", "1/0", "\ud800", "x" * 100_000, [], [[]], {}, {"": 0}, {"path": []},
)  # fmt: skip


def test_missing_keys_have_their_defaults() -> None:
    plan = parse_plan("ring_cap = 7\nmodel_error_share = 1\n[currencies]\nJPY = 0\n")
    assert plan == Plan(ring_cap=7, model_error_share=1, currencies={"JPY": 0})
    assert (plan.currency, plan.exponent) == ("JPY", 0)


def test_the_shipped_plan_names_every_key_with_its_default() -> None:
    text = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text()
    assert parse_plan(text) == Plan()
    assert [f.name for f in dataclasses.fields(Plan) if f.name not in text] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ring_cap =", "not TOML"),
        ("a = " + "[" * 100_000, "nested deeper than 64 levels"),
        ("latness_ms = 1", "unknown key 'latness_ms'; known are ahead_ms, amount_minor_max"),
        ("ring_cap = 1.5", "ring_cap: must be a whole number, not 1.5"),
        ("ring_cap = true", "ring_cap: must be a whole number, not True"),
        ('ring_cap = "9"', "ring_cap: must be a whole number, not '9'"),
        ("model_error_share = true", "model_error_share: must be a number, not True"),
        ('model_error_share = "1"', "model_error_share: must be a number, not '1'"),
        ("model_error_share = 1.1", "model_error_share: must be between 0 and 1, not 1.1"),
        ("model_error_share = -0.1", "model_error_share: must be between 0 and 1, not -0.1"),
        ("model_error_share = nan", "model_error_share: must be between 0 and 1, not nan"),
        ("currencies = 2", "currencies: must be a table of ISO code = exponent"),
        ("currencies = {EUR = '2'}", "currencies: must be a table of ISO code = exponent"),
        ("currencies = {EUR = true}", "currencies: must be a table of ISO code = exponent"),
        ("currencies = {}", "currencies: at least one must be listed"),
        ("currencies = {EUR = 2, USD = 2}", "currencies: more than one needs rates to a base"),
        ("currencies = {eur = 2}", "currencies: 'eur' is not an ISO 4217 code"),
        ("currencies = {EURO = 2}", "currencies: 'EURO' is not an ISO 4217 code"),
        ("currencies = {'ÄÖÜ' = 2}", "currencies: 'ÄÖÜ' is not an ISO 4217 code"),
        ("currencies = {EUR = 5}", "currencies: exponent of EUR must be 0 to 4, not 5"),
        ("currencies = {EUR = -1}", "currencies: exponent of EUR must be 0 to 4, not -1"),
        ("extras = 3", "extras: must be a table, not 3"),
        ("extras = {items = 'long'}", "extras: need events.toml"),
        ("revision = -1", "revision: must be at least 0, not -1"),
        ("lateness_ms = -1", "lateness_ms: must be at least 0, not -1"),
        ("lateness_ms = 2592000001", "lateness_ms: more than 30 days"),
        ("ahead_ms = -1", "ahead_ms: must be at least 0, not -1"),
        ("ring_cap = 0", "ring_cap: must be at least 1, not 0"),
        ("late_decision_ms = 0", "late_decision_ms: must be at least 1, not 0"),
        ("amount_minor_max = 0", "amount_minor_max: must be at least 1, not 0"),
        ("record_bytes_max = 5", "record_bytes_max: must be at least 6, not 5"),
        ("string_bytes_max = 0", "string_bytes_max: must be at least 1, not 0"),
        ("array_items_max = -1", "array_items_max: must be at least 0, not -1"),
        ("summary_window_ms = 999", "summary_window_ms: must be at least 1000, not 999"),
        ("terminal_delay_ms = 0", "terminal_delay_ms: must be at least 1, not 0"),
        ("terminal_slack_ms = -1", "terminal_slack_ms: must be at least 0, not -1"),
        ("terminal_wait_ms = 86400001", "terminal_wait_ms: must be at most 86400000, not 86400001"),
        (
            "terminal_delay_ms = 5\nterminal_slack_ms = 6",
            "terminal_slack_ms: 6 is more than terminal_delay_ms, 5: no label would be known in",
        ),
        ("ring_cap = 1000000000000", "ring_cap: must be at most 1048576, not 1000000000000"),
        (f"ahead_ms = {10**30}", f"ahead_ms: must be at most 34560000000, not {10**30}"),
        (f"revision = {2**63}", "revision: must be at most"),
        (f"late_decision_ms = {10**30}", "late_decision_ms: must be at most"),
        (f"summary_window_ms = {10**30}", "summary_window_ms: must be at most"),
        (f"record_bytes_max = {10**30}", "record_bytes_max: must be at most"),
        (f"string_bytes_max = {10**30}", "string_bytes_max: must be at most"),
        (f"array_items_max = {10**30}", "array_items_max: must be at most"),
        (f"amount_minor_max = {2**62}", "amount_minor_max: 4096 events of 4611686018427387904"),
    ],
)
def test_an_impossible_plan_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        parse_plan(text)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_sums_of_a_full_ring_of_largest_amounts_fit() -> None:
    assert Plan(ring_cap=9, amount_minor_max=(2**63 - 1) // 9).ring_cap == 9
    with pytest.raises(ValueError, match="sum would overflow"):
        Plan(ring_cap=9, amount_minor_max=(2**63 - 1) // 9 + 1)


def test_extra_fields_have_a_name_and_a_type() -> None:
    kinds = ("string", "double", "long", "boolean", "timestamp")
    names = ["a", "a_1", "a" * 64, *(f"x{n}" for n in range(61))]
    assert len(Plan(extras={name: kinds[at % 5] for at, name in enumerate(names)}).extras) == 64
    assert Plan(extras={}) == Plan()


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (["items"], "extras: must be a table of name = type"),
        ({f"x{n}": "long" for n in range(65)}, "extras: at most 64 fields, not 65"),
        ({"Items": "long"}, "extras: 'Items' is not a name; write a lower-case letter"),
        ({"": "long"}, "extras: '' is not a name"),
        ({"1x": "long"}, "extras: '1x' is not a name"),
        ({"a.b": "long"}, "extras: 'a.b' is not a name"),
        ({"a:long": "long"}, "extras: 'a:long' is not a name"),
        ({"\u00e9": "long"}, "extras: '\u00e9' is not a name"),
        ({"a\n": "long"}, "extras: 'a\\n' is not a name"),
        ({"x" * 65: "long"}, f"extras: '{'x' * 65}' is not a name"),
        ({"x" * 10_000: "long"}, f"extras: '{'x' * 80}' is not a name"),
        ({3: "long"}, "extras: '3' is not a name"),
        ({"mcc": "string"}, "extras: 'mcc' is a field of the transaction schema already"),
        ({"amount": "long"}, "extras: 'amount' is a field of the transaction schema already"),
        (
            {"items": "int"},
            "extras: type 'int' of items is not known; known: string, double, long, boolean, ",
        ),
        ({"items": ["long"]}, "extras: type \"['long']\" of items is not known"),
    ],
)
def test_impossible_extra_fields_are_refused_by_name(extras: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        Plan(extras=extras)
    assert "\n" not in str(refused.value)


def places(part: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value of a document, and to each of its tables and lists."""
    if at:
        yield at
    if isinstance(part, dict):
        inside: Any = part.items()
    else:
        inside = enumerate(part) if isinstance(part, list) else ()
    for key, value in inside:
        yield from places(value, (*at, key))


def with_value(part: Any, at: tuple[Any, ...], value: Any) -> Any:
    """Return a document with another value at a place."""
    if not at:
        return value
    changed = dict(part) if isinstance(part, dict) else list(part)
    changed[at[0]] = with_value(part[at[0]], at[1:], value)
    return changed


def test_any_value_at_any_place_raises_nothing_but_value_errors() -> None:
    policy = {
        "default": {"review": 0.2, "block": 1}, "on_model_error": "REVIEW",
        "segment": [{"when": {"mcc": ["1"], "amount_above": 5}, "review": 0.1, "block": 0.2}],
        "budget": {"reviews_per_day": 4},
    }  # fmt: skip
    events = parse_events(EVENTS + RATES)
    good = table_of(plan_from({"events": events, "currencies": {"EUR": 2, "USD": 2}}))
    good["policy"] = policy
    assert plan_from(good).policy == policy
    refused = 0
    for at in places(good):
        for value in HOSTILE:
            try:
                plan_from(with_value(good, at, value))
            except ValueError as error:
                refused += 1
                assert "\n" not in str(error), (at, value)  # noqa: PT017 which is not the last one
    assert refused > 1_000
