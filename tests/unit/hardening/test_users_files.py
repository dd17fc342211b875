"""Each hostile mapping, policy, expression and record gives one line that names key or path."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from stream_scorer.codec.reading.mapped import open_decoder
from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.mapping.mapping import parse_events
from stream_scorer.errors import StreamScorerError
from stream_scorer.explaining.report import with_mapping
from stream_scorer.models.stores.deployment import load_plan
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.training.features import read_features
from tests.support.codec.mapped_records import Schemas

LONGEST = 400
"""Maximum length of an error line, in characters."""

FIELDS = """
[fields]
transaction_id = "txn.id"
customer_id = "card"
event_time = {path = "ts", unit = "ms"}
amount = {path = "sum", unit = "major"}
currency = {path = "ccy"}
channel = {path = "mode", table = {web = "ECOM", shop = "POS"}}
"""
JSON = f'[record]\nformat = "json"\n{FIELDS}'
POLICY = "[default]\nreview = 0.3\nblock = 0.8\n"
NOW = 1_700_000_000_000
GOOD: dict[str, Any] = {
    "txn": {"id": "T1"}, "card": "C1", "ts": NOW, "sum": 12.5, "ccy": "EUR", "mode": "web",
}  # fmt: skip


class Hostile(NamedTuple):
    """One attack.

    Attributes:
        what: mapping, policy, expression or record.
        content: Text of the file, or the record: its bytes, or its differences from a valid one.
        told: Expected in the error line or the dead letter's detail: key or path, then the cause.
        reason: The dead letter's reason.
    """

    what: str
    content: Any
    told: str
    reason: str = ""


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


MAPPINGS = (
    ("[fields", "events.toml: not TOML"),
    (f"{FIELDS}[filter]\nop = 'c'", "events: events: unknown key 'filter'"),
    (f"x = {deep(100)}", "events.toml: nested deeper than 64 levels"),
    (f"{FIELDS}mcc = {{path = 'a', constant = 'b'}}", "fields.mcc: needs either a path or"),
    (f"{FIELDS}mcc = 'a..b'", "fields.mcc.path: a name in 'a..b' is empty"),
    (f"{FIELDS}mcc = 'items[0].mcc'", "fields.mcc.path: 'items[0]': a path cannot go through"),
    (f"{FIELDS}mcc = '{'.'.join('a' * 17)}'", "fields.mcc.path: a path of 17 names"),
    (f"{FIELDS}mcc = {{path = 'a', default = 'x', unknown = 'y'}}", "fields.mcc.unknown: needs"),
    (f"{FIELDS}terminal_id = {{path = 'a', optional = true}}", "terminal_id.optional: needs a"),
    (f"{FIELDS}device_id = {{path = 'a', table = {{x = 1}}}}", "device_id.table: must be text"),
    (FIELDS.replace('"card"', "{constant = 'everyone'}"), "fields.customer_id.constant: every"),
    (FIELDS.replace("major", "cents"), "fields.amount.unit: must be one of minor, major"),
    (FIELDS.replace('unit = "ms"', 'unit = "ms", since = "then"'), "fields.event_time.since: must"),
    (FIELDS.replace('{path = "ccy"}', '{constant = "USD"}'), "fields.currency: the plan's "),
    (FIELDS.replace('{path = "ccy"}', '{path = "c", default = "euro"}'), "'euro' is not an ISO"),
    (f"{FIELDS}[extra]\nmcc = {{path = 'a', type = 'string'}}", "extra.mcc: is a name of the tran"),
    (f"{FIELDS}[extra]\nx = {{path = 'a', type = 'decimal'}}", "extra.x.type: must be one of stri"),
    (FIELDS + "[extra]\n" + "\n".join(f"x{n} = {{path = 'a', type = 'long'}}" for n in range(65)),
     "extra: 65 extra fields"),
    (f"[record]\nwhere = 'op == c or op == r'\n{FIELDS}", "record.where: conditions are joined by"),
    (f"[record]\nwhere = '__import__(os)'\n{FIELDS}", "record.where: cannot read"),
    (f"{FIELDS}[key]\npath = 'id'\nformat = 'protobuf'", "key.format: must be one of avro, json"),
    (f"{FIELDS}[rates]\nbase = 'EUR'\n[rates.EUR]\n2026-01-01 = '1'", "rates.EUR: the base has no"),
    (f"{FIELDS}[rates]\nbase = 'USD'", "rates.base: must be a currency of the plan, not 'USD'"),
    (f"{FIELDS}mcc = {{path = 'a', default = '{'x' * 300_000}'}}", "events: 300"),
)  # fmt: skip
RATES = (
    ("2026-01-01 = '1/0'", "rates.USD.2026-01-01: 1/0 is zero, or divides by zero"),
    ("2026-01-01 = 0.92", "rates.USD.2026-01-01: must be text such as"),
    ("2026-13-01 = '1'", "rates.USD: '2026-13-01' is neither a date"),
    ("2026-01-01 = '0.123456789'\n2026-01-01T00:00:00Z = '1'", "not TOML"),
    ("2026-01-01 = '1'\n'2026-01-01T00:00:00Z' = '2'", "this time is there twice"),
    ("2026-01-01 = '9999999999/9999999998'", "rates.USD.2026-01-01: 9999999999/9999999998 between"),
    ("'2026-01-01T00:00:00+01:00' = '1'", "write the time in UTC"),
)
POLICIES = (
    ("[default]\nreview = 0.3", "policy: default: block: is missing"),
    ("[default]\nreview = 0.9\nblock = 0.1", "policy: default: review: 0 < review <= block <= 1"),
    ("[default]\nreview = nan\nblock = 0.8", "does not hold for review nan"),
    ("[default]\nreview = '0.3'\nblock = 0.8", "policy: default: review: must be a number, not"),
    (f"{POLICY}[thresholds]", "policy: unknown key 'thresholds'"),
    (f"on_model_error = 'IGNORE'\n{POLICY}", "policy: on_model_error: must be APPROVE"),
    (f"on_timeout = 'LATER'\n{POLICY}", "policy: on_timeout: must be APPROVE, REVIEW, BLOCK"),
    (f"{POLICY}[budget]\nreviews_per_day = -1", "policy: budget: reviews_per_day: must be"),
    (f"{POLICY}[segment]\nreview = 0.1", "policy: segment: must be a list of tables"),
    (f"{POLICY}[[segment]]\nreview = 0.1\nblock = 0.2", "policy: segment 1: when: is missing"),
    (f"{POLICY}[[segment]]\nwhen = {{}}\nreview = 0.1\nblock = 0.2", "segment 1: when: must not"),
    (f"{POLICY}[[segment]]\nwhen = {{country = ['DE', 'DE']}}\nreview = 0.1\nblock = 0.2",
     "policy: segment 1: when.country: names a value twice"),
    (f"{POLICY}[[segment]]\nwhen = {{amount_above = 0.001}}\nreview = 0.1\nblock = 0.2",
     "policy: segment 1: when.amount_above: 0.001 is not a whole number of minor units"),
    (f"{POLICY}[[segment]]\nwhen = {{amount_above = 5, amount_below = 5}}\nreview = 1\nblock = 1",
     "policy: segment 1: when.amount_below: no amount is between"),
    (POLICY + 2 * "[[segment]]\nwhen = {channel = 'POS'}\nreview = 0.1\nblock = 0.2\n",
     "policy: segment 2: when: never counts"),
    (POLICY + 65 * "[[segment]]\nwhen = {channel = 'POS'}\nreview = 0.1\nblock = 0.2\n",
     "policy: segment: at most 64, not 65"),
    (f'{POLICY}[[segment]]\nwhen = {{country = "D\\u0000"}}\nreview = 0.1\nblock = 0.2',
     "has characters that cannot be printed"),
)  # fmt: skip
EXPRESSIONS = (
    ("__import__('os').system('true')", "\"'os').syst\" at character 12 cannot be read"),
    ("amount.__class__", "value: '.__class__' at character 7 cannot be read"),
    ("(lambda: 1)()", "value: ': 1)()' at character 8 cannot be read"),
    ("open(amount)", "feature X: value: open() is not known"),
    ("amount ** 99", "value: Pow is not known"),
    ("amount if amount else 1", "value: IfExp is not known"),
    ("1 < amount < 2", "value: a comparison has two sides"),
    ("log(amount, 2)", "value: log() takes one argument, not 2"),
    ("max(amount)", "value: max() takes two or more arguments, not 1"),
    ("1e999", "value: a number is too large for 64 bits"),
    ("amount +", "is not an expression: invalid syntax"),
    (" + ".join(["amount"] * 40), "value has more than 64 nodes"),
    ("-" * 999 + "1", "value has more than"),
    ("amount" * 200, "value has 1200 characters; at most 1000"),
    ("balance / 2", "balance"),
    ("X + 1", "'X'"),
    ("currency == 1", "currency"),
)
RECORDS = (
    ({"txn": None}, "txn.id: null, and transaction_id takes none", "MAPPING"),
    ({"txn": "T1"}, "txn.id: a value of this kind cannot become transaction_id", "MAPPING"),
    ({"card": ["C1"]}, "card: a value of this kind cannot become customer_id", "MAPPING"),
    ({"card": 1.5}, "card: not a whole number of 64 bits", "MAPPING"),
    ({"card": ""}, "txn.id, card: transaction_id, customer_id or terminal_id is empty", "ID_EMPTY"),
    ({"mode": "carrier pigeon"}, "mode: the table for channel does not have this", "MAPPING"),
    ({"ccy": "XAU"}, "sum: the plan does not list this currency", "CURRENCY"),
    ({"sum": "12,50"}, "sum: not a decimal number of at most 64 characters", "MAPPING"),
    ({"sum": True}, "sum: a value of this kind cannot become amount_minor", "MAPPING"),
    ({"sum": 12.505}, "sum: more digits than the currency's minor unit has", "MAPPING"),
    ({"sum": -0.0}, "sum: negative zero", "MAPPING"),
    ({"sum": -1}, "sum: amount_minor is negative", "AMOUNT_NEGATIVE"),
    ({"sum": 1e15}, "sum: amount_minor is over the plan's limit", "AMOUNT_TOO_LARGE"),
    ({"sum": 1e300}, "sum: more than 64 bits hold", "AMOUNT_TOO_LARGE"),
    ({"ts": -5}, "ts: event_time is before 1970", "TIME_INVALID"),
    ({"ts": NOW * 10}, "ts: event_time is further after the Kafka timestamp", "TIME_AHEAD"),
    ({"ts": "1e30"}, "ts: more than 64 bits of milliseconds", "TIME_INVALID"),
    ({"txn": {"id": "x" * 2_000}}, "txn.id: longer than string_bytes_max", "TOO_LARGE"),
    (json.dumps(GOOD).replace("12.5", "1" * 70).encode(), "sum: a number of more",
     "TOO_LARGE"),
    (json.dumps(GOOD).replace('"C1"', '"\\ud800"').encode(), "card: half a surrogate pair",
     "MALFORMED"),
    (b'{"card": "C1", "card": "C2"}', "an object has a key twice", "MALFORMED"),
    (b'{"sum": NaN}', "NaN and Infinity are not JSON", "MALFORMED"),
    (b'{"x": ' + deep(100).encode() + b"}", "nested deeper than 64", "TOO_LARGE"),
    (b'{"card": "\xff"}', "text is not UTF-8 at byte 10", "MALFORMED"),
    (b"[1, 2]", "not a JSON object", "MALFORMED"),
    (json.dumps(GOOD | {"note": "x" * 70_000}).encode(), "longer than record_bytes_max",
     "TOO_LARGE"),
    (b"", "no value", "EMPTY"),
)  # fmt: skip
HOSTILE = (
    *(Hostile("mapping", text, told) for text, told in MAPPINGS),
    *(Hostile("rates", text, told) for text, told in RATES),
    *(Hostile("policy", text, told) for text, told in POLICIES),
    *(Hostile("expression", text, told) for text, told in EXPRESSIONS),
    *(Hostile("record", content, told, reason) for content, told, reason in RECORDS),
)


def refused_plan(folder: Path, case: Hostile) -> str:
    """Return the error line of a plan's folder with a hostile file."""
    events, policy, currencies = FIELDS, POLICY, ""
    if case.what == "policy":
        policy = case.content
    elif case.what == "mapping":
        events = case.content
    else:
        currencies = "[currencies]\nEUR = 2\nUSD = 2\n"
        events = f"{FIELDS}[rates]\nbase = 'EUR'\n[rates.USD]\n{case.content}"
    for name, text in (("plan", currencies), ("events", events), ("policy", policy)):
        (folder / f"{name}.toml").write_text(text)
    with pytest.raises(StreamScorerError) as refused:
        load_plan(folder)
    assert str(folder) in refused.value.what
    return str(refused.value)


