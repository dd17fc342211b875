"""Compares published decisions with recomputed ones, field by field and bit by bit."""

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy
from numpy.typing import NDArray

from stream_scorer.codec.records.decisions import EXPLANATIONS
from stream_scorer.core.decision.decide import Answers
from stream_scorer.core.decision.given_rows import EDGE_ARM
from stream_scorer.core.decision.reasons import explanation_items
from stream_scorer.core.events.batch import Explanations, Flag, Outcome
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.errors import ReproductionError

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

MOST_EXAMPLES = 50
_SINCE_2 = frozenset(
    {
        "amount_minor", "currency", "channel", "calibrated_score", "model_outcome",
        "policy_revision", EXPLANATIONS,
    }
)  # fmt: skip
"""Fields that a decision of version 1 does not have."""
_FLOATS = frozenset({"score", "propensity"})
_TIMES = frozenset({"event_time", "terminal_watermark"})
_DRAWS_NOT_CHECKED = "draws_not_checked"
_OF_DEVICES = "edge"
_BY_POLICY = frozenset({"decision", "reasons", EXPLANATIONS})
"""Fields that follow from the outcome, which a plan decides."""
_ARITHMETIC = ("avx", "fma", "neon", "sse", "sve")
"""Prefixes of the names of instruction sets with which sums may be computed."""
_UNKNOWN_FLAG = 1 << 40
_FLAGS = {str(flag.name).lower(): int(flag) for flag in Flag}


@dataclass(frozen=True, slots=True)
class Expected:
    """The recomputed values of n recorded decisions, row by row.

    Attributes:
        columns: By field, one value for all rows or a column: texts, int64[n], float64[n].
        outcome: uint8[n], values of :class:`Outcome`.
        reasons: By row, for rows that have any.
        features: float64[n, m], if they are recomputed; None if they are taken as given.
        flags: int64[n], bits of :class:`Flag`; None if they are taken as given.
        names: Names of the features.
        model_outcome: uint8[n], outcomes by the model's own thresholds, NO_OUTCOME where it failed;
            None if they are ``outcome`` in every row.
        explanations: Explanations of the rows in ``reasons``; None if there are none.
        values: float64[n, m], the features for the values in the explanations.
    """

    columns: Mapping[str, Any]
    outcome: NDArray[np.uint8]
    reasons: Mapping[int, tuple[str, ...]]
    features: Float64 | None = None
    flags: Int64 | None = None
    names: tuple[str, ...] = ()
    model_outcome: NDArray[np.uint8] | None = None
    explanations: Explanations | None = None
    values: Float64 | None = None

    @classmethod
    def of(
        cls, made: Answers, columns: Mapping[str, Any], names: tuple[str, ...], values: Float64,
        features: Float64 | None, flags: Int64 | None = None,
    ) -> "Expected":  # fmt: skip
        """Return the expected values of a model's new answers."""
        return cls(
            columns, made.outcome, made.reasons, features, flags, names, made.model_outcome,
            made.explanations, values,
        )  # fmt: skip

    def own_outcome(self) -> pa.Array:
        """Return the names of the outcomes by the models' thresholds; null where they failed."""
        own = self.outcome if self.model_outcome is None else self.model_outcome
        return pa.array([*(outcome.name for outcome in Outcome), None]).take(pa.array(own))

    def explained(self) -> list[list[dict[str, Any]]]:
        """Return each row's explanations in the form of the record."""
        if self.explanations is None or self.values is None:
            return [[] for _ in self.outcome]
        items = explanation_items(self.explanations, self.values)
        texts = [""] * len(items.feature) if items.text is None else items.text
        found = [
            {"feature": items.names[at], "value": value, "contribution": raised, "text": text}
            for at, value, raised, text in zip(
                items.feature.tolist(),
                items.value.tolist(),
                items.contribution.tolist(),
                texts,
                strict=True,
            )
        ]
        return [found[first:end] for first, end in pairwise(items.ends.tolist())]


