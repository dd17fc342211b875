"""Read one feature's table of a manifest. Each error names the feature and the known values."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from zoneinfo import available_timezones

import numpy as np

from stream_scorer.core.events.extras import BOOLEAN, STRING, TYPES
from stream_scorer.core.events.fields import EVENT_TIME, Field, fields_of, kept_value
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.undeclared import extras_named

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_WINDOW_MS = 400 * 86_400_000
_MOST_EVENTS = 2**20
_LONGEST_NAME = 200
_LONGEST_TEXT = 1_024
_LARGEST_NUMBER = float(np.finfo(np.float32).max)
# These files describe another time zone on each machine, or none.
_NO_ZONES = frozenset({"Factory", "localtime"})
CUSTOMER = "customer_id"
TERMINAL = "terminal_id"


def refusal(name: object, text: str) -> ValueError:
    """Return the error that refuses a feature; ``text`` states why."""
    return ValueError(f"feature {name}: {text}")


@cache
def _zones() -> frozenset[str]:
    """Return the names of the time zones that are the same on every machine."""
    return frozenset(available_timezones()) - _NO_ZONES


def feature_name(table: Mapping[str, object]) -> str:
    """Return a feature's name. It appears in headings, logs and one-line errors.

    Raises:
        ValueError: It is missing, too long, or not printable.
    """
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"a feature has no name: {dict(table)}")
    if len(name) > _LONGEST_NAME:
        raise refusal(f"{name[:20]!r}...", f"a name has at most {_LONGEST_NAME} characters, not "
                      f"{len(name)}")  # fmt: skip
    if not name.isprintable() or name != name.strip():
        raise refusal(repr(name), "a name has printable characters, and no blank at its ends")
    return name


def length_ms(name: object, value: object, what: str = "window") -> int:
    """Return the length of a window in ms; ``what`` names another length in the error.

    Raises:
        ValueError: It is not a bounded length, or longer than 400 days.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", value) if isinstance(value, str) else None
    if match is None or not match[1].isascii():
        raise refusal(name, f"{what} {str(value)!r} is not a bounded length; write 30m, 24h or 7d")
    length = int(match[1]) * _UNITS_MS[match[2]]
    if length > _LONGEST_WINDOW_MS:
        raise refusal(name, f"{what} {value} is longer than 400d")
    return length


def is_by_terminal(table: Mapping[str, object]) -> bool:
    """Return whether the key of a feature's table is the terminal alone."""
    return table.get("key") in (TERMINAL, [TERMINAL], (TERMINAL,))


