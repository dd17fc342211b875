"""Compile the feature list of a manifest into an engine that computes it.

A manifest lists features in order. Each is a table with a unique ``name`` and a ``kind``; the kinds
are in ``kinds``. Several manifests can share one engine: its rings then keep the union of what they
need. Each feature defines how far back it looks, so its values are bit-identical to those with an
engine for its manifest alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.extras import DOUBLE, TIMESTAMP
from stream_scorer.core.events.fields import (
    AMOUNT,
    MILLISECONDS,
    NUMBERS,
    STORABLE,
    columns_of,
    field_text,
    in_order,
    kept_values,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.declarations import (
    TERMINAL,
    Declaration,
    feature_name,
    is_by_terminal,
    length_ms,
    refusal,
)
from stream_scorer.core.features.engines import ENGINES, FIRST_ENGINE
from stream_scorer.core.features.kinds import (
    KINDS,
    AtTerminal,
    DirectColumns,
    Earlier,
    Feature,
    Windowed,
    digest,
)
from stream_scorer.core.features.texts import TEXT, feature_text
from stream_scorer.core.kernels.aggregates import DISTINCT, FIRST, LEAST, MEDIAN, MOST
from stream_scorer.core.kernels.columns import copy_columns
from stream_scorer.core.kernels.observing import (
    AMOUNTS,
    CODE,
    FILTERED_WIDTH,
    FIRST_FIELD,
    MINOR,
    OPERATION_WIDTH,
    REAL,
    WHOLE,
    RingProgram,
)
from stream_scorer.core.kernels.observing import OUT as PLACE
from stream_scorer.core.kernels.terminals import OPERATION_WIDTH as DELAYED_WIDTH
from stream_scorer.core.kernels.terminals import OUT
from stream_scorer.core.mapping.minor_units import in_units
from stream_scorer.core.rings.rings import Retention
from stream_scorer.core.terminals.history import Delayed

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Spec = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Need:
    """The history that a feature needs.

    Attributes:
        window_ms: How far back it looks; 0 if it reads the event alone.
        fields: Further fields that the rings must keep.
    """

    window_ms: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    """What the rings keep and compute for all manifests that share them.

    Attributes:
        retention: For how long rings keep events, and how many.
        fields: Further fields that they keep.
        program: The operations over them. Each writes one column; those of the filtered operations
            come last.
        delayed: The operations over terminals; their columns follow those over rings.
        read_by: For each of the fields that is an extra field, a plan whose mapping reads it. If
            two plans define a field of the same name differently, these are two fields.
    """

    retention: Retention
    fields: tuple[str, ...]
    program: RingProgram
    delayed: Delayed
    read_by: Mapping[str, Plan] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Number of columns that all operations write."""
        return self.over_rings + len(self.delayed)

    @property
    def over_rings(self) -> int:
        """Number of columns that the operations over rings write."""
        return len(self.program.operations) + len(self.program.filtered)

    def lacks(self, other: "Engine") -> str:
        """Return why rings that were made for this engine cannot serve another; empty if they can.

        Args:
            other: Compiled under a plan that may use the same state as this engine's plan.
        """
        mine, its = self.retention, other.retention
        if (mine.lateness_ms, mine.cap, mine.unit) != (its.lateness_ms, its.cap, its.unit):
            return "lateness, ring cap or currency differ"
        fields = [name for name in other.fields if name not in self.fields]
        if fields:
            return f"the rings do not keep {', '.join(map(field_text, fields))}"
        if self.fields != other.fields:
            return "it leaves out fields that the rings keep"
        if its.horizon_ms > mine.horizon_ms:
            hours = (its.horizon_ms - its.lateness_ms) / 3_600_000
            return f"the rings do not reach back {hours:g} h"
        if other.delayed.memory_ms > self.delayed.memory_ms:
            return "terminals' rows are not kept for so long"
        return ""

    def kept(self, events: EventBatch) -> Int64:
        """Return int64[f, n], what rings keep of the events' further fields."""
        return kept_values(events, self.fields)


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The compiled features of one manifest.

    Attributes:
        names: m names in manifest order.
        texts: m templates of texts for people, empty for none; they are not part of the identities.
        identities: sha256 of each feature's definition. Equal ones compute the same for every event
            that is not late. For a late event, a feature sees back to its manifest's longest window
            (``Windowed.memory_ms``), so equal ones of two manifests may differ. This memory is not
            part of the definition: a longer window would change every feature.
        needs: The history that each feature needs.
        engine: The engine, which other manifests may share.
        version: Number of the engine, which fixes the meaning of these features; see ``engines``.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    identities: tuple[str, ...]
    needs: tuple[Need, ...]
    engine: Engine
    _features: tuple[Feature, ...]
    _observed: Int64
    _places: Int64
    _scale: float
    version: int = FIRST_ENGINE

    @property
    def retention(self) -> Retention:
        """For how long rings keep events, and how many."""
        return self.engine.retention

    @property
    def need(self) -> Need:
        """The history that these features need together."""
        fields = {field for need in self.needs for field in need.fields}
        return Need(
            max(need.window_ms for need in self.needs),
            in_order(fields),
        )

    @property
    def by_terminal(self) -> bool:
        """Whether any of these features is computed from the event's terminal."""
        return any(feature.at_terminal is not None for feature in self._features)

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of events that rings or features read, in addition to time, amount and ids."""
        stored = columns_of(self.engine.fields)
        return in_order([*stored, *(name for f in self._features for name in f.reads)])

    def compute(self, events: EventBatch, observed: Float64) -> Float64:
        """Return float64[n, m], C-contiguous, columns in manifest order.

        Args:
            events: n accepted transactions.
            observed: float64[n, engine.width], what the operations wrote for them.
        """
        out = np.empty((len(events), len(self._features)), np.float64)
        copy_columns(observed, self._observed, out, self._places)
        self.complete(events, out)
        return out

    def complete(self, events: EventBatch, out: Float64) -> None:
        """Compute the features that no operation writes; the columns of operations are in ``out``.

        Args:
            events: n accepted transactions.
            out: float64[n, m], their features; changed.
        """
        seen = DirectColumns(events, in_units(events.amounts, self._scale), out)
        for column, feature in enumerate(self._features):
            if feature.compute is not None:
                feature.compute(seen, column)

    @property
    def direct(self) -> RingProgram:
        """The operations over rings that write directly to these features' columns."""
        program = self.engine.program
        first = len(program.operations)
        mine = self._observed < first
        rows = self._observed[mine]
        operations = program.operations[rows]
        operations[:, PLACE] = self._places[mine]
        mine = (self._observed >= first) & (self._observed < self.engine.over_rings)
        chosen = self._observed[mine] - first
        others = program.filtered[chosen]
        others[:, PLACE] = self._places[mine]
        return program._replace(
            operations=operations, memories=program.memories[rows], missing=program.missing[rows],
            filtered=others, filtered_memories=program.filtered_memories[chosen],
            filtered_missing=program.filtered_missing[chosen],
            filtered_scales=program.filtered_scales[chosen],
        )  # fmt: skip

    @property
    def delayed(self) -> Delayed:
        """The operations over terminals that write directly to these features' columns."""
        rows, first = self.engine.delayed.operations, self.engine.over_rings
        mine = self._observed >= first
        operations = rows[self._observed[mine] - first]
        operations[:, OUT] = self._places[mine]
        return replace(self.engine.delayed, operations=operations)

    @property
    def recomputed(self) -> tuple[int, ...]:
        """Columns that are computed from terminals' columns, directly or through other features."""
        stale = {at for at, f in enumerate(self._features) if f.at_terminal is not None}
        found = []
        for column, feature in enumerate(self._features):
            if stale & set(feature.operands):
                stale.add(column)
                found.append(column)
        return tuple(found)

    def recompute(self, events: EventBatch, out: Float64) -> None:
        """Compute the :attr:`recomputed` columns again; the columns of terminals are in ``out``.

        Args:
            events: n accepted transactions.
            out: float64[n, m], their features; changed.
        """
        seen = DirectColumns(events, in_units(events.amounts, self._scale), out)
        for column in self.recomputed:
            compute = self._features[column].compute
            if compute is not None:
                compute(seen, column)


