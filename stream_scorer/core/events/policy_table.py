"""The table of policy.toml, checked: thresholds by segment, and the outcome of a model error.

The table is plain data inside the plan; here it becomes numbers. Amounts are written in units of
the currency and kept as whole minor units, so that comparisons are exact::

    on_model_error = "REVIEW"
    on_timeout = "REVIEW"             # of the API, until the decision is there; never enters one
    [default]
    review = 0.31
    block = 0.82
    [[segment]]                       # the first segment that fits counts
    when = {channel = ["ECOM", "MOTO"], amount_above = 500.0}
    review = 0.22
    block = 0.74
    [budget]
    reviews_per_day = 400             # never enters a decision
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.mapping.minor_units import minor_per_unit
from stream_scorer.core.mapping.quoting import quoted, quoted_key

SEGMENTS_MOST = 64
"""Maximum number of segments of a policy; the core gives each one bit of a 64-bit number."""
VALUES_MOST = 1_000
"""Maximum number of values that all segments of a policy name together."""
VALUE_LONGEST = 256
"""Maximum number of characters of a value."""

STRING_FIELDS = ("channel", "mcc", "country")
"""The transaction schema's fields that a segment may name, in addition to amount and extras."""
_AMOUNTS = ("amount_above", "amount_below")
_KEYS = ("default", "segment", "on_model_error", "on_timeout", "budget")
_INT64 = 2**63 - 1

