"""A draft of events.toml: fields guessed by their names and types. A person corrects it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.codec.reading.mapped_paths import Found
from stream_scorer.core.mapping.mapping import EXTRAS, FIELDS, FieldRule
from stream_scorer.core.mapping.mapping_table import Path
from stream_scorer.core.normalising.leaves import Wire, misfit

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "transaction_id": ("transactionid", "txnid", "trxid", "txid", "paymentid", "eventid",
                       "messageid", "uuid", "id"),
    "customer_id": ("customerid", "cardid", "cardtoken", "custid", "clientid", "accountid",
                    "userid", "cardnumber", "pan", "token", "customer", "card", "card1", "account"),
    "event_time": ("eventtime", "transactiontime", "timestamp", "occurredat", "createdat", "ts",
                   "time", "datetime", "transactiondt", "eventts", "paidat", "bookedat", "at",
                   "date", "when"),
    "terminal_id": ("terminalid", "terminal", "posid", "merchantid", "storeid", "shopid",
                    "merchant", "store", "shop"),
    "amount": ("amountminor", "amount", "transactionamount", "transactionamt", "amountcents", "amt",
               "total", "value", "price", "sum", "paid", "cents"),
    "currency": ("currency", "currencycode", "ccy", "cur"),
    "channel": ("channel", "entrymode", "posentrymode", "productcd", "mode"),
    "mcc": ("mcc", "merchantcategorycode", "categorycode"),
    "country": ("country", "countrycode", "merchantcountry"),
    "card_present": ("cardpresent", "ispresent", "present"),
    "device_id": ("deviceid", "deviceinfo", "device"),
}  # fmt: skip
_KINDS: Final = {"event_time": "timestamp", "amount": "amount", "card_present": "boolean"}
_CHANNELS: Final = (
    ("ECOM", r"ecom|cnp|online|web|internet|app"), ("ATM", r"atm|cash"),
    ("MOTO", r"moto|mail|phone"), ("POS", r"pos|chip|swipe|contactless|store|cp$"),
)  # fmt: skip
_OURS: Final = frozenset({"POS", "ECOM", "ATM", "MOTO", "UNKNOWN"})
_LABEL: Final = re.compile("fraud|label|chargeback")
"""Names of what is known only later, so that no feature may use it."""
_MINOR: Final = re.compile("minor|cents|pence")
_OFFSET: Final = re.compile(r"(Z|[+-][0-9]{2}:?[0-9]{2})$")
_CHANNELS_MOST: Final = 20
_TEXT_LONGEST: Final = 40
_MAGNITUDES: Final = ((10**17, "ns"), (10**14, "us"), (10**11, "ms"), (0, "s"))
_EXTRA_TYPES: Final = {
    "text": "string", "long": "long", "double": "double", "float": "double",
    "decimal": "double", "boolean": "boolean", "number": "double",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """A guessed mapping.

    Attributes:
        table: The content of events.toml; required fields may be missing.
        missing: Required fields for which nothing was found.
        doubts: By field, what a person should check.
        others: Further values that could be extra fields: name and rule.
        stub: Whether a person must write the rates; those of ``table`` only make the plan valid.
    """

    table: dict[str, Any]
    missing: tuple[str, ...]
    doubts: dict[str, str]
    others: tuple[tuple[str, dict[str, Any]], ...]
    stub: bool = False


def guess(
    format_: str,
    paths: Mapping[Path, Found],
    values: Mapping[Path, Sequence[Any]],
    currency: str,
    rates: Mapping[str, Any] | None = None,
    *,
    stub: bool = False,
) -> Draft:
    """Guess a mapping.

    Args:
        format_: avro or json.
        paths: What the records have at each path.
        values: Some values at each path, for the unit of times.
        currency: The currency of all records, if none is found.
        rates: The plan's rates, which the draft keeps.
        stub: Whether they are those of :func:`stub_of_rates`.
    """
    record: dict[str, Any] = {"format": format_}
    candidates = dict(paths)
    if ("op",) in paths and any(path[0] == "after" for path in paths):
        record["where"] = "op in [c, r]"
        candidates = {path: found for path, found in paths.items() if path[0] == "after"}
    fields: dict[str, Any] = {}
    doubts: dict[str, str] = {}
    used: set[Path] = set()
    for name in _NAMES:
        path = _best(name, candidates, used)
        if path is None and (path := _only(name, candidates, used)):
            doubts[name] = "no name is like it; its type is"
        if path is None:
            continue
        used.add(path)
        fields[name] = _rule(format_, name, path, paths[path], values.get(path, ()), doubts)
    if "currency" not in fields:
        fields["currency"] = {"constant": currency}
        doubts["currency"] = "no field was found; the same for every record"
    table = {"record": record, "fields": {name: fields[name] for name in FIELDS if name in fields}}
    if rates:
        table["rates"] = dict(rates)
    required = ("transaction_id", "event_time", "customer_id", "amount")
    missing = tuple(name for name in required if name not in fields)
    return Draft(table, missing, doubts, _others(format_, candidates, used), stub)


def stub_of_rates(currencies: Sequence[str]) -> dict[str, Any]:
    """Return rates with which a plan of several currencies is valid, for a draft.

    Args:
        currencies: Codes, at least one.
    """
    base, *others = currencies
    return {"base": base, **{code: {"1970-01-01": "1"} for code in others}}


def _best(name: str, paths: Mapping[Path, Found], used: set[Path]) -> Path | None:
    """Return the path whose name is most like a field's, and whose values fit."""
    found: list[tuple[int, int, int, Path]] = []
    for number, (path, place) in enumerate(paths.items()):
        last, joined = _plain(path[-1]), _plain("".join(path[-2:]))
        ranks = [
            rank
            for rank, known in enumerate(_NAMES[name])
            if last == known or (joined == known and len(path) > 1)
        ]
        if ranks and path not in used and any(_fits(name, wire) for wire in place.wires):
            found.append((ranks[0], len(path), number, path))
    return min(found)[3] if found else None


