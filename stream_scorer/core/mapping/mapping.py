"""events.toml: where each of our fields, and each extra field, is in a user's record.

Its section ``labels`` does the same for the records of the labels topic.

The table is part of the plan, because it may change a decision. :func:`mapping_of` turns it into an
:class:`EventMapping`, which the decoders and ``core.normalising`` apply. No record is read here.
docs/YOUR_DATA.md describes each key.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from stream_scorer.core.mapping.mapping_table import (
    TABLE_ENTRIES,
    Path,
    canonical,
    choice_of,
    dotted,
    flag_of,
    path_of,
    shown,
    table_of,
    text_of,
)
from stream_scorer.core.mapping.rates import rates_of
from stream_scorer.core.mapping.record_filter import Clause, clauses_of
from stream_scorer.core.mapping.time_text import milliseconds_of
from stream_scorer.nesting import parse_toml

EXTRAS: Final = 64
EXTRA_TYPES: Final = ("string", "double", "long", "boolean", "timestamp")
_EXTRA_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")

# Our fields in the order of the schema: name in events.toml, name of the column, kind of value.
_TARGETS: Final = (
    ("transaction_id", "transaction_id", "string"),
    ("event_time", "event_time", "timestamp"),
    ("customer_id", "customer_id", "string"),
    ("terminal_id", "terminal_id", "string"),
    ("amount", "amount_minor", "amount"),
    ("currency", "currency", "string"),
    ("channel", "channel", "string"),
    ("mcc", "mcc", "string"),
    ("country", "country", "string"),
    ("card_present", "card_present", "boolean"),
    ("device_id", "device_id", "string"),
)
FIELDS: Final = tuple(name for name, _, _ in _TARGETS)
_REQUIRED: Final = ("transaction_id", "event_time", "customer_id", "amount", "currency")
_NULLABLE: Final = frozenset({"mcc", "country", "card_present", "device_id"})
_UNMAPPED: Final = {"terminal_id": "", "channel": "UNKNOWN"}
_OWN: Final = frozenset({"transaction_id", "event_time", "customer_id", "amount"})
"""Fields without constant or default: records could no longer be distinguished."""

TIME_UNITS: Final = ("s", "ms", "us", "ns", "iso8601")
AMOUNT_UNITS: Final = ("minor", "major")
ROUNDINGS: Final = ("exact", "half_even")
_KEYS: Final = {
    "string": frozenset({"table", "unknown"}),
    "boolean": frozenset({"table", "unknown"}),
    "amount": frozenset({"unit", "rounding"}),
    "timestamp": frozenset({"unit", "zone", "since"}),
    "double": frozenset[str](),
    "long": frozenset[str](),
}
_SECTIONS: Final = ("record", "fields", "extra", "key", "rates", "labels")
_LABEL_TARGETS: Final = (
    ("transaction_id", "string"),
    ("customer_id", "string"),
    ("event_time", "timestamp"),
    ("is_fraud", "boolean"),
    ("label_time", "timestamp"),
)
_LABEL_FIELDS: Final = tuple(name for name, _ in _LABEL_TARGETS)
_LABEL_REQUIRED: Final = ("transaction_id", "is_fraud")
TRAINING_LABELS: Final = ("is_fraud", "label_time")
"""Columns of the labels in training data."""
_FLAGS: Final = {
    text: flag
    for flag, texts in ((True, "1 true True TRUE"), (False, "0 false False FALSE"))
    for text in texts.split()
}
"""The values of ``is_fraud`` that are accepted if its rule has no table."""

BASE_AMOUNT: Final = "base_amount_minor"
"""Column of amounts in minor units of the base currency; it exists if the mapping has rates."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How one column is made from a record.

    Attributes:
        key: The key in events.toml, such as ``fields.amount``; for messages.
        column: The column's name.
        kind: string, double, long, boolean, timestamp or amount.
        path: Where the value is; None if ``constant`` is the value of every record.
        constant: Text or boolean; None if there is a path, or for null.
        nullable: Whether the column may contain null.
        optional: Whether the path may be missing in a writer schema; the value is then null.
        default: Replaces null; None if there is no default.
        table: The value for each text in a record; empty: the text itself is the value.
        unknown: The value for a text that is not in the table; None: the record is rejected.
        unit: Of an amount or a time; empty: that of the writer's logical type.
        half_even: Whether digits beyond the currency's exponent are rounded; otherwise the record
            is rejected.
        utc: Whether a time without an offset is in UTC; otherwise the record is rejected.
        since_ms: Added to a time: the start of its count, ms since the epoch.
    """

    key: str
    column: str
    kind: str
    path: Path | None = None
    constant: str | bool | None = None
    nullable: bool = False
    optional: bool = False
    default: str | bool | None = None
    table: Mapping[str, str | bool] = field(default_factory=dict)
    unknown: str | bool | None = None
    unit: str = ""
    half_even: bool = False
    utc: bool = False
    since_ms: int = 0

    @property
    def place(self) -> str:
        """The path, as text for people."""
        return dotted(self.path or ())


@dataclass(frozen=True, slots=True)
class KeyRule:
    """How a record's key gives the customer's id.

    Attributes:
        kind: ``raw`` (the key is the customer's id in UTF-8), ``path`` or ``none``.
        path: Where the id is in the key; only for ``path``.
        format: Of a key with a path: avro or json.
    """

    kind: str = "raw"
    path: Path | None = None
    format: str = "avro"


@dataclass(frozen=True, slots=True)
class LabelIdentity:
    """The fields by which a label names its transaction, in addition to the transaction's id.

    Attributes:
        by_customer: Whether it names the customer.
        by_time: Whether it names the event time. If it does not, it has a label time.
    """

    by_customer: bool = True
    by_time: bool = True


@dataclass(frozen=True, slots=True)
class EventMapping:
    """How a user's record becomes a transaction, or a label.

    Attributes:
        format: avro or json.
        where: Conditions that choose the records to use; empty: all are used.
        fields: A rule for each column of the transaction schema, in its order; empty: records
            have our own schema. For labels, a rule for each column of a label.
        extras: A rule for each extra column, by name.
        key: How the key gives the customer.
        rates: The table of rates; empty: amounts are not converted.
        labels: How a record of the labels topic becomes a label; None: such records have our own
            schema.
        where_key: The key of ``where`` in events.toml, for messages.
    """

    format: str
    where: tuple[Clause, ...]
    fields: tuple[FieldRule, ...]
    extras: tuple[FieldRule, ...]
    key: KeyRule
    rates: Mapping[str, Any]
    labels: "EventMapping | None" = None
    where_key: str = "record.where"

    @property
    def rules(self) -> tuple[FieldRule, ...]:
        """All rules, in the order of the columns."""
        return self.fields + self.extras

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths that are read, without repeats."""
        named = [rule.path for rule in self.rules if rule.path is not None]
        return tuple(dict.fromkeys(named + [clause.path for clause in self.where]))

    @property
    def extra_types(self) -> dict[str, str]:
        """Name and type of each extra field, as ``Plan.extras`` has them."""
        return {rule.column: rule.kind for rule in self.extras}

    @property
    def label_identity(self) -> LabelIdentity:
        """The fields by which labels name their transactions, for a mapping of labels."""
        columns = {rule.column for rule in self.fields}
        return LabelIdentity("customer_id" in columns, "event_time" in columns)

    @property
    def has_terminals(self) -> bool:
        """Whether each transaction has a terminal; otherwise ``terminal_id`` may be empty."""
        rule = next((rule for rule in self.fields if rule.column == "terminal_id"), None)
        return rule is None or "" not in (rule.constant, rule.default)


def parse_events(text: str) -> dict[str, Any]:
    """Read events.toml and return its table, which :func:`mapping_of` accepts.

    Raises:
        ValueError: It is not TOML, or the mapping is not valid; the message names the key.
    """
    table = parse_toml(text)
    mapping_of(table)
    return table


def mapping_of(table: Mapping[str, Any]) -> EventMapping:
    """Return the mapping of a table of events.toml.

    Args:
        table: Plain data: tables, lists, texts, numbers and booleans.

    Raises:
        ValueError: A key is unknown or missing, or its value is not valid; the message names it.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"events: must be a table, not {shown(table)}")  # noqa: TRY004 the plan's errors are ValueErrors
    return _mapping_of(canonical(table), _Same(table))


class _Same:
    """A table that is not part of the cache's key: its canonical text is."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=32)
def _mapping_of(text: str, source: _Same) -> EventMapping:  # noqa: ARG001 the text is the cache's key
    table = table_of(source.table, "events", _SECTIONS)
    record = table_of(table.get("record", {}), "record", ("format", "where"))
    format_, where = _read_from(record, "record")
    fields = _fields(table.get("fields"))
    extras = _extras(table.get("extra", {}))
    rates = table.get("rates", {})
    if not isinstance(rates, dict):
        raise ValueError(f"rates: must be a table, not {shown(rates)}")  # noqa: TRY004 as above
    if not fields and (extras or where or format_ != "avro"):
        raise ValueError("fields: must be there, unless events.toml has only rates or labels")
    _check_units(format_, fields + extras)
    labels = _labels(table["labels"]) if "labels" in table else None
    return EventMapping(format_, where, fields, extras, _key(table.get("key", {})), rates, labels)


def check_with_plan(
    mapping: EventMapping, currencies: Mapping[str, int], extras: Mapping[str, str] | None = None
) -> None:
    """Check a mapping against the rest of its plan.

    Args:
        mapping: The plan's mapping.
        currencies: The plan's currencies, exponents by code.
        extras: The plan's extra fields, types by name; None: they are not compared.

    Raises:
        ValueError: A currency is not listed, rates are missing or invalid, or extras differ.
    """
    currency = next((rule for rule in mapping.fields if rule.column == "currency"), None)
    if currency is not None:
        given = [currency.constant, currency.default, currency.unknown, *currency.table.values()]
        if currency.path is None and currency.constant not in currencies:
            raise ValueError(
                f"fields.currency: the plan's currencies do not list {shown(currency.constant)}"
            )
        for code in given:
            if code is not None and not re.fullmatch("[A-Z]{3}", str(code)):
                raise ValueError(f"fields.currency: {shown(code)} is not an ISO 4217 code")
    if mapping.rates:
        rates_of(mapping.rates, currencies)
    elif len(currencies) > 1:
        raise ValueError("currencies: more than one needs rates to a base: [rates] of events.toml")
    if extras is not None and dict(extras) != mapping.extra_types:
        different = sorted(set(extras.items()) ^ set(mapping.extra_types.items()))
        raise ValueError(f"extras: {different[0][0]} is not the same in [extra] of events.toml")


def _fields(table: object) -> tuple[FieldRule, ...]:
    if table is None:
        return ()
    named = table_of(table, "fields", FIELDS)
    for name in _REQUIRED:
        if name not in named:
            raise ValueError(f"fields.{name}: is missing")
    rules = []
    for name, column, kind in _TARGETS:
        key = f"fields.{name}"
        nullable = name in _NULLABLE
        if name in named:
            rules.append(_rule(key, column, kind, named[name], nullable=nullable))
        else:
            rules.append(
                FieldRule(key, column, kind, constant=_UNMAPPED.get(name), nullable=nullable)
            )
    return tuple(rules)


def _extras(table: object) -> tuple[FieldRule, ...]:
    if not isinstance(table, dict):
        raise ValueError(f"extra: must be a table, not {shown(table)}")  # noqa: TRY004 as above
    if len(table) > EXTRAS:
        raise ValueError(f"extra: {len(table)} extra fields, and at most {EXTRAS} are")
    taken = {*FIELDS, *(column for _, column, _ in _TARGETS), BASE_AMOUNT}
    rules = []
    for name in sorted(table):
        key = f"extra.{name}"
        if _EXTRA_NAME.fullmatch(name) is None:
            raise ValueError(f"extra: {shown(name)} must be like {_EXTRA_NAME.pattern}")
        if name in taken:
            raise ValueError(f"{key}: is a name of the transaction schema; choose another")
        entry = table[name]
        if not isinstance(entry, dict) or "type" not in entry:
            raise ValueError(f"{key}.type: is missing; one of {', '.join(EXTRA_TYPES)}")
        kind = choice_of(entry["type"], f"{key}.type", EXTRA_TYPES)
        entry = {given: value for given, value in entry.items() if given != "type"}
        rules.append(_rule(key, name, kind, entry, nullable=True))
    return tuple(rules)


def _read_from(table: Mapping[str, Any], section: str) -> tuple[str, tuple[Clause, ...]]:
    """Return the format of records, and the conditions that choose among them."""
    format_ = choice_of(table.get("format", "avro"), f"{section}.format", ("avro", "json"))
    where = clauses_of(table["where"], f"{section}.where") if "where" in table else ()
    return format_, where


def _labels(table: object) -> EventMapping:
    named = table_of(table, "labels", ("format", "where", *_LABEL_FIELDS))
    format_, where = _read_from(named, "labels")
    for name in _LABEL_REQUIRED:
        if name not in named:
            raise ValueError(f"labels.{name}: is missing")
    timed = "event_time" in named
    if not timed and "label_time" not in named:
        raise ValueError("labels.label_time: is missing; it may be if there is an event_time")
    rules = []
    for name, kind in _LABEL_TARGETS:
        key, nullable = f"labels.{name}", name == "label_time" and timed
        if name in named:
            rules.append(_label_rule(name, kind, named[name], nullable=nullable))
        elif nullable:
            rules.append(FieldRule(key, name, kind, nullable=True))
    _check_units(format_, rules)
    return EventMapping(format_, where, tuple(rules), (), KeyRule(), {}, where_key="labels.where")


def _check_units(format_: str, rules: Iterable[FieldRule]) -> None:
    """Refuse times without a unit if records are JSON, which has no logical types."""
    for rule in rules:
        timed = rule.kind == "timestamp" and rule.path is not None
        if timed and format_ == "json" and not rule.unit:
            raise ValueError(
                f"{rule.key}.unit: is missing; JSON has no logical types, so a time needs one of "
                f"{', '.join(TIME_UNITS)}"
            )


def training_labels(table: object) -> EventMapping:
    """Return the rules for the labels of training data: the table ``labels`` of a training job.

    Args:
        table: A rule for ``is_fraud``, ``label_time`` or both, as in ``labels`` of events.toml.

    Raises:
        ValueError: A key is unknown, or its value is not valid; the message names the key.
    """
    named = table_of(table, "labels", TRAINING_LABELS)
    if not named:
        raise ValueError(f"labels: must name {' or '.join(TRAINING_LABELS)}")
    rules = [
        _label_rule(name, kind, named[name], nullable=name == "label_time")
        for name, kind in _LABEL_TARGETS
        if name in named
    ]
    return EventMapping("json", (), tuple(rules), (), KeyRule(), {})


def _label_rule(name: str, kind: str, entry: object, *, nullable: bool) -> FieldRule:
    rule = _rule(f"labels.{name}", name, kind, entry, nullable=nullable)
    if kind == "boolean" and rule.path is not None and not rule.table:
        return replace(rule, table=_FLAGS)
    return rule


def _rule(key: str, column: str, kind: str, entry: object, *, nullable: bool) -> FieldRule:
    if isinstance(entry, str | list):
        entry = {"path": entry}
    entry = table_of(entry, key, {"path", "constant", "optional", "default", *_KEYS[kind]})
    section, _, name = key.partition(".")
    own = section != "extra" and name in _OWN
    if ("path" in entry) == ("constant" in entry):
        raise ValueError(f"{key}: needs either a path or a constant")
    if "constant" in entry:
        if own or section == "extra" or kind == "timestamp":
            raise ValueError(f"{key}.constant: every record would have it; give a path")
        if len(entry) > 1:
            raise ValueError(f"{key}: a constant takes no other key")
        return FieldRule(
            key, column, kind, nullable=nullable,
            constant=_value(kind, entry["constant"], f"{key}.constant", empty=False),
        )  # fmt: skip
    default = _default(key, column, kind, entry, own=own)
    optional = flag_of(entry.get("optional", False), f"{key}.optional")
    if optional and not nullable and default is None:
        raise ValueError(f"{key}.optional: needs a default, for {name} cannot be null")
    return FieldRule(
        key, column, kind, path_of(entry["path"], f"{key}.path"), nullable=nullable,
        optional=optional, default=default, **_of_kind(key, kind, entry),
    )  # fmt: skip


def _default(
    key: str, column: str, kind: str, entry: Mapping[str, Any], *, own: bool
) -> str | bool | None:
    for given in ("default", "optional"):
        if given in entry and own:
            raise ValueError(f"{key}.{given}: no other value may stand for it; remove it")
    if "default" not in entry:
        return None
    if kind not in {"string", "boolean"}:
        raise ValueError(f"{key}.default: only strings and booleans have one")
    return _value(kind, entry["default"], f"{key}.default", empty=column == "terminal_id")


def _of_kind(key: str, kind: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a rule that only its kind has."""
    if kind in {"string", "boolean"}:
        return _table(key, kind, entry)
    if kind == "amount":
        unit = choice_of(entry.get("unit"), f"{key}.unit", AMOUNT_UNITS)
        rounding = choice_of(entry.get("rounding", "exact"), f"{key}.rounding", ROUNDINGS)
        return {"unit": unit, "half_even": rounding == "half_even"}
    if kind != "timestamp":
        return {}
    found: dict[str, Any] = {}
    if "unit" in entry:
        found["unit"] = choice_of(entry["unit"], f"{key}.unit", TIME_UNITS)
    if "zone" in entry:
        choice_of(entry["zone"], f"{key}.zone", ("UTC",))
        found["utc"] = True
    if "since" in entry:
        if found.get("unit") not in TIME_UNITS[:4]:
            raise ValueError(f"{key}.since: needs a unit of s, ms, us or ns")
        since = milliseconds_of(text_of(entry["since"], f"{key}.since"))
        if since is None:
            raise ValueError(f"{key}.since: must be a time such as 2017-12-01T00:00:00Z")
        found["since_ms"] = since
    return found


def _table(key: str, kind: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    if "table" not in entry:
        if "unknown" in entry:
            raise ValueError(f"{key}.unknown: needs a table")
        return {}
    table = entry["table"]
    if not isinstance(table, dict) or not table:
        raise ValueError(f"{key}.table: must be a table with one entry at least")
    if len(table) > TABLE_ENTRIES:
        raise ValueError(f"{key}.table: {len(table)} entries, and at most {TABLE_ENTRIES} are")
    values = {
        text_of(given, f"{key}.table", 0): _value(kind, value, f"{key}.table", empty=False)
        for given, value in table.items()
    }
    unknown = None
    if "unknown" in entry:
        unknown = _value(kind, entry["unknown"], f"{key}.unknown", empty=False)
    return {"table": values, "unknown": unknown}


def _value(kind: str, value: object, key: str, *, empty: bool) -> str | bool:
    if kind == "boolean":
        return flag_of(value, key)
    return text_of(value, key, 0 if empty else 1)


def _key(table: object) -> KeyRule:
    entry = table_of(table, "key", ("customer", "path", "format"))
    if "path" not in entry:
        if "format" in entry:
            raise ValueError("key.format: needs a path")
        return KeyRule(choice_of(entry.get("customer", "raw"), "key.customer", ("raw", "none")))
    if "customer" in entry:
        raise ValueError("key: needs either customer or a path")
    return KeyRule(
        "path",
        path_of(entry["path"], "key.path"),
        choice_of(entry.get("format", "avro"), "key.format", ("avro", "json")),
    )


_NATIVE: Final = mapping_of({})
_recent: tuple[tuple[Mapping[str, Any], EventMapping], ...] = ()


def mapping_in(events: Mapping[str, Any]) -> EventMapping:
    """Return the mapping of a plan's table ``events``.

    It is cached by the table's identity, because it is needed for each batch.

    Args:
        events: Checked, and never changed afterwards. Empty: records have our own schema.
    """
    global _recent  # noqa: PLW0603 a cache by identity; each assignment is atomic
    if not events:
        return _NATIVE
    for known, mapping in _recent:
        if known is events:
            return mapping
    found = mapping_of(events)
    _recent = ((events, found), *_recent[:7])
    return found


def required_ids(events: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the id columns that must not be empty, given a plan's table ``events``."""
    if mapping_in(events).has_terminals:
        return ("transaction_id", "customer_id", "terminal_id")
    return ("transaction_id", "customer_id")