def compile_features(specs: Sequence[Spec], plan: Plan, engine: int = FIRST_ENGINE) -> FeatureSet:
    """Compile a manifest's feature list.

    Args:
        specs: Tables with ``name``, ``kind`` and the keys of the kind, in model order.
        plan: Gives lateness, ring cap, currency, extra fields and the terminals' delay.
        engine: Number of the engine, a key of ``engines.ENGINES``.

    Raises:
        ValueError: The list is empty; a kind, key or field is unknown; a name is repeated; a window
            has no bound; or the terminals' delay is missing. The message names the feature and the
            known values.
    """
    return compile_together([(specs, plan)], engines=[engine])[0]


def compile_union(manifests: Sequence[Sequence[Spec]], plan: Plan) -> tuple[FeatureSet, ...]:
    """Compile several manifests into one engine.

    Args:
        manifests: The feature list of each.
        plan: Gives lateness, ring cap, currency, extra fields and the terminals' delay.

    Returns:
        One set for each manifest. All have the same engine, so rings that are made for it serve
        each of them.

    Raises:
        ValueError: As for ``compile_features``.
    """
    return compile_together([(specs, plan) for specs in manifests])


def compile_together(
    manifests: Sequence[tuple[Sequence[Spec], Plan]], rings: Engine | None = None,
    engines: Sequence[int] | None = None,
) -> tuple[FeatureSet, ...]:  # fmt: skip
    """Compile manifests into one engine, each with the plan by which its events are read.

    Args:
        manifests: (feature list, plan), at least one. The plans agree in everything that the state
            depends on.
        rings: The engine for which the rings were made, if there are rings. The new engine keeps
            the fields that they keep, too.
        engines: The number of each manifest's engine; None: 1.

    Returns:
        One set for each manifest, as from :func:`compile_union`.

    Raises:
        ValueError: As for ``compile_features``.
    """
    versions = [FIRST_ENGINE] * len(manifests) if engines is None else list(engines)
    read = [
        _read(specs, plan, ENGINES[version].features)
        for (specs, plan), version in zip(manifests, versions, strict=True)
    ]
    plan = manifests[-1][1]
    every = [feature for _, _, features in read for feature in features]
    # Equal operations are computed once.
    distinct = dict.fromkeys(f.windowed for f in every if f.windowed is not None)
    over_rings = tuple(sorted(distinct, key=lambda operation: operation.filtered))
    at_terminals = tuple(dict.fromkeys(f.at_terminal for f in every if f.at_terminal is not None))
    column_of = {operation: at for at, operation in enumerate((*over_rings, *at_terminals))}
    kept = {} if rings is None else rings.read_by
    engine = _engine(
        over_rings, at_terminals, plan, () if rings is None else rings.fields,
        {**kept, **_read_by(manifests, read)},
    )  # fmt: skip
    return tuple(
        FeatureSet(
            names=names,
            texts=texts,
            identities=tuple(_identity(feature) for feature in features),
            needs=_needs(features),
            engine=engine,
            _features=features,
            _observed=np.array(
                [column_of[o] for o in map(_observed_by, features) if o is not None], np.int64
            ),
            _places=np.array(
                [at for at, f in enumerate(features) if _observed_by(f) is not None], np.int64
            ),
            _scale=float(own.minor_per_unit),
            version=version,
        )
        for (names, texts, features), (_, own), version in zip(
            read, manifests, versions, strict=True
        )
    )