def _only(name: str, paths: Mapping[Path, Found], used: set[Path]) -> Path | None:
    """Return the only path whose type is that of a time, or of an amount."""
    kinds: dict[str, Callable[[Wire], bool]] = {
        "event_time": lambda wire: wire.unit in {"ms", "us", "ns"},
        "amount": lambda wire: wire.kind == "decimal",
    }
    if name not in kinds:
        return None
    typed = [
        path
        for path, place in paths.items()
        if path not in used and any(kinds[name](wire) and _fits(name, wire) for wire in place.wires)
    ]
    return typed[0] if len(typed) == 1 else None


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())


def _fits(name: str, wire: Wire) -> bool:
    kind = _KINDS.get(name, "string")
    if kind == "boolean":
        return wire.kind == "boolean"
    if kind == "timestamp":
        return wire.kind in {"long", "number", "text", "double"} and wire.unit not in {
            "date",
            "time",
        }
    return not misfit(FieldRule("", name, kind, unit="major"), wire)


def _rule(
    format_: str, name: str, path: Path, place: Found, values: Sequence[Any], doubts: dict[str, str]
) -> dict[str, Any]:
    rule: dict[str, Any] = {"path": dotted_or_list(path)}
    wire = next(wire for wire in place.wires if _fits(name, wire))
    if name == "event_time":
        rule |= _time(format_, wire, values, doubts)
    elif name == "amount":
        named = bool(_MINOR.search(path[-1].lower()))
        whole = wire.kind == "long" or (wire.kind == "number" and _are_whole(values))
        rule["unit"] = "minor" if named or whole else "major"
        if whole and not named:
            doubts[name] = "a whole number: is it in cents (minor) or not (major)?"
    elif name == "channel" and place.texts and not _OURS.issuperset(place.texts):
        rule["table"] = {symbol: _channel(symbol) for symbol in place.texts}
        doubts[name] = "the table is a guess"
    elif name == "channel" and (texts := _few(values)) and not _OURS.issuperset(texts):
        rule |= {"table": {text: _channel(text) for text in texts}, "unknown": "UNKNOWN"}
        doubts[name] = "the table is a guess, and has the values of these records"
    elif name == "channel" and not place.texts:
        doubts[name] = "map its values by a table to POS, ECOM, ATM, MOTO or UNKNOWN"
    elif name == "customer_id":
        doubts[name] = "is it what the topic is keyed by?"
    return rule


def _are_whole(values: Sequence[Any]) -> bool:
    """Return whether there are numbers, and all of them are written without a fraction."""
    texts = [str(value) for value in values if value is not None]
    return bool(texts) and all(re.fullmatch("-?[0-9]+", text) for text in texts)


def _time(
    format_: str, wire: Wire, values: Sequence[Any], doubts: dict[str, str]
) -> dict[str, Any]:
    if wire.unit:
        return _typed_time(format_, wire)
    if wire.kind == "text":
        if not any(isinstance(value, str) and not _OFFSET.search(value) for value in values):
            return {"unit": "iso8601"}
        doubts["event_time"] = "times without an offset count as UTC"
        return {"unit": "iso8601", "zone": "UTC"}
    size = max((abs(float(value)) for value in values if _is_number(value)), default=None)
    if size is None:
        doubts["event_time"] = "the unit is a guess"
        return {"unit": "ms"}
    unit = next(unit for least, unit in _MAGNITUDES if size >= least)
    doubts["event_time"] = "the unit is guessed by the size of the numbers"
    return {"unit": unit}


