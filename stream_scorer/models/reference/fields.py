"""Which fields a reference watches, with the cells of each, and what each derives from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.extras import STRING, TIMESTAMP
from stream_scorer.core.events.fields import AMOUNT, EVENT_TIME
from stream_scorer.core.features import expressions
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.features.declarations import CUSTOMER, TERMINAL
from stream_scorer.core.kernels.terminals import OUT, WINDOW
from stream_scorer.core.summaries.summary_layout import (
    CELLS_MOST,
    FIELDS_MOST,
    NUMBER,
    NUMBER_BINS,
    OUTCOME,
    TEXT,
    TEXT_MOST,
    WatchedField,
)
from stream_scorer.models.reference.rows import COLUMN, FEATURE, ReferenceRows
from stream_scorer.models.reference.stream_values import OUTCOMES, SCORE

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Spec = Mapping[str, Any]

TEXTS: Final = ("channel", "country", "mcc")
"""The texts of our own schema that are watched if the data have them."""
ROWS_OF_A_VALUE: Final = 10
"""A text's value with fewer rows is not written to the reference: it may name a person."""
_VALUE_LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """A field to watch, before its cells are known.

    Attributes:
        name: Its name in the reference.
        kind: NUMBER, TEXT or OUTCOME.
        source: As of :class:`WatchedField`.
        reach_ms: As of :class:`~stream_scorer.models.reference.contract.FieldReference`; so is the
            next.
        depends_on: Fields of the event from which it is derived.
    """

    name: str
    kind: int
    source: str
    reach_ms: int
    depends_on: tuple[str, ...]


def planned_fields(
    specs: Sequence[Spec], features: FeatureSet, extras: Mapping[str, str], columns: Sequence[str]
) -> list[FieldPlan]:
    """Return the fields to watch, in their order; at most 128 of them.

    Times are not watched: they never repeat.

    Args:
        specs: Declarations of the m features.
        features: What they compile to.
        extras: The plan's extra fields, type by name.
        columns: Names of the columns that the data have.
    """
    origins = list(_origins(specs, features))
    every = tuple(sorted({name for _, depends in origins for name in depends}))
    reach = max((reach for reach, _ in origins), default=0)
    texts = [name for name in TEXTS if name in columns]
    further = [
        (name, TEXT if extras.get(name, STRING) == STRING else NUMBER)
        for name in (*texts, *sorted(extras))
        if name in columns and extras.get(name) != TIMESTAMP
    ]
    found = [
        FieldPlan(SCORE, NUMBER, "score", reach, every),
        FieldPlan(OUTCOMES, OUTCOME, "outcome", reach, every),
        FieldPlan(AMOUNT, NUMBER, COLUMN + AMOUNT, 0, (AMOUNT,)),
        FieldPlan("currency", TEXT, f"{COLUMN}currency", 0, ("currency",)),
        *(
            FieldPlan(name, NUMBER, f"{FEATURE}{at}", *origin)
            for at, (name, origin) in enumerate(zip(features.names, origins, strict=True))
        ),
        *(FieldPlan(name, kind, COLUMN + name, 0, (name,)) for name, kind in further),
    ]
    return list(_named(found))[:FIELDS_MOST]


def _named(plans: Sequence[FieldPlan]) -> Iterator[FieldPlan]:
    """Yield fields with names that differ: a feature may have the name of another field."""
    taken = Counter(plan.name for plan in plans)
    for plan in plans:
        if taken[plan.name] > 1 and plan.source.startswith(FEATURE):
            yield FieldPlan(
                f"{plan.name} (feature)", plan.kind, plan.source, plan.reach_ms, plan.depends_on
            )
        else:
            yield plan


def _origins(
    specs: Sequence[Spec], features: FeatureSet
) -> Iterator[tuple[int, tuple[str, ...]]]:  # fmt: skip
    """Yield how far back each feature looks, ms, and the event's fields that it derives from."""
    delayed = features.delayed
    at_terminal = {
        int(row[OUT]): int(delayed.windows[row[WINDOW]]) + delayed.delay_ms
        for row in delayed.operations
    }
    longest = max(at_terminal.values(), default=0)
    recomputed = frozenset(features.recomputed)
    depends: dict[str, tuple[str, ...]] = {}
    for at, (spec, need) in enumerate(zip(specs, features.needs, strict=True)):
        reach = max(need.window_ms, at_terminal.get(at, 0), longest if at in recomputed else 0)
        depends[features.names[at]] = tuple(sorted(_named_by(spec, depends)))
        yield reach, depends[features.names[at]]


def _named_by(spec: Spec, earlier: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return the fields of the event that a feature's declaration names, itself or by others."""
    key = spec.get("key", CUSTOMER)
    keys = {key} if isinstance(key, str) else set(key)
    named = {str(spec[name]) for name in ("field", "feature", "to") if name in spec}
    named |= set(spec.get("where", ()))
    if spec["kind"] == "expression":
        named |= set(expressions.names(expressions.parse(spec["value"])))
    elif "window" in spec or "last" in spec or spec["kind"] in {"time_since_last", "first_seen"}:
        named |= keys
    if spec["kind"] in {"weekend", "night", "hour", "day_of_week", "time_since_last"}:
        named.add(EVENT_TIME)
    if spec["kind"] == "risk":
        named.add(TERMINAL)
    return {field for name in named for field in earlier.get(name, (name,))}


def watched_field(plan: FieldPlan, rows: ReferenceRows, counted: Bool) -> WatchedField:
    """Return a field with the cells of some rows.

    Args:
        plan: The field.
        rows: n rows.
        counted: bool[n], which rows are the reference of the field.
    """
    empty = WatchedField(plan.name, plan.kind, plan.source, np.empty(0), 0.0, 0.0, ())
    if plan.kind == OUTCOME:
        return empty
    values = rows.column(empty)
    if plan.kind == TEXT:
        return WatchedField(
            plan.name, TEXT, plan.source, np.empty(0), 0.0, 0.0,
            _frequent(values.filter(pa.array(counted))),
        )  # fmt: skip
    found = values[counted]
    found = found[np.isfinite(found)]
    edges = np.full(NUMBER_BINS - 1, np.inf)
    if not len(found):
        return WatchedField(plan.name, NUMBER, plan.source, edges, 0.0, 0.0, ())
    # Each edge is one of the values, so that a few distinct values get a bin each.
    shares = np.arange(1, NUMBER_BINS) / NUMBER_BINS
    low, high = float(found.min()), float(found.max())
    inner = np.unique(np.quantile(found, shares, method="inverted_cdf"))
    inner = inner[inner < high]
    edges[: len(inner)] = inner
    return WatchedField(plan.name, NUMBER, plan.source, edges, low, high, ())


def _frequent(texts: pa.Array) -> tuple[str, ...]:
    """Return the known values of a text, most frequent first; equally frequent ones by name."""
    found = pc.value_counts(texts)
    values, counts = found.field("values"), found.field("counts")
    held = pc.and_(values.is_valid(), pc.greater_equal(counts, ROWS_OF_A_VALUE))
    pairs = zip(counts.filter(held).to_pylist(), values.filter(held).to_pylist(), strict=True)
    return tuple(
        value
        for _, value in sorted((-count, value) for count, value in pairs)
        if value.isprintable() and len(value) <= _VALUE_LONGEST
    )[:TEXT_MOST]


def within_cells(fields: Sequence[WatchedField]) -> list[bool]:
    """Return, for each field, whether it fits into the cells of a segment with those before it."""
    ends = np.cumsum([field.cells for field in fields])
    return (ends <= CELLS_MOST).tolist()