def refused_features(folder: Path, case: Hostile) -> str:
    """Return the error line of a list of features with a hostile expression."""
    path = folder / "features.json"
    path.write_text(json.dumps([{"name": "X", "kind": "expression", "value": case.content}]))
    with pytest.raises(StreamScorerError) as refused:
        read_features(path, with_mapping(Plan(), parse_events(JSON)))
    assert str(path) in refused.value.what
    return str(refused.value)


def dead_letter(_: Path, case: Hostile) -> str:
    """Return the detail of a hostile record's dead letter; a valid record next to it is decided."""
    plan = with_mapping(Plan(), parse_events(JSON))
    bad = case.content if isinstance(case.content, bytes) else json.dumps(GOOD | case.content)
    values = [json.dumps(GOOD).encode(), bad.encode() if isinstance(bad, str) else bad]
    at = np.arange(2)
    raw = RawRecords(
        BytesColumn.of(values), BytesColumn.nulls(2), None, np.zeros(2, np.int32), at, at + NOW
    )
    events, rows, rejections = open_decoder(Schemas(), plan).decode(raw)
    features = compile_features(
        ({"name": "AMOUNT", "kind": "passthrough", "field": "amount"},), plan
    )
    observed = observe(events, PartitionRings(features), plan, features)
    found = list(zip(rejections.reasons, rejections.details, strict=True))
    judged = observed.rejections
    found += zip(judged.reasons, judged.details, strict=True)
    assert rows[observed.accepted].tolist() == [0]
    ((reason, detail),) = found
    assert reason == case.reason
    return detail


ANSWERS: dict[str, Callable[[Path, Hostile], str]] = {
    "mapping": refused_plan, "rates": refused_plan, "policy": refused_plan,
    "expression": refused_features, "record": dead_letter,
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: f"{case.what}: {case.told}")
def test_what_is_hostile_is_refused_in_one_line(case: Hostile, tmp_path: Path) -> None:
    told = ANSWERS[case.what](tmp_path, case)
    assert case.told in told
    assert len(told) < LONGEST + len(str(tmp_path))
    assert "\n" not in told
    assert told.isprintable()
    assert not re.search("Traceback|Error\\b", told)


def test_the_hostile_list_is_long_and_each_has_its_own_cause() -> None:
    assert len(HOSTILE) >= 40
    assert len({case.told for case in HOSTILE}) == len(HOSTILE)
    assert {case.what for case in HOSTILE} == set(ANSWERS)
