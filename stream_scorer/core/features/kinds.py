"""The kinds of features: each is a function here that is registered under its name.

A kind turns a checked table of the manifest into a :class:`Feature`. That is an operation over the
customer's ring (its loop is in ``kernels.aggregates``), an operation over the terminal's delayed
history (``kernels.terminals``), or a function over the batch's columns.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.calendar import local_ms
from stream_scorer.core.events.extras import BOOLEAN, STRING
from stream_scorer.core.events.fields import (
    AMOUNT,
    EVENT_TIME,
    MILLISECONDS,
    NUMBERS,
    Field,
    fields_of,
    numbers,
)
from stream_scorer.core.features import expressions
from stream_scorer.core.features.declarations import TERMINAL, Declaration
from stream_scorer.core.features.expression_kernels import ROWS, evaluate
from stream_scorer.core.kernels.aggregates import (
    COUNT,
    DISTINCT,
    FIRST,
    LEAST,
    MEAN,
    MEDIAN,
    MOST,
    SINCE,
    STDDEV,
    SUM,
)
from stream_scorer.core.kernels.columns import DAY, HOUR, NIGHT, WEEKEND, read_calendar
from stream_scorer.core.kernels.terminals import COUNT as ROWS_AT_TERMINAL
from stream_scorer.core.kernels.terminals import RISK, RISK_KNOWN

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windowed:
    """An operation over the customer's ring.

    Attributes:
        kind: Its number in ``kernels.aggregates``.
        field: The field that is aggregated, by its stored name.
        window_ms: How far back it looks.
        last: Maximum number of newest events that it uses; 0 for all.
        key: The field, in addition to the customer, that counted events share with the event.
        missing: Its value if there is no result.
        memory_ms: The longest window of its manifest. A late event sees back from the customer's
            newest event by this and the lateness, whatever else the rings keep.
        number: Type of the numbers that are aggregated.
        where: A field, by its stored name, and the kept value that counted events must have.
        exclude_self: Whether the event itself is left out.
    """

    kind: int
    field: str
    window_ms: int
    last: int
    key: str | None
    missing: float
    memory_ms: int
    number: str = AMOUNT
    where: tuple[str, int] | None = None
    exclude_self: bool = False

    @property
    def filtered(self) -> bool:
        """Whether it is a filtered operation of ``kernels.observing``."""
        return (
            self.kind in (FIRST, STDDEV)
            or self.number != AMOUNT
            or self.where is not None
            or self.exclude_self
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """The further fields that it reads, by their stored names."""
        of_where = None if self.where is None else self.where[0]
        named = (self.field, self.key, of_where)
        return tuple(field for field in named if field is not None and field != AMOUNT)


@dataclass(frozen=True, slots=True)
class AtTerminal:
    """An operation over the delayed history of the event's terminal.

    Attributes:
        kind: Its number in ``kernels.terminals``.
        window_ms: Length of the window.
    """

    kind: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class DirectColumns:
    """The columns that a feature without an operation is computed from.

    Attributes:
        events: n accepted transactions.
        amount: float64[n], in units of the currency.
        out: float64[n, m], the manifest's columns; those before this feature's are written.
    """

    events: EventBatch
    amount: Float64
    out: Float64


@dataclass(frozen=True, slots=True)
class Feature:
    """One compiled feature.

    Attributes:
        meaning: Its canonical definition. It has neither the name nor the memory, which affects
            late events only.
        windowed: The operation over the ring, or None.
        at_terminal: The operation over the terminal, or None.
        compute: For a feature without an operation: reads the columns, and writes the column with
            the given number.
        operands: Positions of the features that it is computed from.
        reads: Columns of the event that ``compute`` reads, except for amount and time.
        size: Number of definitions in its meaning; one that occurs twice counts twice.
    """

    meaning: Mapping[str, object]
    windowed: Windowed | None = None
    at_terminal: AtTerminal | None = None
    compute: Callable[[DirectColumns, int], None] | None = None
    operands: tuple[int, ...] = ()
    reads: tuple[str, ...] = ()
    size: int = 1


@dataclass(frozen=True, slots=True)
class Earlier:
    """The features before one in its manifest, and the names of itself and of those after it."""

    features: tuple[Feature, ...]
    positions: Mapping[str, int]
    later: frozenset[str]


Build = Callable[[Declaration, Earlier], Feature]


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """A registered kind: the keys that its table must have and may have, and its function."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    build: Build


