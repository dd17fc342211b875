"""Records and keys as the producers of the topic make them, and the mapping's judgement."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pytest

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.codec.writing.json_text import JsonValueError, parse_json
from stream_scorer.codec.writing.made_up_record import made_up_record
from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.serving.decisions import records
from stream_scorer.serving.decisions.judging import SKIPPED, Judge, JudgedEvent, Rejection
from stream_scorer.serving.decisions.records import RecordMaker, parse_body
from stream_scorer.serving.following.active_plans import plans_of
from stream_scorer.serving.settings.decisions import DecisionsApi
from stream_scorer.settings import SCHEMAS_DIRECTORY

NOW = 1_700_000_000_000
PAYMENT = {
    "type": "record", "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "op", "type": "string", "default": "c"},
        {"name": "card", "type": {"type": "record", "name": "Card", "fields": [
            {"name": "token", "type": ["null", "string"]}]}},
        {"name": "paid", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12,
                                  "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}  # fmt: skip
KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]}
FIELDS: dict[str, Any] = {
    "transaction_id": "id", "customer_id": "card.token", "event_time": "at",
    "amount": {"path": "paid", "unit": "major"}, "currency": {"constant": "EUR"},
}  # fmt: skip
SENT = {"id": "p1", "card": {"token": "17"}, "paid": "12.50", "at": "2023-11-14T22:13:19Z"}


@pytest.fixture
def files(tmp_path: Path) -> FileRegistry:
    (tmp_path / "payment.avsc").write_text(json.dumps(PAYMENT))
    (tmp_path / "key.avsc").write_text(json.dumps(KEY))
    for path in SCHEMAS_DIRECTORY.glob("*.avsc"):
        (tmp_path / path.name).write_text(path.read_text())
    index = json.loads((SCHEMAS_DIRECTORY / "registry.json").read_text())
    index["schemas"] += [
        {"id": 100, "subject": "payments-value", "version": 1, "file": "payment.avsc"},
        {"id": 101, "subject": "payments-key", "version": 1, "file": "key.avsc"},
    ]
    (tmp_path / "registry.json").write_text(json.dumps(index))
    return FileRegistry(tmp_path)


def plan(record: dict[str, Any] | None = None, **key: Any) -> Plan:
    events: dict[str, Any] = {"fields": FIELDS}
    if record:
        events["record"] = record
    if key:
        events["key"] = key
    return Plan(events=events)


def maker(files: FileRegistry, plan: Plan, **settings: Any) -> RecordMaker:
    own = {"subject": "payments-value", "version": 1, **settings}
    return RecordMaker(files, DecisionsApi(**own), plan, "payments", files.directory)


def parsed(value: Any) -> Any:
    return parse_json(json.dumps(value).encode())


def test_a_users_record_is_encoded_by_its_schema(files: FileRegistry) -> None:
    own = plan({"where": "op == c"})
    record = maker(files, own).record(parsed(SENT))
    assert record.value[:5] == b"\0\0\0\0\x64"
    found: Any = fastavro.schemaless_reader(
        io.BytesIO(record.value[5:]), fastavro.parse_schema(PAYMENT), None
    )
    assert (found["card"], str(found["paid"]), found["op"]) == ({"token": "17"}, "12.50", "c")
    judge = Judge(EventDecoders(files, files.directory), lambda: [own])
    deleted = maker(files, own).record(parsed({**SENT, "op": "d"}))
    nobody = maker(files, own).record(parsed({**SENT, "card": {"token": None}}))
    good, skipped, refused = judge([record.value, deleted.value, nobody.value], NOW)
    assert isinstance(good, JudgedEvent)
    assert (good.customer_id, good.transaction_id) == ("17", "p1")
    assert good.fields == {
        "terminal_id": "", "event_time": NOW - 1_000, "amount_minor": 1_250, "currency": "EUR",
        "channel": "UNKNOWN",
    }  # fmt: skip
    assert isinstance(skipped, Rejection)
    assert skipped.reason == SKIPPED
    assert isinstance(refused, Rejection)
    assert (refused.reason, refused.detail.split(":")[0]) == ("MAPPING", "card.token")


def test_equal_bodies_have_equal_marks(files: FileRegistry) -> None:
    made = maker(files, plan())
    other = dict(reversed(SENT.items())) | {"paid": "12.5", "at": NOW - 1_000, "op": "c"}
    assert made.record(parsed(SENT)).mark == made.record(parsed(other)).mark
    changed = made.record(parsed({**SENT, "paid": "12.51"}))
    assert changed.mark != made.record(parsed(SENT)).mark


@pytest.mark.parametrize(
    ("key", "settings", "expected"),
    [
        ({}, {}, b"17"),
        ({"path": "a.id", "format": "json"}, {}, b'{"a":{"id":"17"}}'),
        ({"path": "id", "format": "avro"}, {"key_subject": "payments-key", "key_version": 1},
         b"\0\0\0\0\x65\x22"),
    ],
)  # fmt: skip
def test_keys_are_those_of_the_plan(
    files: FileRegistry, key: Any, settings: Any, expected: bytes
) -> None:
    made = maker(files, plan(**key), **settings)
    assert made.key("17", made.record(parsed(SENT))) == expected


def test_an_avro_key_that_cannot_hold_the_customer(files: FileRegistry) -> None:
    made = maker(
        files, plan(path="id", format="avro"), key_subject="payments-key", key_version=1
    )  # fmt: skip
    with pytest.raises(JsonValueError, match="id: must be a whole number"):
        made.key("x", made.record(parsed(SENT)))


def test_json_records_keep_their_numbers(files: FileRegistry) -> None:
    own = Plan(
        events={
            "record": {"format": "json"},
            "key": {"path": "id", "format": "json"},
            "fields": FIELDS
            | {
                "amount": {"path": "paid", "unit": "major"},
                "event_time": {"path": "at", "unit": "ms"},
            },
        }
    )
    made = RecordMaker(files, DecisionsApi(), own, "payments", files.directory)
    text = b'{"paid": 12.50, "id": "p1", "card": {"token": 17}, "at": 1699999999000}'
    record = made.record(parse_json(text))
    assert record.value == b'{"at":1699999999000,"card":{"token":17},"id":"p1","paid":12.50}'
    judge = Judge(EventDecoders(files, files.directory), lambda: [own])
    (found,) = judge([record.value], NOW)
    assert isinstance(found, JudgedEvent)
    assert found.fields["amount_minor"] == 1_250
    assert made.key(found.customer_id, record) == b'{"id":17}'


JSON = {"format": "json"}
WHERE = "op in [c] and x != d and card != null"
JSON_FIELDS = FIELDS | {
    "event_time": {"path": "at", "unit": "iso8601"}, "currency": "money.iso",
    "terminal_id": {"path": "till", "optional": True, "default": ""},
    "channel": {"path": "via", "table": {"web": "ECOM"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("events", "settings"),
    [
        ({}, {}),
        ({"fields": FIELDS, "record": {"where": "op in [c, r] and card != null"}},
         {"subject": "payments-value", "version": 1}),
        ({"fields": JSON_FIELDS, "record": JSON | {"where": WHERE}}, {}),
        ({"fields": FIELDS | {"event_time": {"path": "at", "unit": "us"}}, "record": JSON,
          "extra": {"age": {"path": "card.age", "type": "long"}}}, {}),
    ],
    ids=["own", "avro", "json", "json with numbers"],
)  # fmt: skip
def test_a_made_up_record_is_valid(files: FileRegistry, events: Any, settings: Any) -> None:
    extras = {name: each["type"] for name, each in events.get("extra", {}).items()}
    own = Plan(events=events, extras=extras)
    made = RecordMaker(files, DecisionsApi(**settings), own, "transactions", files.directory)
    judge = Judge(EventDecoders(files, files.directory), lambda: [own])
    (found,) = judge([made.made_up()], NOW)
    assert isinstance(found, JudgedEvent), found


SELF: dict[str, Any] = {
    "type": "record", "name": "A", "fields": [{"name": "a", "type": ["A", "int"]}],
}  # fmt: skip
NAMES = [f"R{number}" for number in range(40)]
WIDE: dict[str, Any] = {"type": "record", "name": "R40", "fields": [
    {"name": "a", "type": "int"}]}  # fmt: skip
for name in NAMES:
    WIDE = {"type": "record", "name": name, "fields": [
        {"name": "a", "type": WIDE}, {"name": "b", "type": WIDE["name"]}]}  # fmt: skip


@pytest.mark.parametrize("schema", [SELF, WIDE], ids=["endless", "wide"])
def test_a_made_up_record_is_bounded(schema: dict[str, Any]) -> None:
    definition = parse_definition(json.dumps(schema), "example")
    with pytest.raises(JsonValueError, match="too many values"):
        made_up_record(Plan(), definition)


def test_without_a_valid_record_the_header_is_judged(
    files: FileRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = maker(files, plan())
    monkeypatch.setattr(records, "made_up_record", lambda _plan, _definition: {"unknown": None})
    assert made.made_up() == made.record(parsed(SENT)).value[:5]


def test_settings_that_do_not_fit_are_refused(files: FileRegistry) -> None:
    with pytest.raises(SettingsError, match=r"serving\.decisions\.subject: is missing"):
        RecordMaker(files, DecisionsApi(), plan(), "payments", files.directory)
    with pytest.raises(SettingsError, match=r"key_subject: is missing"):
        maker(files, plan(path="id", format="avro"))
    with pytest.raises(SettingsError, match=r"key_subject: has no effect"):
        maker(files, plan(), key_subject="payments-key", key_version=1)
    times = FIELDS | {"event_time": {"path": "at", "unit": "ms"}}
    json_plan = Plan(events={"record": {"format": "json"}, "fields": times})
    with pytest.raises(SettingsError, match=r"subject: has no effect"):
        maker(files, json_plan)
    with pytest.raises(SettingsError, match="record_bytes_max is 1048577"):
        maker(files, replace(plan(), record_bytes_max=(1 << 20) + 1))
    maker(files, replace(plan(), record_bytes_max=1 << 20))
    with pytest.raises(SettingsError, match="is not keyed by the customer"):
        maker(files, Plan(events={"fields": FIELDS, "key": {"customer": "none"}}))
    with pytest.raises(SchemaError, match="has no version 2"):
        maker(files, plan(), version=2)
    with pytest.raises(ValueError, match="give both"):
        DecisionsApi(subject="payments-value")


def test_a_body_is_one_or_several() -> None:
    assert not parse_body(b'{"a": 1}').batch
    assert not parse_body(b'{"transactions": {}}').batch
    assert not parse_body(b'{"transactions": [], "a": 1}').batch
    assert len(parse_body(b'{"transactions": [{}, {}]}').values) == 2
    assert len(parse_body(b"[{}]").values) == 1


def revision(number: int, currencies: tuple[str, ...]) -> Routing:
    own = Plan(currencies=dict.fromkeys(currencies, 2), events={} if len(currencies) == 1 else {
        "rates": {"base": "EUR", "USD": {"2020-01-01": "0.9"}}})  # fmt: skip
    return Routing(number, {"champion": Version("fraud", "1.0.0")}, shared=own)


def test_one_plan_that_may_decide_a_record_must_accept_it(files: FileRegistry) -> None:
    routings = {1: revision(1, ("EUR",)), 2: revision(2, ("EUR",)), 3: revision(3, ("EUR", "USD"))}
    plans = plans_of(routings, {0: 2, 1: 1, 2: 2})
    assert plans == (routings[2].shared, routings[3].shared)
    assert plans_of(routings, {0: 3}) == (routings[3].shared,)
    assert plans_of(routings, {}) == (routings[3].shared, routings[2].shared)
    made = RecordMaker(
        FileRegistry(SCHEMAS_DIRECTORY), DecisionsApi(), plans[0], "t", files.directory
    )
    sent = {"transaction_id": "t", "event_time": NOW, "customer_id": "c", "terminal_id": "s",
            "amount_minor": 1, "currency": "USD"}  # fmt: skip
    value = made.record(parsed(sent)).value
    decoders = EventDecoders(files, files.directory)
    assert isinstance(Judge(decoders, lambda: plans)([value], NOW)[0], JudgedEvent)
    assert isinstance(Judge(decoders, lambda: plans[:1])([value], NOW)[0], Rejection)
