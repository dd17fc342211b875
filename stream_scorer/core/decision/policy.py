"""The decision policy: thresholds of each row, and the outcome where the model fails.

A policy has at most 64 segments, so a set of segments is a 64-bit number. For each field that
segments name, a table gives the segments that a value fits. The sets of all fields are combined
with AND; the lowest bit that is left is the first segment that fits. So the cost depends on the
number of fields, not on the number of segments.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import EventBatch, Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import PolicyTable, Segment, read_policy

Float64 = NDArray[np.float64]
UInt64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores from which a transaction is reviewed or blocked; 0 < review <= block <= 1.

    Attributes:
        review: Lowest score of REVIEW.
        block: Lowest score of BLOCK; if it equals ``review``, nothing is reviewed.

    Raises:
        ValueError: A value is out of range or order, or not a number.
    """

    review: float
    block: float

    def __post_init__(self) -> None:
        if not 0.0 < self.review <= self.block <= 1.0:
            raise ValueError(
                f"thresholds: 0 < review <= block <= 1 does not hold for review {self.review} "
                f"and block {self.block}"
            )


@dataclass(frozen=True, slots=True)
class RowThresholds:
    """Thresholds of n rows; each pair fulfils the rule of :class:`Thresholds`.

    Attributes:
        review: float64[n].
        block: float64[n].
    """

    review: Float64
    block: Float64


@dataclass(frozen=True, slots=True)
class RowPolicy:
    """Thresholds and error outcome of n rows.

    Attributes:
        thresholds: Where REVIEW and BLOCK begin, one pair for all rows or one for each row.
        on_model_error: Outcome of rows for which the model fails.
    """

    thresholds: Thresholds | RowThresholds
    on_model_error: Outcome


def decide(scores: Float64, thresholds: Thresholds | RowThresholds) -> NDArray[np.uint8]:
    """Return uint8[n], values of :class:`Outcome`; a score equal to a threshold reaches it.

    Args:
        scores: float64[n]. NaN gives APPROVE, so a caller must replace the outcome of such rows.
        thresholds: Where REVIEW and BLOCK begin, one pair for all rows or one for each row.

    >>> decide(np.array([0.1, 0.5, 0.9]), Thresholds(review=0.5, block=0.8)).tolist()
    [0, 1, 2]
    """
    outcome = np.full(len(scores), Outcome.APPROVE, np.uint8)
    outcome[scores >= thresholds.review] = Outcome.REVIEW
    outcome[scores >= thresholds.block] = Outcome.BLOCK
    return outcome


def decide_one(score: float, thresholds: Thresholds) -> Outcome:
    """Return the outcome of one score, as :func:`decide` does, without arrays.

    >>> decide_one(0.5, Thresholds(review=0.5, block=0.8)).name
    'REVIEW'
    """
    if score >= thresholds.block:
        return Outcome.BLOCK
    return Outcome.REVIEW if score >= thresholds.review else Outcome.APPROVE


def policy_for(
    events: EventBatch, plan: Plan, thresholds: Thresholds, on_model_error: Outcome
) -> RowPolicy:
    """Return the policy of transactions that a model scores.

    Args:
        events: n transactions.
        plan: The values of its policy take precedence.
        thresholds: The bundle's thresholds, for what the policy does not set.
        on_model_error: The bundle's outcome of failed rows, likewise.
    """
    if not plan.policy:
        return RowPolicy(thresholds, on_model_error)
    compiled = _compiled_for(plan)
    error = error_outcome(plan, on_model_error)
    default = _default(compiled.table, thresholds)
    if not compiled.table.segments:
        return RowPolicy(default, error)
    # The place of no segment is -1: the last entry, which is the default.
    place = compiled.first_fitting(events)
    review = np.append(compiled.review, default.review)
    block = np.append(compiled.block, default.block)
    return RowPolicy(RowThresholds(review[place], block[place]), error)


def fits_no_segment(events: EventBatch, plan: Plan) -> NDArray[np.bool_]:
    """Return bool[n]: which transactions fit no segment, so that the default thresholds apply.

    Args:
        events: n transactions.
        plan: The plan with the policy.
    """
    compiled = _compiled_for(plan)
    if not compiled.table.segments:
        return np.ones(len(events), np.bool_)
    return compiled.first_fitting(events) < 0