KINDS: dict[str, FeatureKind] = {}


def _kind(name: str, *needs: str, may: tuple[str, ...] = ()) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        KINDS[name] = FeatureKind(needs, may, build)
        return build

    return register


_WINDOWED = ("window", "last", "key", "exclude_self", "where")
_NUMERIC = (*_WINDOWED, "missing")
_AMOUNT = Field(AMOUNT, AMOUNT, AMOUNT)
_MOST_NESTED = 1_000
"""Maximum number of definitions in a ratio's meaning: two operands could double it each time."""


def digest(meaning: Mapping[str, object]) -> str:
    """Return the sha256 of a definition's canonical form, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def _over_ring(
    declared: Declaration, kind: int, field: Field = _AMOUNT, missing: float = math.nan
) -> Feature:
    """Return an operation over the ring, with the declared window, key and options."""
    if not {"window", "last"} & declared.table.keys() and kind not in (SINCE, FIRST):
        raise declared.refuse(
            f"kind {declared.table['kind']} needs the key 'window' or 'last', or both"
        )
    windowed = Windowed(
        kind, field.stored, declared.window_ms(), declared.last(), declared.key(), missing,
        declared.longest_ms, field.type if field.type in NUMBERS else AMOUNT, declared.where(),
        declared.exclude_self(),
    )  # fmt: skip
    meaning = {
        "kind": declared.table["kind"], "field": field.stored, "window_ms": windowed.window_ms,
        "last": windowed.last, "key": windowed.key, "missing": repr(missing),
    }  # fmt: skip
    # Without these options a definition has the digest that it had before the options existed.
    if windowed.where is not None:
        meaning["where"] = windowed.where
    if windowed.exclude_self:
        meaning["exclude_self"] = True
    return Feature(meaning, windowed)


def _over_numbers(declared: Declaration, kind: int) -> Feature:
    """Return an operation over the numbers of a window; the window may have no numbers."""
    field = declared.field(AMOUNT, *NUMBERS)
    if "missing" not in declared.table:
        return _over_ring(declared, kind, field)
    if field.type == AMOUNT and not declared.exclude_self() and declared.where() is None:
        raise declared.refuse("the window holds the event's own amount, so nothing is ever "
                              "missing; leave out the key 'missing'")  # fmt: skip
    return _over_ring(declared, kind, field, declared.number("missing", math.nan))


def _over_terminal(declared: Declaration, kind: int) -> Feature:
    """Return an operation over the terminal's history; its window ends the plan's delay earlier."""
    window_ms = declared.delayed_window_ms()
    meaning: dict[str, object] = {
        "kind": declared.table["kind"], "key": TERMINAL, "window_ms": window_ms,
        "delay_ms": declared.plan.terminal_delay_ms,
    }  # fmt: skip
    if kind == RISK_KNOWN:
        # Also in the meaning of a feature that is computed from it.
        meaning["engine"] = declared.engine
    return Feature(meaning, at_terminal=AtTerminal(kind, window_ms))


@_kind("count", may=(*_WINDOWED, "delay"))
def _count(declared: Declaration, _: Earlier) -> Feature:
    if declared.by_terminal():
        for key in ("exclude_self", "where"):
            if key in declared.table:
                raise declared.refuse(f"key {TERMINAL!r} takes no {key!r}")
        return _over_terminal(declared, ROWS_AT_TERMINAL)
    if "delay" in declared.table:
        raise declared.refuse(f"the key 'delay' goes with the key {TERMINAL!r} alone")
    return _over_ring(declared, COUNT)


@_kind("risk", "key", may=("delay", "window"))
def _risk(declared: Declaration, _: Earlier) -> Feature:
    if not declared.by_terminal():
        raise declared.refuse(f"kind risk is that of a terminal; its key must be {TERMINAL!r}")
    return _over_terminal(declared, RISK if declared.engine == 1 else RISK_KNOWN)


@_kind("sum", "field", may=_WINDOWED)
def _sum(declared: Declaration, _: Earlier) -> Feature:
    return _over_numbers(declared, SUM)


@_kind("mean", "field", may=_NUMERIC)
def _mean(declared: Declaration, _: Earlier) -> Feature:
    return _over_numbers(declared, MEAN)


@_kind("min", "field", may=_NUMERIC)
def _min(declared: Declaration, _: Earlier) -> Feature:
    return _over_numbers(declared, LEAST)


@_kind("max", "field", may=_NUMERIC)
def _max(declared: Declaration, _: Earlier) -> Feature:
    return _over_numbers(declared, MOST)


@_kind("median", "field", may=_NUMERIC)
def _median(declared: Declaration, _: Earlier) -> Feature:
    return _over_numbers(declared, MEDIAN)


@_kind("stddev", "field", may=_NUMERIC)
def _stddev(declared: Declaration, _: Earlier) -> Feature:
    return _over_numbers(declared, STDDEV)


@_kind("distinct", "field", may=_WINDOWED)
def _distinct(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, DISTINCT, declared.field(STRING, BOOLEAN))


@_kind("time_since_last", may=("window", "key", "where", "missing"))
def _time_since_last(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, SINCE, missing=declared.number("missing", math.nan))


@_kind("first_seen", "field", may=("window", "key", "where", "missing"))
def _first_seen(declared: Declaration, _: Earlier) -> Feature:
    field = declared.field(STRING, BOOLEAN)
    return _over_ring(declared, FIRST, field, declared.number("missing", math.nan))


@_kind("passthrough", "field", may=("missing",))
def _passthrough(declared: Declaration, _: Earlier) -> Feature:
    field = declared.field(AMOUNT, BOOLEAN, *NUMBERS)
    if field.type == AMOUNT:
        if "missing" in declared.table:
            raise declared.refuse("field 'amount' is never missing; leave out the key 'missing'")
        return Feature({"kind": "passthrough", "field": AMOUNT}, compute=_amount)
    missing = declared.number("missing", math.nan)

    def compute(seen: DirectColumns, column: int) -> None:
        values = numbers(seen.events, field)
        values[np.isnan(values)] = missing
        seen.out[:, column] = values

    meaning = {"kind": "passthrough", "field": field.stored, "missing": repr(missing)}
    return Feature(meaning, compute=compute, reads=(field.name,))


def _amount(seen: DirectColumns, column: int) -> None:
    np.copyto(seen.out[:, column], seen.amount)


@_kind("categorical", "field", "values", "unknown", "missing")
def _categorical(declared: Declaration, _: Earlier) -> Feature:
    field, values = declared.field(STRING), declared.texts("values")
    unknown, missing = declared.number("unknown", 0), declared.number("missing", 0)
    known = pa.array(values, pa.string())

    def compute(seen: DirectColumns, column: int) -> None:
        texts = seen.events.records.column(field.name)
        codes = _numbers(pc.index_in(texts, value_set=known), unknown)
        if texts.null_count:
            codes[texts.is_null().to_numpy(zero_copy_only=False)] = missing
        seen.out[:, column] = codes

    meaning = {
        "kind": "categorical", "field": field.stored, "values": values,
        "unknown": repr(unknown), "missing": repr(missing),
    }  # fmt: skip
    return Feature(meaning, compute=compute, reads=(field.name,))


def _numbers(column: pa.Array, missing: float) -> Float64:
    """Return a column of numbers as float64[n], with nulls replaced."""
    return np.array(column.cast(pa.float64()).fill_null(missing), np.float64)


@_kind("ratio", "to", may=("field", "feature", "missing"))
def _ratio(declared: Declaration, earlier: Earlier) -> Feature:
    if ("field" in declared.table) == ("feature" in declared.table):
        raise declared.refuse("kind ratio needs one of the keys 'field' and 'feature'")
    missing = declared.number("missing", math.nan)
    below = _operand(declared, earlier, "to")
    meaning = {"kind": "ratio", "missing": repr(missing), "to": earlier.features[below].meaning}
    if "field" in declared.table:
        above = None
        meaning["of"] = declared.field(AMOUNT).stored
    else:
        above = _operand(declared, earlier, "feature")
        meaning["of"] = earlier.features[above].meaning

    def compute(seen: DirectColumns, column: int) -> None:
        numerator = seen.amount if above is None else seen.out[:, above]
        denominator = seen.out[:, below]
        out = np.full(len(denominator), missing)
        usable = (denominator != 0) & ~np.isnan(denominator) & ~np.isnan(numerator)
        seen.out[:, column] = np.divide(numerator, denominator, out=out, where=usable)

    operands = (below,) if above is None else (above, below)
    size = 1 + sum(earlier.features[operand].size for operand in operands)
    if size > _MOST_NESTED:
        raise declared.refuse(f"its ratios of ratios name more than {_MOST_NESTED} features")
    return Feature(meaning, compute=compute, operands=operands, size=size)


def _operand(declared: Declaration, earlier: Earlier, key: str) -> int:
    """Return the position of the feature that a key names; it must be before this one."""
    name = declared.table[key]
    if isinstance(name, str) and name in earlier.positions:
        return earlier.positions[name]
    before = ", ".join(earlier.positions) or "none"
    behind = isinstance(name, str) and name in earlier.later
    why = "is at or after it" if behind else "is not known"
    raise declared.refuse(f"{key} {name!r} {why}; features before it: {before}")


@_kind("expression", "value")
def _expression(declared: Declaration, earlier: Earlier) -> Feature:
    fields = {
        name: field for name, field in fields_of(declared.plan).items() if field.type != STRING
    }
    try:
        tree = expressions.parse(declared.table["value"])
    except ValueError as error:
        raise declared.refuse(str(error)) from None
    used = dict.fromkeys(expressions.names(tree))
    if not used:
        raise declared.refuse("value names no field and no feature; a constant is not a feature")
    features = {name: at for name, at in earlier.positions.items() if name in used}
    read = [name for name in used if name not in features]
    for name in read:
        if name not in fields:
            raise declared.refuse(_unknown(name, declared, earlier, list(fields)))
    program = expressions.program(tree, read, features)

    def stands_for(name: str) -> object:
        if name in features:
            # Only its digest: nested definitions would otherwise grow exponentially.
            return {"feature": digest(earlier.features[features[name]].meaning)}
        return {"field": fields[name].stored}

    def compute(seen: DirectColumns, column: int) -> None:
        columns = np.empty((len(read), len(seen.out)))
        for row, name in zip(columns, read, strict=True):
            row[:] = _numbers_of(seen, fields[name])
        stack = np.empty((program.depth, ROWS))
        evaluate(program.steps, program.constants, columns, seen.out, column, stack)

    return Feature(
        {"kind": "expression", "value": expressions.canonical(tree, stands_for)},
        compute=compute,
        operands=tuple(sorted(features.values())),
        reads=tuple(name for name in read if name not in (AMOUNT, EVENT_TIME)),
    )


def _numbers_of(seen: DirectColumns, field: Field) -> Float64:
    """Return float64[n], a field of the events as expressions read it: times are in seconds."""
    if field.name == AMOUNT:
        return seen.amount
    if field.name == EVENT_TIME:
        return seen.events.int64(EVENT_TIME) / MILLISECONDS
    return numbers(seen.events, field)


def _unknown(name: str, declared: Declaration, earlier: Earlier, fields: list[str]) -> str:
    """Return why an expression cannot use a name."""
    if name in earlier.later:
        return f"value: {name!r} is at or after it; features before it: " + (
            ", ".join(earlier.positions) or "none"
        )
    if name in fields_of(declared.plan):
        return f"value: {name!r} is a text, and expressions compute with numbers"
    before = ", ".join(name for name in earlier.positions if name.isidentifier())
    return (
        f"value: {name!r} is not known; fields: {', '.join(fields)}; features: {before or 'none'}"
    )


def _calendar(declared: Declaration, what: int) -> Feature:
    zone = declared.zone()

    def compute(seen: DirectColumns, column: int) -> None:
        read_calendar(local_ms(seen.events.int64("event_time"), zone), what, seen.out, column)

    return Feature({"kind": declared.table["kind"], "timezone": zone}, compute=compute)


@_kind("weekend", may=("timezone",))
def _weekend(declared: Declaration, _: Earlier) -> Feature:
    return _calendar(declared, WEEKEND)


@_kind("night", may=("timezone",))
def _night(declared: Declaration, _: Earlier) -> Feature:
    return _calendar(declared, NIGHT)


@_kind("hour", may=("timezone",))
def _hour(declared: Declaration, _: Earlier) -> Feature:
    return _calendar(declared, HOUR)


@_kind("day_of_week", may=("timezone",))
def _day_of_week(declared: Declaration, _: Earlier) -> Feature:
    return _calendar(declared, DAY)