@dataclass(slots=True)
class Reproduction:
    """The result of a comparison of past decisions with recomputed ones.

    Attributes:
        depth: ``recorded``: from the recorded features; ``input``: from the input.
        read: Number of decisions that were read from the topic.
        chosen: Number of requested decisions.
        equal: Number of those that are equal in every recomputed field.
        differing: Number of those that are not.
        fields: By field, number of decisions that differ in it.
        missing: Accepted transactions without a decision.
        unexpected: Decisions of transactions that are not in the input, or are rejected.
        doubled: Further decisions of a source offset that already has one.
        not_compared: Decisions that could not be recomputed.
        missing_bundles: By model version that cannot be loaded, the reason.
        removed: What would be needed, but was removed by retention.
        given: What was taken as recorded, with the number of decisions: model errors, fallbacks to
            the champion, segments, evicted terminal rows, random draws, whose keys are secret, and
            decisions of devices (``edge``): only their scores are recomputed, from their features.
        models: Decisions by model version.
        examples: The first differences: the source, the field, the recorded and the recomputed
            value.
        libraries: The versions here. Bit-identical results are promised only for the scorer's
            versions and processor.
    """

    depth: str
    read: int = 0
    chosen: int = 0
    equal: int = 0
    differing: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    unexpected: int = 0
    doubled: int = 0
    not_compared: int = 0
    missing_bundles: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    libraries: dict[str, str] = field(default_factory=dict)

    def count(self, table: dict[str, int], name: str, number: int) -> None:
        """Count under a name, if there is anything to count."""
        if number:
            table[name] = table.get(name, 0) + number

    def as_record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    def compare(self, recorded: pa.RecordBatch, expected: Expected) -> None:
        """Compare n recorded decisions with their recomputed values, and count the results.

        Args:
            recorded: Fields of the newest decision schema; see ``decisions.Published``.
            expected: Their recomputed values.
        """
        wrong: dict[str, Bool] = {}
        for name, values in expected.columns.items():
            wrong[name] = _differs(name, recorded.column(name), values)
        outcomes = pa.array([o.name for o in Outcome]).take(pa.array(expected.outcome))
        wrong["decision"] = _differs("decision", _by_policy(recorded), outcomes)
        wrong["decision"] |= _impossible_draws(recorded)
        self.count(self.given, _DRAWS_NOT_CHECKED, int(_drawn(recorded).sum()))
        wrong["reasons"] = _other_reasons(recorded.column("reasons"), expected.reasons)
        wrong["model_outcome"] = _differs(
            "model_outcome", recorded.column("model_outcome"), expected.own_outcome()
        )
        wrong[EXPLANATIONS] = _other_explanations(recorded.column(EXPLANATIONS), expected)
        if expected.flags is not None:
            aside = ~int(Flag.LATE_DECISION | Flag.LET_THROUGH | Flag.DRAWN)
            told = flag_bits(recorded.column("flags"))
            wrong["flags"] = (told & aside) != (expected.flags & aside)
        if expected.features is not None:
            wrong["features"] = _other_features(recorded.column("features"), expected.features)
        self._take_devices(recorded, expected, wrong)
        second = np.asarray(recorded.column(EXPLANATIONS).is_valid())
        for name in _SINCE_2 & wrong.keys():
            wrong[name] &= second
        differing = np.zeros(len(recorded), np.bool_)
        for name, rows in wrong.items():
            self.count(self.fields, name, int(rows.sum()))
            differing |= rows
        number = int(differing.sum())
        self.differing += number
        self.equal += len(recorded) - number
        for row in np.flatnonzero(differing).tolist():
            if len(self.examples) >= MOST_EXAMPLES:
                return
            for name, rows in wrong.items():
                if rows[row]:
                    self._tell(recorded, expected, row, name)

    def _take_devices(
        self, recorded: pa.RecordBatch, expected: Expected, wrong: dict[str, Bool]
    ) -> None:
        """Take as given what only a device can recompute: it has its history, policy and plan."""
        devices = np.asarray(pc.equal(recorded.column("arm"), EDGE_ARM), np.bool_)
        if not devices.any():
            return
        self.count(self.given, _OF_DEVICES, int(devices.sum()))
        # From the recorded features, the score is recomputed by the device's bundle.
        kept = set() if "arm" in expected.columns else wrong.keys() - _BY_POLICY
        for name in wrong.keys() - kept:
            wrong[name] &= ~devices

    def _tell(self, recorded: pa.RecordBatch, expected: Expected, row: int, name: str) -> None:
        if name == "features" and expected.features is not None:
            found = recorded.column(name)[row].as_py()
            numbers = np.frombuffer(found, "<f8") if len(found) % 8 == 0 else np.empty(0)
            wanted = expected.features[row]
            if len(numbers) != len(wanted):
                self.note(recorded, row, name, f"{len(found)} bytes", f"{len(wanted)} numbers")
                return
            for place in np.flatnonzero(_bits(numbers) != _bits(wanted)).tolist():
                named = f"features.{expected.names[place]}"
                self.note(recorded, row, named, float(numbers[place]), float(wanted[place]))
            return
        self.note(
            recorded, row, name, _value(recorded.column(name)[row]), _expected(expected, row, name)
        )

    def note(
        self, recorded: pa.RecordBatch, row: int, name: str, found: object, wanted: object
    ) -> None:
        """Keep one of the first differences, of a row of recorded decisions."""
        place = {
            key: recorded.column(key)[row].as_py()
            for key in ("transaction_id", "source_topic", "source_partition", "source_offset")
        }
        self.note_at(place, name, found, wanted)

    def note_at(self, place: Mapping[str, Any], name: str, found: object, wanted: object) -> None:
        """Keep one of the first differences, of a transaction and its place."""
        if len(self.examples) < MOST_EXAMPLES:
            told = {"recorded": _plain(found), "recomputed": _plain(wanted)}
            self.examples.append({**place, "field": name, **told})

    def refuse(self) -> None:
        """Raise an error unless every requested decision was recomputed and is equal.

        Raises:
            ReproductionError: Names what was found, the worst first.
        """
        fix = "see the differences: --json"
        if self.differing or self.missing or self.unexpected or self.doubled:
            fields = ", ".join(f"{name} {n}" for name, n in sorted(self.fields.items()))
            told = [f"{self.differing} of {self.chosen} decisions differ ({fields})"]
            told += [f"{self.missing} are missing"] if self.missing else []
            told += [f"{self.unexpected} are of no such input"] if self.unexpected else []
            told += [f"{self.doubled} are of an offset that has one"] if self.doubled else []
            raise ReproductionError("; ".join(told), fix)
        if self.missing_bundles and self.not_compared:
            named = "; ".join(f"{m}: {why}" for m, why in sorted(self.missing_bundles.items()))
            raise ReproductionError(
                f"{self.not_compared} of {self.chosen} decisions cannot be recomputed: {named}",
                "put the bundles back where models.directory or models.url points",
            )
        if self.removed and self.not_compared:
            raise ReproductionError(
                f"{self.not_compared} of {self.chosen} decisions cannot be recomputed: "
                + "; ".join(self.removed),
                "reproduce from the recorded features: --depth recorded; raise the retention",
            )
        if self.removed:
            raise ReproductionError(
                f"retention has removed {'; '.join(self.removed)}",
                "ask for what is there (--from); raise the retention",
            )
        if not self.chosen:
            raise ReproductionError(
                f"none of {self.read} decisions was asked for", "name another time or transaction"
            )