def _read_by(
    manifests: Sequence[tuple[Sequence[Spec], Plan]],
    read: Sequence[tuple[tuple[str, ...], tuple[str, ...], tuple[Feature, ...]]],
) -> dict[str, Plan]:
    """Return a plan that reads each extra field; if there are several, the last one."""
    return {
        stored: plan
        for (_, plan), (_, _, features) in zip(manifests, read, strict=True)
        for feature in features
        if feature.windowed is not None
        for stored in feature.windowed.fields
        if stored not in STORABLE
    }


def _observed_by(feature: Feature) -> Windowed | AtTerminal | None:
    """Return the operation that writes the feature's column; None if none does."""
    return feature.windowed if feature.windowed is not None else feature.at_terminal


def _read(
    specs: Sequence[Spec], plan: Plan, meaning: int
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Feature, ...]]:
    """Return the names, the texts and the features of a manifest."""
    if not specs:
        raise ValueError("the manifest lists no features")
    names = [feature_name(spec) for spec in specs]
    windows = [
        length_ms(spec["name"], spec["window"])
        for spec in specs
        if "window" in spec and not is_by_terminal(spec)
    ]
    longest = max(windows, default=0)
    features: list[Feature] = []
    positions: dict[str, int] = {}
    for name, spec in zip(names, specs, strict=True):
        if name in positions:
            raise refusal(name, "listed twice")
        kind = spec.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise refusal(name, f"kind {kind!r} is not known; known: {', '.join(sorted(KINDS))}")
        _check_keys(name, kind, spec)
        if not plan.has_terminals and _names_terminal(spec):
            raise refusal(name, f"needs {TERMINAL}, which events.toml does not map")
        later = frozenset(names[len(features) :])
        features.append(
            KINDS[kind].build(
                Declaration(name, spec, longest, plan, meaning),
                Earlier(tuple(features), dict(positions), later),
            )
        )
        positions[name] = len(positions)
    texts = tuple(feature_text(name, spec) for name, spec in zip(names, specs, strict=True))
    return tuple(names), texts, tuple(features)


def _check_keys(name: str, kind: str, spec: Spec) -> None:
    known = {"name", "kind", TEXT, *KINDS[kind].needs, *KINDS[kind].may}
    for key in spec:
        if key not in known:
            raise refusal(
                name, f"kind {kind} has no key {key!r}; its keys are {', '.join(sorted(known))}"
            )
    for key in KINDS[kind].needs:
        if key not in spec:
            raise refusal(name, f"kind {kind} needs the key {key!r}")


