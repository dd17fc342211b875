"""The kinds of features: each is one function here and its line of registration.

A kind turns a checked table of the manifest into a :class:`Feature`: an operation over the
customer's ring, whose loop is in ``kernels.aggregates``, one over the terminal's delayed history,
in ``kernels.terminals``, or a function over the batch's columns.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.calendar import local_ms
from stream_scorer.core.events.fields import AMOUNT, BOOLEANS, STORABLE, STRINGS
from stream_scorer.core.features.declarations import TERMINAL, Declaration
from stream_scorer.core.kernels.aggregates import (
    COUNT,
    DISTINCT,
    LEAST,
    MEAN,
    MEDIAN,
    MOST,
    SINCE,
    SUM,
)
from stream_scorer.core.kernels.columns import DAY, HOUR, NIGHT, WEEKEND, read_calendar
from stream_scorer.core.kernels.terminals import COUNT as ROWS_AT_TERMINAL
from stream_scorer.core.kernels.terminals import RISK

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windowed:
    """An operation over the customer's ring.

    Attributes:
        kind: Its number in ``kernels.aggregates``.
        field: What is aggregated.
        window_ms: How far back it looks.
        last: The newest so many events, 0 for all.
        key: The field that must be the event's own beside the customer.
        missing: What stands where there is no answer.
        memory_ms: The longest window of its manifest: a late event sees no farther back from the
            customer's newest than this and the lateness, whatever else the rings keep.
    """

    kind: int
    field: str
    window_ms: int
    last: int
    key: str | None
    missing: float
    memory_ms: int


@dataclass(frozen=True, slots=True)
class AtTerminal:
    """An operation over the delayed history of the event's terminal.

    Attributes:
        kind: Its number in ``kernels.terminals``.
        window_ms: How long the window is.
    """

    kind: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class DirectColumns:
    """What a feature reads that needs no ring.

    Attributes:
        events: n accepted transactions.
        amount: float64[n], in units of the currency.
        out: float64[n, m], the manifest's columns, those before this feature's written.
    """

    events: EventBatch
    amount: Float64
    out: Float64


@dataclass(frozen=True, slots=True)
class Feature:
    """One compiled feature.

    Attributes:
        meaning: Its canonical definition; the name is no part of it, nor is the memory, which only
            a late event can tell.
        windowed: The operation over the ring, or None.
        at_terminal: The operation over the terminal, or None.
        compute: Without an operation: takes the columns and writes the one of this number.
        operands: Positions of the features that it is computed from.
        reads: The further field of the event that ``compute`` reads, if any.
    """

    meaning: Mapping[str, object]
    windowed: Windowed | None = None
    at_terminal: AtTerminal | None = None
    compute: Callable[[DirectColumns, int], None] | None = None
    operands: tuple[int, ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Earlier:
    """The features that stand before one in its manifest, and the names of those behind."""

    features: tuple[Feature, ...]
    positions: Mapping[str, int]
    later: frozenset[str]


Build = Callable[[Declaration, Earlier], Feature]


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """A registered kind: the keys that its table must and may have, and what builds it."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    build: Build


KINDS: dict[str, FeatureKind] = {}


def _kind(name: str, *needs: str, may: tuple[str, ...] = ()) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        KINDS[name] = FeatureKind(needs, may, build)
        return build

    return register


_WINDOWED = ("window", "last", "key")


def _over_ring(declared: Declaration, kind: int, field: str, missing: float = math.nan) -> Feature:
    """Return an operation over the ring, its window and key as declared."""
    if not {"window", "last"} & declared.table.keys() and kind != SINCE:
        raise declared.refuse(
            f"kind {declared.table['kind']} needs the key 'window' or 'last', or both"
        )
    windowed = Windowed(
        kind, field, declared.window_ms(), declared.last(), declared.key(), missing,
        declared.longest_ms,
    )  # fmt: skip
    meaning = {
        "kind": declared.table["kind"], "field": field, "window_ms": windowed.window_ms,
        "last": windowed.last, "key": windowed.key, "missing": repr(missing),
    }  # fmt: skip
    return Feature(meaning, windowed)


def _over_terminal(declared: Declaration, kind: int) -> Feature:
    """Return an operation over the terminal's history, behind the plan's delay."""
    window_ms = declared.delayed_window_ms()
    meaning = {
        "kind": declared.table["kind"], "key": TERMINAL, "window_ms": window_ms,
        "delay_ms": declared.plan.terminal_delay_ms,
    }  # fmt: skip
    return Feature(meaning, at_terminal=AtTerminal(kind, window_ms))