def flag_bits(column: pa.Array) -> Int64:
    """Return int64[n], bits of :class:`Flag` for lists of their names."""
    bits = np.zeros(len(column), np.int64)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(lengths).tolist():
        for name in column[row].as_py():
            bits[row] |= _FLAGS.get(name, _UNKNOWN_FLAG)
    return bits


def whole_numbers(column: pa.Array) -> Int64:
    """Return int64[n] of whole numbers or times, ms; NEVER for null."""
    numbers = column.cast(pa.int64())
    if numbers.null_count:
        numbers = numbers.fill_null(int(NEVER))
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.int64)


def libraries() -> dict[str, str]:
    """Return what the bits of a score depend on, in addition to the bundle."""
    features = llvmlite.binding.get_host_cpu_features()
    instructions = sorted(n for n, has in features.items() if has and n.startswith(_ARITHMETIC))
    return {
        "python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__,
        "scipy": scipy.__version__, "scikit_learn": version("scikit-learn"),
        "machine": platform.machine(), "processor": llvmlite.binding.get_host_cpu_name(),
        "instructions": " ".join(instructions),
    }  # fmt: skip


def _bits(values: Float64) -> NDArray[np.uint64]:
    return np.ascontiguousarray(values, np.float64).view(np.uint64)


def _differs(name: str, column: pa.Array, values: Any) -> Bool:
    """Return bool[n], where a recorded column is not what is expected."""
    if name in _FLOATS:
        recorded = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
        wanted = np.broadcast_to(np.asarray(values, np.float64), recorded.shape)
        return np.asarray(_bits(recorded) != _bits(wanted), np.bool_)
    if name in _TIMES or pa.types.is_integer(column.type):
        return np.asarray(whole_numbers(column) != np.asarray(values, np.int64), np.bool_)
    unlike = pc.not_equal(column, values)
    if column.null_count or unlike.null_count:
        # A null differs from any value, but not from another null.
        nulls = pc.not_equal(column.is_null(), pc.is_null(values))
        unlike = pc.coalesce(unlike, nulls)
    return np.asarray(unlike.to_numpy(zero_copy_only=False), np.bool_)