def possible_thresholds(plan: Plan, thresholds: Thresholds) -> Iterator[Thresholds]:
    """Yield the thresholds that a transaction may have under a plan: segments', then the default.

    Args:
        plan: The values of its policy take precedence.
        thresholds: The bundle's thresholds.
    """
    table = _compiled_for(plan).table
    for segment in table.segments:
        yield Thresholds(*segment.limits)
    yield _default(table, thresholds)


def error_outcome(plan: Plan, on_model_error: Outcome) -> Outcome:
    """Return the outcome of rows for which a model fails.

    Args:
        plan: The value of its policy takes precedence.
        on_model_error: The bundle's value.
    """
    said = _compiled_for(plan).table.on_model_error
    return on_model_error if said is None else said


def _default(table: PolicyTable, thresholds: Thresholds) -> Thresholds:
    return thresholds if table.default is None else Thresholds(*table.default)


@dataclass(frozen=True, slots=True)
class _Column:
    """A field that segments name.

    Attributes:
        name: Name of the field.
        values: The k values that segments name.
        bits: uint64[k + 1], the segments that fit each value; the last entry is for all other
            values and null.
    """

    name: str
    values: pa.Array
    bits: UInt64

    def fitting(self, events: EventBatch) -> UInt64:
        """Return uint64[n]: the segments that each row fits by this field."""
        column = events.records.column(self.name)
        place = pc.index_in(column, self.values.cast(column.type)).fill_null(len(self.values))
        return self.bits[place.to_numpy(zero_copy_only=False)]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A policy whose s segments are bits.

    Attributes:
        table: The policy's table.
        columns: The fields that segments name.
        edges: int64[e], ascending: the amounts, in minor units, at which segments begin or end.
        bits: uint64[e + 1], the segments that fit an amount below the first edge, from the first
            edge on, and so on.
        review: float64[s].
        block: float64[s].
    """

    table: PolicyTable
    columns: tuple[_Column, ...]
    edges: NDArray[np.int64]
    bits: UInt64
    review: Float64
    block: Float64

    def first_fitting(self, events: EventBatch) -> NDArray[np.int64]:
        """Return int64[n]: the number of the first segment that fits each row; -1 for none."""
        if len(self.edges):
            amounts = events.amounts
            left = self.bits[np.searchsorted(self.edges, amounts, "right")]
        else:
            left = np.full(len(events), self.bits[0])
        for column in self.columns:
            left &= column.fitting(events)
        lowest = left & (~left + np.uint64(1))
        # A power of two is exact as a float, and 0 has the exponent 0.
        return np.frexp(lowest.astype(np.float64))[1].astype(np.int64) - 1


def _compiled_for(plan: Plan) -> _Compiled:
    policy = json.dumps(plan.policy, sort_keys=True)
    return _compile(policy, plan.exponent, tuple(plan.extras.items()))


@lru_cache(maxsize=16)
def _compile(text: str, exponent: int, extras: tuple[tuple[str, str], ...]) -> _Compiled:
    table = read_policy(json.loads(text), exponent, dict(extras))
    segments = table.segments
    names = dict.fromkeys(name for segment in segments for name in segment.values)
    # A segment begins one minor unit above ``above`` and ends before ``below``.
    edges = sorted(
        {s.above + 1 for s in segments if s.above >= 0}
        | {s.below for s in segments if s.below is not None}
    )
    limits = np.array([segment.limits for segment in segments], np.float64).reshape(-1, 2)
    return _Compiled(
        table,
        tuple(_column(name, segments) for name in names),
        np.array(edges, np.int64),
        np.array([_bits(s.holds_amount(at) for s in segments) for at in (0, *edges)], np.uint64),
        limits[:, 0].copy(),
        limits[:, 1].copy(),
    )


def _column(name: str, segments: Sequence[Segment]) -> _Column:
    values = list(dict.fromkeys(value for s in segments for value in s.values.get(name, ())))
    fitting = [
        _bits(name not in s.values or value in s.values[name] for s in segments) for value in values
    ]
    others = _bits(name not in s.values for s in segments)
    return _Column(name, pa.array(values), np.array([*fitting, others], np.uint64))


def _bits(fits: Iterator[bool]) -> int:
    return sum(1 << number for number, each in enumerate(fits) if each)