@_kind("count", may=(*_WINDOWED, "delay"))
def _count(declared: Declaration, _: Earlier) -> Feature:
    if declared.by_terminal():
        return _over_terminal(declared, ROWS_AT_TERMINAL)
    if "delay" in declared.table:
        raise declared.refuse(f"the key 'delay' goes with the key {TERMINAL!r} alone")
    return _over_ring(declared, COUNT, AMOUNT)


@_kind("risk", "key", may=("delay", "window"))
def _risk(declared: Declaration, _: Earlier) -> Feature:
    if not declared.by_terminal():
        raise declared.refuse(f"kind risk is that of a terminal; its key must be {TERMINAL!r}")
    return _over_terminal(declared, RISK)


@_kind("sum", "field", may=_WINDOWED)
def _sum(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, SUM, declared.field((AMOUNT,)))


@_kind("mean", "field", may=_WINDOWED)
def _mean(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, MEAN, declared.field((AMOUNT,)))


@_kind("min", "field", may=_WINDOWED)
def _min(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, LEAST, declared.field((AMOUNT,)))


@_kind("max", "field", may=_WINDOWED)
def _max(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, MOST, declared.field((AMOUNT,)))


@_kind("median", "field", may=_WINDOWED)
def _median(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, MEDIAN, declared.field((AMOUNT,)))


@_kind("distinct", "field", may=_WINDOWED)
def _distinct(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, DISTINCT, declared.field(STORABLE))


@_kind("time_since_last", may=("window", "key", "missing"))
def _time_since_last(declared: Declaration, _: Earlier) -> Feature:
    return _over_ring(declared, SINCE, AMOUNT, declared.number("missing", math.nan))


@_kind("passthrough", "field", may=("missing",))
def _passthrough(declared: Declaration, _: Earlier) -> Feature:
    field = declared.field((AMOUNT, *BOOLEANS))
    if field == AMOUNT:
        if "missing" in declared.table:
            raise declared.refuse("field 'amount' is never missing; leave out the key 'missing'")
        return Feature({"kind": "passthrough", "field": field}, compute=_amount)
    missing = declared.number("missing", math.nan)

    def compute(seen: DirectColumns, column: int) -> None:
        flags = seen.events.records.column(field).cast(pa.int8())
        seen.out[:, column] = _numbers(flags, missing)

    meaning = {"kind": "passthrough", "field": field, "missing": repr(missing)}
    return Feature(meaning, compute=compute, reads=(field,))


def _amount(seen: DirectColumns, column: int) -> None:
    np.copyto(seen.out[:, column], seen.amount)


@_kind("categorical", "field", "values", "unknown", "missing")
def _categorical(declared: Declaration, _: Earlier) -> Feature:
    field, values = declared.field(STRINGS), declared.texts("values")
    unknown, missing = declared.number("unknown", 0), declared.number("missing", 0)
    known = pa.array(values, pa.string())

    def compute(seen: DirectColumns, column: int) -> None:
        texts = seen.events.records.column(field)
        codes = _numbers(pc.index_in(texts, value_set=known), unknown)
        if texts.null_count:
            codes[texts.is_null().to_numpy(zero_copy_only=False)] = missing
        seen.out[:, column] = codes

    meaning = {
        "kind": "categorical", "field": field, "values": values,
        "unknown": repr(unknown), "missing": repr(missing),
    }  # fmt: skip
    return Feature(meaning, compute=compute, reads=(field,))


def _numbers(column: pa.Array, missing: float) -> Float64:
    """Return a column of numbers as float64[n], nulls replaced."""
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
        meaning["of"] = declared.field((AMOUNT,))
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
    return Feature(meaning, compute=compute, operands=operands)


def _operand(declared: Declaration, earlier: Earlier, key: str) -> int:
    """Return the position of the feature that a key names."""
    name = declared.table[key]
    if isinstance(name, str) and name in earlier.positions:
        return earlier.positions[name]
    before = ", ".join(earlier.positions) or "none"
    behind = isinstance(name, str) and name in earlier.later
    why = "stands at or behind it" if behind else "is not known"
    raise declared.refuse(f"{key} {name!r} {why}; features before it: {before}")


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