def declared_plan(tables: Sequence[Mapping[str, object]]) -> Plan:
    """Return the default plan, with the terminals' delay and the extra fields that features name.

    With it, a feature list can be checked before it is known under which plan it decides.

    Args:
        tables: The features' tables.

    Raises:
        ValueError: A delay is not a length.
    """
    default = Plan()
    delay = default.terminal_delay_ms
    for table in tables:
        if is_by_terminal(table) and "delay" in table:
            delay = length_ms(table.get("name"), table["delay"], "delay")
            break
    slack = min(default.terminal_slack_ms, delay)
    return Plan(
        terminal_delay_ms=delay,
        terminal_slack_ms=slack,
        lateness_ms=min(default.lateness_ms, slack - 1),
        extras=extras_named(tables),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _is_no_text(text: str) -> bool:
    """Return whether a string contains half of a surrogate pair."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _spelt(length: int) -> str:
    """Return a length in ms in the syntax of manifests."""
    unit = next(u for u in reversed(_UNITS_MS) if length % _UNITS_MS[u] == 0 or u == "s")
    whole = length % _UNITS_MS[unit] == 0
    return f"{length // _UNITS_MS[unit]}{unit}" if whole else f"{length} ms"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A feature's table, whose keys are those of its kind.

    Attributes:
        name: The feature's name.
        table: The table itself.
        longest_ms: The longest window of the manifest, ms, 0 if there is none. A feature without a
            window looks back as far.
        plan: What all models share.
        engine: Version of the meaning of features; see ``engines.EngineMeaning``.
    """

    name: str
    table: Mapping[str, object]
    longest_ms: int
    plan: Plan
    engine: int = 1

    def refuse(self, text: str) -> ValueError:
        """Return the error that refuses this feature."""
        return refusal(self.name, text)

    def window_ms(self) -> int:
        """Return how far back the feature looks, ms.

        Raises:
            ValueError: There is no window, neither in this table nor in the manifest.
        """
        if "window" in self.table:
            return length_ms(self.name, self.table["window"])
        if not self.longest_ms:
            raise self.refuse("without a window it looks back as far as the manifest's longest "
                              "one, and the manifest has none; give it a window")  # fmt: skip
        return self.longest_ms

    def last(self) -> int:
        """Return how many of the newest events are used; 0 for all."""
        value = self.table.get("last", 0)
        if "last" in self.table and (type(value) is not int or not 0 < value <= _MOST_EVENTS):
            raise self.refuse(f"last {value!r} is not a number of events; write 1 or more, "
                              f"at most {_MOST_EVENTS}")  # fmt: skip
        return int(value) if isinstance(value, int) else 0

    def key(self) -> str | None:
        """Return the field that counted events share with the event, by its stored name.

        It applies in addition to the customer. None: the customer is the only key.
        """
        value = self.table.get("key", CUSTOMER)
        if value in (CUSTOMER, [CUSTOMER], (CUSTOMER,)):
            return None
        texts = {field.name: field for field in self.fields() if field.type == STRING}
        parts = list(value) if isinstance(value, list | tuple) else [value]
        if CUSTOMER not in parts:
            raise self.refuse(f"key {value!r} is not known here; the input is partitioned by "
                              f"customer, so the key must be {CUSTOMER!r} or "
                              f"[{CUSTOMER!r}, one of {', '.join(texts)}]; the kinds count "
                              f"and risk take {TERMINAL!r} with a 'delay'")  # fmt: skip
        others = [part for part in parts if part != CUSTOMER]
        if len(parts) != 2 or len(others) != 1 or others[0] not in list(texts):  # noqa: PLR2004 a pair
            raise self.refuse(f"key {value!r} is not known; known: {CUSTOMER!r} and "
                              f"[{CUSTOMER!r}, one of {', '.join(texts)}]")  # fmt: skip
        return texts[others[0]].stored

    def exclude_self(self) -> bool:
        """Return whether the event itself is left out of its window."""
        value = self.table.get("exclude_self", False)
        if not isinstance(value, bool):
            raise self.refuse(f"exclude_self must be true or false, not {value!r}")
        return value

    def where(self) -> tuple[str, int] | None:
        """Return (stored field, kept value) that counted events must have, or None."""
        if "where" not in self.table:
            return None
        value = self.table["where"]
        if not isinstance(value, dict) or len(value) != 1:
            raise self.refuse(f"where {value!r} is not a table of one field and its value")
        ((name, wanted),) = value.items()
        known = {f.name: f for f in self.fields() if f.type in (STRING, BOOLEAN)}
        if name not in known:
            raise self.refuse(f"where: field {name!r} is not known; known: {_listed(known)}")
        field = known[name]
        if field.type == BOOLEAN:
            if not isinstance(wanted, bool):
                raise self.refuse(f"where: {name} is true or false, not {wanted!r}")
        elif not isinstance(wanted, str):
            raise self.refuse(f"where: {name} is a text, not {wanted!r}")
        elif _is_no_text(wanted) or len(wanted.encode()) > _LONGEST_TEXT:
            raise self.refuse(f"where: {name} must be a text of at most {_LONGEST_TEXT} bytes")
        return field.stored, kept_value(wanted)

    def by_terminal(self) -> bool:
        """Return whether the feature aggregates the event's terminal, over all customers."""
        return is_by_terminal(self.table)

    def delayed_window_ms(self) -> int:
        """Return the length of a terminal's window, ms. It ends the plan's delay before the event.

        Raises:
            ValueError: The delay is missing or not the plan's; the slack is not more than the
                lateness; there is a ``last``; or the window is missing.
        """
        plan = self.plan
        if "delay" not in self.table:
            raise self.refuse(f"key {TERMINAL!r} needs the key 'delay': what other customers did "
                              "at a terminal, and its labels, come late; the plan's "
                              f"terminal_delay_ms is {_spelt(plan.terminal_delay_ms)}")  # fmt: skip
        delay = length_ms(self.name, self.table["delay"], "delay")
        if delay != plan.terminal_delay_ms:
            raise self.refuse(f"delay {self.table['delay']} is not that of the plan, whose "
                              f"terminal_delay_ms is {_spelt(plan.terminal_delay_ms)}")  # fmt: skip
        if plan.terminal_slack_ms <= plan.lateness_ms:
            raise self.refuse("features by terminal need a plan whose terminal_slack_ms, "
                              f"{plan.terminal_slack_ms}, is more than its lateness_ms, "
                              f"{plan.lateness_ms}")  # fmt: skip
        if "last" in self.table:
            raise self.refuse(f"key {TERMINAL!r} takes no 'last'; its windows are in time")
        if "window" not in self.table:
            raise self.refuse(f"key {TERMINAL!r} needs the key 'window'")
        return length_ms(self.name, self.table["window"])

    def fields(self) -> list[Field]:
        """Return the fields of an event that features may name, except for its time."""
        return [field for field in fields_of(self.plan).values() if field.name != EVENT_TIME]

    def field(self, *types: str) -> Field:
        """Return the field that the table names, which must have one of the given types."""
        value = self.table["field"]
        fields = {field.name: field for field in self.fields()}
        known = [name for name, field in fields.items() if field.type in types]
        if not isinstance(value, str) or value not in known:
            found = fields.get(value) if isinstance(value, str) else None
            why = f" here, it is a {found.type}" if found and found.type in TYPES else ""
            raise self.refuse(f"field {value!r} is not known{why}; known: {_listed(known)}")
        return fields[value]

    def number(self, key: str, default: float) -> float:
        """Return a number that a model can read; without the key, the default, which may be NaN.

        NaN cannot be given: a manifest is JSON, which has no NaN.
        """
        if key not in self.table:
            return default
        value = self.table[key]
        if type(value) not in (int, float) or not isinstance(value, int | float):
            raise self.refuse(f"{key} must be a number, not {value!r}")
        if not abs(value) <= _LARGEST_NUMBER:
            told = value if isinstance(value, float) else f"one of {value.bit_length()} bits"
            fix = f"; leave the key {key!r} out for NaN" if math.isnan(default) else ""
            raise self.refuse(f"{key} must be a finite number of 32 bits, not {told}{fix}")
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the key's list of different strings."""
        value = self.table[key]
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(text, str) for text in value)
            or len(set(value)) < len(value)
        ):
            raise self.refuse(f"{key} must be a list of different strings, not {value!r}")
        for text in value:
            if _is_no_text(text):
                raise self.refuse(f"{key} holds {text!r}, which is not text: half of a pair of "
                                  "surrogates is invalid alone")  # fmt: skip
        return tuple(value)

    def zone(self) -> str:
        """Return the name of the time zone, UTC by default."""
        value = self.table.get("timezone", "UTC")
        if not isinstance(value, str) or (value != "UTC" and value not in _zones()):
            raise self.refuse(f"timezone {value!r} is not known; write an IANA name, such as "
                              "'Europe/Berlin'")  # fmt: skip
        return value