Limits = tuple[float, float]
"""The scores at which REVIEW and BLOCK begin; 0 < review <= block <= 1."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A group of transactions that has separate thresholds.

    Attributes:
        values: For each field, the values that fit; null does not fit. A boolean field has exactly
            one value.
        above: Amounts that fit are greater than this, in minor units; -1 for any.
        below: Amounts that fit are less than this, in minor units; None for any.
        limits: Where REVIEW and BLOCK begin.
    """

    values: Mapping[str, tuple[str, ...] | tuple[bool]]
    above: int
    below: int | None
    limits: Limits

    def holds_amount(self, minor: int) -> bool:
        """Whether an amount, in minor units, fits this segment."""
        return minor > self.above and (self.below is None or minor < self.below)

    def covers(self, other: "Segment") -> bool:
        """Whether each transaction that fits ``other`` fits this one, too."""
        below = self.below is None or (other.below is not None and other.below <= self.below)
        return (
            below
            and self.above <= other.above
            and all(set(other.values.get(name, ())) <= set(mine) and name in other.values
                    for name, mine in self.values.items())
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """A policy, as numbers.

    Attributes:
        default: Thresholds of transactions that fit no segment; None: those of the bundle.
        segments: The first one that fits applies.
        on_model_error: Outcome of rows for which a model fails; None: the bundle's.
        on_timeout: Provisional outcome of a request to the API that is not decided in time; None:
            REVIEW. No decision depends on it.
        reviews_per_day: The budget; None if there is none. No decision depends on it.
    """

    default: Limits | None = None
    segments: tuple[Segment, ...] = ()
    on_model_error: Outcome | None = None
    on_timeout: Outcome | None = None
    reviews_per_day: float | None = None


def read_policy(
    table: Mapping[str, Any], exponent: int, extras: Mapping[str, str] | None = None
) -> PolicyTable:
    """Return the policy of a table.

    Args:
        table: As TOML or JSON has it; empty for no policy.
        exponent: Of the currency of the amounts: minor units = units x 10^exponent.
        extras: The plan's extra fields, type by name.

    Raises:
        ValueError: A key is unknown or missing, or its value is not valid; the message is one line
            that names the key.
    """
    _refuse_unknown("", table, _KEYS)
    default = outcome = waiting = None
    if "default" in table:
        default = _limits("default: ", _table("default", table["default"]))
    if "on_model_error" in table:
        outcome = _outcome("on_model_error", table["on_model_error"])
    if "on_timeout" in table:
        waiting = _outcome("on_timeout", table["on_timeout"])
    segments = table.get("segment", [])
    if type(segments) is not list:
        raise ValueError("segment: must be a list of tables: write [[segment]]")
    if len(segments) > SEGMENTS_MOST:
        raise ValueError(f"segment: at most {SEGMENTS_MOST}, not {len(segments)}")
    read = tuple(
        _segment(f"segment {number}: ", _table(f"segment {number}", each), exponent, extras or {})
        for number, each in enumerate(segments, 1)
    )
    if sum(len(values) for each in read for values in each.values.values()) > VALUES_MOST:
        raise ValueError(f"segment: all together name at most {VALUES_MOST} values")
    _refuse_unreachable(read)
    return PolicyTable(default, read, outcome, waiting, _budget(table))


def _segment(
    where: str, table: Mapping[str, Any], exponent: int, extras: Mapping[str, str]
) -> Segment:
    _refuse_unknown(where, table, ("when", "review", "block"))
    if "when" not in table:
        raise ValueError(f"{where}when: is missing")
    when = _table(f"{where}when", table["when"])
    if not when:
        raise ValueError(f"{where}when: must not be empty; what fits no segment is [default]")
    kinds = {name: kind for name, kind in extras.items() if kind in ("string", "boolean")}
    values: dict[str, tuple[str, ...] | tuple[bool]] = {}
    for name, wanted in when.items():
        named = f"{where}when.{name}: "
        if name in _AMOUNTS:
            continue
        if name not in STRING_FIELDS and name not in kinds:
            if name in extras:
                raise ValueError(f"{named}is a {extras[name]}; must be a string or boolean")
            known = ", ".join((*STRING_FIELDS, *_AMOUNTS, *sorted(kinds)))
            unknown = f"{where}when.{quoted_key(name)}"
            raise ValueError(f"{unknown}: unknown field; known are {known}")
        values[name] = (
            _boolean(named, wanted) if kinds.get(name) == "boolean" else _strings(named, wanted)
        )
    above = _minor(where, when, "amount_above", exponent)
    below = _minor(where, when, "amount_below", exponent)
    if below is not None and below - (-1 if above is None else above) <= 1:
        under = "0" if above is None else f"amount_above, {when['amount_above']}"
        raise ValueError(
            f"{where}when.amount_below: no amount is between {under} and {when['amount_below']}"
        )
    return Segment(values, -1 if above is None else above, below, _limits(where, table, "when"))


def _limits(where: str, table: Mapping[str, Any], *others: str) -> Limits:
    _refuse_unknown(where, table, ("review", "block", *others))
    for key in ("review", "block"):
        if key not in table:
            raise ValueError(f"{where}{key}: is missing; give review and block")
        if type(table[key]) not in (int, float):
            raise ValueError(f"{where}{key}: must be a number, not {quoted(table[key])}")
    review, block = table["review"], table["block"]
    # Before the conversion: a whole number may be too large for a float.
    if not 0 < review <= block <= 1:
        raise ValueError(
            f"{where}review: 0 < review <= block <= 1 does not hold for review {quoted(review)} "
            f"and block {quoted(block)}"
        )
    return float(review), float(block)


def _outcome(key: str, value: Any) -> Outcome:
    names = [outcome.name for outcome in Outcome]
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{key}: must be {', '.join(names)}, not {quoted(value)}")
    return Outcome[value]


def _budget(table: Mapping[str, Any]) -> float | None:
    if "budget" not in table:
        return None
    budget = _table("budget", table["budget"])
    _refuse_unknown("budget: ", budget, ("reviews_per_day",))
    if "reviews_per_day" not in budget:
        raise ValueError("budget: reviews_per_day: is missing")
    value = budget["reviews_per_day"]
    if type(value) not in (int, float) or not 0 < value < _INT64:
        raise ValueError(f"budget: reviews_per_day: must be a number above 0, not {quoted(value)}")
    return float(value)


def _minor(where: str, when: Mapping[str, Any], key: str, exponent: int) -> int | None:
    """Return an amount in minor units; None if the key is missing."""
    if key not in when:
        return None
    value, named = when[key], f"{where}when.{key}: "
    if type(value) not in (int, float):
        raise ValueError(f"{named}must be an amount, not {quoted(value)}")
    if not 0 <= value <= _INT64:
        raise ValueError(f"{named}must be between 0 and what 64 bits hold, not {quoted(value)}")
    # The decimal that was written, not the float that is nearest to it.
    minor = Decimal(repr(value)).scaleb(exponent)
    if minor != minor.to_integral_value():
        unit = minor_per_unit(exponent)
        raise ValueError(f"{named}{value!r} is not a whole number of minor units, 1/{unit}")
    if minor >= _INT64:
        raise ValueError(f"{named}must be between 0 and what 64 bits hold, not {quoted(value)}")
    return int(minor)


def _strings(where: str, wanted: Any) -> tuple[str, ...]:
    listed = wanted if isinstance(wanted, list) else [wanted]
    if not listed:
        raise ValueError(f"{where}must name one value at least")
    for value in listed:
        if type(value) is not str:
            raise ValueError(f"{where}must be a string or a list of strings, not {quoted(value)}")
        if not 0 < len(value) <= VALUE_LONGEST:
            raise ValueError(f"{where}a value must have 1 to {VALUE_LONGEST} characters")
        if not value.isprintable():
            raise ValueError(f"{where}{quoted(value)} has characters that cannot be printed")
    if len(set(listed)) < len(listed):
        raise ValueError(f"{where}names a value twice")
    return tuple(listed)


def _boolean(where: str, wanted: Any) -> tuple[bool]:
    if not isinstance(wanted, bool):
        raise ValueError(f"{where}must be true or false, not {quoted(wanted)}")  # noqa: TRY004 all errors of a plan are ValueErrors
    return (wanted,)


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be a table, not {quoted(value)}")  # noqa: TRY004 the same
    return value


def _refuse_unknown(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{where}unknown key {quoted(key)}; known are {', '.join(known)}")


def _refuse_unreachable(segments: tuple[Segment, ...]) -> None:
    for number, segment in enumerate(segments, 1):
        for earlier, first in enumerate(segments[: number - 1], 1):
            if first.covers(segment):
                raise ValueError(
                    f"segment {number}: when: never counts, because what fits it also fits segment "
                    f"{earlier}; put it first, or leave it out"
                )
