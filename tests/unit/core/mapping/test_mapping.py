"""A mapping's rules, and each impossible mapping, refused by its key."""

import math
import re
import tomllib
from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.core.mapping.mapping import (
    LabelIdentity,
    check_with_plan,
    mapping_in,
    mapping_of,
    parse_events,
    required_ids,
)

FULL = """
[record]
format = "json"
where = "op in [c, r] and kind != refund"
[fields]
transaction_id = "txn.id"
customer_id = ["card.v2", "token"]
event_time = {path = "txn.ts", unit = "iso8601", zone = "UTC"}
amount = {path = "txn.amount", unit = "major", rounding = "half_even"}
currency = {path = "txn.currency", table = {"840" = "USD", "978" = "EUR"}}
channel = {path = "txn.mode", table = {"051" = "POS"}, unknown = "UNKNOWN", default = "MOTO"}
card_present = {path = "txn.present", table = {Y = true, N = false}}
mcc = {path = "shop.mcc", optional = true}
[extra]
ip_country = {path = "geo.country", type = "string"}
basket = {path = "basket.n", type = "long"}
[key]
path = "id"
format = "json"
[rates]
base = "EUR"
[rates.USD]
2026-01-01 = "0.92"
"""
FIELDS = """
transaction_id = "id"
customer_id = "card"
event_time = {path = "ts", unit = "ms"}
amount = {path = "sum", unit = "minor"}
currency = {constant = "EUR"}
"""


def test_a_full_mapping_is_read() -> None:
    mapping = mapping_of(parse_events(FULL))
    assert mapping.format == "json"
    assert [rule.column for rule in mapping.fields] == [
        "transaction_id", "event_time", "customer_id", "terminal_id", "amount_minor", "currency",
        "channel", "mcc", "country", "card_present", "device_id",
    ]  # fmt: skip
    by_column = {rule.column: rule for rule in mapping.rules}
    assert by_column["customer_id"].path == ("card.v2", "token")
    assert by_column["channel"].unknown == "UNKNOWN"
    assert by_column["amount_minor"].half_even
    assert by_column["terminal_id"].constant == ""
    assert by_column["device_id"].constant is None
    assert mapping.extra_types == {"basket": "long", "ip_country": "string"}
    assert mapping.key.path == ("id",)
    assert not mapping.has_terminals
    assert len(mapping.paths) == len(set(mapping.paths)) == 12
    check_with_plan(mapping, {"EUR": 2, "USD": 2}, {"ip_country": "string", "basket": "long"})


def test_a_list_of_names_may_have_brackets_and_dots() -> None:
    fields = FIELDS.replace('"sum"', '["paid [EUR]"]') + 'mcc = ["a[0].b", "c"]\n'
    mapping = mapping_of(parse_events(f"[fields]\n{fields}"))
    assert {("paid [EUR]",), ("a[0].b", "c")} < set(mapping.paths)


def test_an_empty_mapping_reads_our_own_schema() -> None:
    assert mapping_of({}).fields == ()
    assert required_ids({}) == ("transaction_id", "customer_id", "terminal_id")
    assert mapping_in({}) is mapping_in({})


@pytest.mark.parametrize(
    ("terminal", "needed"),
    [
        ("", False),
        ('terminal_id = "t"', True),
        ('terminal_id = {path = "t", default = ""}', False),
        ('terminal_id = {path = "t", default = "none"}', True),
    ],
)
def test_a_terminal_is_required_where_each_record_has_one(terminal: str, needed: bool) -> None:  # noqa: FBT001 a case
    events = parse_events(f"[fields]\n{FIELDS}\n{terminal}")
    assert ("terminal_id" in required_ids(events)) == needed
    assert mapping_in(events) is mapping_in(events)