def _names_terminal(spec: Spec) -> bool:
    """Return whether a declaration needs the event's terminal."""
    key, where = spec.get("key"), spec.get("where")
    keys = key if isinstance(key, list) else [key]
    conditions = list(where) if isinstance(where, Mapping) else []
    return any(name == TERMINAL for name in (spec.get("field"), *keys, *conditions))


def _identity(feature: Feature) -> str:
    # A feature that is the same in all engines has one identity: that of the first one.
    return digest({"engine": FIRST_ENGINE, **feature.meaning})


def _needs(features: tuple[Feature, ...]) -> tuple[Need, ...]:
    """Return the needs of each feature, with those of the features that it is computed from."""
    needs: list[Need] = []
    for feature in features:
        parts = [needs[operand] for operand in feature.operands]
        if feature.windowed is not None:
            parts.append(Need(feature.windowed.window_ms, feature.windowed.fields))
        needs.append(
            Need(
                max((part.window_ms for part in parts), default=0),
                in_order(field for part in parts for field in part.fields),
            )
        )
    return tuple(needs)


def _delayed(operations: tuple[AtTerminal, ...], first: int, plan: Plan) -> Delayed:
    """Return the operations over terminals; they write the columns from ``first`` on."""
    windows = sorted({operation.window_ms for operation in operations})
    rows = [
        (operation.kind, windows.index(operation.window_ms), first + at)
        for at, operation in enumerate(operations)
    ]
    return Delayed(
        operations=np.array(rows, np.int64).reshape(-1, DELAYED_WIDTH),
        windows=np.array(windows, np.int64),
        delay_ms=plan.terminal_delay_ms,
        lateness_ms=plan.lateness_ms,
    )


def _engine(
    operations: tuple[Windowed, ...], at_terminals: tuple[AtTerminal, ...], plan: Plan,
    kept: tuple[str, ...], read_by: Mapping[str, Plan],
) -> Engine:  # fmt: skip
    windows = sorted({operation.window_ms for operation in operations})
    needed = (stored for operation in operations for stored in operation.fields)
    fields = in_order([*kept, *needed])
    plain = [operation for operation in operations if not operation.filtered]
    others = operations[len(plain) :]
    rows = np.zeros((len(plain), OPERATION_WIDTH), np.int64)
    for out, operation in enumerate(plain):
        rows[out] = (
            operation.kind,
            windows.index(operation.window_ms),
            operation.last,
            -1 if operation.key is None else fields.index(operation.key),
            _column(operation, fields),
            out,
        )
    further = np.zeros((len(others), FILTERED_WIDTH), np.int64)
    for at, operation in enumerate(others):
        where, wanted = (None, 0) if operation.where is None else operation.where
        further[at] = (
            operation.kind,
            windows.index(operation.window_ms),
            operation.last,
            -1 if operation.key is None else fields.index(operation.key),
            _column(operation, fields),
            len(plain) + at,
            -1 if where is None else fields.index(where),
            wanted,
            _type(operation),
            operation.exclude_self,
        )
    line = any(
        o.field == AMOUNT and o.key is None and o.kind in (LEAST, MOST, MEDIAN) for o in plain
    )
    unit = float(plan.minor_per_unit)
    scales = {AMOUNT: unit, TIMESTAMP: MILLISECONDS}
    return Engine(
        retention=Retention(
            lateness_ms=plan.lateness_ms,
            horizon_ms=(windows[-1] if windows else 0) + plan.lateness_ms,
            cap=plan.ring_cap,
            unit=plan.unit,
        ),
        fields=fields,
        program=RingProgram(
            operations=rows,
            windows=np.array(windows, np.int64),
            memories=_memories(plain, plan),
            missing=np.array([operation.missing for operation in plain], np.float64),
            scale=np.array([unit]),
            line=np.array([line]),
            filtered=further,
            filtered_memories=_memories(others, plan),
            filtered_missing=np.array([operation.missing for operation in others], np.float64),
            filtered_scales=np.array([scales.get(o.number, 1.0) for o in others], np.float64),
        ),
        delayed=_delayed(at_terminals, len(operations), plan),
        read_by=read_by,
    )


def _column(operation: Windowed, fields: tuple[str, ...]) -> int:
    """Return the column of a ring from which an operation reads its values."""
    return AMOUNTS if operation.field == AMOUNT else FIRST_FIELD + fields.index(operation.field)


def _type(operation: Windowed) -> int:
    """Return the type of an operation's values, by its number in ``kernels.observing``."""
    if operation.number in NUMBERS:
        return REAL if operation.number == DOUBLE else WHOLE
    return CODE if operation.kind in (DISTINCT, FIRST) else MINOR


def _memories(operations: Sequence[Windowed], plan: Plan) -> Int64:
    """Return int64[k], ms: how far back from a ring's newest event each operation sees."""
    return np.array([o.memory_ms + plan.lateness_ms for o in operations], np.int64)
