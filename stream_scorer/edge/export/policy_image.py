"""A plan's policy as numbers for a table image: which segment an event fits, and its thresholds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import Segment, read_policy

UInt64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class PolicyField:
    """A field of events that segments name.

    Attributes:
        name: Its name.
        values: The values that segments name; those of a boolean are ``true`` and ``false``.
        bits: uint64[k + 1], the segments that fit each value; the last is for all other values and
            null.
    """

    name: str
    values: tuple[str, ...]
    bits: UInt64


@dataclass(frozen=True, slots=True)
class PolicyImage:
    """A policy of s segments.

    Attributes:
        fields: The fields that segments name.
        edges: int64[e], ascending: the amounts, in minor units, at which segments begin or end.
        edge_bits: uint64[e + 1], the segments that fit an amount before the first edge, from the
            first edge on, and so on.
        limits: float64[s + 2, 2], where REVIEW and BLOCK begin: in each segment, in none, and by
            the model's own thresholds.
        on_model_error: The outcome where the model fails.
    """

    fields: tuple[PolicyField, ...]
    edges: NDArray[np.int64]
    edge_bits: UInt64
    limits: NDArray[np.float64]
    on_model_error: Outcome


def policy_image(plan: Plan, thresholds: Thresholds, on_model_error: Outcome) -> PolicyImage:
    """Return the policy of transactions that a model scores.

    Args:
        plan: The values of its policy take precedence.
        thresholds: The model's thresholds, for what the policy does not set.
        on_model_error: The model's outcome of failed rows, likewise.
    """
    table = read_policy(plan.policy, plan.exponent, plan.extras) if plan.policy else None
    segments = () if table is None else table.segments
    own = (thresholds.review, thresholds.block)
    default = own if table is None or table.default is None else table.default
    error = None if table is None else table.on_model_error
    edges = sorted(
        {s.above + 1 for s in segments if s.above >= 0}
        | {s.below for s in segments if s.below is not None}
    )
    names = dict.fromkeys(name for segment in segments for name in segment.values)
    return PolicyImage(
        fields=tuple(_field(name, segments) for name in names),
        edges=np.array(edges, np.int64),
        edge_bits=np.array(
            [_bits(s.holds_amount(at) for s in segments) for at in (0, *edges)], np.uint64
        ),
        limits=np.array([*(s.limits for s in segments), default, own], np.float64),
        on_model_error=on_model_error if error is None else error,
    )


def _field(name: str, segments: Iterable[Segment]) -> PolicyField:
    values = list(dict.fromkeys(value for s in segments for value in s.values.get(name, ())))
    fitting = [
        _bits(name not in s.values or value in s.values[name] for s in segments) for value in values
    ]
    others = _bits(name not in s.values for s in segments)
    texts = tuple(v if isinstance(v, str) else str(v).lower() for v in values)
    return PolicyField(name, texts, np.array([*fitting, others], np.uint64))


def _bits(fits: Iterable[bool]) -> int:
    return sum(1 << number for number, each in enumerate(fits) if each)