def _by_policy(recorded: pa.RecordBatch) -> pa.Array:
    """Return the outcomes before the draw of let-through; an older record has only one outcome."""
    return pc.coalesce(recorded.column("policy_outcome"), recorded.column("decision"))


def _impossible_draws(recorded: pa.RecordBatch) -> Bool:
    """Return bool[n]: which published outcomes are not their policy's, and could not be drawn."""
    names = ("decision", "outcome_propensity")
    published, chance = (recorded.column(name).to_numpy(zero_copy_only=False) for name in names)
    policy = _by_policy(recorded).to_numpy(zero_copy_only=False)
    through = (flag_bits(recorded.column("flags")) & int(Flag.LET_THROUGH)) > 0
    drawn = (policy == Outcome.BLOCK.name) & (published == Outcome.APPROVE.name) & (chance < 1)
    return np.asarray(np.where(through, ~drawn, published != policy), np.bool_)


def _drawn(recorded: pa.RecordBatch) -> Bool:
    """Return bool[n]: which decisions depend on a secret draw."""
    chance, review = (
        np.asarray(recorded.column(name), np.float64)
        for name in ("outcome_propensity", "review_propensity")
    )
    return np.asarray((chance < 1) | (review > 0), np.bool_)


def _other_reasons(column: pa.Array, reasons: Mapping[int, tuple[str, ...]]) -> Bool:
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    wrong = np.zeros(len(column), np.bool_)
    for row in {*np.flatnonzero(lengths).tolist(), *reasons}:
        wrong[row] = tuple(column[row].as_py()) != reasons.get(row, ())
    return wrong


def _other_explanations(column: pa.Array, expected: Expected) -> Bool:
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    wrong = np.zeros(len(column), np.bool_)
    wanted = expected.explained()
    for row in {*np.flatnonzero(lengths).tolist(), *expected.reasons}:
        # As text, in which NaN is equal to NaN, and 0.0 is not -0.0.
        wrong[row] = repr(column[row].as_py() or []) != repr(wanted[row])
    return wrong


def _other_features(column: pa.Array, features: Float64) -> Bool:
    n, width = features.shape
    told, right = feature_rows(column, width)
    wrong = ~right
    wrong[right] |= (_bits(told) != _bits(features[right])).reshape(-1, width).any(axis=1)
    return np.asarray(wrong.reshape(n), np.bool_)


def feature_rows(column: pa.Array, width: int) -> tuple[Float64, Bool]:
    """Return recorded features as numbers.

    Args:
        column: n byte strings.
        width: Number of features that each should have.

    Returns:
        float64[k, width] of the k rows that have so many; bool[n], which rows these are.
    """
    lengths = pc.binary_length(column).to_numpy(zero_copy_only=False)
    right = np.asarray(lengths == 8 * width, np.bool_)
    joined = b"".join(column.filter(pa.array(right)).to_pylist())
    return np.frombuffer(joined, "<f8").astype(np.float64).reshape(-1, width), right


def _plain(value: object) -> object:
    """Return a value for JSON, which has neither NaN nor infinity."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _value(scalar: pa.Scalar) -> Any:
    if pa.types.is_timestamp(scalar.type):
        return scalar.cast(pa.int64()).as_py()
    return scalar.as_py()


def _expected(expected: Expected, row: int, name: str) -> Any:
    """Return one recomputed value as plain data."""
    special: dict[str, Callable[[], Any]] = {
        "decision": lambda: Outcome(expected.outcome[row]).name,
        "reasons": lambda: list(expected.reasons.get(row, ())),
        "model_outcome": lambda: expected.own_outcome().to_pylist()[row],
        EXPLANATIONS: lambda: expected.explained()[row],
    }
    if name in special:
        return special[name]()
    if name == "flags" and expected.flags is not None:
        return [flag for flag, bit in _FLAGS.items() if int(expected.flags[row]) & bit]
    values = expected.columns[name]
    if isinstance(values, pa.Array):
        return _value(values[row])
    if isinstance(values, np.ndarray):
        value = values[row].item()
        return None if name == "terminal_watermark" and value == NEVER else value
    return values
