"""Raw leaves: the values at a mapping's paths as they are in a record, and which can be converted.

The decoders of ``codec`` produce them, ``normalise`` converts them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.mapping.mapping import FieldRule
from stream_scorer.core.mapping.mapping_table import Path

Int64 = NDArray[np.int64]

SCALE_MOST: Final = 38


@dataclass(frozen=True, slots=True)
class Wire:
    """The kind of a value in a record, as far as the value's meaning depends on it.

    Attributes:
        kind: boolean, long (also for int), float, double, text (also for enums), number (a JSON
            number, as its text), cell (a value of a CSV file: text that the rule interprets) or
            decimal; or bytes or structure (a record, an array or a map), which cannot be converted.
        scale: Of a decimal: digits after the decimal point.
        unit: Of a long with a time as its logical type: ms, us, ns, date or time.
        local: Whether such a time has no time zone.
    """

    kind: str
    scale: int = 0
    unit: str = ""
    local: bool = False

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of such values."""
        return _TYPES[self.kind]


_TYPES: Final = {
    "boolean": pa.bool_(), "long": pa.int64(), "float": pa.float32(), "double": pa.float64(),
    "text": pa.string(), "number": pa.string(), "cell": pa.string(), "decimal": pa.binary(),
    "bytes": pa.binary(), "structure": pa.binary(),
}  # fmt: skip

STRUCTURE: Final = Wire("structure")
"""The kind of a record, an array or a map."""

COMPARED: Final = frozenset({"text", "number", "cell", "long", "boolean"})
"""Kinds that ``where`` compares with values; a value of another kind is null or equals none."""


@dataclass(frozen=True, slots=True)
class LeafPart:
    """Values of one kind at a path.

    Attributes:
        wire: Their kind.
        values: m values of ``wire.type``, possibly with nulls.
        rows: int64[m], their rows; None: all rows in order.
    """

    wire: Wire
    values: pa.Array
    rows: Int64 | None = None

    def taken(self, place: Int64) -> "LeafPart":
        """Return the values of some rows.

        Args:
            place: int64[n], each row's new number, or -1 if it is left out.
        """
        now = place if self.rows is None else place[self.rows]
        kept = np.flatnonzero(now >= 0)
        return LeafPart(self.wire, self.values.take(pa.array(kept)), now[kept])


Leaves = Mapping[Path, Sequence[LeafPart]]
"""For each path of a mapping its values, in parts of one kind; a row in none of them is null."""


def misfit(rule: FieldRule, wire: Wire) -> str:
    """Return why values of a kind can never become the rule's column; empty if they can."""
    kind = "a time" if wire.kind == "long" and wire.unit else f"a {wire.kind}"
    if wire.kind == "decimal" and not 0 <= wire.scale <= SCALE_MOST:
        return f"is a decimal of scale {wire.scale}, and at most {SCALE_MOST} is read"
    if wire.kind in _SOURCES[rule.kind] or (rule.table and wire.kind in _NAMED):
        return _misfit_of_time(rule, wire) if rule.kind == "timestamp" else ""
    return f"is {kind}, which cannot become a {_SAID.get(rule.kind, rule.kind)}"


_NAMED: Final = frozenset({"text", "long", "number", "boolean", "cell"})
"""Kinds for which a table can have entries."""
_SOURCES: Final = {
    "string": frozenset({"text", "long", "number", "cell"}),
    "boolean": frozenset({"boolean", "cell"}),
    "amount": frozenset({"long", "number", "text", "cell", "decimal", "double", "float"}),
    "timestamp": frozenset({"long", "number", "text", "cell", "double"}),
    "long": frozenset({"long", "number", "cell"}),
    "double": frozenset({"long", "number", "cell", "double", "float", "decimal"}),
}
_SAID: Final = {"timestamp": "time", "amount": "number of minor units"}


def _misfit_of_time(rule: FieldRule, wire: Wire) -> str:  # noqa: PLR0911 a line for each case
    if wire.unit in {"date", "time"}:
        return f"is a {wire.unit} alone, which cannot become a time"
    if wire.unit:
        if rule.unit and rule.unit != wire.unit:
            return f"counts {wire.unit}, and unit is {rule.unit}"
        if wire.local and not rule.utc:
            return 'is a local time; zone = "UTC" declares that it is UTC'
        return ""
    if not rule.unit:
        return "has no logical type of a time, so it needs a unit"
    if rule.unit == "iso8601":
        return "" if wire.kind in {"text", "cell"} else f"is a {wire.kind}, and unit is iso8601"
    if wire.kind == "double" and rule.unit not in {"s", "ms"}:
        return f"is a double, which cannot count {rule.unit}"
    return ""