FIELDS_IN_JSON = f'record.format = "json"\n[fields]{FIELDS}'
MANY = ", ".join(f'"{number}" = "POS"' for number in range(2_049))
HOSTILE = [
    ("[field]", "unknown key 'field'"),
    ("[record]\nformat = 'xml'", "record.format: must be one of avro, json"),
    ("[record]\nshape = 'avro'", "record: unknown key 'shape'"),
    ("[record]\nwhere = 'op'", "record.where: ends inside a condition"),
    ("[record]\nwhere = 'op in c'", "record.where: in needs a list"),
    ("[record]\nwhere = 'op in [c'", "record.where: ends inside a condition"),
    ("[record]\nwhere = 'op == c or op == d'", "record.where: conditions are joined by and"),
    (f"[record]\nwhere = 'op == {'c' * 16_380}'", "record.where: must have 1 to 16384 bytes"),
    (f"[record]\nwhere = 'op in [{'c, ' * 64}c]'", "more than 64 values in a list"),
    ("[record]\nwhere = 'op ~ c'", "record.where: cannot read"),
    ("[record]\nwhere = 'a[0] == c'", "record.where: "),
    ("[record]\nwhere = '" + " and ".join(["a == b"] * 9) + "'", "more than 8 conditions"),
    ("[fields]\namount = 'a'", "fields.transaction_id: is missing"),
    ("FIELDS\nregion = 'a'", "fields: unknown key 'region'"),
    ("FIELDS\nmcc = 5", "fields.mcc: must be a table"),
    ("FIELDS\nmcc = 'a..b'", "fields.mcc.path: a name in 'a..b' is empty"),
    ("FIELDS\nmcc = ' a'", "fields.mcc.path: a name in ' a' is empty or has spaces"),
    ("FIELDS\nmcc = 'a[0].b'", "fields.mcc.path: 'a[0]': a path cannot go through an array"),
    ("FIELDS\nmcc = 'a[b]'", "if the name has brackets, write a list of names"),
    (FIELDS_IN_JSON.replace(', unit = "ms"', ""), "fields.event_time.unit: is missing; JSON"),
    (f"{FIELDS_IN_JSON}[extra]\nx = {{path = 'a', type = 'timestamp'}}", "extra.x.unit: is"),
    (f"FIELDS\nmcc = '{'.'.join('a' * 17)}'", "fields.mcc.path: a path of 17 names"),
    (f"FIELDS\nmcc = '{'a' * 257}'", "fields.mcc.path: a name of more than 256 bytes"),
    ("FIELDS\nmcc = {path = 'a', constant = 'b'}", "fields.mcc: needs either a path or a constant"),
    ("FIELDS\nmcc = {}", "fields.mcc: needs either a path or a constant"),
    ("FIELDS\nmcc = {path = 'a', unit = 's'}", "fields.mcc: unknown key 'unit'"),
    ("FIELDS\nmcc = {constant = 5}", "fields.mcc.constant: must be text"),
    (f"FIELDS\nmcc = {{constant = '{'x' * 257}'}}", "fields.mcc.constant: must have 1 to 256"),
    ("FIELDS\nchannel = {path = 'a', optional = true}", "fields.channel.optional: needs a default"),
    ("FIELDS\nchannel = {path = 'a', table = {}}", "fields.channel.table: must be a table with"),
    (f"FIELDS\nchannel = {{path = 'a', table = {{{MANY}}}}}", "2049 entries, and at most 2048"),
    ("FIELDS\nchannel = {path = 'a', unknown = 'POS'}", "fields.channel.unknown: needs a table"),
    ("FIELDS\ncard_present = {path = 'a', table = {Y = 'yes'}}", "must be true or false"),
    ("FIELDS\nterminal_id = {path = 't', optional = 1}", "terminal_id.optional: must be true"),
    ("FIELDS\n[extra]\nx = 'a'", "extra.x.type: is missing"),
    ("FIELDS\n[extra]\nx = {path = 'a', type = 'int'}", "extra.x.type: must be one of string"),
    ("FIELDS\n[extra]\nX = {path = 'a', type = 'long'}", "extra: 'X' must be like"),
    ("FIELDS\n[extra]\nmcc = {path = 'a', type = 'long'}", "extra.mcc: is a name of the trans"),
    ("FIELDS\n[extra]\namount = {path = 'a', type = 'long'}", "extra.amount: is a name"),
    ("FIELDS\n[extra]\nx = {constant = 'a', type = 'string'}", "extra.x.constant: every record"),
    ("FIELDS\n[extra]\nx = {path = 'a', type = 'long', default = 'a'}", "extra.x.default: only"),
    ("FIELDS\n[extra]\n" + "\n".join(f"x{n} = {{path = 'a', type = 'long'}}" for n in range(65)),
     "extra: 65 extra fields, and at most 64 are"),
    ("FIELDS\n[key]\ncustomer = 'id'", "key.customer: must be one of raw, none"),
    ("FIELDS\n[key]\nformat = 'json'", "key.format: needs a path"),
    ("FIELDS\n[key]\npath = 'a'\ncustomer = 'raw'", "key: needs either customer or a path"),
    ("FIELDS\n[extra]\nx = {path = 'a', type = 'timestamp', since = '2026-01-01T00:00:00Z'}",
     "extra.x.since: needs a unit"),
    ("FIELDS\n[extra]\nx = {path = 'a', type = 'timestamp', unit = 's', since = 'new year'}",
     "extra.x.since: must be a time"),
    ("FIELDS\n[extra]\nx = {path = 'a', type = 'timestamp', zone = 'CET'}", "zone: must be one of"),
    ("FIELDS\n[extra]\nx = {path = 'a', type = 'timestamp', unit = 's', since = 2026-01-01}",
     "write '2026-01-01' as text"),
    ("[extra]\nx = {path = 'a', type = 'long'}", "fields: must be there"),
    ("FIELDS\nmcc = {a = {a = {a = {a = {a = {a = {a = {a = 1}}}}}}}}", "nested deeper than"),
    ("FIELDS\n[rates]\nbase = inf", "is not a finite number"),
    ("fields = 5", "fields: must be a table"),
    ("[fields", "not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), HOSTILE)
def test_a_hostile_mapping_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as error:
        parse_events(text.replace("FIELDS", f"[fields]\n{FIELDS}"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("name", "rule", "why"),
    [
        ("transaction_id", {"constant": "T"}, "transaction_id.constant: every record would have"),
        ("event_time", {"constant": "now"}, "event_time.constant: every record would have it"),
        ("customer_id", {"path": "a", "default": "C"}, "customer_id.default: no other value"),
        ("customer_id", {"path": "a", "optional": True}, "customer_id.optional: no other value"),
        ("amount", {"path": "a"}, "fields.amount.unit: must be one of minor, major, not None"),
        ("amount", {"path": "a", "unit": "cents"}, "fields.amount.unit: must be one of"),
        ("amount", {"path": "a", "unit": "major", "rounding": "up"}, "fields.amount.rounding"),
        ("event_time", {"path": "a", "unit": "d"}, "fields.event_time.unit: must be one of s, ms"),
        ("mcc", {"path": "\ud800"}, "is not Unicode text"),
        ("mcc", {"path": None}, "is not plain data"),
        ("mcc", {"constant": math.nan}, "events.fields.mcc.constant: nan is not a finite number"),
        ("mcc", math.inf, "events.fields.mcc: inf is not a finite number"),
        ("mcc", {"path": 5}, "fields.mcc.path: must be a dotted path or a list of names, not 5"),
        ("mcc", {"path": []}, "fields.mcc.path: must be a dotted path or a list of names"),
        ("mcc", {"path": "a", "default": "x" * 300_000}, "bytes as JSON, and at most"),
    ],
)
def test_a_hostile_rule_is_refused_by_its_key(name: str, rule: dict[str, Any], why: str) -> None:
    table = {"fields": tomllib.loads(FIELDS) | {name: rule}}
    with pytest.raises(ValueError, match=re.escape(why)):
        mapping_of(table)


@pytest.mark.parametrize(
    ("events", "currencies", "why"),
    [
        ({"fields": tomllib.loads(FIELDS)}, {"USD": 2}, "currency: the plan's currencies do not"),
        ({"fields": tomllib.loads(FIELDS)}, {"EUR": 2, "USD": 2}, "more than one needs rates"),
        ({"rates": {"base": "EUR"}}, {"EUR": 2, "USD": 2}, "rates.USD: must be a table of date"),
        ({"fields": tomllib.loads(FIELDS) | {"currency": {"path": "c", "default": "euro"}}},
         {"EUR": 2}, "'euro' is not an ISO 4217 code"),
        ({"fields": tomllib.loads(FIELDS) | {"currency": {"path": "c", "table": {"978": "Eur"}}}},
         {"EUR": 2}, "'Eur' is not an ISO 4217 code"),
        ({"fields": tomllib.loads(FIELDS) | {
            "currency": {"path": "c", "table": {"978": "EUR"}, "unknown": "?"}}},
         {"EUR": 2}, "'?' is not an ISO 4217 code"),
    ],
)  # fmt: skip
def test_a_mapping_fits_its_plan(
    events: dict[str, Any], currencies: dict[str, int], why: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        Plan(currencies=currencies, events=events)


def test_extras_of_the_plan_are_those_of_the_mapping() -> None:
    mapping = mapping_of(parse_events(FULL))
    with pytest.raises(ValueError, match="extras: basket is not the same in"):
        check_with_plan(mapping, {"EUR": 2, "USD": 2}, {"ip_country": "string"})


def test_a_plan_with_a_mapping_has_its_extra_fields() -> None:
    events = parse_events(FULL)
    currencies = {"EUR": 2, "USD": 2}
    plan = plan_from({"events": events, "currencies": currencies})
    assert plan.mapping == mapping_of(events)
    assert plan.extras == mapping_of(events).extra_types
    other = {"events": events, "extras": {"basket": "string"}, "currencies": currencies}
    with pytest.raises(ValueError, match=r"events: extras: .* is not the same in \[extra\]"):
        plan_from(other)
    with pytest.raises(ValueError, match=r"extras: need events\.toml"):
        plan_from({"extras": {"basket": "string"}})


def test_a_plan_with_rates_counts_in_the_base_currency() -> None:
    plan = Plan(currencies={"JPY": 0, "EUR": 2},
                events={"rates": {"base": "EUR", "JPY": {"2026-01-01": "1/160"}}})  # fmt: skip
    assert (plan.currency, plan.exponent, plan.unit) == ("EUR", 2, "EUR/2")


LABELS = """
[labels]
transaction_id = "payment.id"
event_time = {path = "payment.ts", unit = "s"}
is_fraud = "flag"
"""


def test_labels_have_a_mapping_of_their_own() -> None:
    mapping = mapping_of(parse_events(LABELS))
    assert (mapping.fields, mapping.where, mapping.format) == ((), (), "avro")
    labels = mapping.labels
    assert labels is not None
    assert [rule.column for rule in labels.fields] == [
        "transaction_id", "event_time", "is_fraud", "label_time",
    ]  # fmt: skip
    assert labels.paths == (("payment", "id"), ("payment", "ts"), ("flag",))
    assert mapping_of({}).labels is None


def test_a_change_of_labels_alone_reads_transactions_as_before() -> None:
    before = plan_from({"events": parse_events(FULL.partition("[rates]")[0] + LABELS)})
    after = plan_from(
        {"events": parse_events(FULL.partition("[rates]")[0] + LABELS.replace("flag", "bad"))}
    )
    assert before.reads_as(after)
    assert after.reads_as(before)
    assert before.labels != after.labels
    assert before.label_identity == LabelIdentity(by_customer=False)
    assert Plan().label_identity == LabelIdentity()


UNTIMED = "[labels]\ntransaction_id = 'a'\nis_fraud = 'b'"
REFUSED_LABELS = [
    ("UNTIMED\nlabel_time = {path = 'c', optional = true}", "labels.label_time.optional: needs"),
    ("[labels]", "labels.transaction_id: is missing"),
    ("[labels]\ntransaction_id = 'a'\nis_fraud = 'b'", "labels.label_time: is missing"),
    ("[labels]\ntransaction_id = 'a'\nevent_time = 'b'", "labels.is_fraud: is missing"),
    ("labels = 'a'", "labels: must be a table"),
    ("LABELS\nsource = 'a'", "labels: unknown key 'source'"),
    ("LABELS\nterminal_id = 'a'", "labels: unknown key 'terminal_id'"),
    ("LABELS\nformat = 'xml'", "labels.format: must be one of avro, json"),
    ("LABELS\nwhere = 'a'", "labels.where: ends inside a condition"),
    ("LABELS\ncustomer_id = {constant = 'a'}", "labels.customer_id.constant: every record"),
    ("LABELS\ncustomer_id = {path = 'a', default = 'b'}", "labels.customer_id.default: no other"),
    ("LABELS\nlabel_time = {constant = 'a'}", "labels.label_time.constant: every record"),
    ("LABELS\nlabel_time = {path = 'a', default = 'b'}", "labels.label_time.default: only"),
    ("LABELS\nlabel_time = {path = 'a', unit = 'h'}", "labels.label_time.unit: must be one of"),
    ("LABELS\nlabel_time = {path = 'a', table = {b = true}}", "labels.label_time: unknown key"),
    ("FRAUD {path = 'a', table = {b = 'c'}}", "labels.is_fraud.table: must be true or false"),
    ("FRAUD {path = 'a', unknown = true}", "labels.is_fraud.unknown: needs a table"),
    ("FRAUD {path = 'a', optional = true}", "labels.is_fraud.optional: needs a default"),
    ("FRAUD {constant = 1}", "labels.is_fraud.constant: must be true or false"),
    ("FRAUD {constant = true, path = 'a'}", "labels.is_fraud: needs either a path or a constant"),
    (
        "FRAUD 'a'\nformat = 'json'\nlabel_time = 'a'",
        "labels.label_time.unit: is missing",
    ),
    ("FRAUD 'a[0]'", "labels.is_fraud.path: 'a[0]': a path cannot go through an array"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED_LABELS)
def test_impossible_labels_are_refused_by_their_key(text: str, why: str) -> None:
    fraud = LABELS.replace('"flag"', text.removeprefix("FRAUD "))
    text = (
        fraud
        if text.startswith("FRAUD")
        else text.replace("LABELS", LABELS).replace("UNTIMED", UNTIMED)
    )
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        parse_events(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("customer", [False, True])
def test_labels_that_do_not_name_the_event_time_have_their_own(customer: bool) -> None:  # noqa: FBT001 a case
    named = {"customer_id": "card"} if customer else {}
    labels = {"transaction_id": "id", "is_fraud": {"constant": True}, "label_time": "booked"}
    plan = plan_from({"events": {"labels": labels | named}})
    assert plan.label_identity == LabelIdentity(by_customer=customer, by_time=False)
    assert plan.labels is not None
    assert [rule.column for rule in plan.labels.fields if rule.nullable] == []