def _typed_time(format_: str, wire: Wire) -> dict[str, Any]:
    """Return the keys of a rule for a time whose type has a unit; JSON has no such type."""
    unit = {"unit": wire.unit} if format_ == "json" else {}
    return unit | ({"zone": "UTC"} if wire.local else {})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (
        isinstance(value, str) and re.fullmatch(r"-?[0-9.]{1,30}", value) is not None
        and value.count(".") < 2 and value.strip("-.") != ""  # noqa: PLR2004 one point
    )  # fmt: skip


def _few(values: Sequence[Any]) -> list[str]:
    """Return the different texts that a table has for values, in order; empty if there are many."""
    texts = sorted({text for value in values if (text := _table_text(value)) is not None})
    few = len(texts) <= _CHANNELS_MOST and all(len(text) <= _TEXT_LONGEST for text in texts)
    return texts if few else []


def _table_text(value: Any) -> str | None:
    """Return the text by which a table looks up a value; None if no entry can match it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _channel(symbol: str) -> str:
    return next(
        (ours for ours, pattern in _CHANNELS if re.search(pattern, symbol.lower())), "UNKNOWN"
    )


def _others(
    format_: str, paths: Mapping[Path, Found], used: set[Path]
) -> tuple[tuple[str, dict[str, Any]], ...]:
    found: dict[str, dict[str, Any]] = {}
    for path, place in paths.items():
        name = re.sub("[^a-z0-9]+", "_", path[-1].lower()).strip("_")[:60]
        if (
            path in used
            or not re.match("[a-z]", name)
            or len(found) == EXTRAS
            or _LABEL.search(name)
        ):
            continue
        kinds = {_EXTRA_TYPES.get(wire.kind, "") for wire in place.wires}
        time: dict[str, Any] = {}
        if any(wire.unit for wire in place.wires):
            kinds = {"timestamp"} if place.wires[0].unit not in {"date", "time"} else {"long"}
            time = _typed_time(format_, place.wires[0]) if kinds == {"timestamp"} else {}
        name = f"their_{name}" if name in {*FIELDS, "amount_minor", "base_amount_minor"} else name
        if len(kinds) == 1 and "" not in kinds and name not in found:
            found[name] = {"path": dotted_or_list(path), "type": kinds.pop()} | time
    return tuple(found.items())


def dotted_or_list(path: Path) -> str | list[str]:
    """Return a path in the form of events.toml."""
    plain = not any(mark in name for name in path for mark in ".[]")
    return ".".join(path) if plain else list(path)


def draft_text(draft: Draft) -> str:
    """Return a draft as the text of events.toml, with what to check as comments."""
    lines = ["# A draft by stream-scorer events explain: check each line. See docs/YOUR_DATA.md.",
             "", "[record]"]  # fmt: skip
    lines += [f"{name} = {_toml(value)}" for name, value in draft.table["record"].items()]
    lines += ["", "[fields]"]
    for name in FIELDS:
        doubt = f"  # {draft.doubts[name]}" if name in draft.doubts else ""
        if name in draft.table["fields"]:
            rule = draft.table["fields"][name]
            short = rule["path"] if list(rule) == ["path"] else rule
            lines.append(f"{name} = {_toml(short)}{doubt}")
        elif name in draft.missing:
            lines.append(f'# {name} = "…"  # must be there, and nothing like it was found')
    if draft.others:
        lines += ["", "[extra]", "# Further values that features may use:"]
        lines += [f"# {name} = {_toml(rule)}" for name, rule in draft.others]
    if rates := draft.table.get("rates"):
        lines += ["", "[rates]"]
        lines += (
            _stub_lines(rates)
            if draft.stub
            else [f"{name} = {_toml(value)}" for name, value in rates.items()]
        )
    return "\n".join(lines) + "\n"


def _stub_lines(rates: Mapping[str, Any]) -> list[str]:
    """Return the lines of rates that a plan refuses until a person has written them."""
    base, others = rates["base"], [code for code in rates if code != "base"]
    return [
        f"base = {_toml(base)}  # amounts are converted to this currency: is it the right one?",
        f'# Write dated rates, such as {{2026-01-31 = "0.92"}}: one {others[0]} is 0.92 {base}',
        *(f"{_key(code)} = {{}}  # must have a rate" for code in others),
    ]


def _toml(value: Any) -> str:
    """Return plain data as a TOML value on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_toml(below)}" for name, below in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON escapes what TOML does, except for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _toml(name)
